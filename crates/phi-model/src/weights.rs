use phi_tensor::{Role, Shape};

use crate::{Biases, Branches, Decoder, Experts, FeedForward, GateUp, Head, Norm, Qkv, Rope};

/// Every tensor of a decoder, at one of its stages: `Weights<TensorSpec>` is what is needed, `Weights<Tensor>` what was
/// found. They are one struct, so they cannot disagree.
#[derive(Clone, Debug)]
pub struct Weights<T> {
    /// Embedding, `[n_vocab, n_embd]`; also the head when that is tied.
    pub token_embd: T,
    /// Factors of the rotation.
    pub rope_factors: Option<RopeFactors<T>>,
    /// The layers, first to last.
    pub layers: Vec<Layer<T>>,
    /// Norm before the head.
    pub output_norm: NormWeights<T>,
    /// The head, `[n_vocab, n_embd]`, unless tied.
    pub output: Option<T>,
    /// Its bias, `[n_vocab]`.
    pub output_bias: Option<T>,
}

/// One layer.
#[derive(Clone, Debug)]
pub struct Layer<T> {
    /// Norm before attention.
    pub attn_norm: NormWeights<T>,
    /// Query, key and value rows.
    pub attn_qkv: QkvWeights<T>,
    /// Projection of the attended values, `[n_embd, n_head · head_dim]`.
    pub attn_output: Linear<T>,
    /// Norm before the feed-forward, unless that of attention serves both.
    pub ffn_norm: Option<NormWeights<T>>,
    /// The feed-forward.
    pub ffn: FfnWeights<T>,
}

/// A matrix, and a value for each of its rows where the decoder adds one.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the parts are what they are called")]
pub struct Linear<T> {
    pub weight: T,
    pub bias: Option<T>,
}

/// One norm.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the parts are named as in the decoder's own enum")]
pub enum NormWeights<T> {
    /// `[n_embd]`
    Rms(T),
    /// Twice `[n_embd]`
    Layer { weight: T, bias: T },
}

/// Query, key and value rows.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the parts are named as in the decoder's own enum")]
pub enum QkvWeights<T> {
    /// `[(n_head + 2 · n_head_kv) · head_dim, n_embd]`
    Fused(Linear<T>),
    /// `[n_head · head_dim, n_embd]` and twice `[n_head_kv · head_dim, n_embd]`
    Split { q: Linear<T>, k: Linear<T>, v: Linear<T> },
}

/// The feed-forward.
#[derive(Clone, Debug)]
pub enum FfnWeights<T> {
    /// The same for every token.
    Dense {
        /// What the activation function is applied to.
        up: UpWeights<T>,
        /// Projection back, `[n_embd, n_ff]`.
        down: Linear<T>,
    },
    /// For each token some of many.
    Experts(ExpertWeights<T>),
}

/// Experts: matrices in stacks.
#[derive(Clone, Debug)]
pub struct ExpertWeights<T> {
    /// Rows of scores, `[n_expert, n_embd]`.
    pub router: T,
    /// Gate rows, `[n_expert, n_ff, n_embd]`.
    pub gate: T,
    /// Up rows, `[n_expert, n_ff, n_embd]`.
    pub up: T,
    /// Projections back, `[n_expert, n_embd, n_ff]`.
    pub down: T,
}

/// What the activation function of the feed-forward is applied to.
#[derive(Clone, Debug)]
pub enum UpWeights<T> {
    /// Gate and up rows.
    Silu(GateUpWeights<T>),
    /// `[n_ff, n_embd]`
    Gelu(Linear<T>),
    /// `[2 · n_ff, n_embd]`: all gate rows, all up rows.
    GeGelu {
        /// How far from 0 they may be.
        limit: f32,
        /// The rows.
        gate_up: Linear<T>,
    },
}

/// Gate and up rows.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the parts are named as in the decoder's own enum")]
pub enum GateUpWeights<T> {
    /// `[2 · n_ff, n_embd]`
    Fused(T),
    /// Twice `[n_ff, n_embd]`
    Split { gate: T, up: T },
}

/// Factors of the rotation, one per pair.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the parts are what they are called")]
pub enum RopeFactors<T> {
    /// For contexts of any length, `[n_rot / 2]`.
    One(T),
    /// Longrope's: within the original context, `[n_rot / 2]`, and beyond it, `[n_rot / 2]`.
    Long { short: T, long: T },
}

/// A tensor that is needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TensorSpec {
    /// Which part of the model it is.
    pub role: Role,
    /// In which layer.
    pub layer: Option<usize>,
    /// Its dimensions, slowest first.
    pub shape: Shape,
}

impl Weights<TensorSpec> {
    /// The roles and shapes that a decoder needs.
    pub fn of(d: &Decoder) -> Self {
        let global = |role, shape| TensorSpec { role, layer: None, shape };
        let factors = |role| global(role, Shape::vector(d.rope.n_rot / 2));
        Weights {
            token_embd: global(Role::TokenEmbd, Shape::matrix(d.n_vocab, d.n_embd)),
            rope_factors: match &d.rope {
                Rope { long: Some(_), .. } => {
                    let [short, long] = [Role::RopeFactorsShort, Role::RopeFactorsLong].map(factors);
                    Some(RopeFactors::Long { short, long })
                }
                Rope { factors: true, .. } => Some(RopeFactors::One(factors(Role::RopeFreqs))),
                _ => None,
            },
            layers: (0..d.n_layer).map(|layer| Layer::of(d, layer)).collect(),
            output_norm: NormWeights::of(d, Role::OutputNorm, Role::OutputNormBias, None),
            output: match d.head {
                Head::Own => Some(global(Role::Output, Shape::matrix(d.n_vocab, d.n_embd))),
                Head::Tied => None,
            },
            output_bias: match d.biases {
                Biases::All | Biases::Head => Some(global(Role::OutputBias, Shape::vector(d.n_vocab))),
                Biases::Layers | Biases::None => None,
            },
        }
    }
}

impl Layer<TensorSpec> {
    fn of(d: &Decoder, layer: usize) -> Self {
        let matrix = |role, rows, cols| TensorSpec { role, layer: Some(layer), shape: Shape::matrix(rows, cols) };
        let linear = |role, bias, rows, cols| Linear {
            weight: matrix(role, rows, cols),
            bias: match d.biases {
                Biases::All | Biases::Layers => {
                    Some(TensorSpec { role: bias, layer: Some(layer), shape: Shape::vector(rows) })
                }
                Biases::Head | Biases::None => None,
            },
        };
        let stack = |role, n, rows, cols| TensorSpec { role, layer: Some(layer), shape: Shape::stack(n, rows, cols) };
        let dense = |up| FfnWeights::Dense { up, down: linear(Role::FfnDown, Role::FfnDownBias, d.n_embd, d.n_ff) };
        let (q, kv) = (d.q_width(), d.kv_width());
        Layer {
            attn_norm: NormWeights::of(d, Role::AttnNorm, Role::AttnNormBias, Some(layer)),
            attn_qkv: match d.qkv {
                Qkv::Fused => QkvWeights::Fused(linear(Role::AttnQkv, Role::AttnQkvBias, q + 2 * kv, d.n_embd)),
                Qkv::Split => QkvWeights::Split {
                    q: linear(Role::AttnQ, Role::AttnQBias, q, d.n_embd),
                    k: linear(Role::AttnK, Role::AttnKBias, kv, d.n_embd),
                    v: linear(Role::AttnV, Role::AttnVBias, kv, d.n_embd),
                },
            },
            attn_output: linear(Role::AttnOutput, Role::AttnOutputBias, d.n_embd, q),
            ffn_norm: match d.branches {
                Branches::InTurn => Some(NormWeights::of(d, Role::FfnNorm, Role::FfnNormBias, Some(layer))),
                Branches::Parallel => None,
            },
            ffn: match d.feed_forward {
                FeedForward::Silu(GateUp::Fused) => {
                    dense(UpWeights::Silu(GateUpWeights::Fused(matrix(Role::FfnUp, 2 * d.n_ff, d.n_embd))))
                }
                FeedForward::Silu(GateUp::Split) => dense(UpWeights::Silu(GateUpWeights::Split {
                    gate: matrix(Role::FfnGate, d.n_ff, d.n_embd),
                    up: matrix(Role::FfnUp, d.n_ff, d.n_embd),
                })),
                FeedForward::Gelu => dense(UpWeights::Gelu(linear(Role::FfnUp, Role::FfnUpBias, d.n_ff, d.n_embd))),
                FeedForward::GeGelu { limit } => {
                    let gate_up = linear(Role::FfnUp, Role::FfnUpBias, 2 * d.n_ff, d.n_embd);
                    dense(UpWeights::GeGelu { limit, gate_up })
                }
                FeedForward::Experts(Experts { n_expert, .. }) => FfnWeights::Experts(ExpertWeights {
                    router: matrix(Role::FfnGateInp, n_expert, d.n_embd),
                    gate: stack(Role::FfnGateExps, n_expert, d.n_ff, d.n_embd),
                    up: stack(Role::FfnUpExps, n_expert, d.n_ff, d.n_embd),
                    down: stack(Role::FfnDownExps, n_expert, d.n_embd, d.n_ff),
                }),
            },
        }
    }
}

impl NormWeights<TensorSpec> {
    fn of(d: &Decoder, weight: Role, bias: Role, layer: Option<usize>) -> Self {
        let vector = |role| TensorSpec { role, layer, shape: Shape::vector(d.n_embd) };
        match d.norm {
            Norm::Rms => NormWeights::Rms(vector(weight)),
            Norm::Layer => NormWeights::Layer { weight: vector(weight), bias: vector(bias) },
        }
    }
}

impl<T> Weights<T> {
    /// The same struct one stage on: `f` of every tensor, or the first error.
    pub fn try_map<U, E>(&self, mut f: impl FnMut(&T) -> Result<U, E>) -> Result<Weights<U>, E> {
        let f = &mut f;
        Ok(Weights {
            token_embd: f(&self.token_embd)?,
            rope_factors: match &self.rope_factors {
                Some(RopeFactors::One(factors)) => Some(RopeFactors::One(f(factors)?)),
                Some(RopeFactors::Long { short, long }) => Some(RopeFactors::Long { short: f(short)?, long: f(long)? }),
                None => None,
            },
            layers: self.layers.iter().map(|layer| layer.try_map(f)).collect::<Result<_, E>>()?,
            output_norm: self.output_norm.try_map(f)?,
            output: self.output.as_ref().map(&mut *f).transpose()?,
            output_bias: self.output_bias.as_ref().map(f).transpose()?,
        })
    }
}

impl<T> Layer<T> {
    fn try_map<U, E>(&self, f: &mut impl FnMut(&T) -> Result<U, E>) -> Result<Layer<U>, E> {
        Ok(Layer {
            attn_norm: self.attn_norm.try_map(f)?,
            attn_qkv: match &self.attn_qkv {
                QkvWeights::Fused(qkv) => QkvWeights::Fused(qkv.try_map(f)?),
                QkvWeights::Split { q, k, v } => {
                    QkvWeights::Split { q: q.try_map(f)?, k: k.try_map(f)?, v: v.try_map(f)? }
                }
            },
            attn_output: self.attn_output.try_map(f)?,
            ffn_norm: self.ffn_norm.as_ref().map(|norm| norm.try_map(f)).transpose()?,
            ffn: match &self.ffn {
                FfnWeights::Dense { up, down } => FfnWeights::Dense { up: up.try_map(f)?, down: down.try_map(f)? },
                FfnWeights::Experts(experts) => FfnWeights::Experts(experts.try_map(f)?),
            },
        })
    }
}

impl<T> UpWeights<T> {
    fn try_map<U, E>(&self, f: &mut impl FnMut(&T) -> Result<U, E>) -> Result<UpWeights<U>, E> {
        Ok(match self {
            UpWeights::Silu(GateUpWeights::Fused(gate_up)) => UpWeights::Silu(GateUpWeights::Fused(f(gate_up)?)),
            UpWeights::Silu(GateUpWeights::Split { gate, up }) => {
                UpWeights::Silu(GateUpWeights::Split { gate: f(gate)?, up: f(up)? })
            }
            UpWeights::Gelu(up) => UpWeights::Gelu(up.try_map(f)?),
            UpWeights::GeGelu { limit, gate_up } => UpWeights::GeGelu { limit: *limit, gate_up: gate_up.try_map(f)? },
        })
    }
}

impl<T> ExpertWeights<T> {
    fn try_map<U, E>(&self, f: &mut impl FnMut(&T) -> Result<U, E>) -> Result<ExpertWeights<U>, E> {
        let ExpertWeights { router, gate, up, down } = self;
        Ok(ExpertWeights { router: f(router)?, gate: f(gate)?, up: f(up)?, down: f(down)? })
    }
}

impl<T> Linear<T> {
    fn try_map<U, E>(&self, f: &mut impl FnMut(&T) -> Result<U, E>) -> Result<Linear<U>, E> {
        Ok(Linear { weight: f(&self.weight)?, bias: self.bias.as_ref().map(f).transpose()? })
    }
}

impl<T> NormWeights<T> {
    fn try_map<U, E>(&self, f: &mut impl FnMut(&T) -> Result<U, E>) -> Result<NormWeights<U>, E> {
        Ok(match self {
            NormWeights::Rms(weight) => NormWeights::Rms(f(weight)?),
            NormWeights::Layer { weight, bias } => NormWeights::Layer { weight: f(weight)?, bias: f(bias)? },
        })
    }
}

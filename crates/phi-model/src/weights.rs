use phi_tensor::{Role, Shape};

use crate::{Decoder, GateUp, Head, Qkv};

/// Every tensor of a decoder, at one of its stages: `Weights<TensorSpec>` is what is needed, `Weights<Tensor>` what was
/// found. They are one struct, so they cannot disagree.
#[derive(Clone, Debug)]
pub struct Weights<T> {
    /// Embedding, `[n_vocab, n_embd]`; also the head when that is tied.
    pub token_embd: T,
    /// Longrope's factors.
    pub rope_factors: Option<RopeFactors<T>>,
    /// The layers, first to last.
    pub layers: Vec<Layer<T>>,
    /// Norm before the head, `[n_embd]`.
    pub output_norm: T,
    /// The head, `[n_vocab, n_embd]`, unless tied.
    pub output: Option<T>,
}

/// One layer.
#[derive(Clone, Debug)]
pub struct Layer<T> {
    /// Norm before attention, `[n_embd]`.
    pub attn_norm: T,
    /// Query, key and value rows.
    pub attn_qkv: QkvWeights<T>,
    /// Projection of the attended values, `[n_embd, n_head · head_dim]`.
    pub attn_output: T,
    /// Norm before the feed-forward, `[n_embd]`.
    pub ffn_norm: T,
    /// Gate and up rows.
    pub ffn_gate_up: GateUpWeights<T>,
    /// Projection back, `[n_embd, n_ff]`.
    pub ffn_down: T,
}

/// Query, key and value rows.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the parts are named as in the decoder's own enum")]
pub enum QkvWeights<T> {
    /// `[(n_head + 2 · n_head_kv) · head_dim, n_embd]`
    Fused(T),
    /// `[n_head · head_dim, n_embd]` and twice `[n_head_kv · head_dim, n_embd]`
    Split { q: T, k: T, v: T },
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

/// Longrope's factors, one per rotated pair.
#[derive(Clone, Debug)]
pub struct RopeFactors<T> {
    /// Within the original context, `[n_rot / 2]`.
    pub short: T,
    /// Beyond it, `[n_rot / 2]`.
    pub long: T,
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
            rope_factors: d
                .rope
                .long
                .as_ref()
                .map(|_| RopeFactors { short: factors(Role::RopeFactorsShort), long: factors(Role::RopeFactorsLong) }),
            layers: (0..d.n_layer).map(|layer| Layer::of(d, layer)).collect(),
            output_norm: global(Role::OutputNorm, Shape::vector(d.n_embd)),
            output: match d.head {
                Head::Own => Some(global(Role::Output, Shape::matrix(d.n_vocab, d.n_embd))),
                Head::Tied => None,
            },
        }
    }
}

impl Layer<TensorSpec> {
    fn of(d: &Decoder, layer: usize) -> Self {
        let vector = |role| TensorSpec { role, layer: Some(layer), shape: Shape::vector(d.n_embd) };
        let matrix = |role, rows, cols| TensorSpec { role, layer: Some(layer), shape: Shape::matrix(rows, cols) };
        let (q, kv) = (d.q_width(), d.kv_width());
        Layer {
            attn_norm: vector(Role::AttnNorm),
            attn_qkv: match d.qkv {
                Qkv::Fused => QkvWeights::Fused(matrix(Role::AttnQkv, q + 2 * kv, d.n_embd)),
                Qkv::Split => QkvWeights::Split {
                    q: matrix(Role::AttnQ, q, d.n_embd),
                    k: matrix(Role::AttnK, kv, d.n_embd),
                    v: matrix(Role::AttnV, kv, d.n_embd),
                },
            },
            attn_output: matrix(Role::AttnOutput, d.n_embd, q),
            ffn_norm: vector(Role::FfnNorm),
            ffn_gate_up: match d.gate_up {
                GateUp::Fused => GateUpWeights::Fused(matrix(Role::FfnUp, 2 * d.n_ff, d.n_embd)),
                GateUp::Split => GateUpWeights::Split {
                    gate: matrix(Role::FfnGate, d.n_ff, d.n_embd),
                    up: matrix(Role::FfnUp, d.n_ff, d.n_embd),
                },
            },
            ffn_down: matrix(Role::FfnDown, d.n_embd, d.n_ff),
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
                Some(factors) => Some(RopeFactors { short: f(&factors.short)?, long: f(&factors.long)? }),
                None => None,
            },
            layers: self.layers.iter().map(|layer| layer.try_map(f)).collect::<Result<_, E>>()?,
            output_norm: f(&self.output_norm)?,
            output: self.output.as_ref().map(f).transpose()?,
        })
    }
}

impl<T> Layer<T> {
    fn try_map<U, E>(&self, f: &mut impl FnMut(&T) -> Result<U, E>) -> Result<Layer<U>, E> {
        Ok(Layer {
            attn_norm: f(&self.attn_norm)?,
            attn_qkv: match &self.attn_qkv {
                QkvWeights::Fused(qkv) => QkvWeights::Fused(f(qkv)?),
                QkvWeights::Split { q, k, v } => QkvWeights::Split { q: f(q)?, k: f(k)?, v: f(v)? },
            },
            attn_output: f(&self.attn_output)?,
            ffn_norm: f(&self.ffn_norm)?,
            ffn_gate_up: match &self.ffn_gate_up {
                GateUpWeights::Fused(gate_up) => GateUpWeights::Fused(f(gate_up)?),
                GateUpWeights::Split { gate, up } => GateUpWeights::Split { gate: f(gate)?, up: f(up)? },
            },
            ffn_down: f(&self.ffn_down)?,
        })
    }
}

use phi_tensor::{Role, Shape};

use super::{Mixer, SambaY};
use crate::weights::{Linear, NormWeights, TensorSpec};
use crate::{Decoder, GateUpWeights};

/// One layer of SambaY.
#[derive(Clone, Debug)]
pub struct SambaLayer<T> {
    /// Norm before the mixer.
    pub attn_norm: NormWeights<T>,
    /// What mixes tokens.
    pub mixer: MixerWeights<T>,
    /// Norm before the feed-forward.
    pub ffn_norm: NormWeights<T>,
    /// Gate and up rows.
    pub ffn_up: GateUpWeights<T>,
    /// Projection back, `[n_embd, n_ff]`.
    pub ffn_down: T,
}

/// What mixes tokens.
#[derive(Clone, Debug)]
pub enum MixerWeights<T> {
    /// A selective recurrence.
    Recurrence(RecurrenceWeights<T>),
    /// Differential attention, over keys of its own or of another layer.
    Attention(AttentionWeights<T>),
    /// A gate on the published memory.
    Gate(GateWeights<T>),
}

/// A selective recurrence.
#[derive(Clone, Debug)]
pub struct RecurrenceWeights<T> {
    /// Input rows, then gate rows, `[2 · n_inner, n_embd]`.
    pub input: T,
    /// Convolution, `[n_inner, n_conv]`.
    pub conv: T,
    /// Its bias, `[n_inner]`.
    pub conv_bias: T,
    /// Rows that the steps are made from, then what inputs write to the state, then what is read of it:
    /// `[n_dt + 2 · n_state, n_inner]`.
    pub x: T,
    /// Steps, `[n_inner, n_dt]`, and their bias.
    pub dt: Linear<T>,
    /// Decay, `[n_inner, n_state]`.
    pub a: T,
    /// Past the state, `[n_inner]`.
    pub d: T,
    /// Projection back, `[n_embd, n_inner]`.
    pub output: T,
}

/// Differential attention.
#[derive(Clone, Debug)]
pub struct AttentionWeights<T> {
    /// Query rows, and, in layers with keys of their own, key and value rows behind them.
    pub rows: Linear<T>,
    /// `q1`, `k1`, `q2` and `k2`, `[head_dim]` each: `λ = e^(q1 · k1) − e^(q2 · k2) + λ_init`
    pub lambda: [T; 4],
    /// Norm of a difference, `[2 · head_dim]`.
    pub sub_norm: T,
    /// Projection of the differences, `[n_embd, n_head · head_dim]`.
    pub output: Linear<T>,
}

/// A gate on the published memory.
#[derive(Clone, Debug)]
pub struct GateWeights<T> {
    /// `[n_inner, n_embd]`
    pub input: T,
    /// `[n_embd, n_inner]`
    pub output: T,
}

impl SambaLayer<TensorSpec> {
    pub(crate) fn of(d: &Decoder, samba: &SambaY, layer: usize) -> Self {
        let &SambaY { n_inner, n_state, n_conv, n_dt, .. } = samba;
        let spec = |role, shape| TensorSpec { role, layer: Some(layer), shape };
        let matrix = |role, rows, cols| spec(role, Shape::matrix(rows, cols));
        let vector = |role, n| spec(role, Shape::vector(n));
        let linear =
            |weight, bias, rows, cols| Linear { weight: matrix(weight, rows, cols), bias: Some(vector(bias, rows)) };
        let attention = |weight, bias, rows| {
            let lambda = [Role::AttnLambdaQ1, Role::AttnLambdaK1, Role::AttnLambdaQ2, Role::AttnLambdaK2];
            MixerWeights::Attention(AttentionWeights {
                rows: linear(weight, bias, rows, d.n_embd),
                lambda: lambda.map(|role| vector(role, d.head_dim)),
                sub_norm: vector(Role::AttnSubNorm, 2 * d.head_dim),
                output: linear(Role::AttnOutput, Role::AttnOutputBias, d.n_embd, d.q_width()),
            })
        };
        SambaLayer {
            attn_norm: NormWeights::of(d, Role::AttnNorm, Role::AttnNormBias, Some(layer)),
            mixer: match SambaY::mixer(layer, d.n_layer) {
                Mixer::Recurrence => MixerWeights::Recurrence(RecurrenceWeights {
                    input: matrix(Role::SsmIn, 2 * n_inner, d.n_embd),
                    conv: matrix(Role::SsmConv1d, n_inner, n_conv),
                    conv_bias: vector(Role::SsmConv1dBias, n_inner),
                    x: matrix(Role::SsmX, n_dt + 2 * n_state, n_inner),
                    dt: linear(Role::SsmDt, Role::SsmDtBias, n_inner, n_dt),
                    a: matrix(Role::SsmA, n_inner, n_state),
                    d: vector(Role::SsmD, n_inner),
                    output: matrix(Role::SsmOut, d.n_embd, n_inner),
                }),
                Mixer::Attention => attention(Role::AttnQkv, Role::AttnQkvBias, d.q_width() + 2 * d.kv_width()),
                Mixer::Cross => attention(Role::AttnQ, Role::AttnQBias, d.q_width()),
                Mixer::Gate => MixerWeights::Gate(GateWeights {
                    input: matrix(Role::SsmIn, n_inner, d.n_embd),
                    output: matrix(Role::SsmOut, d.n_embd, n_inner),
                }),
            },
            ffn_norm: NormWeights::of(d, Role::FfnNorm, Role::FfnNormBias, Some(layer)),
            ffn_up: GateUpWeights::Fused(matrix(Role::FfnUp, 2 * d.n_ff, d.n_embd)),
            ffn_down: matrix(Role::FfnDown, d.n_embd, d.n_ff),
        }
    }
}

impl<T> SambaLayer<T> {
    pub(crate) fn try_map<U, E>(&self, f: &mut impl FnMut(&T) -> Result<U, E>) -> Result<SambaLayer<U>, E> {
        Ok(SambaLayer {
            attn_norm: self.attn_norm.try_map(f)?,
            mixer: match &self.mixer {
                MixerWeights::Recurrence(r) => MixerWeights::Recurrence(RecurrenceWeights {
                    input: f(&r.input)?,
                    conv: f(&r.conv)?,
                    conv_bias: f(&r.conv_bias)?,
                    x: f(&r.x)?,
                    dt: r.dt.try_map(f)?,
                    a: f(&r.a)?,
                    d: f(&r.d)?,
                    output: f(&r.output)?,
                }),
                MixerWeights::Attention(a) => {
                    let [q1, k1, q2, k2] = &a.lambda;
                    MixerWeights::Attention(AttentionWeights {
                        rows: a.rows.try_map(f)?,
                        lambda: [f(q1)?, f(k1)?, f(q2)?, f(k2)?],
                        sub_norm: f(&a.sub_norm)?,
                        output: a.output.try_map(f)?,
                    })
                }
                MixerWeights::Gate(g) => MixerWeights::Gate(GateWeights { input: f(&g.input)?, output: f(&g.output)? }),
            },
            ffn_norm: self.ffn_norm.try_map(f)?,
            ffn_up: self.ffn_up.try_map(f)?,
            ffn_down: f(&self.ffn_down)?,
        })
    }
}

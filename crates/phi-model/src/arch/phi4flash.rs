//! `phi4flash`: Phi-4-mini-flash-reasoning.
//!
//! [SambaY](crate::SambaY) with LayerNorm, a SiLU-gated feed-forward without biases, and no rotation. Attention has biases.
//! The head is the embedding, unless the file has one of its own.
//!
//! Nobody else writes such files: the keys are ours, and so are the names, except that recurrences have llama.cpp's.
//! `attn_qkv` holds Q;K;V, heads in the order of the published rows, and `ffn_up` gate;up. Where keys are another layer's
//! there is `attn_q` alone. A recurrence's `ssm_in` holds input;gate and its `ssm_a` −e^(A_log); a gate has `ssm_in` and
//! `ssm_out` only. `attn_sub_norm` and `attn_lambda_{q1,k1,q2,k2}` belong to differential attention.

use phi_gguf::{Header, Limit};
use phi_kernels::MAX_HEAD_DIM;

use super::Architecture;
use crate::decoder::Keys;
use crate::{Biases, Branches, Decoder, FeedForward, GateUp, ModelError, Norm, Qkv, Rope, SambaY, Scales};

pub(super) struct Phi4Flash;

const INNER: Limit = Limit { item: "channels", max: 1 << 20, why: "the family has 5120" };
const STATE: Limit = Limit { item: "state", max: 1 << 10, why: "the family has 16" };
const CONV: Limit = Limit { item: "convolution", max: 64, why: "the family has 4" };
const RANK: Limit = Limit { item: "rank of steps", max: 1 << 16, why: "the family has 160" };
const WINDOW: Limit = Limit { item: "window", max: 1 << 30, why: "the family has 512" };

/// Values of state that the kernels take together.
const STATES: usize = 16;

impl Architecture for Phi4Flash {
    fn names(&self) -> &'static [&'static str] {
        &["phi4flash"]
    }

    fn decoder(&self, header: &Header) -> Result<Decoder, ModelError> {
        let keys = Keys { arch: "phi4flash", header };
        let n_layer = keys.block_count()?;
        if !n_layer.is_multiple_of(SambaY::LAYERS) {
            return Err(keys.wrong("block_count", n_layer, format!("must be a multiple of {}", SambaY::LAYERS)));
        }
        let n_embd = keys.embedding_length()?;
        let (n_head, n_head_kv, head_dim) = keys.heads(n_embd)?;
        if !n_head_kv.is_multiple_of(2) {
            return Err(keys.wrong("attention.head_count_kv", n_head_kv, "must be even: heads are pairs"));
        }
        if 2 * head_dim > MAX_HEAD_DIM {
            let want = format!("heads of {head_dim}, pairs of which exceed {MAX_HEAD_DIM}");
            return Err(keys.wrong("attention.head_count", n_head, want));
        }
        let n_state = keys.size_below("ssm.state_size", STATE)?;
        if !n_state.is_multiple_of(STATES) {
            return Err(keys.wrong("ssm.state_size", n_state, format!("must be a multiple of {STATES}")));
        }
        Ok(Decoder {
            arch: keys.arch,
            n_vocab: keys.n_vocab()?,
            n_embd,
            n_layer,
            n_head,
            n_head_kv,
            head_dim,
            n_ff: keys.feed_forward_length()?,
            n_ctx_train: keys.context_length()?,
            norm_eps: keys.number("attention.layer_norm_epsilon", f32::MIN_POSITIVE..=1.0)?,
            window: None,
            sparse: None,
            scales: Scales::usual(head_dim),
            rope: Rope::none(),
            qkv: Qkv::Fused,
            norm: Norm::Layer,
            branches: Branches::InTurn,
            feed_forward: FeedForward::Silu(GateUp::Fused),
            biases: Biases::None,
            head: keys.head(),
            masked: Vec::new(),
            samba: Some(SambaY {
                n_inner: keys.size_below("ssm.inner_size", INNER)?,
                n_state,
                n_conv: keys.size_below("ssm.conv_kernel", CONV)?,
                n_dt: keys.size_below("ssm.time_step_rank", RANK)?,
                window: keys.size_below("attention.sliding_window", WINDOW)?,
            }),
        })
    }
}

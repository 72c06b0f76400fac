//! `phi3`: Phi-3-mini and -medium, Phi-3.5-mini, Phi-4, Phi-4-reasoning, Phi-4-mini.
//!
//! RMSNorm, grouped queries, rotation of all or the first part of a head (with longrope where the file has factors),
//! SiLU-gated feed-forward, no biases. `attn_qkv` holds Q;K;V and `ffn_up` holds gate;up, unless the file stores them
//! apart; without `output.weight` the head is the embedding.

use phi_gguf::Header;

use super::Architecture;
use crate::decoder::Keys;
use crate::{Biases, Branches, Decoder, FeedForward, ModelError, Norm, Rope, Scales};

pub(super) struct Phi3;

impl Architecture for Phi3 {
    fn names(&self) -> &'static [&'static str] {
        &["phi3"]
    }

    fn decoder(&self, header: &Header) -> Result<Decoder, ModelError> {
        let keys = Keys { arch: "phi3", header };
        let n_layer = keys.block_count()?;
        let n_embd = keys.embedding_length()?;
        let (n_head, n_head_kv, head_dim) = keys.heads(n_embd)?;
        let n_ctx_train = keys.context_length()?;
        let long = keys.long_rope(n_ctx_train)?;
        Ok(Decoder {
            arch: keys.arch,
            n_vocab: keys.n_vocab()?,
            n_embd,
            n_layer,
            n_head,
            n_head_kv,
            head_dim,
            n_ff: keys.feed_forward_length()?,
            n_ctx_train,
            norm_eps: keys.number("attention.layer_norm_rms_epsilon", f32::MIN_POSITIVE..=1.0)?,
            window: keys.sliding_window(n_ctx_train, long.is_some())?,
            sparse: None,
            scales: Scales::usual(head_dim),
            rope: Rope { long, ..Rope::plain(keys.rope_dimension_count(head_dim)?, keys.freq_base()?) },
            qkv: keys.qkv(),
            norm: Norm::Rms,
            branches: Branches::InTurn,
            feed_forward: FeedForward::Silu(keys.gate_up()),
            biases: Biases::None,
            head: keys.head(),
            masked: Vec::new(),
        })
    }
}

//! `phi2`: Phi-1, Phi-1.5, Phi-2.
//!
//! LayerNorm, whose one result feeds attention and feed-forward side by side; rotation of the first part of a head; GELU
//! without a gate; biases everywhere, in the head too. Query, key and value lie in three tensors, or, in files of 2023 and
//! 2024, in `attn_qkv`.

use phi_gguf::Header;

use super::Architecture;
use crate::decoder::Keys;
use crate::{Biases, Branches, Decoder, FeedForward, ModelError, Norm, Rope, Scales};

pub(super) struct Phi2;

impl Architecture for Phi2 {
    fn names(&self) -> &'static [&'static str] {
        &["phi2"]
    }

    fn decoder(&self, header: &Header) -> Result<Decoder, ModelError> {
        let keys = Keys { arch: "phi2", header };
        let n_embd = keys.embedding_length()?;
        let (n_head, n_head_kv, head_dim) = keys.heads(n_embd)?;
        Ok(Decoder {
            arch: keys.arch,
            n_vocab: keys.n_vocab()?,
            n_embd,
            n_layer: keys.block_count()?,
            n_head,
            n_head_kv,
            head_dim,
            n_ff: keys.feed_forward_length()?,
            n_ctx_train: keys.context_length()?,
            norm_eps: keys.number("attention.layer_norm_epsilon", f32::MIN_POSITIVE..=1.0)?,
            window: None,
            sparse: None,
            scales: Scales::usual(head_dim),
            rope: Rope::plain(keys.rope_dimension_count(head_dim)?, keys.freq_base()?),
            qkv: keys.qkv(),
            norm: Norm::Layer,
            branches: Branches::Parallel,
            feed_forward: FeedForward::Gelu,
            biases: Biases::All,
            head: keys.head(),
            masked: Vec::new(),
            samba: None,
        })
    }
}

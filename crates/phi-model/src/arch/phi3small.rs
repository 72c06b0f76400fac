//! `phi3small`: Phi-3-small, 8k and 128k.
//!
//! LayerNorm, biases in the layers, grouped queries, rotation of whole heads (with longrope where the file has factors), a
//! clamped GELU that gates, embeddings, scores and logits with factors of their own, and layers in which a head sees only
//! some blocks of keys. The head is the embedding, and some tokens must never come.
//!
//! Nobody else writes such files: the keys are ours. `attn_qkv` holds Q;K;V and `ffn_up` the rows of the GELU, then the
//! linear ones; `logit_scale` is multiplied with.

use phi_gguf::{Header, Limit};
use phi_kernels::Blocks;

use super::Architecture;
use crate::decoder::Keys;
use crate::{Biases, Branches, Decoder, FeedForward, ModelError, Norm, Rope, Scales, Sparse};

pub(super) struct Phi3Small;

const FACTOR: std::ops::RangeInclusive<f32> = 1e-6..=1e6;

impl Architecture for Phi3Small {
    fn names(&self) -> &'static [&'static str] {
        &["phi3small"]
    }

    fn decoder(&self, header: &Header) -> Result<Decoder, ModelError> {
        let keys = Keys { arch: "phi3small", header };
        let n_embd = keys.embedding_length()?;
        let (n_head, n_head_kv, head_dim) = keys.heads(n_embd)?;
        let n_ctx_train = keys.context_length()?;
        let n_vocab = keys.n_vocab()?;
        Ok(Decoder {
            arch: keys.arch,
            n_vocab,
            n_embd,
            n_layer: keys.block_count()?,
            n_head,
            n_head_kv,
            head_dim,
            n_ff: keys.feed_forward_length()?,
            n_ctx_train,
            norm_eps: keys.number("attention.layer_norm_epsilon", f32::MIN_POSITIVE..=1.0)?,
            window: None,
            sparse: sparse(&keys)?,
            scales: Scales {
                embedding: keys.number("embedding_scale", FACTOR)?,
                attention: keys.number("attention.scale", FACTOR)?,
                logit: keys.number("logit_scale", FACTOR)?,
            },
            rope: Rope {
                long: keys.long_rope(n_ctx_train)?,
                ..Rope::plain(keys.rope_dimension_count(head_dim)?, keys.freq_base()?)
            },
            qkv: keys.qkv(),
            norm: Norm::Layer,
            branches: Branches::InTurn,
            feed_forward: FeedForward::GeGelu { limit: keys.number("feed_forward_limit", FACTOR)? },
            biases: Biases::Layers,
            head: keys.head(),
            masked: keys.find_tokens("masked_token_ids", n_vocab)?,
            samba: None,
        })
    }
}

/// Blocks of no positions stand for none.
fn sparse(keys: &Keys<'_>) -> Result<Option<Sparse>, ModelError> {
    const LIMIT: Limit = Limit { item: "blocks", max: 1 << 20, why: "the family has up to 64 positions and 16 blocks" };
    let key = |name: &str| format!("attention.block_sparse.{name}");
    let Some(len) = keys.find_positions(&key("block_size"))?.filter(|&len| len > 0) else { return Ok(None) };
    let blocks = Blocks {
        len: keys.check(&key("block_size"), len as u64, LIMIT)?,
        local: keys.size_below(&key("local_blocks"), LIMIT)?,
        stride: keys.size_below(&key("stride"), LIMIT)?,
        // 0 is a value of its own: all heads see the same.
        shift: match keys.find_positions(&key("head_shift"))? {
            Some(shift) if shift > 0 => keys.check(&key("head_shift"), shift as u64, LIMIT)?,
            _ => 0,
        },
    };
    let dense_interval = keys.find_positions(&key("dense_interval"))?.filter(|&interval| interval > 0);
    Ok(Some(Sparse { blocks, dense_interval }))
}

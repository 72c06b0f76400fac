//! `phimoe`: Phi-3.5-MoE, Phi-mini-MoE, Phi-tiny-MoE.
//!
//! LayerNorm, biases of attention and head (where the file has them), grouped queries, rotation of whole heads (with
//! longrope where the file has factors), and for each token two of many experts, picked by sparsemixer. Files of others
//! hold the same tensors, but not how far the router looks; their converter computes the attention factor from lengths,
//! where the published model says another one.

use phi_gguf::Header;

use super::Architecture;
use crate::decoder::Keys;
use crate::{Branches, Decoder, Experts, FeedForward, LongRope, ModelError, Norm, Rope, Scales};

pub(super) struct PhiMoe;

/// How far the router looks where the file does not say it: that of the published models.
const JITTER: f32 = 0.01;

/// Lengths of Phi-3.5-MoE, and its attention factor for either list of factors: the config's `short_mscale` and
/// `long_mscale`.
const PUBLISHED_CTX: (usize, usize) = (4096, 131_072);
const PUBLISHED_ATTN_FACTOR: f32 = 1.243_163_1;

impl Architecture for PhiMoe {
    fn names(&self) -> &'static [&'static str] {
        &["phimoe"]
    }

    fn decoder(&self, header: &Header) -> Result<Decoder, ModelError> {
        let keys = Keys { arch: "phimoe", header };
        let n_embd = keys.embedding_length()?;
        let (n_head, n_head_kv, head_dim) = keys.heads(n_embd)?;
        let n_ctx_train = keys.context_length()?;
        let long = keys.long_rope(n_ctx_train)?.map(|long| published(long, n_ctx_train));
        Ok(Decoder {
            arch: keys.arch,
            n_vocab: keys.n_vocab()?,
            n_embd,
            n_layer: keys.block_count()?,
            n_head,
            n_head_kv,
            head_dim,
            n_ff: keys.feed_forward_length()?,
            n_ctx_train,
            // The key says RMS, because the model's config does; the norm is no such.
            norm_eps: keys.number("attention.layer_norm_rms_epsilon", f32::MIN_POSITIVE..=1.0)?,
            window: keys.sliding_window(n_ctx_train, long.is_some())?,
            sparse: None,
            scales: Scales::usual(head_dim),
            rope: Rope { long, ..Rope::plain(keys.rope_dimension_count(head_dim)?, keys.freq_base()?) },
            qkv: keys.qkv(),
            norm: Norm::Layer,
            branches: Branches::InTurn,
            feed_forward: FeedForward::Experts(Experts {
                n_expert: keys.expert_count()?,
                jitter: keys.find_number("router_jitter_noise", 0.0..=1.0)?.unwrap_or(JITTER),
            }),
            biases: keys.biases(),
            head: keys.head(),
            masked: Vec::new(),
        })
    }
}

/// The attention factor of the published model, where a file says what follows from its lengths.
fn published(long: LongRope, n_ctx_train: usize) -> LongRope {
    let (original, longest) = PUBLISHED_CTX;
    let computed = (long.attn_factor - LongRope::attn_factor(original, longest)).abs() < 1e-4;
    if (long.original_ctx, n_ctx_train) == PUBLISHED_CTX && computed {
        LongRope { attn_factor: PUBLISHED_ATTN_FACTOR, ..long }
    } else {
        long
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_attention_factor_replaces_the_computed_one() {
        let of =
            |original_ctx, attn_factor, n_ctx| published(LongRope { original_ctx, attn_factor }, n_ctx).attn_factor;
        assert_eq!(of(4096, 1.190_238_1, 131_072), PUBLISHED_ATTN_FACTOR);
        assert_eq!(of(4096, 1.19024, 131_072), PUBLISHED_ATTN_FACTOR);
        // What a file says by itself, or of another model, stands.
        assert_eq!(of(4096, 1.25, 131_072), 1.25);
        assert_eq!(of(4096, 1.190_238_1, 65_536), 1.190_238_1);
        // It equals √(1 + ln 64 / ln 2048).
        assert_eq!((1.0 + 64_f64.ln() / 2048_f64.ln()).sqrt() as f32, PUBLISHED_ATTN_FACTOR);
    }
}

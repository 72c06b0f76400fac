//! `llama`: Phi-4 as some publish it, and ordinary Llama and Mistral files.
//!
//! What `phi3` is, with query, key and value in three tensors, gate and up in two, and the rows of queries and keys in
//! another order, so that neighbours turn together. The head may be the embedding; one list of factors may bend the
//! frequencies, or positions be stretched. Experts, biases and other ways to extend the context are refused.

use phi_gguf::{Header, printable};
use phi_tensor::Role;

use super::Architecture;
use crate::decoder::Keys;
use crate::{Biases, Branches, Decoder, FeedForward, ModelError, Norm, Pairs, Rope, Scales};

pub(super) struct Llama;

impl Architecture for Llama {
    fn names(&self) -> &'static [&'static str] {
        &["llama"]
    }

    fn decoder(&self, header: &Header) -> Result<Decoder, ModelError> {
        let keys = Keys { arch: "llama", header };
        let n_embd = keys.embedding_length()?;
        let (n_head, n_head_kv, head_dim) = keys.heads(n_embd)?;
        if let Some(experts) = keys.find_positions("expert_count")?.filter(|&n| n > 0) {
            return Err(keys.wrong("expert_count", experts, "must be 0"));
        }
        for bias in [Role::AttnQkvBias, Role::AttnQBias, Role::AttnOutputBias, Role::FfnUpBias, Role::FfnDownBias] {
            keys.without(bias, Some(0))?;
        }
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
            norm_eps: keys.number("attention.layer_norm_rms_epsilon", f32::MIN_POSITIVE..=1.0)?,
            window: keys.find_positions("attention.sliding_window")?.filter(|&window| window > 0),
            sparse: None,
            scales: Scales::usual(head_dim),
            rope: Rope {
                pairs: Pairs::Neighbours,
                stretch: stretch(&keys)?,
                factors: keys.has(Role::RopeFreqs, None),
                ..Rope::plain(keys.rope_dimension_count(head_dim)?, keys.freq_base()?)
            },
            qkv: keys.qkv(),
            norm: Norm::Rms,
            branches: Branches::InTurn,
            feed_forward: FeedForward::Silu(keys.gate_up()),
            biases: Biases::None,
            head: keys.head(),
            masked: Vec::new(),
            samba: None,
        })
    }
}

/// By what positions are divided. Older files do not say of which kind their scaling is, and the oldest have a key of their own.
fn stretch(keys: &Keys<'_>) -> Result<f32, ModelError> {
    const FACTOR: std::ops::RangeInclusive<f32> = 1e-3..=1e6;
    match keys.find_text("rope.scaling.type")? {
        Some("none") => Ok(1.0),
        Some("linear") => keys.number("rope.scaling.factor", FACTOR),
        Some(other) => Err(keys.wrong("rope.scaling.type", printable(other), "must be \"linear\" or \"none\"")),
        None => {
            let factor = keys.find_number("rope.scaling.factor", FACTOR)?;
            Ok(factor.or(keys.find_number("rope.scale_linear", FACTOR)?).unwrap_or(1.0))
        }
    }
}

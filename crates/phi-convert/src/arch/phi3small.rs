//! Phi-3-small: heads in groups, two kinds of rows in turn, and multipliers. The rows are put in the order that every
//! other file has them in; the multipliers become keys. Nobody else writes such files, so the keys are ours.

use phi_gguf::{Array, Value};
use phi_tensor::{Role, Shape};

use super::{Architecture, Heads, Layout, Want, longrope};
use crate::config::{self, Config};
use crate::error::Result;
use crate::rows::Rows;

pub(super) struct Phi3Small;

/// Rows of the published embedding.
const PUBLISHED_VOCABULARY: u32 = 100_352;

/// What the published model must never say: placeholders, and what fills gaps. Its own code collects them from its words,
/// and its config does not say them.
const PUBLISHED_DUMMIES: [std::ops::RangeInclusive<i32>; 4] =
    [100_256..=100_256, 100_258..=100_260, 100_264..=100_265, 100_267..=100_351];

const BLOCKS: std::ops::RangeInclusive<u64> = 1..=1 << 20;
const MULTIPLIER: std::ops::RangeInclusive<f64> = 1e-6..=1e6;

impl Architecture for Phi3Small {
    fn names(&self) -> &'static [&'static str] {
        &["Phi3SmallForCausalLM"]
    }

    fn layout(&self, config: &Config) -> Result<Layout> {
        let Heads { n_embd, n_head, n_head_kv, head_dim } = Heads::of(config)?;
        let n_layer = config.size("num_hidden_layers", config::LAYERS)?;
        let n_ff = config.size("ff_intermediate_size", config::FEED_FORWARD)?;
        let n_vocab = config.size("vocab_size", config::VOCABULARY)?;
        let n_ctx = config.size("max_position_embeddings", config::CONTEXT)?;
        let eps = config.number("layer_norm_epsilon", f64::MIN_POSITIVE..=1.0)?;
        let limit = config.number("gegelu_limit", MULTIPLIER)?;
        let rope = config.rope("rope_embedding_base")?;
        if let Some(act) = config.find_str("hidden_act")?.filter(|act| *act != "gegelu") {
            return Err(config.misfit("hidden_act", act, "gegelu"));
        }
        let position_scale = config.find_number("rope_position_scale", MULTIPLIER)?.unwrap_or(1.0);
        if position_scale != 1.0 {
            return Err(config.misfit("rope_position_scale", position_scale, "1"));
        }
        let multiplier = |field: &str| -> Result<f64> { Ok(config.find_number(field, MULTIPLIER)?.unwrap_or(1.0)) };
        let width = multiplier("mup_width_multiplier")?;
        let attention = match config.find_bool("mup_use_scaling")? {
            Some(false) => 1.0 / f64::from(head_dim).sqrt(),
            _ => multiplier("mup_attn_multiplier")? / f64::from(head_dim),
        };

        let mut keys: Vec<(String, Value)> = Vec::new();
        let mut set = |key: &str, value: Value| keys.push((format!("phi3small.{key}"), value));
        let mut made = Vec::new();
        if let Some(factors) = &rope.longrope {
            let n_orig = rope.original(config, n_ctx)?;
            made = longrope(config, factors, head_dim)?;
            set("rope.scaling.attn_factor", Value::F32(factors.attn_factor(n_ctx, n_orig)));
            set("rope.scaling.original_context_length", n_orig.into());
        }
        set("context_length", n_ctx.into());
        set("embedding_length", n_embd.into());
        set("feed_forward_length", n_ff.into());
        set("feed_forward_limit", Value::F32(limit as f32));
        set("block_count", n_layer.into());
        set("attention.head_count", n_head.into());
        set("attention.head_count_kv", n_head_kv.into());
        set("attention.layer_norm_epsilon", Value::F32(eps as f32));
        set("attention.scale", Value::F32(attention as f32));
        set("embedding_scale", Value::F32(multiplier("mup_embedding_multiplier")? as f32));
        set("logit_scale", Value::F32((1.0 / width) as f32));
        set("rope.dimension_count", head_dim.into());
        set("rope.freq_base", Value::F32(rope.theta as f32));
        let stride = config.size("blocksparse_vert_stride", BLOCKS)?;
        let alike = config.find_bool("blocksparse_homo_head_pattern")? == Some(true);
        set("attention.block_sparse.block_size", config.size("blocksparse_block_size", BLOCKS)?.into());
        set("attention.block_sparse.local_blocks", config.size("blocksparse_num_local_blocks", BLOCKS)?.into());
        set("attention.block_sparse.stride", stride.into());
        let shift = if alike { 0 } else { (stride / n_head).max(1) };
        set("attention.block_sparse.head_shift", shift.into());
        let dense = config.find_size("dense_attention_every_n_layers", config::LAYERS)?.unwrap_or(0);
        set("attention.block_sparse.dense_interval", dense.into());
        let masked = match config.find_ids("dummy_token_indices", n_vocab)? {
            None if n_vocab == PUBLISHED_VOCABULARY => PUBLISHED_DUMMIES.into_iter().flatten().collect(),
            stated => stated.unwrap_or_default(),
        };
        if !masked.is_empty() {
            set("masked_token_ids", Value::Array(Array::I32(masked)));
        }

        let [e, ff, v] = [n_embd, n_ff, n_vocab].map(|n| n as usize);
        let qkv_rows = (n_head + 2 * n_head_kv) as usize * head_dim as usize;
        let heads = Rows::Grouped { n_head: n_head.into(), n_head_kv: n_head_kv.into(), head_dim: u64::from(head_dim) };
        let mut tensors = vec![
            Want::of(Role::TokenEmbd, None, crate::EMBEDDING, Shape::matrix(v, e)),
            Want::of(Role::Output, None, crate::HEAD, Shape::matrix(v, e)),
        ];
        let mut biased = |weight, bias, layer, name: &str, rows, cols: Option<usize>, order| {
            let shape = cols.map_or(Shape::vector(rows), |cols| Shape::matrix(rows, cols));
            let want =
                |role, kind, shape| Want { rows: order, ..Want::of(role, layer, format!("{name}.{kind}"), shape) };
            tensors.extend([want(weight, "weight", shape), want(bias, "bias", Shape::vector(rows))]);
        };
        biased(Role::OutputNorm, Role::OutputNormBias, None, "model.final_layernorm", e, None, Rows::InOrder);
        for layer in 0..n_layer as usize {
            for (weight, bias, name, rows, cols, order) in [
                (Role::AttnNorm, Role::AttnNormBias, "input_layernorm", e, None, Rows::InOrder),
                (Role::AttnQkv, Role::AttnQkvBias, "self_attn.query_key_value", qkv_rows, Some(e), heads),
                (Role::AttnOutput, Role::AttnOutputBias, "self_attn.dense", e, Some(e), Rows::InOrder),
                (Role::FfnNorm, Role::FfnNormBias, "post_attention_layernorm", e, None, Rows::InOrder),
                (Role::FfnUp, Role::FfnUpBias, "mlp.up_proj", 2 * ff, Some(e), Rows::Alternating),
                (Role::FfnDown, Role::FfnDownBias, "mlp.down_proj", e, Some(ff), Rows::InOrder),
            ] {
                biased(weight, bias, Some(layer), &format!("model.layers.{layer}.{name}"), rows, cols, order);
            }
        }
        let tied = config.find_bool("tie_word_embeddings")?;
        Ok(Layout { arch: "phi3small", n_vocab, tied, keys, tensors, made })
    }
}

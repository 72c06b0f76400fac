//! Phi-1, Phi-1.5, Phi-2: query, key and value apart, one norm in a layer, a bias beside every weight.

use phi_gguf::Value;
use phi_tensor::{Role, Shape};

use super::{Architecture, Heads, Layout, Want};
use crate::config::{self, Config};
use crate::error::Result;

pub(super) struct Phi2;

/// The part of each head that is rotated, where the config does not say: the class's own default.
const PARTIAL: f64 = 0.5;

/// θ that readers assume where the file does not say. Writers leave it out.
const THETA: f64 = 10_000.0;

impl Architecture for Phi2 {
    fn names(&self) -> &'static [&'static str] {
        &["PhiForCausalLM"]
    }

    fn layout(&self, config: &Config) -> Result<Layout> {
        let Heads { n_embd, n_head, n_head_kv, head_dim } = Heads::of(config)?;
        let n_layer = config.size("num_hidden_layers", config::LAYERS)?;
        let n_ff = config.size("intermediate_size", config::FEED_FORWARD)?;
        let n_vocab = config.size("vocab_size", config::VOCABULARY)?;
        let n_ctx = config.size("max_position_embeddings", config::CONTEXT)?;
        let eps = config.number("layer_norm_eps", f64::MIN_POSITIVE..=1.0)?;
        let rope = config.rope("rope_theta")?;
        if let Some(longrope) = &rope.longrope {
            return Err(config.misfit("rope_scaling", &longrope.kind, "none"));
        }
        if let Some(act) = config.find_str("hidden_act")?.filter(|act| *act != "gelu_new") {
            return Err(config.misfit("hidden_act", act, "gelu_new"));
        }
        if config.find_bool("qk_layernorm")? == Some(true) {
            return Err(config.misfit("qk_layernorm", true, "false"));
        }
        // llama.cpp's arithmetic: of the width, not of a head, and truncated.
        let n_rot = (rope.partial.unwrap_or(PARTIAL) * f64::from(n_embd)) as u32 / n_head;

        let mut keys: Vec<(String, Value)> = Vec::new();
        let mut set = |key: &str, value: Value| keys.push((format!("phi2.{key}"), value));
        set("context_length", n_ctx.into());
        set("embedding_length", n_embd.into());
        set("feed_forward_length", n_ff.into());
        set("block_count", n_layer.into());
        set("attention.head_count", n_head.into());
        set("attention.head_count_kv", n_head_kv.into());
        set("attention.layer_norm_epsilon", Value::F32(eps as f32));
        set("rope.dimension_count", n_rot.into());
        if rope.theta != THETA {
            set("rope.freq_base", Value::F32(rope.theta as f32));
        }

        let [e, ff, v] = [n_embd, n_ff, n_vocab].map(|n| n as usize);
        let kv_rows = n_head_kv as usize * head_dim as usize;
        let mut tensors = vec![Want::of(Role::TokenEmbd, None, crate::EMBEDDING, Shape::matrix(v, e))];
        let mut biased = |weight, bias, layer, name: &str, rows, cols: Option<usize>| {
            let shape = cols.map_or(Shape::vector(rows), |cols| Shape::matrix(rows, cols));
            tensors.push(Want::of(weight, layer, format!("{name}.weight"), shape));
            tensors.push(Want::of(bias, layer, format!("{name}.bias"), Shape::vector(rows)));
        };
        biased(Role::OutputNorm, Role::OutputNormBias, None, "model.final_layernorm", e, None);
        biased(Role::Output, Role::OutputBias, None, "lm_head", v, Some(e));
        for layer in 0..n_layer as usize {
            for (weight, bias, name, rows, cols) in [
                (Role::AttnNorm, Role::AttnNormBias, "input_layernorm", e, None),
                (Role::AttnQ, Role::AttnQBias, "self_attn.q_proj", e, Some(e)),
                (Role::AttnK, Role::AttnKBias, "self_attn.k_proj", kv_rows, Some(e)),
                (Role::AttnV, Role::AttnVBias, "self_attn.v_proj", kv_rows, Some(e)),
                (Role::AttnOutput, Role::AttnOutputBias, "self_attn.dense", e, Some(e)),
                (Role::FfnUp, Role::FfnUpBias, "mlp.fc1", ff, Some(e)),
                (Role::FfnDown, Role::FfnDownBias, "mlp.fc2", e, Some(ff)),
            ] {
                biased(weight, bias, Some(layer), &format!("model.layers.{layer}.{name}"), rows, cols);
            }
        }
        Ok(Layout {
            arch: "phi2",
            n_vocab,
            tied: config.find_bool("tie_word_embeddings")?,
            keys,
            tensors,
            made: Vec::new(),
        })
    }
}

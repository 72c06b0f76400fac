//! Phi-3 mini and medium, Phi-3.5 mini, Phi-4, Phi-4 reasoning, Phi-4 mini: one class, fused QKV, fused gate and up. The
//! rows go into a GGUF as they are.

use phi_gguf::Value;
use phi_tensor::{Role, Shape};

use super::{Architecture, Layout, Want, longrope};
use crate::config::{self, Config};
use crate::error::Result;

pub(super) struct Phi3;

impl Architecture for Phi3 {
    fn names(&self) -> &'static [&'static str] {
        &["Phi3ForCausalLM"]
    }

    fn layout(&self, config: &Config) -> Result<Layout> {
        let n_embd = config.size("hidden_size", config::WIDTH)?;
        let n_layer = config.size("num_hidden_layers", config::LAYERS)?;
        let n_head = config.size("num_attention_heads", config::HEADS)?;
        let n_head_kv = config.find_size("num_key_value_heads", config::HEADS)?.unwrap_or(n_head);
        let n_ff = config.size("intermediate_size", config::FEED_FORWARD)?;
        let n_vocab = config.size("vocab_size", config::VOCABULARY)?;
        let n_ctx = config.size("max_position_embeddings", config::CONTEXT)?;
        let eps = config.number("rms_norm_eps", f64::MIN_POSITIVE..=1.0)?;
        // Absent and null mean no window. A GGUF says 0, by which llama.cpp tells Phi-4 from the older ones.
        let window = config.find_size("sliding_window", config::CONTEXT)?.unwrap_or(0);
        let rope = config.rope("rope_theta")?;

        if n_head % n_head_kv != 0 {
            let want = format!("a divisor of num_attention_heads = {n_head}");
            return Err(config.misfit("num_key_value_heads", n_head_kv, want));
        }
        let explicit = config.find_size("head_dim", config::WIDTH)?;
        if explicit.is_none() && n_embd % n_head != 0 {
            return Err(config.misfit("num_attention_heads", n_head, format!("a divisor of hidden_size = {n_embd}")));
        }
        let head_dim = explicit.unwrap_or(n_embd / n_head);
        if let Some(act) = config.find_str("hidden_act")?.filter(|act| *act != "silu") {
            return Err(config.misfit("hidden_act", act, "silu"));
        }
        if config.find_bool("attention_bias")? == Some(true) {
            return Err(config.misfit("attention_bias", true, "false"));
        }

        // llama.cpp's arithmetic: of the width, not of a head, and truncated.
        let width = if explicit.is_some() { head_dim * n_head } else { n_embd };
        let n_rot = (rope.partial.unwrap_or(1.0) * f64::from(width)) as u32 / n_head;
        let n_orig = rope.original(config, n_ctx)?;

        let mut keys: Vec<(String, Value)> = Vec::new();
        let mut set = |key: &str, value: Value| keys.push((format!("phi3.{key}"), value));
        let mut made = Vec::new();
        if let Some(factors) = &rope.longrope {
            made = longrope(config, factors, n_rot)?;
            set("rope.scaling.attn_factor", Value::F32(factors.attn_factor(n_ctx, n_orig)));
        }
        set("context_length", n_ctx.into());
        set("rope.scaling.original_context_length", n_orig.into());
        set("embedding_length", n_embd.into());
        set("feed_forward_length", n_ff.into());
        set("block_count", n_layer.into());
        set("attention.head_count", n_head.into());
        set("attention.head_count_kv", n_head_kv.into());
        set("attention.layer_norm_rms_epsilon", Value::F32(eps as f32));
        if u64::from(head_dim) * u64::from(n_head) != u64::from(n_embd) {
            set("attention.key_length", head_dim.into());
            set("attention.value_length", head_dim.into());
        }
        set("rope.dimension_count", n_rot.into());
        set("rope.freq_base", Value::F32(rope.theta as f32));
        set("attention.sliding_window", window.into());

        let [e, ff, v] = [n_embd, n_ff, n_vocab].map(|n| n as usize);
        let q_rows = n_head as usize * head_dim as usize;
        let qkv_rows = q_rows + 2 * n_head_kv as usize * head_dim as usize;
        let mut tensors = vec![
            Want::of(Role::TokenEmbd, None, crate::EMBEDDING, Shape::matrix(v, e)),
            Want::of(Role::OutputNorm, None, "model.norm.weight", Shape::vector(e)),
            Want::of(Role::Output, None, crate::HEAD, Shape::matrix(v, e)),
        ];
        for layer in 0..n_layer as usize {
            let parts = [
                (Role::AttnNorm, "input_layernorm", Shape::vector(e)),
                (Role::AttnQkv, "self_attn.qkv_proj", Shape::matrix(qkv_rows, e)),
                (Role::AttnOutput, "self_attn.o_proj", Shape::matrix(e, q_rows)),
                (Role::FfnNorm, "post_attention_layernorm", Shape::vector(e)),
                (Role::FfnUp, "mlp.gate_up_proj", Shape::matrix(2 * ff, e)),
                (Role::FfnDown, "mlp.down_proj", Shape::matrix(e, ff)),
            ];
            let in_layer =
                |(role, name, shape)| Want::of(role, Some(layer), format!("model.layers.{layer}.{name}.weight"), shape);
            tensors.extend(parts.map(in_layer));
        }
        Ok(Layout { arch: "phi3", n_vocab, tied: config.find_bool("tie_word_embeddings")?, keys, tensors, made })
    }
}

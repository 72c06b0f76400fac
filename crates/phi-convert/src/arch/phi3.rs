//! Phi-3 mini and medium, Phi-3.5 mini, Phi-4, Phi-4 reasoning, Phi-4 mini: one class, fused QKV, fused gate and up. The
//! rows go into a GGUF as they are.
//!
//! Phi-4-multimodal is Phi-4-mini with encoders for images and speech, and LoRA branches beside each linear that only
//! those inputs pass through. What remains for text is the linears without them.

use phi_gguf::Value;
use phi_tensor::{Role, Shape};

use super::{Architecture, Heads, Layout, Want, longrope};
use crate::config::{self, Config};
use crate::error::Result;

pub(super) struct Phi3;

/// The class of Phi-4-multimodal's folder as it was published.
const MULTIMODAL: &str = "Phi4MMForCausalLM";

impl Architecture for Phi3 {
    fn names(&self) -> &'static [&'static str] {
        // The last is the multimodal one as transformers saves it, with the branches in folders of their own.
        &["Phi3ForCausalLM", MULTIMODAL, "Phi4MultimodalForCausalLM"]
    }

    fn layout(&self, config: &Config) -> Result<Layout> {
        if config.find_bool("attention_bias")? == Some(true) {
            return Err(config.misfit("attention_bias", true, "false"));
        }
        let Decoder { heads, n_layer, n_ff, n_vocab, keys, made } = Decoder::of("phi3", config)?;
        let Heads { n_embd, n_head, n_head_kv, head_dim } = heads;

        let [e, ff, v] = [n_embd, n_ff, n_vocab].map(|n| n as usize);
        let q_rows = n_head as usize * head_dim as usize;
        let qkv_rows = q_rows + 2 * n_head_kv as usize * head_dim as usize;
        let mut tensors = vec![
            Want::of(Role::TokenEmbd, None, crate::EMBEDDING, Shape::matrix(v, e)),
            Want::of(Role::OutputNorm, None, "model.norm.weight", Shape::vector(e)),
            Want::of(Role::Output, None, crate::HEAD, Shape::matrix(v, e)),
        ];
        // What stands beside the branches of a linear.
        let base = if config.architecture()? == MULTIMODAL { ".base_layer" } else { "" };
        for layer in 0..n_layer as usize {
            let parts = [
                (Role::AttnNorm, "input_layernorm", "", Shape::vector(e)),
                (Role::AttnQkv, "self_attn.qkv_proj", base, Shape::matrix(qkv_rows, e)),
                (Role::AttnOutput, "self_attn.o_proj", base, Shape::matrix(e, q_rows)),
                (Role::FfnNorm, "post_attention_layernorm", "", Shape::vector(e)),
                (Role::FfnUp, "mlp.gate_up_proj", base, Shape::matrix(2 * ff, e)),
                (Role::FfnDown, "mlp.down_proj", base, Shape::matrix(e, ff)),
            ];
            tensors.extend(parts.map(|(role, name, base, shape)| {
                Want::of(role, Some(layer), format!("model.layers.{layer}.{name}{base}.weight"), shape)
            }));
        }
        Ok(Layout { arch: "phi3", n_vocab, tied: config.find_bool("tie_word_embeddings")?, keys, tensors, made })
    }
}

/// What a config of this kind says, whether with experts or without: the sizes, and what follows for a GGUF.
pub(super) struct Decoder {
    pub(super) heads: Heads,
    pub(super) n_layer: u32,
    pub(super) n_ff: u32,
    pub(super) n_vocab: u32,
    /// In llama.cpp's order.
    pub(super) keys: Vec<(String, Value)>,
    pub(super) made: Vec<(Role, Vec<f32>)>,
}

impl Decoder {
    pub(super) fn of(arch: &str, config: &Config) -> Result<Decoder> {
        let heads = Heads::stated(config)?;
        let Heads { n_embd, n_head, n_head_kv, head_dim } = heads;
        let n_layer = config.size("num_hidden_layers", config::LAYERS)?;
        let n_ff = config.size("intermediate_size", config::FEED_FORWARD)?;
        let n_vocab = config.size("vocab_size", config::VOCABULARY)?;
        let n_ctx = config.size("max_position_embeddings", config::CONTEXT)?;
        let eps = config.number("rms_norm_eps", f64::MIN_POSITIVE..=1.0)?;
        // Absent and null mean no window. A GGUF says 0, by which llama.cpp tells Phi-4 from the older ones.
        let window = config.find_size("sliding_window", config::CONTEXT)?.unwrap_or(0);
        let rope = config.rope("rope_theta")?;
        if let Some(act) = config.find_str("hidden_act")?.filter(|act| *act != "silu") {
            return Err(config.misfit("hidden_act", act, "silu"));
        }
        // llama.cpp's arithmetic: of all heads, not of one, and truncated.
        let n_rot = (rope.partial.unwrap_or(1.0) * f64::from(n_head * head_dim)) as u32 / n_head;
        let n_orig = rope.original(config, n_ctx)?;

        let mut keys: Vec<(String, Value)> = Vec::new();
        let mut set = |key: &str, value: Value| keys.push((format!("{arch}.{key}"), value));
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
        Ok(Decoder { heads, n_layer, n_ff, n_vocab, keys, made })
    }
}

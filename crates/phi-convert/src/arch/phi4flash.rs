//! Phi-4-mini-flash: recurrences, windows, gates, and attention by differences. The rows go into a GGUF as they are; of
//! recurrences only the decay changes, which is stored as what it is and not as its logarithm, as llama.cpp has it. Nobody
//! else writes such files, so keys and names are ours where llama.cpp has none.

use phi_gguf::Value;
use phi_tensor::{Role, Shape};

use super::{Architecture, Heads, Layout, Values, Want};
use crate::config::{self, Config};
use crate::error::Result;

pub(super) struct Phi4Flash;

const CHANNELS: std::ops::RangeInclusive<u64> = 1..=1 << 16;
const WINDOW: std::ops::RangeInclusive<u64> = 1..=1 << 30;

impl Architecture for Phi4Flash {
    fn names(&self) -> &'static [&'static str] {
        &["Phi4FlashForCausalLM"]
    }

    fn layout(&self, config: &Config) -> Result<Layout> {
        let Heads { n_embd, n_head, n_head_kv, head_dim } = Heads::of(config)?;
        let n_layer = config.size("num_hidden_layers", config::LAYERS)?;
        let n_ff = config.size("intermediate_size", config::FEED_FORWARD)?;
        let n_vocab = config.size("vocab_size", config::VOCABULARY)?;
        let n_ctx = config.size("max_position_embeddings", config::CONTEXT)?;
        let eps = config.number("layer_norm_eps", f64::MIN_POSITIVE..=1.0)?;
        let window = config.size("sliding_window", WINDOW)?;
        let n_conv = config.find_size("mamba_d_conv", 1..=64)?.unwrap_or(4);
        let n_state = config.find_size("mamba_d_state", 1..=1024)?.unwrap_or(16);
        // The class's own word for what its formula gives.
        let auto = config.find("mamba_dt_rank").is_none_or(|rank| rank == "auto");
        let n_dt = if auto { n_embd.div_ceil(16) } else { config.size("mamba_dt_rank", CHANNELS)? };
        let expand = config.find_size("mamba_expand", 1..=16)?.unwrap_or(2);
        let n_inner = expand * n_embd;

        if n_layer % 4 != 0 {
            return Err(config.misfit("num_hidden_layers", n_layer, "a multiple of 4"));
        }
        if n_head_kv % 2 != 0 {
            return Err(config.misfit("num_key_value_heads", n_head_kv, "even: heads are pairs"));
        }
        if let Some(every) = config.find_size("mb_per_layer", config::LAYERS)?.filter(|&every| every != 2) {
            return Err(config.misfit("mb_per_layer", every, "2"));
        }
        if let Some(act) = config.find_str("hidden_act")?.filter(|act| *act != "silu") {
            return Err(config.misfit("hidden_act", act, "silu"));
        }
        for (field, usual) in
            [("mamba_conv_bias", true), ("mamba_proj_bias", false), ("mlp_bias", false), ("lm_head_bias", false)]
        {
            if let Some(other) = config.find_bool(field)?.filter(|&has| has != usual) {
                return Err(config.misfit(field, other, usual.to_string()));
            }
        }

        let mut keys: Vec<(String, Value)> = Vec::new();
        let mut set = |key: &str, value: Value| keys.push((format!("phi4flash.{key}"), value));
        set("context_length", n_ctx.into());
        set("embedding_length", n_embd.into());
        set("feed_forward_length", n_ff.into());
        set("block_count", n_layer.into());
        set("attention.head_count", n_head.into());
        set("attention.head_count_kv", n_head_kv.into());
        set("attention.layer_norm_epsilon", Value::F32(eps as f32));
        set("attention.sliding_window", window.into());
        set("ssm.conv_kernel", n_conv.into());
        set("ssm.inner_size", n_inner.into());
        set("ssm.state_size", n_state.into());
        set("ssm.time_step_rank", n_dt.into());

        let [e, ff, v, head, inner, state, conv, dt] =
            [n_embd, n_ff, n_vocab, head_dim, n_inner, n_state, n_conv, n_dt].map(|n| n as usize);
        let (q_rows, kv_rows) = (n_head as usize * head, n_head_kv as usize * head);
        let (matrix, vector) = (Shape::matrix, Shape::vector);
        let mut tensors = vec![
            Want::of(Role::TokenEmbd, None, crate::EMBEDDING, matrix(v, e)),
            Want::of(Role::Output, None, crate::HEAD, matrix(v, e)),
            Want::of(Role::OutputNorm, None, "model.final_layernorm.weight", vector(e)),
            Want::of(Role::OutputNormBias, None, "model.final_layernorm.bias", vector(e)),
        ];
        for layer in 0..n_layer as usize {
            let half = n_layer as usize / 2;
            let mut add = |role, name: &str, shape| {
                tensors.push(Want::of(role, Some(layer), format!("model.layers.{layer}.{name}"), shape));
            };
            add(Role::AttnNorm, "input_layernorm.weight", vector(e));
            add(Role::AttnNormBias, "input_layernorm.bias", vector(e));
            add(Role::FfnNorm, "post_attention_layernorm.weight", vector(e));
            add(Role::FfnNormBias, "post_attention_layernorm.bias", vector(e));
            add(Role::FfnUp, "mlp.fc1.weight", matrix(2 * ff, e));
            add(Role::FfnDown, "mlp.fc2.weight", matrix(e, ff));
            if layer % 2 == 1 {
                let (weight, bias, rows) = match layer <= half + 1 {
                    true => (Role::AttnQkv, Role::AttnQkvBias, q_rows + 2 * kv_rows),
                    false => (Role::AttnQ, Role::AttnQBias, q_rows),
                };
                add(weight, "attn.Wqkv.weight", matrix(rows, e));
                add(bias, "attn.Wqkv.bias", vector(rows));
                add(Role::AttnOutput, "attn.out_proj.weight", matrix(e, q_rows));
                add(Role::AttnOutputBias, "attn.out_proj.bias", vector(e));
                add(Role::AttnSubNorm, "attn.inner_cross_attn.subln.weight", vector(2 * head));
                add(Role::AttnLambdaQ1, "attn.inner_cross_attn.lambda_q1", vector(head));
                add(Role::AttnLambdaK1, "attn.inner_cross_attn.lambda_k1", vector(head));
                add(Role::AttnLambdaQ2, "attn.inner_cross_attn.lambda_q2", vector(head));
                add(Role::AttnLambdaK2, "attn.inner_cross_attn.lambda_k2", vector(head));
            } else if layer <= half {
                add(Role::SsmIn, "attn.in_proj.weight", matrix(2 * inner, e));
                add(Role::SsmConv1dBias, "attn.conv1d.bias", vector(inner));
                add(Role::SsmX, "attn.x_proj.weight", matrix(dt + 2 * state, inner));
                add(Role::SsmDt, "attn.dt_proj.weight", matrix(inner, dt));
                add(Role::SsmDtBias, "attn.dt_proj.bias", vector(inner));
                add(Role::SsmD, "attn.D", vector(inner));
                add(Role::SsmOut, "attn.out_proj.weight", matrix(e, inner));
                let name = |part: &str| format!("model.layers.{layer}.attn.{part}");
                let conv1d = Want::of(Role::SsmConv1d, Some(layer), name("conv1d.weight"), matrix(inner, conv));
                let stored = vec![inner as u64, 1, conv as u64];
                tensors.push(Want { stored, ..conv1d });
                let a = Want::of(Role::SsmA, Some(layer), name("A_log"), matrix(inner, state));
                tensors.push(Want { values: Values::MinusExp, ..a });
            } else {
                add(Role::SsmIn, "attn.in_proj.weight", matrix(inner, e));
                add(Role::SsmOut, "attn.out_proj.weight", matrix(e, inner));
            }
        }
        let tied = config.find_bool("tie_word_embeddings")?;
        Ok(Layout { arch: "phi4flash", n_vocab, tied, keys, tensors, made: Vec::new() })
    }
}

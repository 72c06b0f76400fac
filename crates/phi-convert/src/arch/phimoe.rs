//! Phi-3.5-MoE, Phi-mini-MoE, Phi-tiny-MoE: query, key and value apart, and in each layer a stack of experts. The folder has
//! a tensor for each expert; a GGUF has one for all, in the order of their numbers.

use phi_gguf::Value;
use phi_tensor::{Role, Shape};

use super::phi3::Decoder;
use super::{Architecture, Heads, Layout, Want};
use crate::config::Config;
use crate::error::Result;

pub(super) struct PhiMoe;

/// Experts that sparsemixer picks, whatever the config says.
const USED: u32 = 2;
/// How far the router looks where the config does not say it: the class's own default.
const JITTER: f64 = 0.01;
const EXPERTS: std::ops::RangeInclusive<u64> = USED as u64..=1024;

impl Architecture for PhiMoe {
    fn names(&self) -> &'static [&'static str] {
        // As the models were published, and as transformers saves them.
        &["PhiMoEForCausalLM", "PhimoeForCausalLM"]
    }

    fn layout(&self, config: &Config) -> Result<Layout> {
        let n_expert = config.size("num_local_experts", EXPERTS)?;
        let used = config.find_size("num_experts_per_tok", EXPERTS)?.unwrap_or(USED);
        if used != USED {
            return Err(config.misfit("num_experts_per_tok", used, format!("{USED}, as sparsemixer picks")));
        }
        let jitter = config.find_number("router_jitter_noise", 0.0..=1.0)?.unwrap_or(JITTER);
        let attention_bias = config.find_bool("attention_bias")? == Some(true);
        let head_bias = config.find_bool("lm_head_bias")? == Some(true);
        if let Some(partial) = config.rope("rope_theta")?.partial.filter(|&partial| partial != 1.0) {
            return Err(config.misfit("partial_rotary_factor", partial, "1"));
        }
        let Decoder { heads, n_layer, n_ff, n_vocab, mut keys, made } = Decoder::of("phimoe", config)?;
        let Heads { n_embd, n_head, n_head_kv, head_dim } = heads;
        let mut set = |key: &str, value: Value| keys.push((format!("phimoe.{key}"), value));
        set("expert_used_count", used.into());
        set("expert_count", n_expert.into());
        // Ours: nobody else says it.
        set("router_jitter_noise", Value::F32(jitter as f32));

        let [e, ff, v, n_expert] = [n_embd, n_ff, n_vocab, n_expert].map(|n| n as usize);
        let [q_rows, kv_rows] = [n_head, n_head_kv].map(|heads| heads as usize * head_dim as usize);
        let mut tensors = vec![Want::of(Role::TokenEmbd, None, crate::EMBEDDING, Shape::matrix(v, e))];
        let mut add = |weight, bias: Option<Role>, layer, name: &str, rows, cols: Option<usize>| {
            let shape = cols.map_or(Shape::vector(rows), |cols| Shape::matrix(rows, cols));
            tensors.push(Want::of(weight, layer, format!("{name}.weight"), shape));
            tensors.extend(bias.map(|bias| Want::of(bias, layer, format!("{name}.bias"), Shape::vector(rows))));
        };
        add(Role::OutputNorm, Some(Role::OutputNormBias), None, "model.norm", e, None);
        add(Role::Output, head_bias.then_some(Role::OutputBias), None, "lm_head", v, Some(e));
        for layer in 0..n_layer as usize {
            let at = format!("model.layers.{layer}");
            for (weight, bias, name, rows, cols) in [
                (Role::AttnNorm, Some(Role::AttnNormBias), "input_layernorm", e, None),
                (Role::AttnQ, attention_bias.then_some(Role::AttnQBias), "self_attn.q_proj", q_rows, Some(e)),
                (Role::AttnK, attention_bias.then_some(Role::AttnKBias), "self_attn.k_proj", kv_rows, Some(e)),
                (Role::AttnV, attention_bias.then_some(Role::AttnVBias), "self_attn.v_proj", kv_rows, Some(e)),
                (Role::AttnOutput, attention_bias.then_some(Role::AttnOutputBias), "self_attn.o_proj", e, Some(q_rows)),
                (Role::FfnNorm, Some(Role::FfnNormBias), "post_attention_layernorm", e, None),
                (Role::FfnGateInp, None, "block_sparse_moe.gate", n_expert, Some(e)),
            ] {
                add(weight, bias, Some(layer), &format!("{at}.{name}"), rows, cols);
            }
        }
        for layer in 0..n_layer as usize {
            let stacks = [
                (Role::FfnGateExps, "w1", Shape::stack(n_expert, ff, e)),
                (Role::FfnUpExps, "w3", Shape::stack(n_expert, ff, e)),
                (Role::FfnDownExps, "w2", Shape::stack(n_expert, e, ff)),
            ];
            tensors.extend(stacks.map(|(role, name, shape)| {
                let source = format!("model.layers.{layer}.block_sparse_moe.experts.*.{name}.weight");
                Want::of(role, Some(layer), source, shape)
            }));
        }
        Ok(Layout { arch: "phimoe", n_vocab, tied: config.find_bool("tie_word_embeddings")?, keys, tensors, made })
    }
}

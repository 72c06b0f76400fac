//! How GGUF spells the parts of a model. The only place that does.

use phi_tensor::Role;

/// Tensors that exist once.
const GLOBAL: &[(Role, &str)] = &[
    (Role::TokenEmbd, "token_embd.weight"),
    (Role::OutputNorm, "output_norm.weight"),
    (Role::Output, "output.weight"),
    (Role::OutputNormBias, "output_norm.bias"),
    (Role::OutputBias, "output.bias"),
    (Role::RopeFactorsLong, "rope_factors_long.weight"),
    (Role::RopeFactorsShort, "rope_factors_short.weight"),
    (Role::RopeFreqs, "rope_freqs.weight"),
];

/// Tensors that exist in each layer, after `blk.N.`.
const LAYER: &[(Role, &str)] = &[
    (Role::AttnNorm, "attn_norm.weight"),
    (Role::AttnQkv, "attn_qkv.weight"),
    (Role::AttnQ, "attn_q.weight"),
    (Role::AttnK, "attn_k.weight"),
    (Role::AttnV, "attn_v.weight"),
    (Role::AttnOutput, "attn_output.weight"),
    (Role::FfnNorm, "ffn_norm.weight"),
    (Role::FfnGate, "ffn_gate.weight"),
    (Role::FfnUp, "ffn_up.weight"),
    (Role::FfnDown, "ffn_down.weight"),
    (Role::FfnGateInp, "ffn_gate_inp.weight"),
    (Role::FfnGateExps, "ffn_gate_exps.weight"),
    (Role::FfnUpExps, "ffn_up_exps.weight"),
    (Role::FfnDownExps, "ffn_down_exps.weight"),
    (Role::AttnNormBias, "attn_norm.bias"),
    (Role::AttnQkvBias, "attn_qkv.bias"),
    (Role::AttnQBias, "attn_q.bias"),
    (Role::AttnKBias, "attn_k.bias"),
    (Role::AttnVBias, "attn_v.bias"),
    (Role::AttnOutputBias, "attn_output.bias"),
    (Role::FfnNormBias, "ffn_norm.bias"),
    (Role::FfnUpBias, "ffn_up.bias"),
    (Role::FfnDownBias, "ffn_down.bias"),
];

/// The name of a tensor: `name(Role::AttnNorm, Some(3))` is `blk.3.attn_norm.weight`.
///
/// # Panics
/// When a role that exists once is given a layer, or a layer's role none: the caller's table is wrong.
pub fn name(role: Role, layer: Option<usize>) -> String {
    let table = if layer.is_some() { LAYER } else { GLOBAL };
    let (_, text) = table.iter().find(|(r, _)| *r == role).expect("a role has a layer, or has none");
    match layer {
        Some(layer) => format!("blk.{layer}.{text}"),
        None => (*text).into(),
    }
}

/// What a standard name stands for, and in which layer.
pub fn role(name: &str) -> Option<(Role, Option<usize>)> {
    let in_layer = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
    let (table, text, layer) = match in_layer {
        Some((layer, text)) => (LAYER, text, Some(layer.parse().ok()?)),
        None => (GLOBAL, name, None),
    };
    table.iter().find(|(_, t)| *t == text).map(|(role, _)| (*role, layer))
}

/// The layer that a name says, standard or not.
pub fn layer(name: &str) -> Option<usize> {
    name.strip_prefix("blk.")?.split_once('.')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_roles() {
        for (table, layer) in [(GLOBAL, None), (LAYER, Some(17))] {
            for &(r, _) in table {
                assert_eq!(role(&name(r, layer)), Some((r, layer)));
            }
        }
        assert_eq!(role("blk.x.attn_norm.weight"), None);
        assert_eq!(role("something.else"), None);
    }
}

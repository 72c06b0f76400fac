//! llama-quantize's mixtures: which matrices get more than the base type.
//!
//! Rules go by parts of names and by counting, in the order of the file. They are kept as they are because a `Q4_K_M` that
//! is not like everybody's would surprise.

use phi_tensor::DType;

use super::{Facts, FileType, Item, Rule};

/// What a name stands for in the rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Category {
    Output,
    TokenEmbd,
    /// Values, and whatever has values in it.
    AttnV,
    AttnK,
    AttnQ,
    AttnOutput,
    FfnUp,
    FfnGate,
    FfnDown,
    Other,
}

impl Category {
    pub(super) fn of(name: &str) -> Category {
        let has = |part: &str| name.contains(part);
        match name {
            "output.weight" => Category::Output,
            "token_embd.weight" | "per_layer_token_embd.weight" => Category::TokenEmbd,
            _ if has("attn_qkv.weight") || has("attn_kv_b.weight") || has("attn_v.weight") => Category::AttnV,
            _ if has("attn_k.weight") => Category::AttnK,
            _ if has("attn_q.weight") => Category::AttnQ,
            _ if has("attn_output.weight") => Category::AttnOutput,
            _ if has("ffn_up") => Category::FfnUp,
            _ if has("ffn_gate") => Category::FfnGate,
            _ if has("ffn_down") => Category::FfnDown,
            _ => Category::Other,
        }
    }
}

/// Matrices that are small or touchy, and keep their type: by a part of the name.
const KEPT: &[&str] = &[
    "_norm.weight",
    // Routers of experts.
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    // Convolutions and recurrences.
    "ssm_conv1d",
    "shortconv.conv.weight",
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    // Positions, pictures and sounds.
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "attn_rel_b.weight",
    "position_embd",
    "token_types",
    "sam.pos_embd",
    "sam.neck.",
    "sam.net_",
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
    "a.rvq.codebook",
    "mm.a.code_embd",
];

/// Whether a tensor takes part at all: a matrix of weights, and none of the [`KEPT`].
pub(super) fn is_quantized(item: &Item<'_>) -> bool {
    // Dimensions come slowest first, and leading ones do not count.
    let leading = item.shape.dims().iter().take_while(|&&dim| dim == 1).count();
    let n_dims = item.shape.dims().len() - leading;
    n_dims >= 2 && item.name.ends_with("weight") && !KEPT.iter().any(|part| item.name.contains(part))
}

/// How many tensors of each kind there are, and how many have been met.
pub(super) struct Counters {
    attn_v: (usize, usize),
    ffn_up: usize,
    ffn_gate: usize,
    ffn_down: usize,
}

impl Counters {
    pub(super) fn new(items: &[Item<'_>]) -> Counters {
        let all = items.iter().filter(|item| Category::of(item.name) == Category::AttnV).count();
        Counters { attn_v: (0, all), ffn_up: 0, ffn_gate: 0, ffn_down: 0 }
    }
}

/// The layers that get more bits: the first and the last eighth, and every third between.
fn more_bits(i: usize, n: usize) -> bool {
    i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2
}

/// The type that the mixture gives to a tensor.
pub(super) fn mixture(
    file_type: FileType,
    rule: Rule,
    weighted: bool,
    model: &Facts,
    item: &Item<'_>,
    tied: bool,
    count: &mut Counters,
) -> DType {
    use FileType as F;
    let base = file_type.base();
    let category = Category::of(item.name);
    let tiny = matches!(file_type, F::IQ2_XXS | F::IQ2_XS | F::IQ2_S | F::IQ2_M | F::IQ1_S | F::IQ1_M);
    let small = matches!(file_type, F::IQ2_S | F::IQ2_M);
    let n = model.n_layer;
    // With experts, tensors of a layer need not follow each other: the name tells.
    let layer = |met: &mut usize| {
        let i = *met;
        *met += 1;
        if model.n_expert > 1 { item.layer.unwrap_or(i) } else { i }
    };

    if category == Category::Output || (tied && category == Category::TokenEmbd) {
        return match file_type {
            F::MXFP4_MOE => DType::Q8_0,
            _ if base.row_bytes(item.shape.cols()).is_none() => DType::Q8_0,
            _ if tiny || file_type == F::IQ3_XXS => DType::Q5_K,
            F::Q8_0 => DType::Q8_0,
            _ => DType::Q6_K,
        };
    }
    if file_type == F::MXFP4_MOE {
        let experts = item.shape.dims().len() > 2 && item.shape.dims()[item.shape.dims().len() - 3] > 1;
        return if experts { DType::MXFP4 } else { DType::Q8_0 };
    }
    match category {
        Category::TokenEmbd => match file_type {
            F::IQ2_XXS | F::IQ2_XS | F::IQ1_S | F::IQ1_M => DType::Q2_K,
            F::IQ2_S | F::IQ2_M | F::IQ3_XXS => DType::IQ3_S,
            F::TQ1_0 | F::TQ2_0 | F::Q2_0 => DType::Q4_K,
            _ => base,
        },
        // Older releases count a fused matrix for itself.
        Category::AttnV if rule == Rule::Classic && item.name.contains("attn_qkv") => match file_type {
            F::Q3_K_M | F::Q3_K_L | F::IQ3_M => DType::Q4_K,
            F::Q4_K_M => DType::Q5_K,
            F::Q5_K_M => DType::Q6_K,
            _ => base,
        },
        Category::AttnV => {
            let (i, all) = (count.attn_v.0, count.attn_v.1);
            count.attn_v.0 += 1;
            let grouped = model.gqa() >= 4;
            match file_type {
                _ if tiny && (grouped || model.n_expert >= 4) => DType::Q4_K,
                _ if small => DType::IQ3_S,
                _ if tiny => DType::Q2_K,
                _ if model.n_expert == 8 => DType::Q8_0,
                F::Q2_K if grouped => DType::Q4_K,
                F::Q2_K => DType::Q3_K,
                F::Q2_K_S | F::IQ3_XXS | F::IQ3_XS | F::IQ3_S if grouped => DType::Q4_K,
                F::IQ3_XXS if !weighted => DType::IQ3_S,
                F::IQ3_M => DType::Q4_K,
                F::Q3_K_M => {
                    if i < 2 {
                        DType::Q5_K
                    } else {
                        DType::Q4_K
                    }
                }
                F::Q3_K_L => DType::Q5_K,
                F::IQ4_NL | F::IQ4_XS if grouped => DType::Q5_K,
                F::Q4_K_M | F::Q5_K_M if more_bits(i, all) => DType::Q6_K,
                F::Q4_K_S if i < 4 => DType::Q5_K,
                _ => base,
            }
        }
        Category::AttnK if tiny => {
            if model.n_expert == 8 {
                DType::Q4_K
            } else {
                base
            }
        }
        Category::AttnK if model.n_expert == 8 => DType::Q8_0,
        Category::AttnK | Category::AttnQ => match file_type {
            F::IQ3_XS => DType::IQ3_XXS,
            F::IQ3_XXS => DType::IQ2_S,
            _ => base,
        },
        Category::FfnDown => {
            let i = layer(&mut count.ffn_down);
            let first = i < n / 8;
            match file_type {
                _ if small && first => DType::IQ3_S,
                _ if tiny => {
                    if first {
                        DType::Q2_K
                    } else {
                        base
                    }
                }
                F::Q2_K => DType::Q3_K,
                F::Q2_K_S if first => DType::Q4_K,
                F::IQ3_XXS if !weighted => {
                    if first {
                        DType::Q4_K
                    } else {
                        DType::Q3_K
                    }
                }
                F::Q3_K_M => {
                    if i < n / 16 {
                        DType::Q5_K
                    } else {
                        DType::Q4_K
                    }
                }
                F::IQ3_M if first || (model.n_expert == 8 && more_bits(i, n)) => DType::Q4_K,
                F::Q3_K_L => DType::Q5_K,
                F::Q4_K_M | F::Q5_K_M if more_bits(i, n) => DType::Q6_K,
                F::IQ4_NL | F::IQ4_XS if first && !weighted => DType::Q5_K,
                F::Q4_K_S if first => DType::Q5_K,
                // A matrix and its first layers can go wild even so; a minimum tames them.
                F::Q4_0 if weighted && first => DType::Q4_1,
                F::Q5_0 if weighted && first => DType::Q5_1,
                _ => base,
            }
        }
        Category::AttnOutput if model.n_expert == 8 => match file_type {
            F::Q2_K | F::Q3_K_S | F::Q3_K_M | F::Q4_K_S | F::Q4_K_M | F::IQ4_NL | F::IQ4_XS => DType::Q5_K,
            F::IQ3_XS | F::IQ3_XXS | F::IQ3_S | F::IQ3_M => DType::Q5_K,
            _ if tiny => DType::Q5_K,
            _ => base,
        },
        Category::AttnOutput => match file_type {
            F::IQ1_S | F::IQ1_M => DType::IQ2_XXS,
            F::IQ2_S | F::IQ2_M | F::IQ3_XXS => DType::IQ3_S,
            F::Q2_K => DType::Q3_K,
            F::Q3_K_M | F::IQ3_M => DType::Q4_K,
            F::Q3_K_L => DType::Q5_K,
            _ => base,
        },
        Category::FfnGate | Category::FfnUp => {
            let met = if category == Category::FfnGate { &mut count.ffn_gate } else { &mut count.ffn_up };
            let i = layer(met);
            let middle = i >= n / 8 && i < 7 * n / 8;
            if file_type == F::IQ3_XS && middle { DType::IQ3_XXS } else { base }
        }
        Category::Output | Category::Other => base,
    }
}

/// The type for rows that the blocks of `wanted` do not divide.
pub(super) fn fallback(wanted: DType, cols: u64) -> DType {
    if wanted.row_bytes(cols).is_some() {
        return wanted;
    }
    let other = match wanted {
        DType::IQ1_S | DType::IQ1_M | DType::IQ2_XXS | DType::IQ2_XS | DType::IQ2_S => DType::IQ4_NL,
        DType::IQ3_XXS | DType::IQ3_S | DType::IQ4_XS => DType::IQ4_NL,
        DType::Q2_0 | DType::Q2_K | DType::Q3_K | DType::TQ1_0 | DType::TQ2_0 => DType::Q4_0,
        DType::Q4_K => DType::Q5_0,
        DType::Q5_K => DType::Q5_1,
        DType::Q6_K => DType::Q8_0,
        _ => DType::F16,
    };
    if other.row_bytes(cols).is_some() { other } else { DType::F16 }
}

/// Whether a type in such a file is too coarse to be made without knowing what matters.
pub(super) fn needs_importance(file_type: FileType, item: &Item<'_>, dtype: DType) -> bool {
    let spared = matches!(Category::of(item.name), Category::Output | Category::TokenEmbd);
    let coarse =
        matches!(dtype, DType::IQ3_XXS | DType::IQ2_XXS | DType::IQ2_XS | DType::IQ2_S | DType::IQ1_M | DType::IQ1_S);
    !spared && (coarse || (dtype == DType::Q2_K && file_type == FileType::Q2_K_S))
}

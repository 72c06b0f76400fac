//! Which type for which tensor: llama-quantize's placement.

mod file_type;
mod rules;

pub use file_type::FileType;

use phi_gguf::{Blueprint, Value};
use phi_tensor::{DType, Shape};
use regex::Regex;

use rules::{Category, Counters};

/// How a model is to be quantized.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The mixture.
    pub file_type: FileType,
    /// Which generation of the mixture.
    pub rule: Rule,
    /// The base type everywhere: no mixture.
    pub pure: bool,
    /// The head keeps its type.
    pub leave_output: bool,
    /// The type of the head.
    pub output: Option<DType>,
    /// The type of the embedding.
    pub token_embd: Option<DType>,
    /// Types by name; the first that matches a part of it decides.
    pub overrides: Vec<(Regex, DType)>,
    /// An importance matrix is at hand.
    pub weighted: bool,
}

/// Which generation of the mixture is followed where they differ: in fused QKV matrices.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Rule {
    /// They count as values, as in llama.cpp today.
    #[default]
    Current,
    /// They have a rule of their own, as in older releases and many published files.
    Classic,
}

/// What the rules ask about a model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// Number of layers.
    pub n_layer: usize,
    /// Number of query heads.
    pub n_head: usize,
    /// Number of key-value heads.
    pub n_head_kv: usize,
    /// Number of experts in a layer; 0 if there are none.
    pub n_expert: usize,
}

impl Facts {
    /// From the keys of a file. What is missing or odd counts as none: the rules then fall back on the base type.
    pub fn of(file: &Blueprint) -> Facts {
        let find = |key: &str| file.entries().iter().find(|(k, _)| k == key).map(|(_, value)| value);
        let arch = match find("general.architecture") {
            Some(Value::String(arch)) => arch.as_str(),
            _ => "",
        };
        let number = |key: &str| find(&format!("{arch}.{key}")).and_then(first_number);
        let n_head = number("attention.head_count").unwrap_or(0);
        Facts {
            n_layer: number("block_count").unwrap_or(0),
            n_head,
            n_head_kv: number("attention.head_count_kv").unwrap_or(n_head),
            n_expert: number("expert_count").unwrap_or(0),
        }
    }

    /// Query heads that share one key-value head.
    fn gqa(&self) -> usize {
        self.n_head / self.n_head_kv.max(1)
    }
}

/// What the rules ask about a tensor.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// Its name in the file.
    pub name: &'a str,
    /// Its layer, if it is in one.
    pub layer: Option<usize>,
    /// Its dimensions.
    pub shape: Shape,
    /// The type it comes in.
    pub dtype: DType,
}

impl Item<'_> {
    /// Whether a recipe may change its type at all: a matrix, and none of those that are small or touchy.
    pub fn takes_part(&self) -> bool {
        rules::is_quantized(self)
    }
}

/// What a recipe says of one tensor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Choice {
    /// The type it gets.
    pub dtype: DType,
    /// The type it would have got, if its rows were a multiple of the block.
    pub wanted: DType,
    /// It must not be made without an importance matrix.
    pub needs_importance: bool,
}

impl Recipe {
    /// A mixture without exceptions.
    pub fn new(file_type: FileType) -> Recipe {
        Recipe {
            file_type,
            rule: Rule::default(),
            pure: false,
            leave_output: false,
            output: None,
            token_embd: None,
            overrides: Vec::new(),
            weighted: false,
        }
    }

    /// The types for all tensors of a model, which are given in the order of the file: see [`file_order`].
    pub fn choose(&self, model: &Facts, items: &[Item<'_>]) -> Vec<Choice> {
        let tied = !items.iter().any(|item| Category::of(item.name) == Category::Output);
        let mut counters = Counters::new(items);
        items.iter().map(|item| self.choose_one(model, item, tied, &mut counters)).collect()
    }

    fn choose_one(&self, model: &Facts, item: &Item<'_>, tied: bool, counters: &mut Counters) -> Choice {
        let category = Category::of(item.name);
        let of = |dtype| Choice {
            dtype,
            wanted: dtype,
            needs_importance: rules::needs_importance(self.file_type, item, dtype),
        };
        if !item.takes_part() || (self.leave_output && category == Category::Output) {
            return Choice { needs_importance: false, ..of(item.dtype) };
        }
        match (category, self.token_embd, self.output) {
            (Category::TokenEmbd, Some(dtype), _) | (Category::Output, _, Some(dtype)) => return of(dtype),
            _ => {}
        }
        let base = self.file_type.base();
        if self.file_type.is_plain() {
            return of(base);
        }
        let named = self.overrides.iter().find(|(pattern, _)| pattern.is_match(item.name));
        let wanted = match named {
            Some(&(_, dtype)) => dtype,
            None if self.pure => base,
            // The head's type is that of the embedding, too, where it is the head.
            None if tied && category == Category::TokenEmbd && self.output.is_some() => self.output.unwrap_or(base),
            None => rules::mixture(self.file_type, self.rule, self.weighted, model, item, tied, counters),
        };
        let dtype = rules::fallback(wanted, item.shape.cols());
        Choice { wanted, ..of(dtype) }
    }
}

/// A count, or that of the first layer where each has its own.
fn first_number(value: &Value) -> Option<usize> {
    match value {
        Value::Array(all) => first_number(&all.value(0)?),
        value => value.to_string().parse().ok(),
    }
}

/// Sorts tensors as llama-quantize does: what exists once, then layer by layer, each by name. The rules count in this order.
pub fn file_order(a: (Option<usize>, &str), b: (Option<usize>, &str)) -> std::cmp::Ordering {
    a.cmp(&b)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use phi_gguf::names;

    use super::*;
    use crate::{Known, Layout};

    /// How many tensors of a known model get which type; of those with `part` in their name.
    fn count(model: &str, recipe: &Recipe, part: &str) -> BTreeMap<&'static str, usize> {
        let layout = Layout::of(&Known::find(model).unwrap().config().unwrap()).unwrap();
        let mut file = Blueprint::new();
        file.set("general.architecture", layout.arch);
        layout.keys.iter().for_each(|(key, value)| file.set(key, value.clone()));
        let mut tensors: Vec<_> =
            layout.tensors.iter().map(|t| (t.layer, names::name(t.role, t.layer), t.shape)).collect();
        tensors.sort_by(|a, b| file_order((a.0, &a.1), (b.0, &b.1)));
        let items: Vec<_> = tensors
            .iter()
            .map(|(layer, name, shape)| Item { name, layer: *layer, shape: *shape, dtype: DType::F32 })
            .collect();
        let mut counts = BTreeMap::new();
        for (item, choice) in items.iter().zip(recipe.choose(&Facts::of(&file), &items)) {
            if item.name.contains(part) {
                *counts.entry(choice.dtype.name()).or_default() += 1;
            }
        }
        counts
    }

    #[test]
    fn classic_files_have_the_types_of_published_ones() {
        let recipe = Recipe { rule: Rule::Classic, ..Recipe::new(FileType::Q4_K_M) };
        assert_eq!(count("phi-4", &recipe, ""), [("F32", 81), ("Q4_K", 101), ("Q5_K", 40), ("Q6_K", 21)].into());
        let phi3 = [("F32", 65), ("Q4_K", 81), ("Q5_K", 32), ("Q6_K", 17)];
        assert_eq!(count("phi-3-mini-4k", &recipe, ""), phi3.into());
    }

    #[test]
    fn fused_matrices_count_as_values_today() {
        for (file_type, want) in [
            (FileType::Q4_K_M, vec![("Q4_K", 16), ("Q6_K", 16)]),
            (FileType::Q5_K_M, vec![("Q5_K", 16), ("Q6_K", 16)]),
            (FileType::Q4_K_S, vec![("Q4_K", 28), ("Q5_K", 4)]),
            (FileType::Q3_K_M, vec![("Q4_K", 30), ("Q5_K", 2)]),
            (FileType::Q2_K, vec![("Q3_K", 32)]),
        ] {
            let got = count("phi-3-mini-4k", &Recipe::new(file_type), "attn_qkv");
            assert_eq!(got, want.into_iter().collect(), "{file_type:?}");
        }
    }

    #[test]
    fn stacks_of_experts_count_by_layer() {
        let recipe = Recipe::new(FileType::Q4_K_M);
        assert_eq!(count("phi-3.5-moe", &recipe, "ffn_down_exps"), [("Q4_K", 16), ("Q6_K", 16)].into());
        assert_eq!(count("phi-3.5-moe", &recipe, "ffn_gate_exps"), [("Q4_K", 32)].into());
        assert_eq!(count("phi-3.5-moe", &recipe, "ffn_gate_inp"), [("F32", 32)].into());
        // Rows of 960 and of 448, which the large blocks do not divide.
        for name in ["phi-mini-moe", "phi-tiny-moe"] {
            assert_eq!(count(name, &recipe, "ffn_down_exps"), [("Q5_0", 16), ("Q8_0", 16)].into());
            assert_eq!(count(name, &recipe, "ffn_up_exps"), [("Q4_K", 32)].into());
        }
    }

    #[test]
    fn what_is_asked_for_goes_before_the_mixture() {
        let mut recipe = Recipe::new(FileType::Q4_K_M);
        recipe.overrides = vec![(Regex::new("ffn_(up|down)").unwrap(), DType::Q8_0)];
        recipe.output = Some(DType::F16);
        recipe.token_embd = Some(DType::Q5_0);
        assert_eq!(count("phi-4", &recipe, "ffn_up"), [("Q8_0", 40)].into());
        assert_eq!(count("phi-4", &recipe, "output.weight"), [("F16", 1), ("Q4_K", 40)].into());
        assert_eq!(count("phi-4", &recipe, "token_embd"), [("Q5_0", 1)].into());
        recipe.pure = true;
        assert_eq!(count("phi-4", &recipe, "attn"), [("F32", 40), ("Q4_K", 80)].into());
        recipe.leave_output = true;
        assert_eq!(count("phi-4", &recipe, "output.weight"), [("F32", 1), ("Q4_K", 40)].into());
    }
}

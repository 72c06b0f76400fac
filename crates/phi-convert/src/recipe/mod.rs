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
    /// They count as values, as in llama.cpp since 2025.
    #[default]
    Current,
    /// They have a rule of their own, as in the files that most publishers have up.
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
        if !rules::is_quantized(item) || (self.leave_output && category == Category::Output) {
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

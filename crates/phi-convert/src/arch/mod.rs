//! Architectures: one file each.

mod phi2;
mod phi3;
mod phi3small;
mod phimoe;

use phi_gguf::Value;
use phi_tensor::{Role, Shape};

use crate::config::{self, Config, Longrope};
use crate::error::{Problem, Result};
use crate::rows::Rows;

/// What an architecture makes of a config: keys, and the tensors it needs.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Value of `general.architecture`, and first word of its keys.
    pub arch: &'static str,
    /// Rows of the embedding.
    pub n_vocab: u32,
    /// Whether the embedding is the head as well; unknown when the config does not say.
    pub tied: Option<bool>,
    /// The architecture's keys, in llama.cpp's order.
    pub keys: Vec<(String, Value)>,
    /// The tensors, each from one in the folder. The head is among them even if tied.
    pub tensors: Vec<Want>,
    /// Small tensors that are made from the config: role, values.
    pub made: Vec<(Role, Vec<f32>)>,
}

/// A tensor that is needed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Want {
    /// What it is.
    pub role: Role,
    /// In which layer.
    pub layer: Option<usize>,
    /// Its name in the folder. Where it is a stack of tensors, one for each expert, theirs, with `*` for the number.
    pub source: String,
    /// Its shape there, which stays; of a stack that of all.
    pub shape: Shape,
    /// Where its rows lie there.
    pub rows: Rows,
}

impl Want {
    fn of(role: Role, layer: Option<usize>, source: impl Into<String>, shape: Shape) -> Want {
        Want { role, layer, source: source.into(), shape, rows: Rows::InOrder }
    }

    /// The tensors of the folder that it is made of, first to last: names, and the shape that all of them have.
    pub(crate) fn parts(&self) -> (Vec<String>, Shape) {
        match (self.source.split_once('*'), self.shape.dims()) {
            (Some((before, after)), &[n, rows, cols]) => {
                let names = (0..n).map(|i| format!("{before}{i}{after}")).collect();
                (names, Shape::new(&[rows, cols]).expect("a part of a shape is a shape"))
            }
            _ => (vec![self.source.clone()], self.shape),
        }
    }
}

/// The factors as tensors, if there are as many as rotated pairs.
fn longrope(config: &Config, longrope: &Longrope, n_rot: u32) -> Result<Vec<(Role, Vec<f32>)>> {
    let lists = [
        (Role::RopeFactorsLong, "long_factor", &longrope.long),
        (Role::RopeFactorsShort, "short_factor", &longrope.short),
    ];
    let made = |(role, field, factors): (Role, &str, &Vec<f32>)| {
        if factors.len() * 2 != n_rot as usize {
            let want = format!("{} for {n_rot} rotated dimensions", n_rot / 2);
            return Err(config.misfit(field, format_args!("{} factors", factors.len()), want));
        }
        Ok((role, factors.clone()))
    };
    lists.into_iter().map(made).collect()
}

/// The sizes of a model, and of its heads.
struct Heads {
    n_embd: u32,
    n_head: u32,
    n_head_kv: u32,
    head_dim: u32,
}

impl Heads {
    /// Whose size follows from the width.
    fn of(config: &Config) -> Result<Heads> {
        Heads::sized(config, None)
    }

    /// Whose size the config may say.
    fn stated(config: &Config) -> Result<Heads> {
        Heads::sized(config, config.find_size("head_dim", config::WIDTH)?)
    }

    fn sized(config: &Config, head_dim: Option<u32>) -> Result<Heads> {
        let n_embd = config.size("hidden_size", config::WIDTH)?;
        let n_head = config.size("num_attention_heads", config::HEADS)?;
        let n_head_kv = config.find_size("num_key_value_heads", config::HEADS)?.unwrap_or(n_head);
        if n_head % n_head_kv != 0 {
            let want = format!("a divisor of num_attention_heads = {n_head}");
            return Err(config.misfit("num_key_value_heads", n_head_kv, want));
        }
        if head_dim.is_none() && n_embd % n_head != 0 {
            return Err(config.misfit("num_attention_heads", n_head, format!("a divisor of hidden_size = {n_embd}")));
        }
        Ok(Heads { n_embd, n_head, n_head_kv, head_dim: head_dim.unwrap_or(n_embd / n_head) })
    }
}

/// One architecture of the folder's kind.
trait Architecture: Sync {
    /// The classes in `config.json` that this file answers to.
    fn names(&self) -> &'static [&'static str];

    /// Reads the hyper-parameters.
    fn layout(&self, config: &Config) -> Result<Layout>;
}

const ALL: &[&dyn Architecture] = &[&phi2::Phi2, &phi3::Phi3, &phi3small::Phi3Small, &phimoe::PhiMoe];

impl Layout {
    /// What the config describes. No weights are needed for it.
    pub fn of(config: &Config) -> Result<Layout> {
        let name = config.architecture()?;
        let Some(found) = ALL.iter().find(|arch| arch.names().contains(&name)) else {
            let known = ALL.iter().flat_map(|arch| arch.names()).copied().collect();
            let got = phi_gguf::printable(name).into();
            return Err(config.error("architectures[0]", Problem::Architecture { got, known }));
        };
        if let Some(by) = config.find("quantization_config") {
            let method = by.get("quant_method").and_then(|m| m.as_str()).unwrap_or("unknown method");
            return Err(config.error("quantization_config", Problem::Quantized { method: method.into() }));
        }
        found.layout(config)
    }
}

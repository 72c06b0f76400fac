use std::path::Path;

use phi_convert::{
    Config, Facts, FileType, Item, Known, Recipe, Rule, Synthetic, SyntheticOptions, Vocabulary, file_order,
};
use phi_gguf::{Array, Gguf, Header, Value, names};
use phi_model::{Decoder, Model, arch};
use phi_tensor::{DType, Shape};

use crate::Error;

/// The mixtures of the tables, best first: the order of their divergence from unquantized weights, which the README has.
pub const MIXES: &[FileType] = &[
    FileType::F16,
    FileType::Q8_0,
    FileType::Q6_K,
    FileType::Q5_K_M,
    FileType::Q4_K_M,
    FileType::Q4_0,
    FileType::Q3_K_M,
    FileType::Q2_K,
];

/// A model that may be planned: what it is, and every tensor, none of which is read.
#[derive(Clone, Debug)]
pub struct Subject {
    /// What to call it.
    pub name: String,
    /// Where what is known of it comes from.
    pub source: Source,
    /// What it is.
    pub decoder: Decoder,
    /// Words of its tokenizer; none where the file has none.
    pub n_tokens: usize,
    /// The mixture that a GGUF names.
    pub file_type: Option<FileType>,
    facts: Facts,
    tensors: Vec<Stored>,
}

/// A tensor of the subject.
#[derive(Clone, Debug)]
struct Stored {
    name: String,
    layer: Option<usize>,
    shape: Shape,
    dtype: DType,
}

impl Stored {
    fn is_experts(&self) -> bool {
        names::role(&self.name).is_some_and(|(role, _)| role.is_experts())
    }
}

/// Where what is known of a model comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// The header of a GGUF.
    Gguf,
    /// The `config.json` of a folder, or alone.
    Config,
    /// A name.
    Known,
}

impl Source {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Source::Gguf => "gguf",
            Source::Config => "config",
            Source::Known => "known",
        }
    }
}

/// Which types the weights have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quant {
    /// Those of the file. A file beats a rule.
    File,
    /// Those that a mixture gives them.
    Mix(FileType, Rule),
}

impl Quant {
    /// The mixture as it is today.
    pub fn of(file_type: FileType) -> Quant {
        Quant::Mix(file_type, Rule::Current)
    }
}

/// The bytes of a model's weights, in some types.
#[derive(Clone, Debug)]
pub struct Weights {
    /// All of them: what is mapped.
    pub bytes: u64,
    /// The embedding's: of it a token needs one row, unless it is the head as well.
    pub embedding: u64,
    /// The head's, of its own or the embedding's.
    pub head: u64,
    /// Each layer's.
    pub layers: Vec<u64>,
    /// Those of the experts that one token does not use.
    pub idle: u64,
    /// By type: tensors, and their bytes; the largest part first.
    pub types: Vec<(DType, usize, u64)>,
    /// Whether the embedding is the head.
    pub tied: bool,
}

impl Subject {
    /// A GGUF, from its header; of a split one, from all headers.
    pub fn gguf(path: &Path) -> Result<Subject, Error> {
        let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
        Subject::of_gguf(&Gguf::open(path)?, &name)
    }

    /// The same of a file that is open.
    pub fn of_gguf(file: &Gguf, name: &str) -> Result<Subject, Error> {
        let decoder = Model::outline(file)?;
        let header = file.header();
        let file_type = header.metadata.find::<u32>("general.file_type").ok().flatten();
        let tokens = header.metadata.entry("tokenizer.ggml.tokens").map(|entry| &entry.value);
        let n_tokens = match tokens {
            Some(Value::Array(Array::String(tokens))) => tokens.len(),
            _ => 0,
        };
        let n_expert = decoder.experts().map_or(0, |experts| experts.n_expert);
        let facts = Facts { n_layer: decoder.n_layer, n_head: decoder.n_head, n_head_kv: decoder.n_head_kv, n_expert };
        let stored = header.tensors.iter().map(|t| Stored {
            name: t.name.clone(),
            layer: names::layer(&t.name),
            shape: t.shape,
            dtype: t.dtype,
        });
        Ok(Subject {
            name: name.into(),
            source: Source::Gguf,
            decoder,
            n_tokens,
            file_type: file_type.and_then(|id| FileType::find(&id.to_string())),
            facts,
            tensors: sorted(stored.collect()),
        })
    }

    /// A known model.
    pub fn known(name: &str) -> Result<Subject, Error> {
        let known = Known::find(name).ok_or_else(|| Error::Unknown(name.into()))?;
        Subject::config(known.config()?, known.name, Source::Known)
    }

    /// A model from its config.
    pub fn config(config: Config, name: &str, source: Source) -> Result<Subject, Error> {
        let options = SyntheticOptions { seed: 0, layers: None, vocabulary: Vocabulary::None };
        let model = phi_convert::Model::synthetic(Synthetic::new(config, name, &options)?)?;
        // The same header as the file would have, so that nothing is understood twice.
        let mut file = model.blueprint(FileType::F16);
        let facts = Facts::of(&file);
        let plain = |t: &phi_convert::Tensor| if t.stays_f32() { DType::F32 } else { DType::F16 };
        for t in model.tensors() {
            file.tensor(&t.name, plain(t), t.shape);
        }
        let decoder = arch::decoder(&Header::parse_start(&file.header_bytes(), file.file_bytes())?)?;
        let stored = model.tensors().iter().map(|t| Stored {
            name: t.name.clone(),
            layer: t.layer,
            shape: t.shape,
            dtype: plain(t),
        });
        Ok(Subject {
            name: name.into(),
            source,
            n_tokens: decoder.n_vocab,
            decoder,
            file_type: None,
            facts,
            tensors: sorted(stored.collect()),
        })
    }

    /// What a mixture of this name is here: the file's own types, if it says that it has this one.
    pub fn quant(&self, file_type: FileType) -> Quant {
        if self.file_type == Some(file_type) { Quant::File } else { Quant::of(file_type) }
    }

    /// The types it comes with: a file's own; of anything else the usual choice.
    pub fn usual(&self) -> Quant {
        match self.source {
            Source::Gguf => Quant::File,
            Source::Config | Source::Known => Quant::of(FileType::Q4_K_M),
        }
    }

    /// What to call these types.
    pub fn quant_name(&self, quant: Quant) -> &'static str {
        match quant {
            Quant::File => self.file_type.map_or("file", FileType::name),
            Quant::Mix(file_type, _) => file_type.name(),
        }
    }

    /// The bytes of the weights in these types.
    pub fn weights(&self, quant: Quant) -> Weights {
        let types = self.types(quant);
        let mut weights = Weights {
            bytes: 0,
            embedding: 0,
            head: 0,
            layers: vec![0; self.decoder.n_layer],
            idle: 0,
            types: Vec::new(),
            tied: true,
        };
        for (tensor, dtype) in self.tensors.iter().zip(types) {
            let row = dtype.row_bytes(tensor.shape.cols());
            // Sizes that do not fit were refused when the header was read; the rules choose types that fit the rows.
            let bytes = row.and_then(|row| row.checked_mul(tensor.shape.rows())).unwrap_or(u64::MAX);
            weights.bytes = weights.bytes.saturating_add(bytes);
            if let (Some(experts), true) = (self.decoder.experts(), tensor.is_experts()) {
                weights.idle = weights.idle.saturating_add(experts.idle(bytes));
            }
            match tensor.layer {
                Some(layer) if layer < weights.layers.len() => weights.layers[layer] += bytes,
                Some(_) => {}
                None if tensor.name == EMBEDDING => weights.embedding = bytes,
                None if tensor.name == HEAD => (weights.head, weights.tied) = (bytes, false),
                None => {}
            }
            match weights.types.iter_mut().find(|(found, ..)| *found == dtype) {
                Some((_, n, sum)) => (*n, *sum) = (*n + 1, *sum + bytes),
                None => weights.types.push((dtype, 1, bytes)),
            }
        }
        if weights.tied {
            weights.head = weights.embedding;
        }
        weights.types.sort_by_key(|&(_, _, bytes)| std::cmp::Reverse(bytes));
        weights
    }

    fn types(&self, quant: Quant) -> Vec<DType> {
        let Quant::Mix(file_type, rule) = quant else { return self.tensors.iter().map(|t| t.dtype).collect() };
        let item = |t| {
            let Stored { name, layer, shape, dtype }: &Stored = t;
            Item { name, layer: *layer, shape: *shape, dtype: *dtype }
        };
        let items: Vec<_> = self.tensors.iter().map(item).collect();
        let recipe = Recipe { rule, ..Recipe::new(file_type) };
        recipe.choose(&self.facts, &items).into_iter().map(|choice| choice.dtype).collect()
    }
}

const EMBEDDING: &str = "token_embd.weight";
const HEAD: &str = "output.weight";

/// The rules of a mixture count tensors in the order of the file.
fn sorted(mut tensors: Vec<Stored>) -> Vec<Stored> {
    tensors.sort_by(|a, b| file_order((a.layer, &a.name), (b.layer, &b.name)));
    tensors
}

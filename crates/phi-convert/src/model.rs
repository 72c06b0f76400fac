use std::path::{Path, PathBuf};

use phi_gguf::{Blueprint, Value, names, printable};
use phi_quant::codec;
use phi_tensor::{DType, Role, Shape};

use crate::arch::{Layout, Values, Want};
use crate::card;
use crate::config::Config;
use crate::error::{ConvertError, Problem, Result, Warning};
use crate::generation::Generation;
use crate::recipe::{FileType, file_order};
use crate::rows::Rows;
use crate::safetensors::Entry;
use crate::shards::Shards;
use crate::synthetic::{Synthetic, Vocabulary};
use crate::title::{self, Title};
use crate::tokenizer;
use crate::{EMBEDDING, HEAD};

/// Two of them are compared when a tied model has a head all the same.
const COMPARE_BYTES: u64 = 1 << 20;
/// What the quantization formats of GGML are, counted by GGML.
const QUANTIZATION_VERSION: u32 = 2;

/// What the user says where the folder does not.
#[derive(Clone, Default, Debug)]
pub struct Options {
    /// The pre-tokenizer, in place of the one in the files.
    pub pre: Option<String>,
}

/// A folder, understood: keys, tensors, and the way to their numbers. No numbers are in memory.
#[derive(Debug)]
pub struct Model {
    keys: Vec<(String, Value)>,
    tensors: Vec<Tensor>,
    tied: bool,
    shards: Shards,
    warnings: Vec<Warning>,
    inputs: Vec<PathBuf>,
}

/// A tensor that goes into the file.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// What it is.
    pub role: Role,
    /// In which layer.
    pub layer: Option<usize>,
    /// Its name in the GGUF.
    pub name: String,
    /// How the numbers come.
    pub dtype: DType,
    /// Its dimensions, slowest first.
    pub shape: Shape,
    data: Data,
}

#[derive(Clone, Debug)]
enum Data {
    /// One after the other, each with its rows in this order, and with this made of its values: the number of a file, and a
    /// tensor of it. All are alike, and there is more than one only of experts.
    Stored { parts: Vec<(usize, Entry)>, rows: Rows, values: Values },
    /// Made from the config.
    Made(Vec<u8>),
}

impl Tensor {
    /// Whether a GGUF has it in F32 whatever the others are: vectors, and routers, through which everything passes.
    pub fn stays_f32(&self) -> bool {
        self.shape.dims().len() == 1 || self.role.is_exact() || self.role == Role::FfnGateInp
    }
}

impl Model {
    /// Reads everything but the numbers: configs, tokenizer, headers. Every tensor the architecture needs is there, in
    /// the right shape.
    pub fn open(folder: &Path, options: &Options) -> Result<Model> {
        let config = Config::open(&folder.join("config.json"))?;
        let layout = Layout::of(&config)?;
        let shards = Shards::open(folder)?;
        let generation = Generation::open(folder)?;
        let pre = options.pre.as_deref();
        let beside = || {
            let tokens = tokenizer::keys(folder, &config, &generation, layout.arch, layout.n_vocab, pre)?;
            Ok(Beside { tokens, card: card::keys(folder)? })
        };
        let mut model = Model::assemble(folder, &config, &layout, shards, &generation, beside)?;
        model.inputs = vec![config.path().to_path_buf()];
        model.inputs.extend(model.shards.files.iter().map(|file| file.path().to_path_buf()));
        Ok(model)
    }

    /// A model whose weights nobody trained. It reads as the folder would that [`Synthetic`] describes.
    pub fn synthetic(synthetic: Synthetic) -> Result<Model> {
        let Synthetic { config, layout, weights, vocabulary } = synthetic;
        let generation = Generation::default();
        let beside = || {
            let tokens = match vocabulary {
                Vocabulary::None => tokenizer::none(layout.arch, layout.n_vocab),
                Vocabulary::Bytes => tokenizer::bytes::keys(&config, &generation, layout.n_vocab)?,
            };
            Ok(Beside { tokens, card: Vec::new() })
        };
        Model::assemble(config.path(), &config, &layout, Shards::one(weights), &generation, beside)
    }

    fn assemble(
        folder: &Path,
        config: &Config,
        layout: &Layout,
        shards: Shards,
        generation: &Generation,
        beside: impl FnOnce() -> Result<Beside>,
    ) -> Result<Model> {
        let mut warnings = shards.warnings.clone();
        let tied = is_tied(layout, &shards, &mut warnings)?;
        let used = |want: &&Want| !(tied && want.role == Role::Output);
        let mut tensors = Vec::new();
        for want in layout.tensors.iter().filter(used) {
            tensors.push(locate(want, &shards, folder)?);
        }
        for (role, values) in &layout.made {
            tensors.push(Tensor {
                role: *role,
                layer: None,
                name: names::name(*role, None),
                dtype: DType::F32,
                shape: Shape::vector(values.len()),
                data: Data::Made(values.iter().flat_map(|x| x.to_le_bytes()).collect()),
            });
        }
        // It does not depend on how the numbers were spread over files.
        tensors.sort_by(|a, b| file_order((a.layer, &a.name), (b.layer, &b.name)));
        warnings.extend(unused(layout, &shards));

        let Beside { tokens, card } = beside()?;
        warnings.extend(tokens.warnings);
        let mut keys = general(folder, config, layout, generation, &tensors)?;
        // The architecture's keys come behind the card's, and llama.cpp's converter makes one of them along with the
        // tensors, before everything else.
        let (early, rest): (Vec<_>, Vec<_>) =
            layout.keys.iter().cloned().partition(|(key, _)| key.ends_with(".attn_factor"));
        keys.splice(1..1, early);
        keys.extend(card.into_iter().chain(rest).chain(tokens.keys));
        Ok(Model { keys, tensors, tied, shards, warnings, inputs: Vec::new() })
    }

    /// The key-values, but for those that depend on the recipe.
    pub fn keys(&self) -> &[(String, Value)] {
        &self.keys
    }

    /// The tensors, in the order of the file to be.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// Whether the embedding is the head as well.
    pub fn is_tied(&self) -> bool {
        self.tied
    }

    /// What is odd but harmless.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The files that are read, which must not be written to.
    pub fn inputs(&self) -> &[PathBuf] {
        &self.inputs
    }

    /// The keys of a file of this type.
    pub fn blueprint(&self, file_type: FileType) -> Blueprint {
        let mut file = Blueprint::new();
        for (key, value) in &self.keys {
            file.set(key, value.clone());
        }
        file.set("general.quantization_version", QUANTIZATION_VERSION);
        file.set("general.file_type", file_type.id());
        file
    }

    /// Fills `bytes` with the tensor's bytes from byte `first` on, where a value begins.
    ///
    /// # Panics
    /// When the tensor has fewer bytes, or is of another model.
    pub fn read(&self, tensor: &Tensor, first: u64, bytes: &mut [u8]) -> Result<()> {
        match &tensor.data {
            Data::Stored { parts, rows, values: Values::AsStored } => {
                self.read_stored(tensor, parts, *rows, first, bytes)
            }
            Data::Stored { parts, rows, values: Values::MinusExp } => {
                let dtype = parts[0].1.dtype.dtype().expect("it was located");
                let (values, _) = bytes.as_chunks_mut::<4>();
                let mut stored = vec![0; values.len() * dtype.block_bytes()];
                let first = first / 4 * dtype.block_bytes() as u64;
                self.read_stored(tensor, parts, *rows, first, &mut stored)?;
                let mut logs = vec![0.0; values.len()];
                (codec(dtype).expect("it was located").decode)(&stored, &mut logs);
                for (value, log) in values.iter_mut().zip(logs) {
                    *value = (-f64::from(log).exp() as f32).to_le_bytes();
                }
                Ok(())
            }
            Data::Made(made) => {
                bytes.copy_from_slice(&made[first as usize..][..bytes.len()]);
                Ok(())
            }
        }
    }
}

impl Model {
    /// Bytes as they are stored, in the order of rows that is wanted.
    fn read_stored(
        &self,
        tensor: &Tensor,
        parts: &[(usize, Entry)],
        rows: Rows,
        first: u64,
        bytes: &mut [u8],
    ) -> Result<()> {
        let part_bytes = parts[0].1.bytes;
        let all_bytes = part_bytes * parts.len() as u64;
        assert!(first + bytes.len() as u64 <= all_bytes, "`{}` has {all_bytes} bytes", tensor.name);
        let count = if tensor.shape.dims().len() == 1 { tensor.shape.len() } else { tensor.shape.rows() };
        let count = count / parts.len() as u64;
        let row_bytes = part_bytes / count;
        let (mut at, mut rest) = (first, bytes);
        while !rest.is_empty() {
            let (file, entry) = &parts[(at / part_bytes) as usize];
            let (row, skip) = (at % part_bytes / row_bytes, at % row_bytes);
            let (from, run) = rows.find(row, count);
            let len = (rest.len() as u64).min(run * row_bytes - skip);
            let (now, after) = rest.split_at_mut(len as usize);
            self.shards.files[*file].read(entry, from * row_bytes + skip, now)?;
            at += len;
            rest = after;
        }
        Ok(())
    }
}

/// The stored tensor that is wanted, or all that it is a stack of.
fn locate(want: &Want, shards: &Shards, folder: &Path) -> Result<Tensor> {
    let (names, stored) = want.parts();
    let mut parts: Vec<(usize, Entry)> = Vec::new();
    let mut made = None;
    for source in names {
        let Some((number, entry)) = shards.find(&source) else {
            return Err(ConvertError::new(format!("\"{source}\""), None, Problem::Missing).of(folder));
        };
        let path = shards.files[number].path();
        let fail = |field: &str, problem| ConvertError::new(format!("{source}{field}"), entry.start, problem).of(path);
        let dtype = entry.dtype.dtype().ok_or_else(|| fail(".dtype", Problem::DType(entry.dtype.name().into())))?;
        if entry.shape != stored {
            return Err(fail(".shape", Problem::WrongShape { got: entry.shape.clone(), want: stored.clone() }));
        }
        if let Some((_, first)) = parts.first().filter(|(_, first)| first.dtype != entry.dtype) {
            let want = format!("{}, as \"{}\" has it", first.dtype.name(), printable(&first.name));
            return Err(fail(".dtype", Problem::Value { got: entry.dtype.name().into(), want: want.into() }));
        }
        made = Some(match want.values {
            Values::AsStored => dtype,
            Values::MinusExp if dtype.block_len() == 1 && codec(dtype).is_some() => DType::F32,
            Values::MinusExp => return Err(fail(".dtype", Problem::DType(entry.dtype.name().into()))),
        });
        parts.push((number, entry.clone()));
    }
    let dtype = made.expect("a stack has parts");
    let name = names::name(want.role, want.layer);
    let data = Data::Stored { parts, rows: want.rows, values: want.values };
    Ok(Tensor { role: want.role, layer: want.layer, name, dtype, shape: want.shape, data })
}

/// Whether the embedding serves as the head. A head that is there all the same decides by its numbers.
fn is_tied(layout: &Layout, shards: &Shards, warnings: &mut Vec<Warning>) -> Result<bool> {
    let head = shards.find(HEAD);
    if layout.tied != Some(true) {
        return Ok(layout.tied.is_none() && head.is_none());
    }
    let (Some(head), Some(embedding)) = (head, shards.find(EMBEDDING)) else { return Ok(true) };
    let equal = same_numbers(shards, head, embedding)?;
    if !equal {
        warnings.push(Warning::UntiedHead);
    }
    Ok(equal)
}

fn same_numbers(shards: &Shards, a: (usize, &Entry), b: (usize, &Entry)) -> Result<bool> {
    if (a.1.dtype, &a.1.shape) != (b.1.dtype, &b.1.shape) {
        return Ok(false);
    }
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let mut first = 0;
    while first < a.1.bytes {
        let len = COMPARE_BYTES.min(a.1.bytes - first) as usize;
        left.resize(len, 0);
        right.resize(len, 0);
        shards.files[a.0].read(a.1, first, &mut left)?;
        shards.files[b.0].read(b.1, first, &mut right)?;
        if left != right {
            return Ok(false);
        }
        first += len as u64;
    }
    Ok(true)
}

/// What the folder has and nobody asks for. Rotation frequencies follow from the config and were saved by habit.
fn unused(layout: &Layout, shards: &Shards) -> Vec<Warning> {
    let wanted: std::collections::HashSet<String> = layout.tensors.iter().flat_map(|want| want.parts().0).collect();
    let names = shards.names().into_iter();
    let rest = names.filter(|name| !wanted.contains(*name) && !name.ends_with(".rotary_emb.inv_freq"));
    let (other, rest): (Vec<_>, Vec<_>) = rest.partition(|name| is_for_other_inputs(name));
    let left_out = (!other.is_empty()).then_some(Warning::TextOnly { count: other.len() });
    let unused = rest.first().map(|first| Warning::Unused { count: rest.len(), first: printable(first) });
    left_out.into_iter().chain(unused).collect()
}

/// Phi-4-multimodal's encoders, and the branches that are added to a linear when there is an image or speech.
fn is_for_other_inputs(name: &str) -> bool {
    let branch = |input: &str| name.ends_with(&format!(".{input}.weight")) && name.contains(".lora_");
    name.starts_with("model.embed_tokens_extend.") || branch("vision") || branch("speech")
}

/// What stands beside the weights.
struct Beside {
    tokens: tokenizer::Keys,
    card: Vec<(String, Value)>,
}

/// Keys that say what the model is, in llama.cpp's order.
fn general(
    folder: &Path,
    config: &Config,
    layout: &Layout,
    generation: &Generation,
    tensors: &[Tensor],
) -> Result<Vec<(String, Value)>> {
    let n_params = tensors.iter().map(|t| t.shape.len()).sum();
    let mut keys: Vec<(String, Value)> = vec![("general.architecture".into(), layout.arch.into())];
    keys.push(("general.type".into(), "model".into()));
    keys.extend(generation.keys());
    // An id such as `microsoft/phi-4`; anything with more slashes is a path on somebody's machine.
    let id = config.find_str("_name_or_path")?.filter(|id| !id.is_empty() && id.matches('/').count() <= 1);
    // The name as given, for links may lead to folders named by a hash; `.` has none of its own.
    let real = folder.canonicalize().unwrap_or_default();
    let folder_name = folder.file_name().or(real.file_name()).unwrap_or_default().to_string_lossy();
    let title = id.map(|id| Title::of(id, n_params)).unwrap_or_default().or(Title::of(&folder_name, n_params));
    let size = Title { size_label: Some(size_label(tensors)), ..Title::default() };
    keys.extend(title.or(size).keys());
    Ok(keys)
}

/// `3.8B`; with experts how many there are, and the size of the model if it had one: `16x4.1B`.
fn size_label(tensors: &[Tensor]) -> String {
    let n_expert = |t: &Tensor| if t.role.is_experts() { t.shape.dims()[0] } else { 1 };
    let one = title::size_label(tensors.iter().map(|t| t.shape.len() / n_expert(t)).sum());
    match tensors.iter().find(|t| t.role.is_experts()) {
        Some(stack) => format!("{}x{one}", n_expert(stack)),
        None => one,
    }
}

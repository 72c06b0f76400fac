//! `synth`: a model of random weights in the shapes of a known one, as a GGUF of any type or as a Hugging Face folder.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueEnum};
use phi_cli::{Interrupt, Io, Progress, Report, Size};
use phi_convert::safetensors::{Entry, Number, header};
use phi_convert::{
    Config, ConvertError, FileType, Known, Layout, Model, Problem, Recipe, Synthetic, SyntheticOptions, Vocabulary,
};
use phi_gguf::{WriteOptions, Writer};
use phi_tensor::{DType, Shape};
use serde::Serialize;
use serde_json::{Map, json};

use crate::job::types;
use crate::report::{of_folder, of_writing};
use crate::rows::Rows;
use crate::source::{Source, Step};
use crate::weights::pool;

/// As many as a folder may have here.
const MAX_SHARDS: usize = 1024;
/// Room that is left on the disk.
const SPARE_BYTES: u64 = 64 << 20;

#[derive(Args, Debug)]
pub(crate) struct Synth {
    /// A known model, such as phi-4-mini, or the path of a config.json
    name: String,
    /// The type that most weights get; with --safetensors F32, F16 or BF16
    #[arg(value_name = "TYPE")]
    dtype: String,
    /// The GGUF to make; with --safetensors the folder
    out: PathBuf,
    /// Other weights; equal seeds give equal weights on every machine
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Fewer layers, or more [default: those of the model]
    #[arg(long, value_name = "N")]
    layers: Option<u32>,
    /// The words
    #[arg(long, value_enum, default_value_t = Words::None)]
    vocab: Words,
    /// Makes a Hugging Face folder instead of a GGUF
    #[arg(long)]
    safetensors: bool,
    /// Bytes of a file of the folder, unless one tensor is larger
    #[arg(long, value_name = "SIZE", default_value = "5GB", requires = "safetensors")]
    shard_size: Size,
    /// Replaces an existing GGUF
    #[arg(long, conflicts_with = "safetensors")]
    force: bool,
    /// Prints the summary as JSON
    #[arg(long)]
    json: bool,
    /// Number of threads [default: physical cores]
    #[arg(short, long, value_name = "N")]
    threads: Option<usize>,
}

/// The words of the model.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum Words {
    /// None: for everything that works with token ids
    None,
    /// A token per byte and those of a chat
    Bytes,
}

/// What was made.
#[derive(Serialize)]
struct Summary {
    output: String,
    model: String,
    #[serde(rename = "type")]
    dtype: &'static str,
    layers: u32,
    seed: u64,
    tensors: usize,
    values: u64,
    bytes: u64,
    files: usize,
    seconds: f64,
}

pub(crate) fn synth(typed: &Synth, io: &mut Io) -> Result<(), Report> {
    let start = Instant::now();
    let (name, config) = config(&typed.name)?;
    let unknown_type = || Report::misuse(format_args!("`{}` is not a type", typed.dtype)).hint(types());
    let file_type = FileType::find(&typed.dtype).ok_or_else(unknown_type)?;
    let pool = pool(typed.threads)?;
    let vocabulary = match typed.vocab {
        Words::None => Vocabulary::None,
        Words::Bytes => Vocabulary::Bytes,
    };
    let options = SyntheticOptions { seed: typed.seed, layers: typed.layers, vocabulary };
    let synthetic = Synthetic::new(config, &name, &options).map_err(of_layout)?;
    let mut summary = Summary {
        output: typed.out.display().to_string(),
        model: name,
        dtype: file_type.name(),
        layers: synthetic.n_layer(),
        seed: typed.seed,
        tensors: synthetic.tensors().len(),
        values: synthetic.tensors().iter().map(|t| t.bytes / 2).sum(),
        bytes: 0,
        files: 1,
        seconds: 0.0,
    };
    let (bytes, files) = pool.install(|| match typed.safetensors {
        true => folder(&synthetic, file_type, typed, io),
        false => gguf(synthetic, file_type, typed, io),
    })?;
    summary.bytes = bytes;
    summary.files = files;
    summary.seconds = start.elapsed().as_secs_f64();
    if typed.json {
        return Ok(io.json(&summary)?);
    }
    let Summary { output, model, seed, values, seconds, .. } = &summary;
    io.note(format_args!(
        "wrote {} of random weights: {model}, {values} values, seed {seed}, in {seconds:.1} s",
        Size(bytes)
    ));
    Ok(io.print(format_args!("{output}\n"))?)
}

/// A model's name, and what its config says.
fn config(name: &str) -> Result<(String, Config), Report> {
    if let Some(known) = Known::find(name) {
        return Ok((known.name.into(), known.config().map_err(of_folder)?));
    }
    let path = Path::new(name);
    if !path.exists() {
        return Err(unknown(name));
    }
    let path = if path.is_dir() { &path.join("config.json") } else { path };
    let config = Config::open(path).map_err(of_folder)?;
    // The folder is called what the model is called; a file alone may be.
    let folder = path.canonicalize().ok().and_then(|path| Some(path.parent()?.file_name()?.to_string_lossy().into()));
    Ok((folder.unwrap_or_else(|| "model".into()), config))
}

fn of_layout(error: ConvertError) -> Report {
    let unknown = matches!(error.problem, Problem::Architecture { .. });
    let laid_out = |known: &Known| known.config().and_then(|config| Layout::of(&config)).is_ok();
    let hint = || format!("models whose tensors are known here: {}", names(laid_out));
    of_folder(error).hint_if(unknown.then(hint))
}

fn unknown(name: &str) -> Report {
    let report = Report::misuse(format_args!("`{name}` is neither a known model nor a file"));
    report.hint(format_args!("known are {}", names(|_| true)))
}

fn names(wanted: impl Fn(&Known) -> bool) -> String {
    let names = Known::all().iter().filter(|known| wanted(known));
    let names = names.flat_map(|known| std::iter::once(&known.name).chain(known.aliases));
    names.copied().collect::<Vec<_>>().join(", ")
}

/// Returns bytes and number of files, as [`folder`] does.
fn gguf(synthetic: Synthetic, file_type: FileType, typed: &Synth, io: &mut Io) -> Result<(u64, usize), Report> {
    let source = Source::Folder(Box::new(Model::synthetic(synthetic).map_err(of_folder)?));
    let steps = source.plan(&Recipe::new(file_type), false);
    let mut blueprint = source.keys(file_type);
    steps.iter().for_each(|step| blueprint.tensor(&step.tensor.name, step.choice.dtype, step.tensor.shape));
    let progress = Progress::bytes(io, blueprint.file_bytes());
    let options = WriteOptions { force: typed.force, ..WriteOptions::default() };
    let mut writer = Writer::create(&typed.out, blueprint, &options).map_err(of_writing)?;
    for Step { tensor, choice } in &steps {
        let rows = Rows { name: &tensor.name, shape: tensor.shape, from: tensor.dtype, to: choice.dtype };
        let read = |first, bytes: &mut [u8]| source.read(tensor, first, bytes);
        rows.stream(read, |bytes| writer.write(bytes).map_err(of_writing), io.interrupt(), &progress)?;
    }
    drop(progress);
    Ok((writer.finish().map_err(of_writing)?.bytes, 1))
}

/// Writes a folder, which appears under its name when it is complete.
fn folder(synthetic: &Synthetic, file_type: FileType, typed: &Synth, io: &mut Io) -> Result<(u64, usize), Report> {
    let dtype = file_type.base();
    let Some(number) = Number::of(dtype) else {
        let report = Report::misuse(format_args!("safetensors cannot hold {}", file_type.name()));
        return Err(report.hint("F32, F16 or BF16; without `--safetensors` any type"));
    };
    let shards = shards(synthetic.tensors(), dtype, typed.shard_size.0)?;
    let total: u64 = synthetic.tensors().iter().map(|t| bytes_of(t, dtype)).sum();
    let folder = NewFolder::create(&typed.out, total)?;
    let progress = Progress::bytes(io, total);
    let mut map = Map::new();
    let mut bytes = 0;
    for (i, shard) in shards.iter().enumerate() {
        let name = match shards.len() {
            1 => "model.safetensors".to_string(),
            n => format!("model-{:05}-of-{n:05}.safetensors", i + 1),
        };
        map.extend(shard.iter().map(|t| (t.name.clone(), name.clone().into())));
        bytes += folder.shard(&name, synthetic, shard, (dtype, number), io.interrupt(), &progress)?;
    }
    let mut texts = synthetic.files(number);
    if shards.len() > 1 {
        let index = json!({"metadata": {"total_size": total}, "weight_map": map});
        let text = serde_json::to_string_pretty(&index).expect("a map of strings is JSON");
        texts.push(("model.safetensors.index.json", text));
    }
    for (name, text) in &texts {
        folder.file(name, |file| file.write_all(text.as_bytes()).map_err(|e| of_disk(e, name.as_ref())))?;
        bytes += text.len() as u64;
    }
    drop(progress);
    folder.finish()?;
    Ok((bytes, shards.len() + texts.len()))
}

/// Tensors in order, as many to a file as fit.
fn shards(tensors: &[Entry], dtype: DType, size: u64) -> Result<Vec<&[Entry]>, Report> {
    let mut shards = Vec::new();
    let (mut first, mut bytes) = (0, 0_u64);
    for (i, tensor) in tensors.iter().enumerate() {
        let more = bytes_of(tensor, dtype);
        bytes = bytes.saturating_add(more);
        if i > first && bytes > size {
            shards.push(&tensors[first..i]);
            (first, bytes) = (i, more);
        }
    }
    shards.push(&tensors[first..]);
    if shards.len() > MAX_SHARDS {
        let report = Report::misuse(format_args!("{} files, more than {MAX_SHARDS}", shards.len()));
        return Err(report.hint("give a larger `--shard-size`"));
    }
    Ok(shards)
}

fn bytes_of(tensor: &Entry, dtype: DType) -> u64 {
    tensor.bytes / DType::BF16.block_bytes() as u64 * dtype.block_bytes() as u64
}

/// A folder under another name until it is complete; removed when dropped before.
struct NewFolder<'a> {
    path: &'a Path,
    partial: PathBuf,
    finished: bool,
}

impl<'a> NewFolder<'a> {
    /// Checks name and disk for a folder of some `bytes` bytes.
    fn create(path: &'a Path, bytes: u64) -> Result<NewFolder<'a>, Report> {
        let fail = |message: &str| Report::new(message).file(path);
        let name = path.file_name().ok_or_else(|| fail("not the name of a folder"))?;
        // An empty folder is as good as none.
        let empty = || std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
        if std::fs::symlink_metadata(path).is_ok() && !empty() {
            return Err(fail("exists already").hint("give the name of a folder to be made"));
        }
        let need = bytes.saturating_add(SPARE_BYTES);
        // A disk that cannot tell is found out by writing.
        if let Some(free) = fs4::available_space(parent(path)).ok().filter(|free| *free < need) {
            let report = fail(&format!("needs {need} bytes, {free} are free on the disk"));
            return Err(report.hint("make room, name an output on another disk, or give fewer `--layers`"));
        }
        let partial = path.with_file_name(format!("{}.partial", name.to_string_lossy()));
        std::fs::create_dir(&partial).map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => Report::new("an unfinished folder is there")
                .file(&partial)
                .hint("remove it if nothing is writing it any more"),
            _ => Report::new(&e).file(&partial),
        })?;
        Ok(NewFolder { path, partial, finished: false })
    }

    fn file(&self, name: &str, fill: impl FnOnce(&mut File) -> Result<(), Report>) -> Result<(), Report> {
        let path = self.partial.join(name);
        let fail = |e| of_disk(e, &path);
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(fail)?;
        fill(&mut file)?;
        file.sync_all().map_err(fail)
    }

    fn shard(
        &self,
        name: &str,
        synthetic: &Synthetic,
        tensors: &[Entry],
        (dtype, number): (DType, Number),
        interrupt: &Interrupt,
        progress: &Progress,
    ) -> Result<u64, Report> {
        let about = tensors.iter().map(|t| (t.name.as_str(), number, t.shape.as_slice()));
        let header = header(about).ok_or_else(|| Report::new("too large for a file").field(name))?;
        let path = self.partial.join(name);
        let mut bytes = header.len() as u64;
        self.file(name, |file| {
            file.write_all(&header).map_err(|e| of_disk(e, &path))?;
            for tensor in tensors {
                let shape = Shape::new(&tensor.shape).expect("a layout has shapes");
                let rows = Rows { name: &tensor.name, shape, from: DType::BF16, to: dtype };
                let read = |first, bytes: &mut [u8]| synthetic.read(tensor, first, bytes).map_err(of_folder);
                let write = |slab: &[u8]| {
                    bytes += slab.len() as u64;
                    file.write_all(slab).map_err(|e| of_disk(e, &path))
                };
                rows.stream(read, write, interrupt, progress)?;
            }
            Ok(())
        })?;
        Ok(bytes)
    }

    fn finish(mut self) -> Result<(), Report> {
        let sync = |path: &Path| if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) };
        let parent = parent(self.path);
        // Only an empty one goes away.
        let _ = std::fs::remove_dir(self.path);
        let moved = sync(&self.partial).and_then(|()| std::fs::rename(&self.partial, self.path));
        moved.map_err(|e| of_disk(e, self.path))?;
        self.finished = true;
        sync(parent).map_err(|e| of_disk(e, parent))
    }
}

impl Drop for NewFolder<'_> {
    fn drop(&mut self) {
        if !self.finished {
            // Nothing more can be done about a folder that cannot be removed; its name tells what it is.
            let _ = std::fs::remove_dir_all(&self.partial);
        }
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn of_disk(error: std::io::Error, path: &Path) -> Report {
    let full = error.kind() == std::io::ErrorKind::StorageFull;
    Report::new(&error).file(path).hint_if(full.then_some("make room, or name an output on another disk"))
}

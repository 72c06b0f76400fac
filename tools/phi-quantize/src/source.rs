//! Where weights come from: a folder or a GGUF, behind one list of tensors.

use std::fs::File;
use std::path::{Path, PathBuf};

use phi_cli::Report;
use phi_convert::{Facts, FileType, Item, Model, Options, Recipe, file_order};
use phi_gguf::{Blueprint, Gguf, names};
use phi_tensor::{DType, Shape};

use crate::report::{of_folder, of_gguf};

pub(crate) enum Source {
    Folder(Box<Model>),
    /// The header, and the files to read from: a map would count all that was read as memory of ours.
    Gguf {
        header: Box<Gguf>,
        files: Vec<(PathBuf, File)>,
    },
}

/// One tensor of a source.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) name: String,
    pub(crate) layer: Option<usize>,
    pub(crate) shape: Shape,
    /// How the numbers come.
    pub(crate) dtype: DType,
    /// The type it has when nothing is done to it.
    pub(crate) kept: DType,
    /// Which file of a split one it lies in.
    pub(crate) part: usize,
    /// Its place in the source.
    index: usize,
}

impl Stored {
    pub(crate) fn bytes(&self, dtype: DType) -> u64 {
        dtype.row_bytes(self.shape.cols()).unwrap_or(0).saturating_mul(self.shape.rows())
    }
}

/// One tensor on its way.
pub(crate) struct Step {
    pub(crate) tensor: Stored,
    pub(crate) choice: phi_convert::Choice,
}

impl Source {
    pub(crate) fn open(path: &Path, pre: Option<String>) -> Result<Source, Report> {
        let about = std::fs::metadata(path).map_err(|e| Report::new(&e).file(path))?;
        if about.is_dir() {
            let options = Options { pre };
            return Ok(Source::Folder(Box::new(Model::open(path, &options).map_err(of_folder)?)));
        }
        if path.extension().is_some_and(|e| e == "safetensors" || e == "json") {
            return Err(Report::new("a single file of a model").file(path).hint("give the folder that it lies in"));
        }
        let header = Gguf::open(path).map_err(|e| of_gguf(e, path))?;
        let open = |path: &PathBuf| File::open(path).map(|file| (path.clone(), file));
        let files = header.paths().iter().map(open).collect::<Result<_, _>>();
        Ok(Source::Gguf { header: Box::new(header), files: files.map_err(|e| Report::new(&e).file(path))? })
    }

    /// Every tensor, in llama-quantize's order, or, to keep the parts of a split file, in theirs.
    pub(crate) fn tensors(&self, keep_split: bool) -> Vec<Stored> {
        let mut all: Vec<Stored> = match self {
            Source::Folder(model) => {
                let stored = |(index, t): (usize, &phi_convert::Tensor)| {
                    let kept = if t.stays_f32() { DType::F32 } else { t.dtype };
                    let (name, layer, shape, dtype) = (t.name.clone(), t.layer, t.shape, t.dtype);
                    Stored { name, layer, shape, dtype, kept, part: 0, index }
                };
                model.tensors().iter().enumerate().map(stored).collect()
            }
            Source::Gguf { header, .. } => {
                let stored = |(index, t): (usize, &phi_gguf::TensorInfo)| {
                    let layer = names::layer(&t.name);
                    let (name, shape, dtype, part) = (t.name.clone(), t.shape, t.dtype, t.part);
                    Stored { name, layer, shape, dtype, kept: dtype, part, index }
                };
                header.tensors().iter().enumerate().map(stored).collect()
            }
        };
        if !keep_split {
            all.sort_by(|a, b| file_order((a.layer, &a.name), (b.layer, &b.name)));
        }
        all
    }

    /// The types that a recipe gives to tensors.
    pub(crate) fn plan(&self, recipe: &Recipe, keep_split: bool) -> Vec<Step> {
        let tensors = self.tensors(keep_split);
        let item = |t| {
            let Stored { name, layer, shape, kept, .. }: &Stored = t;
            Item { name, layer: *layer, shape: *shape, dtype: *kept }
        };
        let items: Vec<_> = tensors.iter().map(item).collect();
        let choices = recipe.choose(&Facts::of(&self.keys(recipe.file_type)), &items);
        tensors.into_iter().zip(choices).map(|(tensor, choice)| Step { tensor, choice }).collect()
    }

    /// The keys of a file of this type, without tensors.
    pub(crate) fn keys(&self, file_type: FileType) -> Blueprint {
        match self {
            Source::Folder(model) => model.blueprint(file_type),
            Source::Gguf { header, .. } => {
                let mut file = Blueprint::new();
                for entry in header.metadata().entries().iter().filter(|entry| !entry.key.starts_with("split.")) {
                    file.set(&entry.key, entry.value.clone());
                }
                // At the end, as llama-quantize has them.
                for (key, value) in [("general.quantization_version", 2), ("general.file_type", file_type.id())] {
                    file.remove(key);
                    file.set(key, value);
                }
                file
            }
        }
    }

    /// What an error about a tensor names.
    pub(crate) fn field(&self, tensor: &Stored) -> String {
        match self {
            Source::Folder(_) => tensor.name.clone(),
            Source::Gguf { .. } => format!("tensor[{}] \"{}\"", tensor.index, tensor.name),
        }
    }

    /// Parts of a split file.
    pub(crate) fn parts(&self) -> usize {
        match self {
            Source::Folder(_) => 1,
            Source::Gguf { files, .. } => files.len(),
        }
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        match self {
            Source::Folder(model) => model.warnings().iter().map(ToString::to_string).collect(),
            Source::Gguf { header, .. } => header.warnings().iter().map(ToString::to_string).collect(),
        }
    }

    /// Files that must not be written to.
    pub(crate) fn inputs(&self) -> Vec<PathBuf> {
        match self {
            Source::Folder(model) => model.inputs().to_vec(),
            Source::Gguf { files, .. } => files.iter().map(|(path, _)| path.clone()).collect(),
        }
    }

    /// Fills `bytes` with the source's bytes of a tensor, from byte `first` on.
    pub(crate) fn read(&self, tensor: &Stored, first: u64, bytes: &mut [u8]) -> Result<(), Report> {
        match self {
            Source::Folder(model) => model.read(&model.tensors()[tensor.index], first, bytes).map_err(of_folder),
            Source::Gguf { header, files } => {
                let (path, file) = &files[tensor.part];
                let start = header.tensors()[tensor.index].start + first;
                let fail = |e| Report::new(&e).file(path).field(tensor.name.as_str()).at(Some(start));
                phi_gguf::read_at(file, bytes, start).map_err(fail)
            }
        }
    }
}

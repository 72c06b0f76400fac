//! Where weights come from: a folder or a GGUF, behind one list of tensors.

use std::path::{Path, PathBuf};

use phi_cli::Report;
use phi_convert::{Choice, Model, Options, Recipe};
use phi_gguf::{Blueprint, Gguf, names};
use phi_tensor::{DType, Shape};

use crate::job::Job;
use crate::report::{of_folder, of_gguf};

pub(crate) enum Source {
    Folder(Box<Model>),
    Gguf { file: Box<Gguf>, path: PathBuf },
}

/// One tensor on its way.
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) shape: Shape,
    pub(crate) from: DType,
    pub(crate) choice: Choice,
    /// Its place in the source.
    index: usize,
}

impl Source {
    pub(crate) fn open(job: &Job) -> Result<Source, Report> {
        let path = &job.source;
        let about = std::fs::metadata(path).map_err(|e| Report::new(&e).file(path))?;
        if about.is_dir() {
            let options = Options { pre: job.pre.clone() };
            return Ok(Source::Folder(Box::new(Model::open(path, &options).map_err(of_folder)?)));
        }
        if path.extension().is_some_and(|e| e == "safetensors" || e == "json") {
            return Err(Report::new("a single file of a model").file(path).hint("give the folder that it lies in"));
        }
        let file = Gguf::open(path).map_err(|e| of_gguf(e, path))?;
        Ok(Source::Gguf { file: Box::new(file), path: path.clone() })
    }

    /// The file to be, and how each of its tensors comes about, in its order.
    pub(crate) fn plan(&self, recipe: &Recipe) -> Result<(Blueprint, Vec<Step>), Report> {
        match self {
            Source::Folder(model) => {
                let step = |(index, t): (usize, &phi_convert::Tensor)| {
                    let choice = model.choose(t, recipe);
                    Step { name: t.name.clone(), shape: t.shape, from: t.dtype, choice, index }
                };
                Ok((model.blueprint(recipe), model.tensors().iter().enumerate().map(step).collect()))
            }
            Source::Gguf { file, path } => from_gguf(file, path, recipe),
        }
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        match self {
            Source::Folder(model) => model.warnings().iter().map(ToString::to_string).collect(),
            Source::Gguf { file, .. } => file.warnings().iter().map(ToString::to_string).collect(),
        }
    }

    /// Files that must not be written to.
    pub(crate) fn inputs(&self) -> Vec<PathBuf> {
        match self {
            Source::Folder(model) => model.inputs().to_vec(),
            Source::Gguf { path, .. } => vec![path.clone()],
        }
    }

    /// Fills `bytes` with the source's bytes of a tensor, from byte `first` on.
    pub(crate) fn read(&self, step: &Step, first: u64, bytes: &mut [u8]) -> Result<(), Report> {
        match self {
            Source::Folder(model) => model.read(&model.tensors()[step.index], first, bytes).map_err(of_folder),
            Source::Gguf { file, .. } => {
                let tensor = file.tensor(&file.tensors()[step.index]);
                bytes.copy_from_slice(&tensor.bytes()[first as usize..][..bytes.len()]);
                Ok(())
            }
        }
    }
}

fn from_gguf(file: &Gguf, path: &Path, recipe: &Recipe) -> Result<(Blueprint, Vec<Step>), Report> {
    let tied = file.find("output.weight").is_none();
    let mut steps = Vec::new();
    for (index, t) in file.tensors().iter().enumerate() {
        let choice = match names::role(&t.name) {
            Some((role, _)) => recipe.choose(role, &t.shape, tied),
            // Nobody can say what matters about a tensor that nobody knows.
            None => Choice { dtype: t.dtype, wanted: t.dtype },
        };
        let from_numbers = matches!(t.dtype, DType::F32 | DType::F16 | DType::BF16);
        if !from_numbers && choice.dtype != t.dtype {
            let field = format!("tensor[{index}] \"{}\"", t.name);
            let report = Report::new(format_args!("{} would be quantized a second time, to {}", t.dtype, choice.dtype));
            return Err(report
                .file(path)
                .field(field)
                .hint("start from the F32, F16 or BF16 file, or from the folder"));
        }
        steps.push(Step { name: t.name.clone(), shape: t.shape, from: t.dtype, choice, index });
    }
    // The order of llama-quantize: what exists once, then layer by layer, each by name.
    let layer = |name: &str| names::role(name).and_then(|(_, layer)| layer);
    steps.sort_by(|a, b| (layer(&a.name), &a.name).cmp(&(layer(&b.name), &b.name)));

    let mut blueprint = Blueprint::new();
    for entry in file.metadata().entries().iter().filter(|entry| !entry.key.starts_with("split.")) {
        blueprint.set(&entry.key, entry.value.clone());
    }
    for (key, value) in [("general.quantization_version", 2), ("general.file_type", recipe.file_type)] {
        blueprint.remove(key);
        blueprint.set(key, value);
    }
    steps.iter().for_each(|step| blueprint.tensor(&step.name, step.choice.dtype, step.shape));
    Ok((blueprint, steps))
}

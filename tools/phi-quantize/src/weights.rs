//! Numbers wherever they are: a GGUF (split too), a safetensors file, or a Hugging Face folder, behind one list of tensors
//! and one way to read a piece of one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use phi_cli::{Interrupt, Progress, Report};
use phi_convert::safetensors::{Entry, Safetensors};
use phi_convert::{Model, Options};
use phi_gguf::Gguf;
use phi_quant::codec;
use phi_tensor::DType;
use rayon::prelude::*;

use crate::inspect::is_safetensors;
use crate::report::{of_folder, of_gguf};

/// Values that are looked at together: whole blocks of every format, and what fits a core's cache.
pub(crate) const PIECE: u64 = 1 << 16;

/// A file or a folder with numbers in it.
pub(crate) struct Weights {
    pub(crate) path: PathBuf,
    pub(crate) tensors: Vec<Stored>,
    pub(crate) warnings: Vec<String>,
    by_name: HashMap<String, usize>,
    place: Place,
}

enum Place {
    Gguf(Gguf),
    File(Safetensors),
    Folder(Box<Model>),
}

/// One tensor, in the words that all have in common.
#[derive(Clone)]
pub(crate) struct Stored {
    /// As a GGUF has it; in a safetensors file as it stands there.
    pub(crate) name: String,
    /// Slowest first.
    pub(crate) shape: Vec<u64>,
    /// Number of values.
    pub(crate) len: u64,
    pub(crate) bytes: u64,
    pub(crate) type_name: &'static str,
    /// The type, where this program can unpack it.
    pub(crate) dtype: Option<DType>,
    index: usize,
}

impl Weights {
    pub(crate) fn open(path: &Path) -> Result<Weights, Report> {
        let about = std::fs::metadata(path).map_err(|e| Report::new(&e).file(path))?;
        let place = if about.is_dir() {
            Place::Folder(Box::new(Model::open(path, &Options::default()).map_err(of_folder)?))
        } else if is_safetensors(path)? {
            Place::File(Safetensors::open(path).map_err(of_folder)?)
        } else {
            Place::Gguf(Gguf::open(path).map_err(|e| of_gguf(e, path))?)
        };
        let warnings = match &place {
            Place::Gguf(file) => file.warnings().iter().map(ToString::to_string).collect(),
            Place::File(_) => Vec::new(),
            Place::Folder(model) => model.warnings().iter().map(ToString::to_string).collect(),
        };
        let tensors = place.tensors();
        let by_name = tensors.iter().enumerate().map(|(i, t)| (t.name.clone(), i)).collect();
        Ok(Weights { path: path.into(), tensors, warnings, by_name, place })
    }

    pub(crate) fn format(&self) -> &'static str {
        match self.place {
            Place::Gguf(_) => "gguf",
            Place::File(_) => "safetensors",
            Place::Folder(_) => "folder",
        }
    }

    pub(crate) fn gguf(&self) -> Option<&Gguf> {
        match &self.place {
            Place::Gguf(file) => Some(file),
            _ => None,
        }
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Stored> {
        self.by_name.get(name).map(|&i| &self.tensors[i])
    }

    /// Unpacks the values of piece `number` of a tensor whose type can be unpacked.
    pub(crate) fn piece(&self, tensor: &Stored, number: u64, buffer: &mut Buffer) -> Result<(), Report> {
        let dtype = tensor.dtype.expect("the caller looked");
        let first = number * PIECE;
        let len = PIECE.min(tensor.len - first);
        let blocks = |values: u64| values / dtype.block_len() as u64 * dtype.block_bytes() as u64;
        buffer.bytes.resize(blocks(len) as usize, 0);
        buffer.values.resize(len as usize, 0.0);
        let (start, bytes) = (blocks(first), &mut buffer.bytes[..]);
        match &self.place {
            Place::Gguf(file) => {
                let tensor = file.tensor(&file.tensors()[tensor.index]);
                bytes.copy_from_slice(&tensor.bytes()[start as usize..][..bytes.len()]);
            }
            Place::File(file) => file.read(&file.tensors()[tensor.index], start, bytes).map_err(of_folder)?,
            Place::Folder(model) => model.read(&model.tensors()[tensor.index], start, bytes).map_err(of_folder)?,
        }
        (codec(dtype).expect("the type can be unpacked").decode)(&buffer.bytes, &mut buffer.values);
        Ok(())
    }
}

/// Room for a piece.
#[derive(Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    pub(crate) values: Vec<f32>,
}

/// What `look` makes of each piece of a tensor, on all threads, in the order of the pieces.
pub(crate) fn pieces<T: Send>(
    tensor: &Stored,
    interrupt: &Interrupt,
    progress: &Progress,
    look: impl Fn(u64, &mut [Buffer; 2]) -> Result<T, Report> + Sync,
) -> Result<Vec<T>, Report> {
    progress.name(&tensor.name);
    let count = tensor.len.div_ceil(PIECE);
    let piece = |buffers: &mut [Buffer; 2], number: u64| {
        if interrupt.is_set() {
            return Err(Report::interrupted());
        }
        let seen = look(number, buffers)?;
        progress.add(tensor.bytes / count);
        Ok(seen)
    };
    (0..count).into_par_iter().map_init(Default::default, piece).collect()
}

/// A pool of as many threads, or of as many as there are cores.
pub(crate) fn pool(threads: Option<usize>) -> Result<rayon::ThreadPool, Report> {
    if threads == Some(0) {
        return Err(Report::misuse("0 threads can do nothing"));
    }
    let threads = threads.unwrap_or_else(phi_cli::physical_cores);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.map_err(|e| Report::new("cannot start threads").causes(Some(&e)))
}

impl Place {
    fn tensors(&self) -> Vec<Stored> {
        let stored = |index, name: &str, shape: &[u64], bytes, type_name, dtype: Option<DType>| Stored {
            name: name.into(),
            shape: shape.to_vec(),
            // Containers were checked: it does not overflow.
            len: shape.iter().product(),
            bytes,
            type_name,
            dtype: dtype.filter(|dtype| codec(*dtype).is_some()),
            index,
        };
        match self {
            Place::Gguf(file) => {
                let all = file.tensors().iter().enumerate();
                all.map(|(i, t)| stored(i, &t.name, t.shape.dims(), t.bytes, t.dtype.name(), Some(t.dtype))).collect()
            }
            Place::File(file) => {
                let one =
                    |(i, t): (usize, &Entry)| stored(i, &t.name, &t.shape, t.bytes, t.dtype.name(), t.dtype.dtype());
                file.tensors().iter().enumerate().map(one).collect()
            }
            Place::Folder(model) => {
                let one = |(i, t): (usize, &phi_convert::Tensor)| {
                    let bytes = t.dtype.row_bytes(t.shape.len()).unwrap_or(0);
                    stored(i, &t.name, t.shape.dims(), bytes, t.dtype.name(), Some(t.dtype))
                };
                model.tensors().iter().enumerate().map(one).collect()
            }
        }
    }
}

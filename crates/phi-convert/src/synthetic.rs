//! A folder that exists nowhere: the config of a known model, and random weights in the shapes that follow from it.

use std::path::Path;

use phi_tensor::DType;

use crate::HEAD;
use crate::arch::Layout;
use crate::config::{self, Config};
use crate::error::{Problem, Result};
use crate::safetensors::{Entry, Number, Safetensors};
use crate::tokenizer;

/// What is random, and how much of it.
#[derive(Clone, Copy, Debug)]
pub struct SyntheticOptions {
    /// Equal seeds give equal weights, on every machine.
    pub seed: u64,
    /// Layers, if not as many as the model has.
    pub layers: Option<u32>,
    /// Its words.
    pub vocabulary: Vocabulary,
}

/// The words of a model that was never trained.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vocabulary {
    /// None: it works with ids.
    None,
    /// A token per byte, those of a chat, and holes up to the rows of the embedding.
    Bytes,
}

/// A known model with random weights, in the words of a Hugging Face folder.
#[derive(Debug)]
pub struct Synthetic {
    pub(crate) config: Config,
    pub(crate) layout: Layout,
    pub(crate) weights: Safetensors,
    pub(crate) vocabulary: Vocabulary,
}

impl Synthetic {
    /// Lays the model out that a config describes, see [`Known::config`](crate::Known::config). Its weights are made when
    /// they are read. `name` is what it is called, with the word `random` behind it.
    pub fn new(mut config: Config, name: &str, options: &SyntheticOptions) -> Result<Synthetic> {
        if let Some(layers) = options.layers {
            config.root_mut().insert("num_hidden_layers".into(), layers.into());
            config.size("num_hidden_layers", config::LAYERS)?;
        }
        // Nobody shall take it for the model itself, neither as a folder nor as a GGUF.
        config.root_mut().insert("_name_or_path".into(), format!("{name}-random").into());
        config.root_mut().insert("torch_dtype".into(), "bfloat16".into());
        let layout = Layout::of(&config)?;
        let tied = layout.tied == Some(true);
        let mut start = 0_u64;
        let mut entries = Vec::new();
        for want in layout.tensors.iter().filter(|want| !(tied && want.source == HEAD)) {
            let (names, shape) = want.parts();
            let bytes = DType::BF16.row_bytes(shape.len());
            for name in names {
                let end = bytes.and_then(|bytes| start.checked_add(bytes));
                let (Some(bytes), Some(end)) = (bytes, end) else {
                    return Err(config.error(&name, Problem::SizeOverflow));
                };
                entries.push(Entry { name, dtype: Number::BF16, shape: shape.dims().to_vec(), start, bytes });
                start = end;
            }
        }
        let weights = Safetensors::random(Path::new(name), entries, options.seed);
        Ok(Synthetic { config, layout, weights, vocabulary: options.vocabulary })
    }

    /// Layers.
    pub fn n_layer(&self) -> u32 {
        self.config.size("num_hidden_layers", config::LAYERS).expect("it was laid out")
    }

    /// The tensors as a folder would have them, in BF16.
    pub fn tensors(&self) -> &[Entry] {
        self.weights.tensors()
    }

    /// Fills `bytes` with the bytes of a tensor from `first` on.
    ///
    /// # Panics
    /// When the tensor has fewer bytes.
    pub fn read(&self, entry: &Entry, first: u64, bytes: &mut [u8]) -> Result<()> {
        assert!(first + bytes.len() as u64 <= entry.bytes, "`{}` has {} bytes", entry.name, entry.bytes);
        self.weights.read(entry, first, bytes)
    }

    /// The files beside the weights: names and texts. `config.json` names the type that the weights are saved in.
    pub fn files(&self, dtype: Number) -> Vec<(&'static str, String)> {
        let mut config = self.config.clone();
        let torch = match dtype {
            Number::F32 => "float32",
            Number::F16 => "float16",
            _ => "bfloat16",
        };
        config.root_mut().insert("torch_dtype".into(), torch.into());
        let words = match self.vocabulary {
            Vocabulary::None => Vec::new(),
            Vocabulary::Bytes => tokenizer::bytes::files().into(),
        };
        [vec![("config.json", config.text())], words].concat()
    }
}

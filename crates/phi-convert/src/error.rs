use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use phi_tensor::BadShape;

/// What is wrong with a folder: the file, the field in it, the byte where one exists to point at, and the facts.
#[derive(Debug)]
pub struct ConvertError {
    /// The file.
    pub file: PathBuf,
    /// The field's path, such as `weight_map["w"]` or `w.shape`.
    pub field: String,
    /// Where in the file the field lies.
    pub offset: Option<u64>,
    /// What is wrong with it.
    pub problem: Problem,
}

pub(crate) type Result<T> = std::result::Result<T, ConvertError>;

impl ConvertError {
    pub(crate) fn new(field: impl Into<String>, offset: impl Into<Option<u64>>, problem: Problem) -> Self {
        ConvertError { file: PathBuf::new(), field: field.into(), offset: offset.into(), problem }
    }

    /// The same error, saying in which file, where that is not said yet.
    pub(crate) fn of(mut self, file: &Path) -> Self {
        if self.file.as_os_str().is_empty() {
            self.file = file.to_path_buf();
        }
        self
    }

    /// What the user can do about it, where something can be done.
    pub fn hint(&self) -> Option<String> {
        Some(match &self.problem {
            Problem::BeyondFile { file_end, whole, .. } => {
                let missing = whole.saturating_sub(*file_end);
                format!("{missing} bytes are missing, expected {whole}; the download may be incomplete")
            }
            Problem::NoShard { .. } => "download the missing file into the same folder".into(),
            Problem::NoWeights { other: Some(other) } => {
                format!("`{other}` is a format that can run code; save the model as safetensors first")
            }
            Problem::UnknownPre { .. } => "name one with `--pre NAME` if the model is known to use it".into(),
            Problem::Quantized { .. } => "convert the original, unquantized model".into(),
            _ => return None,
        })
    }
}

impl fmt::Display for ConvertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        self.problem.fmt(f)
    }
}

impl std::error::Error for ConvertError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            Problem::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// The ways in which a folder can be wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The system refused.
    #[error("{0}")]
    Io(#[source] io::Error),
    /// A pipe, a device or a folder.
    #[error("not a regular file")]
    NotRegular,
    /// Not an importance matrix that can be used.
    #[error("{0}")]
    Importance(String),
    /// Not even a length.
    #[error("file has {got} bytes, need {need}")]
    TooSmall {
        /// Bytes there are.
        got: u64,
        /// Bytes needed.
        need: u64,
    },
    /// Beyond a limit of this program.
    #[error("{got} exceeds {max}")]
    Limit {
        /// The number in the file.
        got: u64,
        /// The largest accepted.
        max: u64,
    },
    /// More of something than this program accepts.
    #[error("{got} {what} exceeds {max}")]
    TooMany {
        /// How many.
        got: u64,
        /// Of what.
        what: &'static str,
        /// The most accepted.
        max: u64,
    },
    /// Data that the file does not hold.
    #[error("needs bytes {start}..{end}, file ends at {file_end}")]
    BeyondFile {
        /// First byte.
        start: u64,
        /// One past the last byte.
        end: u64,
        /// Length of the file.
        file_end: u64,
        /// Length the file should have.
        whole: u64,
    },
    /// Bytes that belong to nothing.
    #[error("{0} trailing bytes after the tensor data")]
    Trailing(u64),
    /// Nothing where something must be.
    #[error("empty")]
    Empty,
    /// Text that is not UTF-8.
    #[error("not UTF-8 at byte {at}")]
    NotUtf8 {
        /// First bad byte of the text.
        at: usize,
    },
    /// Not JSON.
    #[error("{what} at line {line} column {column}")]
    Json {
        /// What the parser stumbled over.
        what: Box<str>,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// JSON of another kind than needed.
    #[error("expected {want}")]
    Expected {
        /// The kind needed.
        want: &'static str,
    },
    /// A header that ends in something else than spaces.
    #[error("padding must be spaces")]
    Padding,
    /// The same name twice.
    #[error("duplicate name")]
    Duplicate,
    /// Two tensors on the same bytes.
    #[error("overlaps {0}")]
    Overlap(String),
    /// Bytes between two tensors.
    #[error("starts at {got}, expected {want}")]
    Hole {
        /// Where it starts.
        got: u64,
        /// Where the tensor before it ends.
        want: u64,
    },
    /// Something that is not an ascending pair of byte offsets.
    #[error("{0} is not a range of bytes")]
    Range(Box<str>),
    /// More elements than can be counted.
    #[error("element count overflows")]
    ElementCount,
    /// More bytes than can be counted.
    #[error("byte size overflows")]
    SizeOverflow,
    /// Shape and bytes that disagree.
    #[error("shape needs {need} bytes, data_offsets give {got}")]
    Size {
        /// What shape and type need.
        need: u64,
        /// What there is.
        got: u64,
    },
    /// Too many dimensions.
    #[error("rank {got} exceeds {max}")]
    Rank {
        /// Dimensions there are.
        got: usize,
        /// The most accepted.
        max: usize,
    },
    /// A number type we cannot convert.
    #[error("type {0} is not converted, only F32, F16 and BF16")]
    DType(Box<str>),
    /// A field or a tensor that is needed and not there.
    #[error("missing")]
    Missing,
    /// A value that cannot be right.
    #[error("{got}, expected {want}")]
    Value {
        /// The value in the file.
        got: Box<str>,
        /// What it should be.
        want: Box<str>,
    },
    /// A dimension list that is not a shape.
    #[error(transparent)]
    Shape(BadShape),
    /// A tensor of another shape than the config says.
    #[error("shape {got:?}, config.json asks for {want:?}")]
    WrongShape {
        /// The shape in the file.
        got: Vec<u64>,
        /// The shape that follows from the config.
        want: Vec<u64>,
    },
    /// A model that no module here knows.
    #[error("\"{got}\" is not supported, only {}", known.join(", "))]
    Architecture {
        /// The class in the config.
        got: Box<str>,
        /// The classes we know.
        known: Vec<&'static str>,
    },
    /// Weights that were quantized by somebody else.
    #[error("the weights are already quantized ({method})")]
    Quantized {
        /// By which method.
        method: Box<str>,
    },
    /// A shard that is not in the folder.
    #[error("missing; \"{tensor}\" should be in it")]
    NoShard {
        /// The first tensor in it.
        tensor: String,
    },
    /// A tensor that its shard does not have.
    #[error("not in {shard}, where the index puts it")]
    NotInShard {
        /// The file name of the shard.
        shard: String,
    },
    /// A tensor in two shards.
    #[error("in two shards, {first} and {second}")]
    TwoShards {
        /// The file name of one.
        first: String,
        /// The file name of the other.
        second: String,
    },
    /// A file name that leads elsewhere.
    #[error("not a plain file name")]
    FileName,
    /// No weights in a format that we read.
    #[error("neither model.safetensors nor model.safetensors.index.json is there")]
    NoWeights {
        /// Weights in another format.
        other: Option<String>,
    },
    /// A pre-tokenizer that we do not have.
    #[error("pattern \"{pattern}\" is not one of ours ({})", known.join(", "))]
    UnknownPre {
        /// The regular expression in the file.
        pattern: Box<str>,
        /// The names of ours.
        known: Vec<&'static str>,
    },
    /// A name of a pre-tokenizer that we do not have.
    #[error("there is no pre-tokenizer \"{name}\", only {}", known.join(", "))]
    NoSuchPre {
        /// The name asked for.
        name: Box<str>,
        /// The names of ours.
        known: Vec<&'static str>,
    },
}

/// Something odd that does no harm, shown once.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// An index that counts differently.
    #[error("model.safetensors.index.json says {said} bytes, the shards hold {found}")]
    TotalSize {
        /// The index's number.
        said: u64,
        /// The sum over the tensors.
        found: u64,
    },
    /// Tensors for inputs other than text.
    #[error("only the text decoder is converted: {count} tensors for images and speech are left out")]
    TextOnly {
        /// How many.
        count: usize,
    },
    /// Tensors that the architecture has no use for.
    #[error("{count} tensors are not used, the first is \"{first}\"")]
    Unused {
        /// How many.
        count: usize,
        /// One of them.
        first: String,
    },
    /// A head beside a tied embedding, with other numbers in it.
    #[error(
        "config.json says tied embeddings, but lm_head.weight differs from model.embed_tokens.weight; both are kept"
    )]
    UntiedHead,
    /// A folder without a tokenizer.
    #[error("the folder has no tokenizer: the file will work with token ids only")]
    NoTokenizer,
    /// Ids without a token.
    #[error("{0} ids have no token and were filled with unused placeholders")]
    Holes(usize),
    /// Two ids with one text.
    #[error("{count} tokens have the text of an earlier one and were made unused, the first is id {first}")]
    SameText {
        /// How many.
        count: usize,
        /// One of them.
        first: u32,
    },
    /// A special token of the config that is not in the vocabulary.
    #[error("{field} names \"{text}\", which is not in the vocabulary")]
    NoSuchToken {
        /// The field.
        field: String,
        /// The text.
        text: String,
    },
    /// A pre-tokenizer given by the user where the file has its own.
    #[error("pre-tokenizer {used} as asked, although tokenizer.json has that of {found}")]
    OtherPre {
        /// The name given.
        used: String,
        /// The name recognised.
        found: &'static str,
    },
    /// A tokenizer that bypasses its merges, for which GGUF has no word.
    #[error("tokenizer.json: model.ignore_merges is set, which a GGUF cannot say")]
    IgnoreMerges,
}

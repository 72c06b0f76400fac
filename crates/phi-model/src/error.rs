use phi_gguf::GgufError;
use phi_tensor::{DType, Shape};

/// Why a file is not a model we can run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A key is missing or has the wrong type.
    #[error(transparent)]
    Key(#[from] GgufError),
    /// An architecture nobody here answers to.
    #[error("general.architecture{}: \"{got}\" is not supported (supported: {})", at(.offset), .supported.join(", "))]
    UnknownArchitecture {
        /// Where in the file the key-value begins.
        offset: Option<u64>,
        /// What the file says.
        got: String,
        /// What we know.
        supported: Vec<&'static str>,
    },
    /// A hyper-parameter of an impossible value.
    #[error("{key}{}: {got}, {want}", at(.offset))]
    Value {
        /// The key.
        key: String,
        /// Where in the file the key-value begins, when it is there.
        offset: Option<u64>,
        /// Its value.
        got: String,
        /// What it would have to be.
        want: String,
    },
    /// Tensors that are missing or of the wrong shape or type.
    #[error("{}", list(.0))]
    Tensors(Vec<TensorProblem>),
}

/// What is wrong with one tensor.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TensorProblem {
    /// Not in the file.
    #[error("{name}: missing, required by {arch}")]
    Missing {
        /// The tensor.
        name: String,
        /// The architecture that needs it.
        arch: &'static str,
    },
    /// In the file, where the architecture cannot be without its effect, and we have none.
    #[error("{name} at {offset}: not supported for {arch}")]
    Unsupported {
        /// The tensor.
        name: String,
        /// Where in the file its line of the tensor table begins.
        offset: u64,
        /// The architecture.
        arch: &'static str,
    },
    /// Of another shape.
    #[error("{name} at {offset}: shape {got}, expected {want}")]
    Shape {
        /// The tensor.
        name: String,
        /// Where in the file its line of the tensor table begins.
        offset: u64,
        /// Its shape in the file, slowest first.
        got: Shape,
        /// The shape the hyper-parameters ask for.
        want: Shape,
    },
    /// Of a type we cannot read there.
    #[error("{name} at {offset}: type {got}, expected {want}")]
    DType {
        /// The tensor.
        name: String,
        /// Where in the file its line of the tensor table begins.
        offset: u64,
        /// Its type in the file.
        got: DType,
        /// What can be read there.
        want: &'static str,
    },
    /// Holding a number that is none.
    #[error("{name} at {offset}: row {row}, column {col}: value {value}")]
    NonFinite {
        /// The tensor.
        name: String,
        /// Where in the file the row begins.
        offset: u64,
        /// The row.
        row: usize,
        /// The column.
        col: usize,
        /// Infinity or NaN.
        value: f32,
    },
    /// A factor of the rotation that divides by nothing, or turns back.
    #[error("{name} at {offset}: factor {index} is {value}, must be above 0")]
    Factor {
        /// The tensor.
        name: String,
        /// Where in the file its data begins.
        offset: u64,
        /// Which factor.
        index: usize,
        /// Its value.
        value: f32,
    },
}

fn at(offset: &Option<u64>) -> String {
    offset.map_or(String::new(), |offset| format!(" at {offset}"))
}

fn list(problems: &[TensorProblem]) -> String {
    const SHOWN: usize = 5;
    let mut text = problems.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>().join("; ");
    if problems.len() > SHOWN {
        text += &format!("; and {} more", problems.len() - SHOWN);
    }
    text
}

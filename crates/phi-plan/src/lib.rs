//! What fits, before anything is loaded.
//!
//! A [`Subject`] is a model whose weights nobody has to have: a GGUF, a folder, a config, a name. [`Subject::need`] says
//! what a run of it takes, and asks the very [`phi_runtime::Plan`] that a session allocates. A [`Budget`] is what there
//! is. [`fit`] puts the two together: the verdict, the longest context, the best quantization, the cheapest change.
//!
//! This crate reads headers only, and prints nothing.
//!
//! ```
//! use phi_plan::{Asked, Quant, Subject, Verdict};
//! use phi_convert::FileType;
//!
//! let phi4 = Subject::known("phi-4")?;
//! let need = phi4.need(&Asked::new(Quant::of(FileType::Q4_K_M)))?;
//! assert_eq!(need.weights, 9_055_703_040);
//! assert_eq!(need.kv, 204_800 * 4096);
//! assert_eq!(need.verdict(16 << 30), Verdict::Fits);
//! # Ok::<(), phi_plan::Error>(())
//! ```

#![forbid(unsafe_code)]

mod card;
mod device;
pub mod fit;
mod need;
mod subject;

pub use card::{Card, OnCard};
pub use device::Device;
pub use need::{Asked, Budget, Need, Verdict};
pub use subject::{MIXES, Quant, Source, Subject, Weights};

/// What kept a model from being planned.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A GGUF that cannot be read.
    #[error(transparent)]
    Gguf(Box<phi_gguf::GgufError>),
    /// A config that cannot be read, or is of no known architecture.
    #[error(transparent)]
    Convert(Box<phi_convert::ConvertError>),
    /// A header that is not a model's.
    #[error(transparent)]
    Model(Box<phi_model::ModelError>),
    /// Options that do not go with the model.
    #[error(transparent)]
    Runtime(Box<phi_runtime::Error>),
    /// A name that nobody knows.
    #[error("`{0}` is not a known model")]
    Unknown(String),
}

macro_rules! boxed {
    ($($variant:ident($of:ty))*) => {$(
        impl From<$of> for Error {
            fn from(error: $of) -> Error {
                Error::$variant(Box::new(error))
            }
        }
    )*};
}

// Errors carry facts, and are large; what carries them need not be.
boxed! {
    Gguf(phi_gguf::GgufError)
    Convert(phi_convert::ConvertError)
    Model(phi_model::ModelError)
    Runtime(phi_runtime::Error)
}

//! Bytes ↔ GGUF.
//!
//! Reading: [`Header::parse`] turns the bytes of a file into validated metadata and a validated tensor table, and
//! allocates nothing that the bytes do not back. [`Gguf`] adds the map, split files, and [`Gguf::tensor`], which
//! cannot fail any more. Writing: a [`Blueprint`] is a header to be; [`Writer`] streams the tensors behind it, so
//! that the final name is either absent or complete.
//!
//! GGUF stores dimensions fastest first. They are flipped here, once; above this crate every shape is row-major.
//! Standard tensor names are spelled in [`names`], and nowhere else.
//!
//! This crate does not know what a block's bytes mean, nor what a model needs.
//!
//! ```
//! use phi_gguf::{Blueprint, Gguf, Value};
//! use phi_tensor::{DType, Shape};
//!
//! let mut file = Blueprint::new();
//! file.set("general.architecture", "phi3");
//! file.tensor("output_norm.weight", DType::F32, Shape::new(&[2])?);
//! let mut bytes = file.header_bytes();
//! bytes.extend([0_u8; 32]);
//!
//! let gguf = Gguf::from_bytes(bytes.into())?;
//! assert_eq!(gguf.metadata().get::<&str>("general.architecture")?, "phi3");
//! let info = gguf.find("output_norm.weight").unwrap();
//! assert_eq!(gguf.tensor(info).matrix().cols(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation, clippy::indexing_slicing)]

mod blueprint;
mod error;
mod file;
mod header;
mod limits;
mod metadata;
pub mod names;
mod reader;
mod split;
mod value;
mod writer;

pub use blueprint::{Blueprint, TensorSpec};
pub use error::{GgufError, Problem, printable};
pub use file::{Gguf, map, read_at};
pub use header::{Header, TensorInfo, Warning};
pub use limits::{LIMITS, Limit};
pub use metadata::{Entry, FromValue, Metadata};
pub use split::SplitName;
pub use value::{Array, Strings, Value, ValueType};
pub use writer::{WriteError, WriteOptions, Writer, Written};

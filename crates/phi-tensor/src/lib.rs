//! The words every other crate shares: what a tensor is, and nothing about what it means.
//!
//! * [`DType`]: how numbers are packed into bytes, as geometry only (block length, block bytes).
//! * [`Shape`]: row-major dimensions, slowest first.
//! * [`Role`]: which part of a transformer a tensor is.
//! * [`Bytes`]: a cheap shared slice of a file map or a buffer.
//! * [`Tensor`] and [`Matrix`]: bytes whose length is known to fit their type and shape.
//!
//! This crate does not know any file format, any arithmetic or any model.
//!
//! ```
//! use phi_tensor::{Bytes, DType, Shape, Tensor};
//!
//! let bytes = Bytes::from(vec![0_u8; 2 * 34]);
//! let tensor = Tensor::new(DType::Q8_0, Shape::new(&[2, 32])?, bytes)?;
//! let matrix = tensor.matrix();
//! assert_eq!((matrix.rows(), matrix.cols()), (2, 32));
//! assert_eq!(matrix.row(1).len(), 34);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod bytes;
mod dtype;
mod role;
mod shape;
mod tensor;

pub use bytes::Bytes;
pub use dtype::{DType, UnknownDType};
pub use role::Role;
pub use shape::{BadShape, Shape};
pub use tensor::{Matrix, Tensor, WrongLength};

/// The number of a vocabulary entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(transparent)]
pub struct TokenId(pub u32);

impl TokenId {
    /// The same number, for indexing the vocabulary.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl std::fmt::Display for TokenId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

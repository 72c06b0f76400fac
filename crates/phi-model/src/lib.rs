//! What a transformer is, what memory it needs, and its forward pass.
//!
//! In reading order:
//!
//! * [`arch`]: one file per architecture; it reads a file's keys and says what the decoder is made of.
//! * [`Decoder`]: that description, as a value. Every variation between models is a field here, never a name.
//! * [`Weights`]: `Weights<TensorSpec>` is what the decoder needs, `Weights<Tensor>` what was found; one struct.
//! * [`State`]: `State<Planned>` is what a run needs, `State<Live>` what it writes; one struct.
//! * [`forward()`]: the one forward pass, to be read beside the paper.
//!
//! This crate does not know text, sampling or the command line.

#![forbid(unsafe_code)]

pub mod arch;
mod decoder;
mod error;
mod experts;
mod forward;
mod model;
mod rope;
mod state;
mod weights;

pub use decoder::{Biases, Branches, Decoder, Experts, FeedForward, GateUp, Head, LIMITS, Norm, Qkv, Scales, Sparse};
pub use error::{ModelError, TensorProblem};
pub use forward::{Pass, forward};
pub use model::Model;
pub use rope::{Factors, LongRope, Pairs, Rope};
pub use state::{KvLayer, Routing, Scratch, Sizes, State};
pub use weights::{
    ExpertWeights, FfnWeights, GateUpWeights, Layer, Linear, NormWeights, QkvWeights, RopeFactors, TensorSpec,
    UpWeights, Weights,
};

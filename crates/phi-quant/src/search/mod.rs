//! How the scales of a block are found: few formulas, tried over and over with slightly different first guesses.
//!
//! All of it is f32 in the order of llama.cpp's plain loops, so that files agree to the byte; see `lanes`.

mod affine;
mod descent;
mod positive;
mod symmetric;
mod table;

pub(crate) use affine::{Steps, WEIGHTED, affine};
pub(crate) use descent::descent;
pub(crate) use positive::positive;
pub(crate) use symmetric::{symmetric, symmetric_plain};
pub(crate) use table::{VALUES, nearest_entry, table};

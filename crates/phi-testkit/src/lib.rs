//! For tests only: seeded numbers, case tables, and GGUF files that may lie.
//!
//! * [`Rng`]: the same seed gives the same numbers, on every machine and for ever.
//! * [`run_cases`]: runs a table of cases and reports every row that failed, not only the first.
//! * [`npy`]: reads the arrays among the fixtures.
//! * [`RawGguf`]: a GGUF as its raw fields, each of which can be wrong. It shares no code with the reader it tests.
//! * [`TinyPhi3`]: a small, valid model made with it.
//!
//! This crate does not know any crate whose promises it helps to test.
//!
//! ```
//! use phi_testkit::{RawValue, TinyPhi3};
//!
//! let mut file = TinyPhi3::default().gguf();
//! assert_eq!(&file.bytes()[..4], b"GGUF");
//!
//! // One lie: a tensor table that claims more than there is.
//! file.n_tensors = Some(u64::MAX);
//! // And another: a string that says it is longer than the file.
//! file.set("general.name", RawValue::string(1 << 30, b"short"));
//! ```

#![forbid(unsafe_code)]

mod cases;
pub mod npy;
mod raw;
mod rng;
mod tiny;

pub use cases::{caught, run_cases};
pub use raw::{RawEntry, RawGguf, RawTensor, RawValue};
pub use rng::Rng;
pub use tiny::{TinyPhi3, Vocabulary};

//! The paved path from a file to text.
//!
//! ```text
//! Engine::open(file) → engine.plan(options) → engine.session(plan) → session.prefill(prompt) → session.generate(sampler)
//! ```
//!
//! * [`Engine`]: a file, bound as a model, with its tokenizer and chat template.
//! * [`Plan`]: every buffer of a run, by name and size. Printing it and running it are the same value.
//! * [`Session`]: the buffers, and the tokens so far.
//! * [`Generation`]: an iterator of tokens. Text, limits and stop strings are adapters and options of it.
//! * [`Peaks`]: what the machine could do, to set against what a model makes of it.
//! * [`perplexity`]: how well a model predicts a text, and how far it is from another.
//!
//! This crate does not know the command line: it prints nothing and asks nobody.

#![forbid(unsafe_code)]

mod cost;
mod engine;
mod error;
mod generate;
mod peak;
pub mod perplexity;
mod plan;
mod sampler;
mod session;
mod text;

pub use engine::Engine;
pub use error::Error;
pub use generate::{Finish, Generation};
pub use peak::Peaks;
pub use phi_gguf::{Gguf, Limit};
pub use phi_kernels::Isa;
pub use phi_memory::{Available, OutOfMemory, Residency, Row, Source, resident, swap_bytes};
pub use phi_model::{Experts, Factors, ModelError};
pub use phi_tensor::{Bytes, DType, TokenId};
pub use phi_text::{Message, Special, TextError, Tokenizer};
pub use plan::{FactorChoice, Plan, RunOptions};
pub use sampler::{Sampler, Sampling};
pub use session::{Progress, Session, Tally};
pub use text::{Prompt, Text, TextStream};

/// What a file may ask for, and why no more.
pub fn limits() -> impl Iterator<Item = &'static Limit> {
    phi_gguf::LIMITS.iter().chain(phi_model::LIMITS)
}

//! A Hugging Face folder as GGUF keys and tensors.
//!
//! [`Model::open`] reads configs, tokenizer files and safetensors headers, and judges all of them: whatever is wrong is
//! named by file, field and, where there is one, byte. What it returns is a [`phi_gguf::Blueprint`] to be
//! ([`Model::blueprint`]) and positioned reads of numbers as they came ([`Model::read`]). A [`Recipe`] says which type each
//! tensor gets.
//!
//! A [`Known`] model needs no folder: its config is compiled in, and [`Synthetic`] adds random weights in its shapes.
//!
//! This crate does not convert numbers, and writes nothing. It maps no file: a folder of many gigabytes costs no memory
//! but its headers and its vocabulary. Architectures are one file each, in `arch/`.
//!
//! ```
//! use phi_convert::{Config, Layout};
//!
//! let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/phi3-base");
//! let config = Config::open(&std::path::Path::new(folder).join("config.json"))?;
//! let layout = Layout::of(&config)?;
//! assert_eq!(layout.arch, "phi3");
//! assert_eq!(layout.tensors[0].source, "model.embed_tokens.weight");
//! # Ok::<(), phi_convert::ConvertError>(())
//! ```

#![forbid(unsafe_code)]

mod arch;
mod card;
mod config;
mod error;
mod file;
mod generation;
mod importance;
mod known;
mod model;
mod random;
mod recipe;
mod rows;
pub mod safetensors;
mod shards;
mod synthetic;
mod title;
mod tokenizer;

pub use arch::{Layout, Values, Want};
pub use config::{Config, Longrope, Rope};
pub use error::{ConvertError, Problem, Warning};
pub use importance::Importance;
pub use known::{Known, factors};
pub use model::{Model, Options, Tensor};
pub use recipe::{Choice, Facts, FileType, Item, Recipe, Rule, file_order};
pub use rows::Rows;
pub use synthetic::{Synthetic, SyntheticOptions, Vocabulary};

/// The two tensors that a tied model has in one.
const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

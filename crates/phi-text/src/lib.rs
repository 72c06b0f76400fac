//! Text ↔ tokens.
//!
//! * [`Tokenizer`]: a file's vocabulary, checked, and its two ways: byte-level pairs with merges (`gpt2`: Phi-1, 2, 4,
//!   4-mini, 3-small) and SentencePiece pairs with scores (`llama`: Phi-3, 3.5). Ordinary text runs through the
//!   `tokenizers` crate; special tokens are found before it, because only some of a prompt may hold them.
//! * [`ChatTemplate`]: a file's chat template, run with limits, and [`Rendered`]: what it made, with every message's
//!   content known for what it is. Text that somebody typed never becomes a control token.
//! * [`Utf8Stream`]: bytes of tokens in, whole characters out; [`Sections`]: an answer in, its thinking, calls of tools
//!   and words out.
//! * [`Tools`] and [`tool_calls`]: what a model may call, and what it called.
//! * [`pre`]: how texts are cut into words; [`alphabet`]: bytes as printable characters; [`stops`]: where answers end.
//!
//! This crate does not know what a model is, nor which token comes next.
//!
//! ```
//! use phi_gguf::{Blueprint, Header, Strings};
//! use phi_text::{Special, Tokenizer, alphabet};
//!
//! let mut file = Blueprint::new();
//! let bytes = (0..=255).map(|byte| alphabet::char_of(byte).to_string());
//! file.set("tokenizer.ggml.model", "gpt2");
//! file.set("tokenizer.ggml.pre", "dbrx");
//! file.set("tokenizer.ggml.tokens", bytes.chain(["hi".into(), "<|end|>".into()]).collect::<Strings>());
//! file.set("tokenizer.ggml.token_type", [vec![1; 257], vec![3]].concat());
//! file.set("tokenizer.ggml.merges", ["h i"].iter().collect::<Strings>());
//!
//! let header = Header::parse(&file.header_bytes())?;
//! let tokenizer = Tokenizer::from_metadata(&header.metadata, None)?;
//! let ids = tokenizer.encode("hi<|end|>", Special::Parse);
//! assert_eq!(ids.iter().map(|id| id.0).collect::<Vec<_>>(), [256, 257]);
//! assert_eq!(tokenizer.encode("hi<|end|>", Special::Plain).len(), 8);
//! assert_eq!(tokenizer.decode(&ids, false), "hi");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

pub mod alphabet;
mod bpe;
mod clock;
mod error;
mod lint;
pub mod pre;
mod sandbox;
mod sections;
mod special;
mod spm;
pub mod stops;
mod template;
mod tokenizer;
mod tools;
mod utf8;
mod vocab;

pub use error::{CallProblem, Place, Position, TextError, TextWarning};
pub use pre::{Pre, recognise};
pub use sections::{Section, Sections};
pub use template::{ChatTemplate, Message, Note, Rendered};
pub use tokenizer::{Span, Special, Tokenizer};
pub use tools::{ToolCall, Tools, tool_calls};
pub use utf8::Utf8Stream;
pub use vocab::TokenKind;

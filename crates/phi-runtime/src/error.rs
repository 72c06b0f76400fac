use std::sync::Arc;

use phi_gguf::GgufError;
use phi_kernels::NoThreads;
use phi_memory::OutOfMemory;
use phi_model::ModelError;
use phi_tensor::{DType, TokenId};
use phi_text::TextError;

use crate::perplexity::BaseError;

/// Why a model could not be opened or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is no sound GGUF.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The file is no model we can run.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Its tokenizer or chat template is unsound.
    #[error(transparent)]
    Text(Arc<TextError>),
    /// The file has no vocabulary, and text is needed.
    #[error("tokenizer.ggml.model: \"no_vocab\": this file has no vocabulary, so it can only be given token ids")]
    NoVocabulary,
    /// The file has no chat template, and one is needed.
    #[error("tokenizer.chat_template: missing")]
    NoTemplate,
    /// A buffer of the plan does not fit.
    #[error("cannot start a session")]
    Memory(#[from] OutOfMemory),
    /// The threads would not start.
    #[error(transparent)]
    Threads(#[from] NoThreads),
    /// A type that a cache cannot have.
    #[error(
        "KV cache type {dtype} is not supported (supported: F32, F16, Q8_0, Q4_0 where 32 divides a head of {head_dim})"
    )]
    KvType {
        /// The type asked for.
        dtype: DType,
        /// The model's head size.
        head_dim: usize,
    },
    /// More tokens than the context holds.
    #[error("{needed} tokens do not fit a context of {n_ctx}")]
    ContextFull {
        /// Positions needed.
        needed: usize,
        /// Positions planned.
        n_ctx: usize,
    },
    /// A token outside the vocabulary.
    #[error("token {token} is not in the vocabulary of {n_vocab}")]
    UnknownToken {
        /// The token.
        token: TokenId,
        /// Entries of the vocabulary.
        n_vocab: usize,
    },
    /// The model computed something that is not a number.
    #[error("non-finite logits at position {position}: a weight or a hyper-parameter of this file is broken")]
    NonFinite {
        /// Position of the token whose logits they are.
        position: usize,
    },
    /// Chunks in which no token would be scored.
    #[error("chunks of {n_ctx} tokens are too short: a perplexity takes at least {min}")]
    ChunkTooShort {
        /// Tokens of a chunk.
        n_ctx: usize,
        /// The fewest.
        min: usize,
    },
    /// A text that does not fill two chunks.
    #[error("the text has {tokens} tokens, and a perplexity over chunks of {n_ctx} takes at least {}", 2 * .n_ctx)]
    TextTooShort {
        /// Tokens of the text.
        tokens: usize,
        /// Tokens of a chunk.
        n_ctx: usize,
    },
    /// A base could not be read or written.
    #[error(transparent)]
    Base(#[from] BaseError),
    /// Whoever watched asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl From<TextError> for Error {
    fn from(error: TextError) -> Error {
        Error::Text(Arc::new(error))
    }
}

use std::num::NonZeroUsize;

use phi_tensor::TokenId;
use phi_text::Special;

use super::BaseReader;
use crate::{Error, Text};

/// The fewest tokens of a chunk: one of context, one before the scored one, and that one.
const MIN_CTX: usize = 3;

/// A text, cut into chunks of `n_ctx` tokens. What is left over at its end is not used.
#[derive(Clone, Debug)]
pub struct Chunks {
    tokens: Vec<TokenId>,
    n_ctx: usize,
    bos: Option<TokenId>,
}

/// One chunk, ready to be computed.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Its tokens; the first is BOS where the file asks for one.
    pub(crate) tokens: Vec<TokenId>,
    /// The first position whose logits are scored.
    pub(crate) first: usize,
    pub(crate) index: usize,
}

impl Chunks {
    /// Tokenizes a text, as a whole, and cuts it: at most `limit` chunks. A text must fill two of them, or its figure would
    /// say little.
    pub fn new(
        text: &Text,
        words: &str,
        special: Special,
        n_ctx: usize,
        limit: Option<NonZeroUsize>,
    ) -> Result<Chunks, Error> {
        if n_ctx < MIN_CTX {
            return Err(Error::ChunkTooShort { n_ctx, min: MIN_CTX });
        }
        let mut tokens = text.raw(words, special).tokens;
        if tokens.len() / 2 < n_ctx {
            return Err(Error::TextTooShort { tokens: tokens.len(), n_ctx });
        }
        let n = (tokens.len() / n_ctx).min(limit.map_or(usize::MAX, NonZeroUsize::get));
        tokens.truncate(n * n_ctx);
        Ok(Chunks { tokens, n_ctx, bos: bos(text) })
    }

    /// The chunks that a base was made of.
    pub fn of_base(text: &Text, base: &BaseReader) -> Chunks {
        Chunks { tokens: base.tokens().to_vec(), n_ctx: base.n_ctx(), bos: bos(text) }
    }

    /// Tokens of a chunk.
    pub fn n_ctx(&self) -> usize {
        self.n_ctx
    }

    /// Number of chunks: at least one.
    #[allow(clippy::len_without_is_empty, reason = "there is no empty list of chunks")]
    pub fn len(&self) -> usize {
        self.tokens.len() / self.n_ctx
    }

    /// Tokens of each chunk that are scored.
    pub fn scored(&self) -> usize {
        scored(self.n_ctx)
    }

    /// The text's tokens, chunk after chunk, as the tokenizer gave them.
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// The chunks, in the order of the text.
    pub fn iter(&self) -> impl Iterator<Item = Chunk> {
        self.tokens.chunks_exact(self.n_ctx).enumerate().map(|(index, tokens)| {
            let mut tokens = tokens.to_vec();
            if let Some(bos) = self.bos {
                tokens[0] = bos;
            }
            Chunk { tokens, first: self.n_ctx / 2, index }
        })
    }
}

impl Chunk {
    /// Which chunk of the text it is, counted from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Tokens that are scored.
    pub fn scored(&self) -> usize {
        scored(self.tokens.len())
    }
}

/// The logits of positions `n_ctx / 2` to `n_ctx − 2` are scored, by the tokens behind them.
pub(super) fn scored(n_ctx: usize) -> usize {
    (n_ctx - n_ctx / 2).saturating_sub(1)
}

fn bos(text: &Text) -> Option<TokenId> {
    text.tokenizer().bos().filter(|_| text.tokenizer().add_bos())
}

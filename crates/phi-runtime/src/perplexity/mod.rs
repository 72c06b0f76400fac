//! How well a model predicts a text, and how far it is from another model.
//!
//! A text is tokenized once and cut into [`Chunks`] of `n_ctx` tokens. Each is computed from nothing, and of each only the
//! second half is scored, so that every scored token has a context:
//!
//! ```text
//! nll_i = −log p(token_i | tokens of its chunk before it)      PPL = exp(mean_i nll_i)
//! ```
//!
//! [`Perplexity`] is that figure. A *base* is a file with the distributions themselves: [`BaseWriter`] saves one,
//! and [`Divergence`] compares another model with it, token by token, without the first model being there. Chunks, scores
//! and file are those of llama-perplexity, so that its figures and bases are comparable with ours.
//!
//! Rows of logits are scored on the session's threads, and added up in the order of the text: the figures do not depend on
//! how many threads there are. Memory is that of the session's plan, which holds the logits of one batch.

mod base;
mod chunks;
mod divergence;
mod softmax;
mod stats;

use std::ops::ControlFlow;

use phi_kernels::Kernels;
use phi_tensor::TokenId;

pub(crate) use base::record_bytes;
pub use base::{BaseError, BaseProblem, BaseReader, BaseWriter};
pub use chunks::{Chunk, Chunks};
pub use divergence::Divergence;
pub use stats::{Distribution, Estimate};

use crate::session::Scored;
use crate::{Error, Progress, Session};
use softmax::LogSoftmax;
use stats::Moments;

/// The perplexity of a model on the chunks so far.
#[derive(Clone, Default, Debug)]
pub struct Perplexity {
    nll: Moments,
}

impl Perplexity {
    /// Scores a chunk; `watch` sees the progress before each batch and may stop it. A chunk that was not finished does not
    /// count.
    pub fn add(
        &mut self,
        session: &mut Session<'_>,
        chunk: &Chunk,
        watch: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let mut nlls = Vec::with_capacity(chunk.scored());
        each_batch(session, chunk, watch, |batch, targets| {
            let rows = batch.logits.chunks_exact(batch.n_vocab).zip(targets);
            nlls.extend(scores(batch.kernels, rows, |(logits, target)| LogSoftmax::of(logits).nll(*target)));
            Ok(())
        })?;
        self.nll.extend(nlls);
        Ok(())
    }

    /// Scores a chunk as [`Perplexity::add`] does, and saves its distributions.
    ///
    /// # Panics
    /// When the session was planned without records.
    pub fn add_saving(
        &mut self,
        session: &mut Session<'_>,
        chunk: &Chunk,
        base: &mut BaseWriter,
        watch: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let mut nlls = Vec::with_capacity(chunk.scored());
        each_batch(session, chunk, watch, |batch, targets| {
            let record_bytes = record_bytes(batch.n_vocab);
            let records =
                &mut batch.records.expect("the session was planned with records")[..targets.len() * record_bytes];
            let score = |((logits, target), record): ((&[f32], &TokenId), &mut [u8])| {
                let row = LogSoftmax::of(logits);
                row.pack(record);
                row.nll(*target)
            };
            let rows = batch.logits.chunks_exact(batch.n_vocab).zip(targets);
            nlls.extend(scores(batch.kernels, rows.zip(records.chunks_exact_mut(record_bytes)), score));
            Ok(base.write(records)?)
        })?;
        self.nll.extend(nlls);
        Ok(())
    }

    /// Tokens scored.
    pub fn tokens(&self) -> usize {
        self.nll.len()
    }

    /// Mean of `−log p` of the tokens, in nats.
    pub fn nll(&self) -> Estimate {
        self.nll.mean()
    }

    /// The perplexity.
    pub fn ppl(&self) -> Estimate {
        self.nll.mean().exp()
    }
}

/// Computes a chunk from nothing, and hands over each batch that has tokens to score, with those tokens: row `i` of its
/// logits predicts target `i`. The last row of a chunk predicts what the chunk no longer holds, and has no target.
fn each_batch(
    session: &mut Session<'_>,
    chunk: &Chunk,
    watch: impl FnMut(Progress) -> ControlFlow<()>,
    mut each: impl FnMut(Scored<'_>, &[TokenId]) -> Result<(), Error>,
) -> Result<(), Error> {
    session.rewind(0);
    session.score(&chunk.tokens, chunk.first, watch, |batch| {
        let targets = &chunk.tokens[batch.first + 1..];
        let n = batch.logits.len() / batch.n_vocab;
        each(batch, &targets[..n.min(targets.len())])
    })
}

/// What `score` says of each row, in their order, computed on the kernels' threads.
fn scores<R: Send, T: Send>(
    kernels: &Kernels,
    rows: impl Iterator<Item = R>,
    score: impl Fn(R) -> T + Sync,
) -> impl Iterator<Item = T> {
    let mut slots: Vec<(Option<R>, Option<T>)> = rows.map(|row| (Some(row), None)).collect();
    kernels.for_each(&mut slots, |(row, said)| *said = row.take().map(&score));
    slots.into_iter().filter_map(|(_, said)| said)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::thread;

    use phi_kernels::Isa;

    use super::*;

    #[test]
    fn rows_are_scored_in_their_order_on_the_threads_that_were_asked_for() {
        for threads in 1..=3 {
            let kernels = Kernels::new(Isa::Scalar, threads).unwrap();
            let said: Vec<_> = scores(&kernels, 0..1000, |row| (row, thread::current().id())).collect();
            assert!(said.iter().map(|(row, _)| *row).eq(0..1000));
            let on: HashSet<_> = said.iter().map(|(_, thread)| *thread).collect();
            assert!((1..=threads).contains(&on.len()), "{} threads instead of {threads}", on.len());
            assert!(threads > 1 || on.contains(&thread::current().id()));
        }
    }
}

use std::ops::ControlFlow;

use phi_tensor::TokenId;

use super::softmax::{LogSoftmax, Record};
use super::stats::Moments;
use super::{BaseReader, Chunk, Distribution, Estimate, each_batch, record_bytes, scores};
use crate::{Error, Progress, Session};

/// How far a model, `q`, is from a base, `p`, on the chunks so far.
#[derive(Clone, Default, Debug)]
pub struct Divergence {
    nll: Moments,
    nll_base: Moments,
    /// Sum of the products of both.
    nll_products: f64,
    kld: Moments,
    p_diff: Moments,
    /// Of the squares of the differences.
    p_diff2: Moments,
    same_top: usize,
    klds: Vec<f32>,
    p_diffs: Vec<f32>,
}

impl Divergence {
    /// Compares a chunk with the base's; `watch` sees the progress before each batch and may stop it. A chunk that was not
    /// finished does not count.
    ///
    /// # Panics
    /// When the session was planned without records.
    pub fn add(
        &mut self,
        session: &mut Session<'_>,
        chunk: &Chunk,
        base: &mut BaseReader,
        watch: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let mut comparisons = Vec::with_capacity(chunk.scored());
        base.start(chunk)?;
        each_batch(session, chunk, watch, |batch, targets| {
            let record_bytes = record_bytes(batch.n_vocab);
            let records =
                &mut batch.records.expect("the session was planned with records")[..targets.len() * record_bytes];
            base.read(records)?;
            let compare = |((logits, target), record): ((&[f32], &TokenId), &[u8])| {
                LogSoftmax::of(logits).compare(&Record::of(record), *target)
            };
            let rows = batch.logits.chunks_exact(batch.n_vocab).zip(targets);
            comparisons.extend(scores(batch.kernels, rows.zip(records.chunks_exact(record_bytes)), compare));
            Ok(())
        })?;
        for c in comparisons {
            let p_diff = (-c.nll).exp() - (-c.nll_base).exp();
            self.nll.push(c.nll);
            self.nll_base.push(c.nll_base);
            self.nll_products += c.nll * c.nll_base;
            self.kld.push(c.kld);
            self.p_diff.push(p_diff);
            self.p_diff2.push(p_diff * p_diff);
            self.same_top += usize::from(c.same_top);
            self.klds.push(c.kld as f32);
            self.p_diffs.push(p_diff as f32);
        }
        Ok(())
    }

    /// Tokens compared.
    pub fn tokens(&self) -> usize {
        self.kld.len()
    }

    /// Perplexity of the model.
    pub fn ppl(&self) -> Estimate {
        self.nll.mean().exp()
    }

    /// Perplexity of the base.
    pub fn ppl_base(&self) -> Estimate {
        self.nll_base.mean().exp()
    }

    /// Correlation of both models' `log p` of the tokens, from −1 to 1.
    pub fn correlation(&self) -> f64 {
        let errors = self.nll.mean().error * self.nll_base.mean().error;
        if errors > 0.0 { self.covariance() / errors } else { 0.0 }
    }

    /// `ln(PPL(q) / PPL(p))`
    pub fn ln_ratio(&self) -> Estimate {
        self.nll.mean().minus(self.nll_base.mean(), self.covariance())
    }

    /// `PPL(q) / PPL(p)`
    pub fn ratio(&self) -> Estimate {
        self.ln_ratio().exp()
    }

    /// `PPL(q) − PPL(p)`
    pub fn difference(&self) -> Estimate {
        let (ppl, base) = (self.ppl(), self.ppl_base());
        ppl.minus(base, ppl.value * base.value * self.covariance())
    }

    /// Mean over the tokens of `Σ_i p[i] · (log p[i] − log q[i])`.
    pub fn kld(&self) -> Estimate {
        self.kld.mean()
    }

    /// That of each token.
    pub fn klds(&self) -> Distribution {
        Distribution::of(&self.klds)
    }

    /// Mean of `q − p` of the tokens.
    pub fn p_diff(&self) -> Estimate {
        self.p_diff.mean()
    }

    /// Root of the mean square of `q − p` of the tokens.
    pub fn p_diff_rms(&self) -> Estimate {
        self.p_diff2.mean().sqrt()
    }

    /// `q − p` of each token.
    pub fn p_diffs(&self) -> Distribution {
        Distribution::of(&self.p_diffs)
    }

    /// How often both models find the same token most likely, from 0 to 1.
    pub fn same_top(&self) -> Estimate {
        let n = self.tokens() as f64;
        let value = self.same_top as f64 / n.max(1.0);
        let error = if n > 1.0 { (value * (1.0 - value) / (n - 1.0)).sqrt() } else { 0.0 };
        Estimate { value, error }
    }

    fn covariance(&self) -> f64 {
        self.nll.covariance(&self.nll_base, self.nll_products)
    }
}

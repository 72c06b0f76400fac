use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use phi_kernels::Kernels;
use phi_memory::{Buffer, Live};
use phi_model::{Factors, Pass, State, forward};
use phi_tensor::TokenId;

use crate::{Engine, Error, FactorChoice, Generation, Sampler};

/// The buffers of a run, and the tokens so far.
pub struct Session<'e> {
    engine: &'e Engine,
    kernels: Kernels,
    state: State<Live>,
    /// Room for the records of a base, a batch of them.
    records: Option<Buffer<u8>>,
    choice: FactorChoice,
    /// The sequence, and room for what may follow.
    tokens: Buffer<TokenId>,
    /// Tokens of the sequence.
    len: usize,
    /// How many of its tokens the caches hold, computed with `factors`.
    cached: usize,
    /// How many they held at most since the first was last computed: rings still hold the last of these.
    written: usize,
    factors: Factors,
    /// Tokens computed since the beginning, those computed again included.
    computed: usize,
    prompt: Tally,
    generated: Tally,
    n_generated: usize,
}

/// Tokens computed, and the time they took.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub struct Tally {
    /// Tokens.
    pub tokens: usize,
    /// Time.
    pub time: Duration,
}

impl Tally {
    /// Tokens a second.
    pub fn rate(&self) -> f64 {
        self.tokens as f64 / self.time.as_secs_f64().max(1e-9)
    }
}

/// How far a prompt is computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Tokens in the caches.
    pub done: usize,
    /// Tokens of the sequence.
    pub total: usize,
    /// Whether earlier tokens are computed again: the sequence outgrew the original context, or what a window needs of them
    /// is gone.
    pub recomputing: bool,
}

/// A batch whose logits are to be scored.
pub(crate) struct Scored<'a> {
    /// Position of the first token with logits.
    pub(crate) first: usize,
    /// Logits, `[positions, n_vocab]`.
    pub(crate) logits: &'a [f32],
    pub(crate) n_vocab: usize,
    /// Room for the records of a base, for at least as many positions, where it was planned.
    pub(crate) records: Option<&'a mut [u8]>,
    /// What computed them.
    pub(crate) kernels: &'a Kernels,
}

impl<'e> Session<'e> {
    pub(crate) fn new(
        engine: &'e Engine,
        kernels: Kernels,
        state: State<Live>,
        records: Option<Buffer<u8>>,
        tokens: Buffer<TokenId>,
        choice: FactorChoice,
    ) -> Self {
        let (prompt, generated) = (Tally::default(), Tally::default());
        Session {
            engine,
            kernels,
            state,
            records,
            choice,
            tokens,
            len: 0,
            cached: 0,
            written: 0,
            factors: Factors::Short,
            computed: 0,
            prompt,
            generated,
            n_generated: 0,
        }
    }

    /// The engine it runs on.
    pub fn engine(&self) -> &'e Engine {
        self.engine
    }

    /// The sequence so far.
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens[..self.len]
    }

    /// Positions of the context.
    pub fn n_ctx(&self) -> usize {
        self.state.sizes.n_ctx
    }

    /// Prompt tokens computed, and the time they took.
    pub fn prompt_tally(&self) -> Tally {
        self.prompt
    }

    /// Tokens generated. The last is not computed before another is asked for.
    pub fn n_generated(&self) -> usize {
        self.n_generated
    }

    pub(crate) fn count_generated(&mut self) {
        self.n_generated += 1;
    }

    /// Generated tokens computed, and the time they took.
    pub fn generated_tally(&self) -> Tally {
        self.generated
    }

    /// Starts to count anew.
    pub fn reset_tallies(&mut self) {
        (self.prompt, self.generated, self.n_generated) = (Tally::default(), Tally::default(), 0);
    }

    /// Appends a prompt and computes it.
    pub fn prefill(&mut self, prompt: &[TokenId]) -> Result<(), Error> {
        self.prefill_watched(prompt, |_| ControlFlow::Continue(()))
    }

    /// Appends a prompt and computes it; `watch` sees the progress before each batch and may stop it.
    ///
    /// When stopped, the sequence ends with the last token computed.
    pub fn prefill_watched(
        &mut self,
        prompt: &[TokenId],
        watch: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let start = Instant::now();
        let before = self.computed;
        let result = self.push(prompt, watch);
        self.prompt.tokens += self.computed - before;
        self.prompt.time += start.elapsed();
        result
    }

    /// Makes `tokens` the sequence: keeps what it has in common with the present one, computes the rest. The last token
    /// is always computed, for its logits.
    pub fn sync(&mut self, tokens: &[TokenId], watch: impl FnMut(Progress) -> ControlFlow<()>) -> Result<(), Error> {
        let common = self.tokens().iter().zip(tokens).take_while(|(a, b)| a == b).count();
        let keep = common.min(tokens.len().saturating_sub(1)).min(self.cached);
        self.rewind(keep);
        self.prefill_watched(&tokens[keep..], watch)
    }

    /// Forgets all but the first `len` tokens. What caches no longer hold of those is computed again with the next prompt,
    /// be it empty.
    pub fn rewind(&mut self, len: usize) {
        self.len = self.len.min(len);
        if self.len < self.cached {
            self.cached = self.len;
            if !self.engine.decoder().keeps(self.cached, self.written, self.state.sizes) {
                self.forget();
            }
        }
    }

    /// The caches hold nothing.
    fn forget(&mut self) {
        (self.cached, self.written) = (0, 0);
    }

    /// The tokens that follow, as `sampler` picks them: at most `limit`, up to a stop token or the end of the context.
    pub fn generate(&mut self, sampler: Sampler, limit: usize) -> Generation<'_, 'e> {
        Generation::new(self, sampler, limit)
    }

    /// Logits of every position of a prompt, `[tokens, n_vocab]`, one batch at a time. The plan must keep all logits.
    pub fn logits_of(&mut self, prompt: &[TokenId], mut each: impl FnMut(&[f32])) -> Result<(), Error> {
        self.append(prompt)?;
        while self.cached < self.len {
            let n = self.state.sizes.n_batch.min(self.len - self.cached);
            each(self.step(n, n)?);
        }
        Ok(())
    }

    /// Appends tokens and computes them; `each` gets the logits of the positions from `first` on, one batch at a time, and
    /// `watch` sees the progress before each batch and may stop it. The plan must keep all logits.
    pub(crate) fn score(
        &mut self,
        tokens: &[TokenId],
        first: usize,
        mut watch: impl FnMut(Progress) -> ControlFlow<()>,
        mut each: impl FnMut(Scored<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let recomputing = self.append(tokens)?;
        while self.cached < self.len {
            let start = Instant::now();
            let (done, total) = (self.cached, self.len);
            if watch(Progress { done, total, recomputing }).is_break() {
                self.len = done;
                return Err(Error::Interrupted);
            }
            let n = self.state.sizes.n_batch.min(total - done);
            let n_logits = (done + n).saturating_sub(first).min(n);
            self.step(n, n_logits)?;
            if n_logits > 0 {
                let n_vocab = self.engine.decoder().n_vocab;
                each(Scored {
                    first: done + n - n_logits,
                    logits: &self.state.scratch.logits[..n_logits * n_vocab],
                    n_vocab,
                    records: self.records.as_deref_mut(),
                    kernels: &self.kernels,
                })?;
            }
            self.prompt.tokens += n;
            self.prompt.time += start.elapsed();
        }
        Ok(())
    }

    /// The logits of the last token. Valid after a prompt or a token was computed.
    pub(crate) fn logits(&self) -> &[f32] {
        &self.state.scratch.logits[..self.engine.decoder().n_vocab]
    }

    /// Appends one generated token and computes it.
    pub(crate) fn advance(&mut self, token: TokenId) -> Result<(), Error> {
        let start = Instant::now();
        self.push(&[token], |_| ControlFlow::Continue(()))?;
        self.generated.tokens += 1;
        self.generated.time += start.elapsed();
        Ok(())
    }

    fn push(&mut self, tokens: &[TokenId], mut watch: impl FnMut(Progress) -> ControlFlow<()>) -> Result<(), Error> {
        let recomputing = self.append(tokens)?;
        while self.cached < self.len {
            let progress = Progress { done: self.cached, total: self.len, recomputing };
            if watch(progress).is_break() {
                self.len = self.cached;
                return Err(Error::Interrupted);
            }
            let n = self.state.sizes.n_batch.min(self.len - self.cached);
            let n_logits = usize::from(self.cached + n == self.len);
            self.step(n, n_logits)?;
        }
        Ok(())
    }

    /// Checks and appends tokens. True when some before them must be computed again: past the original context a model
    /// with longrope turns *all* positions by other angles, and from the second layer on the cached keys and values
    /// come from hidden states that saw the old ones. Rotating the keys again would not be enough.
    fn append(&mut self, tokens: &[TokenId]) -> Result<bool, Error> {
        let n_vocab = self.engine.decoder().n_vocab;
        if let Some(&token) = tokens.iter().find(|token| token.index() >= n_vocab) {
            return Err(Error::UnknownToken { token, n_vocab });
        }
        let (needed, n_ctx) = (self.len + tokens.len(), self.n_ctx());
        if needed > n_ctx {
            return Err(Error::ContextFull { needed, n_ctx });
        }
        self.tokens[self.len..needed].copy_from_slice(tokens);
        let before = self.len;
        self.len = needed;
        let factors = match self.choice {
            FactorChoice::Auto => self.engine.decoder().rope.factors_for(self.len),
            FactorChoice::Always(factors) => factors,
        };
        if factors != self.factors {
            self.forget();
        }
        self.factors = factors;
        Ok(self.cached < before)
    }

    /// Computes the next `n` tokens, and the logits of the last `n_logits` of them.
    fn step(&mut self, n: usize, n_logits: usize) -> Result<&[f32], Error> {
        let tokens = &self.tokens[self.cached..self.cached + n];
        let pass = Pass { tokens, first: self.cached, factors: self.factors, n_logits };
        let n_vocab = self.engine.decoder().n_vocab;
        let (model, state, kernels) = (self.engine.model(), &mut self.state, &self.kernels);
        let logits = forward(model, state, kernels, pass);
        let position = self.cached + n - n_logits;
        self.cached += n;
        self.written = self.written.max(self.cached);
        self.computed += n;
        match logits.chunks_exact(n_vocab).position(|row| row.iter().any(|x| !x.is_finite())) {
            Some(row) => Err(Error::NonFinite { position: position + row }),
            None => Ok(logits),
        }
    }
}

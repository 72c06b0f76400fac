use phi_runtime::{DType, Plan, RunOptions};

use crate::{Error, Quant, Subject, Weights};

/// A run that somebody has in mind.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Types of the weights.
    pub quant: Quant,
    /// Context, batch, types of the cache, threads.
    pub run: RunOptions,
    /// Conversations at the same time, each with a cache of its own.
    pub sequences: usize,
}

impl Asked {
    /// The usual run of weights of these types.
    pub fn new(quant: Quant) -> Asked {
        Asked { quant, run: RunOptions::default(), sequences: 1 }
    }

    /// The same with keys and values of this type.
    pub fn with_kv(&self, dtype: DType) -> Asked {
        Asked { run: RunOptions { k_type: dtype, v_type: dtype, ..self.run.clone() }, ..self.clone() }
    }

    /// The same with a context of this length.
    pub fn with_ctx(&self, n_ctx: usize) -> Asked {
        Asked { run: RunOptions { n_ctx: Some(n_ctx), ..self.run.clone() }, ..self.clone() }
    }

    /// The same with batches of this many tokens.
    pub fn with_batch(&self, n_batch: usize) -> Asked {
        Asked { run: RunOptions { n_batch, ..self.run.clone() }, ..self.clone() }
    }

    /// The same with weights of other types.
    pub fn with_quant(&self, quant: Quant) -> Asked {
        Asked { quant, ..self.clone() }
    }
}

/// What a run takes, in bytes.
pub struct Need {
    /// Weights: mapped from the file, which the system may drop and read again.
    pub weights: u64,
    /// Keys and values of a full context, of all sequences; the pages come as tokens do.
    pub kv: u64,
    /// What a batch is computed in.
    pub compute: u64,
    /// What lies outside the plan: the program, its threads, the tokenizer.
    pub base: u64,
    /// Positions of the context.
    pub n_ctx: usize,
    /// Weights by part.
    pub parts: Weights,
    /// Bytes that one more position takes.
    pub kv_per_token: u64,
    /// Every buffer of a session.
    pub plan: Plan,
}

impl Need {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights.saturating_add(self.anonymous())
    }

    /// What only swapping could take away.
    pub fn anonymous(&self) -> u64 {
        self.kv.saturating_add(self.compute).saturating_add(self.base)
    }

    /// Before the first token: the cache is there, but its pages are not.
    pub fn at_start(&self) -> u64 {
        self.total() - self.kv
    }

    /// What a token reads at the end of the context: all weights, but of an embedding that is not the head one row, and of
    /// experts those that it uses; and the cache of one sequence.
    pub fn token_bytes(&self) -> u64 {
        let unread = if self.parts.tied { 0 } else { self.parts.embedding };
        self.weights - self.parts.idle - unread + self.kv_per_token * self.n_ctx as u64
    }

    /// Whether it goes into so many bytes.
    pub fn verdict(&self, available: u64) -> Verdict {
        let total = u128::from(self.total());
        if total * 10 <= u128::from(available) * 9 {
            Verdict::Fits
        } else if total <= u128::from(available) {
            Verdict::Tight
        } else if self.anonymous() <= available {
            Verdict::Slow
        } else {
            Verdict::No
        }
    }
}

/// Whether it fits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    /// In nine tenths of what is available.
    Fits,
    /// In what is available.
    Tight,
    /// All but the weights does: they are read again and again, at the speed of the disk.
    Slow,
    /// Not.
    No,
}

impl Verdict {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Fits => "fits",
            Verdict::Tight => "tight",
            Verdict::Slow => "slow",
            Verdict::No => "no",
        }
    }
}

/// What there is.
#[derive(Clone, PartialEq, Debug)]
pub struct Budget {
    /// Memory that a program may take.
    pub bytes: u64,
    /// Who says so.
    pub from: String,
    /// Bytes a second that the processor reads, where known.
    pub bandwidth: Option<f64>,
}

impl Subject {
    /// What a run takes. The buffers are those of the plan that a session would allocate.
    pub fn need(&self, asked: &Asked) -> Result<Need, Error> {
        let parts = self.weights(asked.quant);
        let plan = Plan::of(&self.decoder, parts.bytes, self.n_tokens, &asked.run)?;
        Ok(Need {
            weights: parts.bytes,
            kv: plan.kv_bytes().saturating_mul(asked.sequences.max(1) as u64),
            compute: plan.compute_bytes(),
            base: plan.base_bytes(),
            n_ctx: plan.n_ctx(),
            kv_per_token: plan.kv_bytes() / plan.n_ctx() as u64,
            parts,
            plan,
        })
    }
}

use phi_kernels::{Isa, ThreadRoom};
use phi_memory::{Planned, Row, Spec};
use phi_model::{Decoder, Factors, Sizes, State};
use phi_quant::codec;
use phi_tensor::{DType, TokenId};

use crate::Error;
use crate::perplexity::record_bytes;

/// What the user chooses about a run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Positions of the context; the trained length, at most 4096, when `None`.
    pub n_ctx: Option<usize>,
    /// Tokens computed together.
    pub n_batch: usize,
    /// Keep the logits of every token of a batch, not only of the last.
    pub all_logits: bool,
    /// Keep room for what a [base](crate::perplexity) says of every token of a batch.
    pub base_records: bool,
    /// Type of cached keys.
    pub k_type: DType,
    /// Type of cached values.
    pub v_type: DType,
    /// Threads.
    pub threads: usize,
    /// Instruction set.
    pub isa: Isa,
    /// Which longrope factors to use.
    pub factors: FactorChoice,
}

impl Default for RunOptions {
    fn default() -> Self {
        RunOptions {
            n_ctx: None,
            n_batch: 512,
            all_logits: false,
            base_records: false,
            k_type: DType::F16,
            v_type: DType::F16,
            threads: 1,
            isa: Isa::detect(),
            factors: FactorChoice::Auto,
        }
    }
}

/// How longrope's factors are chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FactorChoice {
    /// By the length of the sequence, as the models were trained.
    #[default]
    Auto,
    /// One list, whatever the length.
    Always(Factors),
}

/// A run, described: its sizes and every buffer. [`crate::Engine::session`] allocates exactly this.
pub struct Plan {
    pub(crate) state: State<Planned>,
    /// Records of a base, `[n_batch, record_bytes]`.
    pub(crate) records: Option<Spec<u8>>,
    /// The sequence, `[n_ctx]`.
    pub(crate) tokens: Spec<TokenId>,
    /// What each thread of the kernels works in.
    pub(crate) threads: Vec<Spec<ThreadRoom>>,
    pub(crate) options: RunOptions,
    weight_bytes: u64,
    n_tokens: usize,
}

/// What the program itself has resident: code that ran, stacks, what libraries keep. Measured, as is the next.
const PROGRAM_BYTES: u64 = 9 << 20;
/// What a tokenizer keeps for each word of its vocabulary.
const WORD_BYTES: u64 = 300;

/// Where no context is asked for, at most this: enough for a conversation, affordable everywhere.
const DEFAULT_CTX: usize = 4096;

impl Plan {
    /// Describes a run of a model with so many bytes of weights and a tokenizer of so many words. The model need not be
    /// there.
    pub fn of(decoder: &Decoder, weight_bytes: u64, n_tokens: usize, options: &RunOptions) -> Result<Plan, Error> {
        for dtype in [options.k_type, options.v_type] {
            let writable = codec(dtype).is_some_and(|codec| codec.encode.is_some());
            if !writable || !decoder.head_dim.is_multiple_of(dtype.block_len()) {
                return Err(Error::KvType { dtype, head_dim: decoder.head_dim });
            }
        }
        let n_ctx = match options.n_ctx {
            Some(0) => decoder.n_ctx_train,
            Some(n_ctx) => n_ctx,
            None => decoder.n_ctx_train.min(DEFAULT_CTX),
        };
        let n_batch = options.n_batch.clamp(1, n_ctx);
        let sizes = Sizes {
            n_ctx,
            n_batch,
            n_logits: if options.all_logits { n_batch } else { 1 },
            k_type: options.k_type,
            v_type: options.v_type,
        };
        let records = || Spec::new("records", &[n_batch, record_bytes(decoder.n_vocab)]);
        Ok(Plan {
            state: State::of(decoder, sizes),
            records: options.base_records.then(records),
            tokens: Spec::reserved("tokens", &[n_ctx]),
            threads: (0..options.threads.max(1)).map(|i| Spec::reserved(format!("thread.{i}"), &[1])).collect(),
            options: options.clone(),
            weight_bytes,
            n_tokens,
        })
    }

    /// Positions of the context.
    pub fn n_ctx(&self) -> usize {
        self.state.sizes.n_ctx
    }

    /// Every buffer, as rows of a table.
    pub fn rows(&self) -> Vec<Row> {
        let more = self.records.iter().map(Spec::row).chain([self.tokens.row()]);
        self.state.rows().into_iter().chain(more).chain(self.threads.iter().map(Spec::row)).collect()
    }

    /// Bytes of all buffers: what a session allocates.
    pub fn buffer_bytes(&self) -> u64 {
        self.rows().iter().fold(0, |sum, row| sum.saturating_add(row.bytes))
    }

    /// Bytes of keys and values when the context is full, and of what recurrences keep.
    pub fn kv_bytes(&self) -> u64 {
        self.state.kept().fold(0, |sum, row| sum.saturating_add(row.content_bytes()))
    }

    /// Bytes of what recurrences keep, whatever the context.
    pub fn recurrence_bytes(&self) -> u64 {
        let rows = self.state.recurrences.iter().flat_map(|layer| layer.rows());
        rows.fold(0, |sum, row| sum.saturating_add(row.content_bytes()))
    }

    /// Keys and values by how many positions their caches have rows for: so many, and the bytes of one, the longest caches
    /// first. Where there is no window it is one pair.
    pub fn caches(&self) -> Vec<(usize, u64)> {
        let mut caches: Vec<(usize, u64)> = Vec::new();
        for row in self.state.kv.iter().flat_map(|layer| layer.rows()) {
            let bytes = (row.dims[0] * row.dims[2]) as u64;
            match caches.iter_mut().find(|(n_rows, _)| *n_rows == row.dims[1]) {
                Some((_, sum)) => *sum += bytes,
                None => caches.push((row.dims[1], bytes)),
            }
        }
        caches.sort_unstable_by(|a, b| b.cmp(a));
        caches
    }

    /// Bytes of everything else that a session allocates, and of what aligns the buffers.
    pub fn compute_bytes(&self) -> u64 {
        self.buffer_bytes() - self.kv_bytes()
    }

    /// What lies outside the plan, estimated: the program, and its tokenizer.
    pub fn base_bytes(&self) -> u64 {
        PROGRAM_BYTES + WORD_BYTES * self.n_tokens as u64
    }

    /// Everything: weights, buffers, and what lies outside.
    pub fn total_bytes(&self) -> u64 {
        self.weight_bytes.saturating_add(self.buffer_bytes()).saturating_add(self.base_bytes())
    }

    /// Bytes of the weights: mapped from the file, which the system may drop and read again.
    pub fn weight_bytes(&self) -> u64 {
        self.weight_bytes
    }
}

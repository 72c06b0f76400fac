use phi_gguf::{Header, Limit, names};
use phi_kernels::{Attention, Blocks, MAX_HEAD_DIM};
use phi_tensor::{Role, TokenId};

use crate::{LongRope, ModelError, Rope, TensorProblem};

/// What a model is: sizes, and the variations between architectures as values.
#[derive(Clone, PartialEq, Debug)]
pub struct Decoder {
    /// The architecture's name, for messages.
    pub arch: &'static str,
    /// Vocabulary entries.
    pub n_vocab: usize,
    /// Width of the residual stream.
    pub n_embd: usize,
    /// Layers.
    pub n_layer: usize,
    /// Query heads.
    pub n_head: usize,
    /// Key and value heads.
    pub n_head_kv: usize,
    /// Values in a head.
    pub head_dim: usize,
    /// Width of the feed-forward.
    pub n_ff: usize,
    /// Positions the model was trained on.
    pub n_ctx_train: usize,
    /// `eps` of every norm.
    pub norm_eps: f32,
    /// Rotation of queries and keys.
    pub rope: Rope,
    /// Keys a query sees, itself included; all when `None`.
    pub window: Option<usize>,
    /// Where heads see only some blocks of keys.
    pub sparse: Option<Sparse>,
    /// Factors on what flows.
    pub scales: Scales,
    /// How query, key and value rows are stored.
    pub qkv: Qkv,
    /// Which norm, everywhere.
    pub norm: Norm,
    /// Whether attention and feed-forward follow each other.
    pub branches: Branches,
    /// What the feed-forward does between its matrices.
    pub feed_forward: FeedForward,
    /// Which matrices have biases.
    pub biases: Biases,
    /// Where the head's rows are.
    pub head: Head,
    /// Tokens that are never likely: their logits are the least there is.
    pub masked: Vec<TokenId>,
}

/// How query, key and value rows are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Qkv {
    /// One matrix: all query rows, all key rows, all value rows.
    Fused,
    /// Three matrices.
    Split,
}

/// Block-sparse attention, in some layers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sparse {
    /// Which blocks a head sees.
    pub blocks: Blocks,
    /// Every so many layers, one sees all keys: of 2, layers 1, 3, 5, …
    pub dense_interval: Option<usize>,
}

/// Factors on what flows.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Scales {
    /// On each value of an embedding.
    pub embedding: f32,
    /// On each score of attention.
    pub attention: f32,
    /// On each logit.
    pub logit: f32,
}

impl Scales {
    /// Those of most models: `1 / √head_dim` on scores, and no others.
    pub fn usual(head_dim: usize) -> Scales {
        Scales { embedding: 1.0, attention: 1.0 / (head_dim as f32).sqrt(), logit: 1.0 }
    }
}

/// Which norm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Norm {
    /// `x / √(mean x² + eps) · w`
    Rms,
    /// `(x − mean x) / √(var x + eps) · w + b`
    Layer,
}

/// Whether attention and feed-forward follow each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Branches {
    /// The feed-forward sees what attention added, through a norm of its own.
    InTurn,
    /// One norm feeds both, and both are added.
    Parallel,
}

/// What the feed-forward does between its matrices.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum FeedForward {
    /// `silu(gate) ⊙ up`
    Silu(GateUp),
    /// `gelu(up)`, as GPT-2 approximates it.
    Gelu,
    /// `gelu(gate) ⊙ (up + 1)`, both kept within `limit`, and `gelu` by a logistic function. Gate and up are one matrix.
    GeGelu {
        /// How far from 0 they may be, `gate` only above it.
        limit: f32,
    },
    /// `Σ_e share[e] · Wdown[e] · (silu(Wgate[e] · x) ⊙ Wup[e] · x)`, over the experts that a router picks for each token.
    Experts(Experts),
}

/// Experts, and how a router picks from them.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Experts {
    /// How many there are in a layer.
    pub n_expert: usize,
    /// Half of how far a score may be behind that of the one picked, in parts of the larger of the two, and still lower
    /// its share.
    pub jitter: f32,
}

impl Experts {
    /// Experts that a token uses.
    pub const USED: usize = 2;

    /// Of the bytes, or values, of all experts those that a token does not use.
    pub fn idle(&self, of_all: u64) -> u64 {
        let n = self.n_expert as u64;
        of_all / n * n.saturating_sub(Experts::USED as u64)
    }
}

/// Which matrices have biases.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Biases {
    /// None.
    None,
    /// All of the layers; experts have none.
    Layers,
    /// The head.
    Head,
    /// All of the layers, and the head.
    All,
}

/// How gate and up rows are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GateUp {
    /// One matrix: all gate rows, all up rows.
    Fused,
    /// Two matrices.
    Split,
}

/// Where the head's rows are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Head {
    /// They are the embedding's.
    Tied,
    /// A matrix of their own.
    Own,
}

/// What a model may ask for. Printed by the tools, and checked before anything is sized by it.
pub const LIMITS: &[Limit] = &[LAYERS, VOCABULARY, HEADS, EMBEDDING, FEED_FORWARD, HEAD_DIM, EXPERTS];

const LAYERS: Limit = Limit { item: "layers", max: 1024, why: "the family has up to 40" };
const VOCABULARY: Limit = Limit { item: "vocabulary", max: 1 << 20, why: "the family has up to 200 064" };
const HEADS: Limit = Limit { item: "heads", max: 1024, why: "the family has up to 40" };
const EMBEDDING: Limit = Limit { item: "embedding", max: 1 << 16, why: "the family has up to 5120" };
const FEED_FORWARD: Limit = Limit { item: "feed-forward", max: 1 << 20, why: "the family has up to 17 920" };
const HEAD_DIM: Limit = Limit { item: "head size", max: MAX_HEAD_DIM as u64, why: "the family has up to 128" };
const EXPERTS: Limit = Limit { item: "experts", max: 1024, why: "the family has up to 16" };

/// Window of the 4k models, whose first files do not say it.
const WINDOW_4K: usize = 2047;

impl Decoder {
    /// Width of the queries of one token.
    pub fn q_width(&self) -> usize {
        self.n_head * self.head_dim
    }

    /// Width of the keys, or the values, of one token.
    pub fn kv_width(&self) -> usize {
        self.n_head_kv * self.head_dim
    }

    /// Width of what is gated after it was made: where products are gated as they are made, nothing.
    pub fn up_width(&self) -> usize {
        match self.feed_forward {
            FeedForward::GeGelu { .. } => self.n_ff,
            FeedForward::Silu(_) | FeedForward::Gelu | FeedForward::Experts(_) => 0,
        }
    }

    /// The experts, where there are any.
    pub fn experts(&self) -> Option<Experts> {
        match self.feed_forward {
            FeedForward::Experts(experts) => Some(experts),
            FeedForward::Silu(_) | FeedForward::Gelu | FeedForward::GeGelu { .. } => None,
        }
    }

    /// The attention of a layer.
    pub fn attention(&self, layer: usize) -> Attention {
        let dense = |interval: usize| (layer + 1).is_multiple_of(interval);
        let sparse = self.sparse.filter(|sparse| !sparse.dense_interval.is_some_and(dense));
        Attention {
            n_head: self.n_head,
            n_head_kv: self.n_head_kv,
            head_dim: self.head_dim,
            scale: self.scales.attention,
            window: self.window,
            blocks: sparse.map(|sparse| sparse.blocks),
        }
    }
}

/// Reads the keys of one architecture, each checked where it is read. The keys follow GGUF's naming, `ARCH.…`.
pub(crate) struct Keys<'a> {
    pub(crate) arch: &'static str,
    pub(crate) header: &'a Header,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.arch)
    }

    pub(crate) fn has(&self, role: Role, layer: Option<usize>) -> bool {
        self.header.find(&names::name(role, layer)).is_some()
    }

    /// Query, key and value apart, as far as the first layer tells.
    pub(crate) fn qkv(&self) -> Qkv {
        if self.has(Role::AttnQ, Some(0)) { Qkv::Split } else { Qkv::Fused }
    }

    /// Gate and up apart, as far as the first layer tells.
    pub(crate) fn gate_up(&self) -> GateUp {
        if self.has(Role::FfnGate, Some(0)) { GateUp::Split } else { GateUp::Fused }
    }

    /// Biases of attention, as far as the first layer tells, and of the head.
    pub(crate) fn biases(&self) -> Biases {
        let attention = [Role::AttnQkvBias, Role::AttnQBias, Role::AttnKBias, Role::AttnVBias, Role::AttnOutputBias];
        let layers = attention.into_iter().any(|role| self.has(role, Some(0)));
        match (layers, self.has(Role::OutputBias, None)) {
            (true, true) => Biases::All,
            (true, false) => Biases::Layers,
            (false, true) => Biases::Head,
            (false, false) => Biases::None,
        }
    }

    /// A head that is there is used.
    pub(crate) fn head(&self) -> Head {
        if self.has(Role::Output, None) { Head::Own } else { Head::Tied }
    }

    /// Refuses a file with this tensor, which would make a difference.
    pub(crate) fn without(&self, role: Role, layer: Option<usize>) -> Result<(), ModelError> {
        let name = names::name(role, layer);
        match self.header.find(&name) {
            Some(info) => {
                let problem = TensorProblem::Unsupported { name, offset: info.entry_offset, arch: self.arch };
                Err(ModelError::Tensors(vec![problem]))
            }
            None => Ok(()),
        }
    }

    /// A text that may be absent.
    pub(crate) fn find_text(&self, name: &str) -> Result<Option<&str>, ModelError> {
        Ok(self.header.metadata.find::<&str>(&self.key(name))?)
    }

    pub(crate) fn wrong(&self, name: &str, got: impl ToString, want: impl Into<String>) -> ModelError {
        let key = self.key(name);
        ModelError::Value { offset: self.header.metadata.offset(&key), key, got: got.to_string(), want: want.into() }
    }

    /// A size that must be there, from 1 to the limit.
    pub(crate) fn size_below(&self, name: &str, limit: Limit) -> Result<usize, ModelError> {
        let size: usize = self.header.metadata.get(&self.key(name))?;
        self.check(name, size as u64, limit)
    }

    pub(crate) fn check(&self, name: &str, size: u64, limit: Limit) -> Result<usize, ModelError> {
        if size == 0 {
            return Err(self.wrong(name, 0, "must not be 0"));
        }
        if size > limit.max {
            return Err(self.wrong(name, size, format!("exceeds {}", limit.max)));
        }
        Ok(size as usize)
    }

    /// A size that may be absent, from 1 to the limit.
    fn find_size_below(&self, name: &str, limit: Limit) -> Result<Option<usize>, ModelError> {
        let size = self.header.metadata.find::<usize>(&self.key(name))?;
        size.map(|size| self.check(name, size as u64, limit)).transpose()
    }

    /// A count of positions that may be absent; 0 is a value of its own.
    pub(crate) fn find_positions(&self, name: &str) -> Result<Option<usize>, ModelError> {
        Ok(self.header.metadata.find::<usize>(&self.key(name))?)
    }

    pub(crate) fn context_length(&self) -> Result<usize, ModelError> {
        let limit = Limit { item: "context", max: u64::from(u32::MAX), why: "memory is the limit" };
        self.size_below("context_length", limit)
    }

    /// Layers. A file that has fewer tensors than layers has none of most, and all of those shall not be listed.
    pub(crate) fn block_count(&self) -> Result<usize, ModelError> {
        const NAME: &str = "block_count";
        let layers = self.size_below(NAME, LAYERS)?;
        let tensors = self.header.tensors.len();
        if layers > tensors.max(1) {
            return Err(self.wrong(NAME, layers, format!("the file has {tensors} tensors, fewer than layers")));
        }
        Ok(layers)
    }

    pub(crate) fn embedding_length(&self) -> Result<usize, ModelError> {
        self.size_below("embedding_length", EMBEDDING)
    }

    pub(crate) fn feed_forward_length(&self) -> Result<usize, ModelError> {
        self.size_below("feed_forward_length", FEED_FORWARD)
    }

    /// Keys that a query sees. 0 stands for all. Files from before the key existed lack it, and only the 4k models among
    /// them have a window.
    pub(crate) fn sliding_window(&self, n_ctx_train: usize, long_rope: bool) -> Result<Option<usize>, ModelError> {
        let stated = self.find_positions("attention.sliding_window")?;
        let of_4k = (n_ctx_train == 4096 && !long_rope).then_some(WINDOW_4K);
        Ok(stated.map_or(of_4k, |window| Some(window).filter(|&w| w > 0)))
    }

    /// Experts: enough to pick from, and as many picked as the router picks.
    pub(crate) fn expert_count(&self) -> Result<usize, ModelError> {
        const USED: &str = "expert_used_count";
        let n_expert = self.size_below("expert_count", EXPERTS)?;
        if n_expert < Experts::USED {
            return Err(self.wrong("expert_count", n_expert, format!("must be {} or more", Experts::USED)));
        }
        let used = self.size_below(USED, EXPERTS)?;
        if used != Experts::USED {
            return Err(self.wrong(USED, used, format!("must be {}, as sparsemixer picks", Experts::USED)));
        }
        Ok(n_expert)
    }

    /// Query heads, key heads, and the size of a head.
    pub(crate) fn heads(&self, n_embd: usize) -> Result<(usize, usize, usize), ModelError> {
        let n_head = self.size_below("attention.head_count", HEADS)?;
        let n_head_kv = self.find_size_below("attention.head_count_kv", HEADS)?.unwrap_or(n_head);
        if !n_head.is_multiple_of(n_head_kv) {
            return Err(self.wrong(
                "attention.head_count",
                n_head,
                format!("not a multiple of head_count_kv {n_head_kv}"),
            ));
        }
        let head_dim = match self.find_size_below("attention.key_length", HEAD_DIM)? {
            Some(head_dim) => head_dim,
            None if n_embd.is_multiple_of(n_head) => {
                self.check("attention.head_count", (n_embd / n_head) as u64, HEAD_DIM)?
            }
            None => return Err(self.wrong("attention.head_count", n_head, format!("does not divide {n_embd}"))),
        };
        if let Some(value_length) = self.find_size_below("attention.value_length", HEAD_DIM)?
            && value_length != head_dim
        {
            return Err(self.wrong(
                "attention.value_length",
                value_length,
                format!("must equal the key length {head_dim}"),
            ));
        }
        Ok((n_head, n_head_kv, head_dim))
    }

    /// Rows of the embedding; the vocabulary key, where it exists, must agree.
    pub(crate) fn n_vocab(&self) -> Result<usize, ModelError> {
        let name = names::name(Role::TokenEmbd, None);
        let rows = self.header.find(&name).map(|t| t.shape.rows());
        let stated = self.find_size_below("vocab_size", VOCABULARY)?;
        match (rows, stated) {
            (Some(rows), Some(stated)) if rows != stated as u64 => {
                Err(self.wrong("vocab_size", stated, format!("the embedding has {rows} rows")))
            }
            (Some(rows), _) => self.check("vocab_size", rows, VOCABULARY),
            (None, Some(stated)) => Ok(stated),
            (None, None) => {
                let missing = crate::TensorProblem::Missing { name, arch: self.arch };
                Err(ModelError::Tensors(vec![missing]))
            }
        }
    }

    /// A number that must be there, finite and within `range`.
    pub(crate) fn number(&self, name: &str, range: std::ops::RangeInclusive<f32>) -> Result<f32, ModelError> {
        let x: f32 = self.header.metadata.get(&self.key(name))?;
        self.check_number(name, x, range)
    }

    /// A number that may be absent, else finite and within `range`.
    pub(crate) fn find_number(
        &self,
        name: &str,
        range: std::ops::RangeInclusive<f32>,
    ) -> Result<Option<f32>, ModelError> {
        let x = self.header.metadata.find::<f32>(&self.key(name))?;
        x.map(|x| self.check_number(name, x, range)).transpose()
    }

    fn check_number(&self, name: &str, x: f32, range: std::ops::RangeInclusive<f32>) -> Result<f32, ModelError> {
        if range.contains(&x) {
            return Ok(x);
        }
        Err(self.wrong(name, x, format!("must be finite, from {:e} to {:e}", range.start(), range.end())))
    }

    /// θ of the rotation, which files leave out where it is the usual one.
    pub(crate) fn freq_base(&self) -> Result<f32, ModelError> {
        Ok(self.find_number("rope.freq_base", 1.0..=1e12)?.unwrap_or(10_000.0))
    }

    /// Longrope, where the file has factors: they are the switch, for there is no key that names it.
    pub(crate) fn long_rope(&self, n_ctx_train: usize) -> Result<Option<LongRope>, ModelError> {
        const ORIGINAL: &str = "rope.scaling.original_context_length";
        if !self.has(Role::RopeFactorsLong, None) && !self.has(Role::RopeFactorsShort, None) {
            return Ok(None);
        }
        let original_ctx = self.find_positions(ORIGINAL)?.unwrap_or(n_ctx_train);
        if original_ctx < 2 {
            return Err(self.wrong(ORIGINAL, original_ctx, "must be 2 or more"));
        }
        let stated = self.find_number("rope.scaling.attn_factor", 0.01..=100.0)?;
        let attn_factor = stated.unwrap_or_else(|| LongRope::attn_factor(original_ctx, n_ctx_train));
        Ok(Some(LongRope { original_ctx, attn_factor }))
    }

    /// A list of tokens that may be absent, each in the vocabulary.
    pub(crate) fn find_tokens(&self, name: &str, n_vocab: usize) -> Result<Vec<TokenId>, ModelError> {
        let list = self.header.metadata.find::<&[i32]>(&self.key(name))?.unwrap_or_default();
        let known = |&id: &i32| u32::try_from(id).ok().filter(|&id| (id as usize) < n_vocab).map(TokenId).ok_or(id);
        let tokens = list.iter().map(known).collect::<Result<_, _>>();
        tokens.map_err(|id| self.wrong(name, id, format!("must be from 0 to {}", n_vocab - 1)))
    }

    /// The number of rotated values: even, and not more than a head has.
    pub(crate) fn rope_dimension_count(&self, head_dim: usize) -> Result<usize, ModelError> {
        const NAME: &str = "rope.dimension_count";
        let n_rot = self.find_positions(NAME)?.unwrap_or(head_dim);
        if n_rot == 0 || !n_rot.is_multiple_of(2) {
            return Err(self.wrong(NAME, n_rot, "must be even and not 0"));
        }
        if n_rot > head_dim {
            return Err(self.wrong(NAME, n_rot, format!("exceeds the head size {head_dim}")));
        }
        Ok(n_rot)
    }
}

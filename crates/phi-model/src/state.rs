use phi_kernels::Activations;
use phi_memory::{Live, OutOfMemory, Planned, Row, Slots, Spec, slots};
use phi_tensor::DType;

use crate::{Decoder, Experts};

/// What a run chooses: everything about its memory that the model does not fix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// Positions of the KV cache.
    pub n_ctx: usize,
    /// Tokens computed together.
    pub n_batch: usize,
    /// Positions of a batch whose logits are wanted: 1, or `n_batch`.
    pub n_logits: usize,
    /// Type of cached keys.
    pub k_type: DType,
    /// Type of cached values.
    pub v_type: DType,
}

slots! {
    /// What one batch writes on its way through the layers.
    pub struct Scratch {
        /// Residual stream, `[n_batch, n_embd]`.
        x: f32,
        /// Normed residual, and the output of a projection, `[n_batch, n_embd]`.
        xb: f32,
        /// Queries, `[n_batch, n_head, head_dim]`.
        q: f32,
        /// Keys, `[n_batch, n_head_kv, head_dim]`.
        key: f32,
        /// Values, `[n_batch, n_head_kv, head_dim]`.
        value: f32,
        /// Partial sums of attention while few tokens are decoded.
        parts: f32,
        /// Attended values, `[n_batch, n_head, head_dim]`.
        att: f32,
        /// What the activation function is applied to, and the gated product, `[n_batch, n_ff]`.
        gate: f32,
        /// What is gated, `[n_batch, n_ff]`, where the product is not gated as it is made.
        up: f32,
        /// Codes of the activations that are multiplied next, `[n_batch, groups of 256, 256]`.
        codes: i8,
        /// Their scales and sums, `[n_batch, groups of 256, 25]`.
        sides: f32,
        /// Cosines of the batch's positions, `[n_batch, n_rot / 2]`.
        cos: f32,
        /// Sines of the batch's positions, `[n_batch, n_rot / 2]`.
        sin: f32,
        /// Logits, `[n_logits, n_vocab]`.
        logits: f32,
    }
}

slots! {
    /// What a router and the experts it picks write, where a layer has them.
    pub struct Routing {
        /// Scores of the router, `[n_batch, n_expert]`.
        scores: f32,
        /// The experts of each token, `[n_batch, 2]`.
        picks: u32,
        /// How much each of them counts, `[n_batch, 2]`.
        shares: f32,
        /// Tokens of one expert, `[n_batch]`.
        members: u32,
        /// How much it counts for each, `[n_batch]`.
        member_shares: f32,
        /// What it is given, then what it gives, `[n_batch, n_embd]`.
        rows: f32,
    }
}

slots! {
    /// One layer's cache.
    pub struct KvLayer {
        /// Rotated keys, `[n_head_kv, n_ctx, head_dim]`, packed as `k_type`.
        k: u8,
        /// Values, `[n_head_kv, n_ctx, head_dim]`, packed as `v_type`.
        v: u8,
    }
}

/// Every buffer of a run: what the model is thinking.
pub struct State<S: Slots> {
    /// The sizes it was made for.
    pub sizes: Sizes,
    /// Buffers of one batch.
    pub scratch: Scratch<S>,
    /// What routing takes, where there are experts.
    pub routing: Option<Routing<S>>,
    /// Caches, first layer to last.
    pub kv: Vec<KvLayer<S>>,
}

impl State<Planned> {
    /// What a run of these sizes needs.
    ///
    /// # Panics
    /// When blocks of a cache's type do not divide a head: whoever chose the type checked.
    pub fn of(d: &Decoder, sizes: Sizes) -> Self {
        let Sizes { n_ctx, n_batch, n_logits, k_type, v_type } = sizes;
        let rows = |name: &str, width: usize| Spec::new(name, &[n_batch, width]);
        let cache = |name: String, dtype: DType| {
            let row_bytes = dtype.row_bytes(d.head_dim as u64).expect("the type was chosen to fit a head");
            Spec::reserved(name, &[d.n_head_kv, n_ctx, row_bytes as usize])
        };
        let (codes, sides) = Activations::room(n_batch, d.n_embd.max(d.q_width()).max(d.n_ff));
        State {
            sizes,
            scratch: Scratch {
                x: rows("x", d.n_embd),
                xb: rows("xb", d.n_embd),
                q: rows("q", d.q_width()),
                key: rows("key", d.kv_width()),
                value: rows("value", d.kv_width()),
                parts: Spec::new("parts", &[d.attention(0).room(n_ctx, n_batch)]),
                att: rows("att", d.q_width()),
                gate: rows("gate", d.n_ff),
                up: rows("up", d.up_width()),
                codes: Spec::new("codes", &[codes]),
                sides: Spec::new("sides", &[sides]),
                cos: rows("cos", d.rope.n_rot / 2),
                sin: rows("sin", d.rope.n_rot / 2),
                logits: Spec::new("logits", &[n_logits, d.n_vocab]),
            },
            routing: d.experts().map(|Experts { n_expert, .. }| Routing {
                scores: Spec::new("routing.scores", &[n_batch, n_expert]),
                picks: Spec::new("routing.picks", &[n_batch, Experts::USED]),
                shares: Spec::new("routing.shares", &[n_batch, Experts::USED]),
                members: Spec::new("routing.members", &[n_batch]),
                member_shares: Spec::new("routing.member_shares", &[n_batch]),
                rows: Spec::new("routing.rows", &[n_batch, d.n_embd]),
            }),
            kv: (0..d.n_layer)
                .map(|i| KvLayer { k: cache(format!("kv.k.{i}"), k_type), v: cache(format!("kv.v.{i}"), v_type) })
                .collect(),
        }
    }

    /// The memory table.
    pub fn rows(&self) -> Vec<Row> {
        let routing = self.routing.iter().flat_map(Routing::rows);
        self.scratch.rows().into_iter().chain(routing).chain(self.kv.iter().flat_map(KvLayer::rows)).collect()
    }

    /// Allocates exactly what the table says.
    pub fn allocate(&self) -> Result<State<Live>, OutOfMemory> {
        Ok(State {
            sizes: self.sizes,
            scratch: self.scratch.allocate()?,
            routing: self.routing.as_ref().map(Routing::allocate).transpose()?,
            kv: self.kv.iter().map(KvLayer::allocate).collect::<Result<_, _>>()?,
        })
    }
}

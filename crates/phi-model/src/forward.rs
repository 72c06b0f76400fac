use phi_kernels::{Activations, Attention, Kernels};
use phi_memory::Live;
use phi_tensor::{DType, Matrix, Tensor, TokenId};

use crate::experts::Room;
use crate::{Decoder, Factors, FfnWeights, GateUpWeights, KvLayer, Linear, Model, NormWeights, QkvWeights, Scratch};
use crate::{Pairs, Sizes, State, UpWeights, samba};

/// One batch of tokens behind what is cached.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    /// The tokens.
    pub tokens: &'a [TokenId],
    /// Positions already cached: the first token's position.
    pub first: usize,
    /// Longrope's choice, the same for every pass of a sequence.
    pub factors: Factors,
    /// How many of the last tokens need logits.
    pub n_logits: usize,
}

/// The forward pass. Returns the logits of the last `n_logits` tokens, `[n_logits, n_vocab]`.
///
/// ```text
/// x = E[tokens]
/// for each layer:
///     x += Wo · attention(rope(Wqkv · norm(x)))
///     x += Wdown · (silu(Wgate · norm(x)) ⊙ Wup · norm(x))
/// logits = Whead · norm(x)
/// ```
///
/// and, where the branches are parallel, with one `h = norm(x)`:
///
/// ```text
///     x += Wo · attention(rope(Wqkv · h)) + Wdown · gelu(Wup · h)
/// ```
///
/// The feed-forward may be two of many experts for each token ([`crate::ExpertWeights`]). Matrices may have biases, and
/// norms be of either kind. Embeddings, scores and logits have factors, which are usually 1, `1 / √head_dim` and 1.
///
/// # Panics
/// When the tokens do not fit the state's batch or context, or are not in the vocabulary.
pub fn forward<'s>(model: &Model, s: &'s mut State<Live>, k: &Kernels, pass: Pass<'_>) -> &'s [f32] {
    let (d, w, sizes) = (&model.decoder, &model.weights, s.sizes);
    let Pass { tokens, first, n_logits, .. } = pass;
    let n = tokens.len();
    assert!(n <= sizes.n_batch, "a batch of {n} tokens, planned for {}", sizes.n_batch);
    assert!(first + n <= sizes.n_ctx, "position {} in a context of {}", first + n, sizes.n_ctx);
    assert!(n_logits <= sizes.n_logits.min(n), "logits of {n_logits} tokens, planned for {}", sizes.n_logits);
    match &d.samba {
        None => layers(model, s, k, pass),
        Some(samba) => samba::layers(model, samba, s, k, pass),
    }

    // Only the rows whose logits are wanted go through the head, the largest matrix of all.
    let Scratch { x, xb, codes, sides, logits, .. } = &mut s.scratch;
    let last = &x[(n - n_logits) * d.n_embd..n * d.n_embd];
    let xb = &mut xb[..n_logits * d.n_embd];
    let logits = &mut logits[..n_logits * d.n_vocab]; // [n_logits, v]
    if n_logits > 0 {
        w.output_norm.apply(k, d, last, xb);
        let weight = w.output.as_ref().unwrap_or(&w.token_embd).matrix();
        let head = Rows { weight, bias: w.output_bias.as_ref().map(Tensor::matrix) };
        head.set(k, k.quantize(xb, d.n_embd, codes, sides), logits);
        k.scale(d.scales.logit, logits);
        for logits in logits.chunks_exact_mut(d.n_vocab) {
            d.masked.iter().for_each(|token| logits[token.index()] = MASKED);
        }
    }
    logits
}

/// All layers of a transformer.
fn layers(model: &Model, s: &mut State<Live>, k: &Kernels, pass: Pass<'_>) {
    let (d, w, sizes) = (&model.decoder, &model.weights, s.sizes);
    let Pass { tokens, first, factors, .. } = pass;
    let n = tokens.len();
    let Scratch { x, xb, q, key, value, parts, att, gate, up, codes, sides, cos, sin, .. } = &mut s.scratch;
    let x = &mut x[..n * d.n_embd]; //            [t, e]
    let xb = &mut xb[..n * d.n_embd]; //          [t, e]
    let q = &mut q[..n * d.q_width()]; //         [t, h·d]
    let key = &mut key[..n * d.kv_width()]; //    [t, h_kv·d]
    let value = &mut value[..n * d.kv_width()]; // [t, h_kv·d]
    let att = &mut att[..n * d.q_width()]; //     [t, h·d]
    let gate = &mut gate[..n * d.n_ff]; //        [t, f]
    let up = &mut up[..n * d.up_width()]; //      [t, f], or nothing

    let frequencies = model.frequencies(factors);
    let pairs = frequencies.len();
    let (cos, sin) = (&mut cos[..n * pairs], &mut sin[..n * pairs]); // [t, r/2]
    d.rope.angles(frequencies, first, cos, sin);

    k.embed(w.token_embd.matrix(), tokens, x);
    k.scale(d.scales.embedding, x);
    for (i, (layer, kv)) in w.layers.iter().zip(&mut s.kv).enumerate() {
        let attention = d.attention(i);
        layer.attn_norm.apply(k, d, x, xb);
        let [wq, wk, wv] = layer.attn_qkv.rows(d.q_width(), d.kv_width());
        let normed = k.quantize(xb, d.n_embd, codes, sides); // once, for all that is multiplied with it
        k.matmul_each([(wq.weight, &mut *q), (wk.weight, &mut *key), (wv.weight, &mut *value)], normed);
        wq.add_bias(k, q);
        wk.add_bias(k, key);
        wv.add_bias(k, value);
        if let (None, FfnWeights::Dense { up: wup, .. }) = (&layer.ffn_norm, &layer.ffn) {
            wup.apply(k, d, normed, up, gate);
        }
        let rotate = match d.rope.pairs {
            Pairs::Halves => Kernels::rope,
            Pairs::Neighbours => Kernels::rope_neighbours,
        };
        rotate(k, cos, sin, pairs, d.head_dim, q);
        rotate(k, cos, sin, pairs, d.head_dim, key);
        k.append(attention, sizes.k_type, first, key, &mut kv.k);
        k.append(attention, sizes.v_type, first, value, &mut kv.v);
        let (keys, values) = kv.matrices(attention, sizes);
        k.attention(attention, first, q, keys, values, parts, att);
        layer.attn_output.rows().add(k, k.quantize(att, d.q_width(), codes, sides), x);

        if let Some(ffn_norm) = &layer.ffn_norm {
            ffn_norm.apply(k, d, x, xb);
        }
        match &layer.ffn {
            FfnWeights::Dense { up: wup, down } => {
                if layer.ffn_norm.is_some() {
                    wup.apply(k, d, k.quantize(xb, d.n_embd, codes, sides), up, gate);
                }
                down.rows().add(k, k.quantize(gate, d.n_ff, codes, sides), x);
            }
            FfnWeights::Experts(experts) => {
                let routing = s.routing.as_mut().expect("it was planned for this decoder");
                experts.add(k, d, xb, Room { routing, gate, codes, sides }, x);
            }
        }
    }
}

/// The logit of a token that must not come. A number, so that what is none still is a fault.
const MASKED: f32 = f32::MIN;

impl NormWeights<Tensor> {
    /// `out = norm(x)`
    pub(crate) fn apply(&self, k: &Kernels, d: &Decoder, x: &[f32], out: &mut [f32]) {
        match self {
            NormWeights::Rms(weight) => k.rms_norm(x, weight.matrix(), d.norm_eps, out),
            NormWeights::Layer { weight, bias } => k.layer_norm(x, weight.matrix(), bias.matrix(), d.norm_eps, out),
        }
    }
}

impl UpWeights<Tensor> {
    /// `gate = silu(Wgate · normed) ⊙ Wup · normed`, or `gelu(Wup · normed)`, or `gegelu(Wgate · normed, Wup · normed)`
    fn apply(&self, k: &Kernels, d: &Decoder, normed: Activations<'_>, up: &mut [f32], gate: &mut [f32]) {
        match self {
            UpWeights::Silu(gate_up) => {
                let (wgate, wup) = gate_up.matrices(d.n_ff);
                k.matmul_silu(wgate, wup, normed, gate);
            }
            UpWeights::Gelu(rows) => {
                rows.rows().set(k, normed, gate);
                k.gelu(gate);
            }
            UpWeights::GeGelu { limit, gate_up } => {
                let (wgate, wup) = (gate_up.slice_rows(0, d.n_ff), gate_up.slice_rows(d.n_ff, d.n_ff));
                k.matmul_each([(wgate.weight, &mut *gate), (wup.weight, &mut *up)], normed);
                wgate.add_bias(k, gate);
                wup.add_bias(k, up);
                k.gegelu(*limit, up, gate);
            }
        }
    }
}

/// Some rows of a matrix, with the biases that belong to them.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) weight: Matrix<'a>,
    /// A vector: one row.
    bias: Option<Matrix<'a>>,
}

impl Rows<'_> {
    /// `out = W · x + b`
    pub(crate) fn set(&self, k: &Kernels, x: Activations<'_>, out: &mut [f32]) {
        k.matmul(self.weight, x, out);
        self.add_bias(k, out);
    }

    /// `out += W · x + b`
    pub(crate) fn add(&self, k: &Kernels, x: Activations<'_>, out: &mut [f32]) {
        k.matmul_add(self.weight, x, out);
        self.add_bias(k, out);
    }

    pub(crate) fn add_bias(&self, k: &Kernels, out: &mut [f32]) {
        if let Some(bias) = self.bias {
            k.add_bias(bias, out);
        }
    }
}

impl Linear<Tensor> {
    /// All rows.
    pub(crate) fn rows(&self) -> Rows<'_> {
        Rows { weight: self.weight.matrix(), bias: self.bias.as_ref().map(Tensor::matrix) }
    }

    /// `n` rows from the `first` on.
    pub(crate) fn slice_rows(&self, first: usize, n: usize) -> Rows<'_> {
        let all = self.rows();
        Rows { weight: all.weight.slice_rows(first, n), bias: all.bias.map(|bias| slice_vector(bias, first, n)) }
    }
}

/// `n` values of a vector, which is F32 and whose values are not in blocks.
fn slice_vector(vector: Matrix<'_>, first: usize, n: usize) -> Matrix<'_> {
    let bytes = vector.dtype().block_bytes();
    let bytes = &vector.bytes()[first * bytes..(first + n) * bytes];
    Matrix::new(vector.dtype(), 1, n, bytes).expect("a part of the vector is a vector")
}

impl QkvWeights<Tensor> {
    /// Query, key and value rows, however they are stored.
    fn rows(&self, q_width: usize, kv_width: usize) -> [Rows<'_>; 3] {
        match self {
            QkvWeights::Fused(qkv) => {
                let (k, v) = (q_width, q_width + kv_width);
                [qkv.slice_rows(0, q_width), qkv.slice_rows(k, kv_width), qkv.slice_rows(v, kv_width)]
            }
            QkvWeights::Split { q, k, v } => [q.rows(), k.rows(), v.rows()],
        }
    }
}

impl GateUpWeights<Tensor> {
    /// Gate and up rows, however they are stored.
    pub(crate) fn matrices(&self, n_ff: usize) -> (Matrix<'_>, Matrix<'_>) {
        match self {
            GateUpWeights::Fused(both) => {
                let both = both.matrix();
                (both.slice_rows(0, n_ff), both.slice_rows(n_ff, n_ff))
            }
            GateUpWeights::Split { gate, up } => (gate.matrix(), up.matrix()),
        }
    }
}

impl KvLayer<Live> {
    /// The caches as matrices, `[n_head_kv · n_rows, head_dim]`; values that stand in pairs are
    /// `[n_head_kv / 2 · n_rows, 2 · head_dim]`.
    pub(crate) fn matrices(&self, attention: Attention, sizes: Sizes) -> (Matrix<'_>, Matrix<'_>) {
        fn matrix(dtype: DType, bytes: &[u8], dim: usize) -> Matrix<'_> {
            let row_bytes = dim / dtype.block_len() * dtype.block_bytes();
            Matrix::new(dtype, bytes.len() / row_bytes, dim, bytes).expect("the cache was planned in these sizes")
        }
        (matrix(sizes.k_type, &self.k, attention.head_dim), matrix(sizes.v_type, &self.v, attention.value_dim()))
    }
}

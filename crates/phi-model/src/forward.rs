use phi_kernels::Kernels;
use phi_memory::Live;
use phi_tensor::{Matrix, Tensor, TokenId};

use crate::{Factors, GateUpWeights, KvLayer, Model, QkvWeights, Scratch, State};

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
/// # Panics
/// When the tokens do not fit the state's batch or context, or are not in the vocabulary.
pub fn forward<'s>(model: &Model, s: &'s mut State<Live>, k: &Kernels, pass: Pass<'_>) -> &'s [f32] {
    let (d, w, sizes) = (&model.decoder, &model.weights, s.sizes);
    let Pass { tokens, first, factors, n_logits } = pass;
    let n = tokens.len();
    assert!(n <= sizes.n_batch, "a batch of {n} tokens, planned for {}", sizes.n_batch);
    assert!(first + n <= sizes.n_ctx, "position {} in a context of {}", first + n, sizes.n_ctx);
    assert!(n_logits <= sizes.n_logits.min(n), "logits of {n_logits} tokens, planned for {}", sizes.n_logits);

    let Scratch { x, xb, q, key, value, parts, att, gate, codes, sides, cos, sin, logits } = &mut s.scratch;
    let x = &mut x[..n * d.n_embd]; //            [t, e]
    let xb = &mut xb[..n * d.n_embd]; //          [t, e]
    let q = &mut q[..n * d.q_width()]; //         [t, h·d]
    let key = &mut key[..n * d.kv_width()]; //    [t, h_kv·d]
    let value = &mut value[..n * d.kv_width()]; // [t, h_kv·d]
    let att = &mut att[..n * d.q_width()]; //     [t, h·d]
    let gate = &mut gate[..n * d.n_ff]; //        [t, f]

    let frequencies = model.frequencies(factors);
    let pairs = frequencies.len();
    let (cos, sin) = (&mut cos[..n * pairs], &mut sin[..n * pairs]); // [t, r/2]
    d.rope.angles(frequencies, first, cos, sin);
    let attention = d.attention();

    k.embed(w.token_embd.matrix(), tokens, x);
    for (layer, kv) in w.layers.iter().zip(&mut s.kv) {
        k.rms_norm(x, layer.attn_norm.matrix(), d.norm_eps, xb);
        let (wq, wk, wv) = layer.attn_qkv.matrices(d.q_width(), d.kv_width());
        let normed = k.quantize(xb, d.n_embd, codes, sides); // once, for all three
        k.matmul_each([(wq, &mut *q), (wk, &mut *key), (wv, &mut *value)], normed);
        k.rope(cos, sin, pairs, d.head_dim, q);
        k.rope(cos, sin, pairs, d.head_dim, key);
        k.append(attention, sizes.k_type, first, key, &mut kv.k);
        k.append(attention, sizes.v_type, first, value, &mut kv.v);
        let (keys, values) = kv.matrices(d.n_head_kv * sizes.n_ctx, d.head_dim, sizes);
        k.attention(attention, first, q, keys, values, parts, att);
        k.matmul_add(layer.attn_output.matrix(), k.quantize(att, d.q_width(), codes, sides), x);

        k.rms_norm(x, layer.ffn_norm.matrix(), d.norm_eps, xb);
        let (wgate, wup) = layer.ffn_gate_up.matrices(d.n_ff);
        k.matmul_silu(wgate, wup, k.quantize(xb, d.n_embd, codes, sides), gate);
        k.matmul_add(layer.ffn_down.matrix(), k.quantize(gate, d.n_ff, codes, sides), x);
    }

    // Only the rows whose logits are wanted go through the head, the largest matrix of all.
    let last = &x[(n - n_logits) * d.n_embd..];
    let xb = &mut xb[..n_logits * d.n_embd];
    let logits = &mut logits[..n_logits * d.n_vocab]; // [n_logits, v]
    if n_logits > 0 {
        k.rms_norm(last, w.output_norm.matrix(), d.norm_eps, xb);
        let normed = k.quantize(xb, d.n_embd, codes, sides);
        k.matmul(w.output.as_ref().unwrap_or(&w.token_embd).matrix(), normed, logits);
    }
    logits
}

impl QkvWeights<Tensor> {
    /// Query, key and value rows, however they are stored.
    fn matrices(&self, q_width: usize, kv_width: usize) -> (Matrix<'_>, Matrix<'_>, Matrix<'_>) {
        match self {
            QkvWeights::Fused(qkv) => {
                let qkv = qkv.matrix();
                let (k, v) = (q_width, q_width + kv_width);
                (qkv.slice_rows(0, q_width), qkv.slice_rows(k, kv_width), qkv.slice_rows(v, kv_width))
            }
            QkvWeights::Split { q, k, v } => (q.matrix(), k.matrix(), v.matrix()),
        }
    }
}

impl GateUpWeights<Tensor> {
    /// Gate and up rows, however they are stored.
    fn matrices(&self, n_ff: usize) -> (Matrix<'_>, Matrix<'_>) {
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
    /// The caches as matrices, `[n_head_kv · n_ctx, head_dim]`.
    fn matrices(&self, rows: usize, head_dim: usize, sizes: crate::Sizes) -> (Matrix<'_>, Matrix<'_>) {
        let matrix =
            |dtype, bytes| Matrix::new(dtype, rows, head_dim, bytes).expect("the cache was planned in these sizes");
        (matrix(sizes.k_type, &self.k), matrix(sizes.v_type, &self.v))
    }
}

use phi_quant::codec;
use phi_tensor::{DType, Matrix};

use crate::Kernels;
use crate::arch::Table;

/// The largest head a task keeps on its stack. Real ones have 64 to 128.
pub const MAX_HEAD_DIM: usize = 512;

/// Keys that share one rescaling of the running sums.
const KEYS: usize = 32;

/// The sizes of one attention.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Query heads.
    pub n_head: usize,
    /// Key and value heads; each serves `n_head / n_head_kv` query heads.
    pub n_head_kv: usize,
    /// Values in a head.
    pub head_dim: usize,
    /// Factor on each score.
    pub scale: f32,
    /// How many keys a query sees, itself included; all when `None`.
    pub window: Option<usize>,
}

/// One layer's keys, or values: row `p` is that of position `p`, `[n_ctx, n_head_kv · head_dim]`, packed.
pub type KvRows<'a> = Matrix<'a>;

impl Kernels {
    /// Packs `rows` behind the rows already there: row `first + t` of the cache becomes `rows[t]`.
    ///
    /// * `rows`: `[tokens, width]`
    /// * `cache`: `[n_ctx, width]` in `dtype`
    ///
    /// # Panics
    /// When the cache has no such rows, or the type cannot be written.
    pub fn append(&self, dtype: DType, first: usize, width: usize, rows: &[f32], cache: &mut [u8]) {
        let encode =
            codec(dtype).and_then(|codec| codec.encode).expect("a cache is only planned in types that can be written");
        let row_bytes = width / dtype.block_len() * dtype.block_bytes();
        let tokens = rows.len() / width;
        encode(rows, None, &mut cache[first * row_bytes..][..tokens * row_bytes]);
    }

    /// Causal attention of new tokens over everything cached, themselves included.
    ///
    /// ```text
    /// out[t, h] = Σ_j softmax_j(scale · q[t, h] · k[j, g]) · v[j, g],   j ≤ p,  p − j < window,  p = first + t
    /// ```
    ///
    /// with `g = h / (n_head / n_head_kv)`. The softmax runs along with the sum (scores are never stored): for each group
    /// of keys, sums so far are rescaled to the new maximum. Groups begin at multiples of 32 positions, so the result does
    /// not depend on the number of tokens or threads.
    ///
    /// * `q`: `[tokens, n_head, head_dim]`
    /// * `k`, `v`: the caches, row `first + t` already appended
    /// * `out`: `[tokens, n_head, head_dim]`, overwritten
    ///
    /// # Panics
    /// When the lengths do not fit, or a head is larger than [`MAX_HEAD_DIM`].
    pub fn attention(&self, a: Attention, first: usize, q: &[f32], k: KvRows<'_>, v: KvRows<'_>, out: &mut [f32]) {
        assert_eq!(q.len(), out.len(), "q and out are [tokens, n_head, head_dim]");
        assert!(a.head_dim <= MAX_HEAD_DIM, "heads of {} are larger than {MAX_HEAD_DIM}", a.head_dim);
        assert_eq!(k.cols(), a.n_head_kv * a.head_dim, "keys are [n_ctx, n_head_kv, head_dim]");
        assert_eq!(v.cols(), a.n_head_kv * a.head_dim, "values are [n_ctx, n_head_kv, head_dim]");
        let table = self.table;
        self.pool.chunks(out, a.head_dim, |_, i, out| {
            let (t, h) = (i / a.n_head, i % a.n_head);
            let q = &q[i * a.head_dim..][..a.head_dim];
            attend(table, a, first + t, h / (a.n_head / a.n_head_kv), q, k, v, out);
        });
    }
}

/// One query head at position `p`, over key head `g`.
#[expect(clippy::too_many_arguments, reason = "the inner function of one caller; a struct would name nothing new")]
fn attend(table: &Table, a: Attention, p: usize, g: usize, q: &[f32], k: Matrix<'_>, v: Matrix<'_>, out: &mut [f32]) {
    let mut row = [0.0; MAX_HEAD_DIM];
    let row = &mut row[..a.head_dim];
    let start = a.window.map_or(0, |window| (p + 1).saturating_sub(window));
    let (mut max, mut sum) = (f32::NEG_INFINITY, 0.0);
    out.fill(0.0);
    for group in start / KEYS..=p / KEYS {
        let keys = start.max(group * KEYS)..(p + 1).min((group + 1) * KEYS);
        let mut scores = [f32::NEG_INFINITY; KEYS];
        for (j, score) in keys.clone().zip(&mut scores) {
            head(k, j, g, row);
            *score = (table.dot)(q, row) * a.scale;
        }
        let new_max = scores.iter().fold(max, |m, &s| m.max(s));
        // While every score is −∞ there is nothing to rescale, and −∞ − −∞ would not be a number.
        if new_max > f32::NEG_INFINITY {
            let shrink = (max - new_max).exp();
            sum *= shrink;
            out.iter_mut().for_each(|out| *out *= shrink);
            max = new_max;
        }
        for (j, score) in keys.zip(scores) {
            let weight = (score - max).exp();
            sum += weight;
            head(v, j, g, row);
            (table.axpy)(weight, row, out);
        }
    }
    out.iter_mut().for_each(|out| *out /= sum);
}

/// Unpacks head `g` of row `j`.
fn head(cache: Matrix<'_>, j: usize, g: usize, out: &mut [f32]) {
    let dtype = cache.dtype();
    let decode = codec(dtype).expect("a cache is only planned in types that can be read").decode;
    let bytes = out.len() / dtype.block_len() * dtype.block_bytes();
    decode(&cache.row(j)[g * bytes..][..bytes], out);
}

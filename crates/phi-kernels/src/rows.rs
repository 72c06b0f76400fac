//! Operations on rows of activations: norm, rotation, activation function, residual.
//!
//! Rows are computed one by one, so how many there are changes nothing but which threads have some.

use phi_tensor::{DType, Matrix};

use crate::Kernels;

/// Tokens that are not worth waking threads for.
const FEW: usize = 8;

/// Values that one task of many tokens has about.
const VALUES: usize = 8192;

impl Kernels {
    /// `out[t, i] = x[t, i] / √(mean_i x[t, i]² + eps) · w[i]`
    ///
    /// * `x`: `[tokens, n]`
    /// * `w`: `[n]`, F32
    /// * `out`: `[tokens, n]`, overwritten
    ///
    /// # Panics
    /// When `w` is not F32 or the lengths do not fit.
    pub fn rms_norm(&self, x: &[f32], w: Matrix<'_>, eps: f32, out: &mut [f32]) {
        let w = floats(w);
        assert_eq!(x.len(), out.len(), "x and out are [tokens, {}]", w.len());
        self.rows(w.len(), out, |first, out| {
            let x = &x[first * w.len()..][..out.len()];
            for (x, out) in x.chunks_exact(w.len()).zip(out.chunks_exact_mut(w.len())) {
                (self.table.rms_norm)(x, w, eps, out);
            }
        });
    }

    /// `out[t, i] = (x[t, i] − mean_i x[t, i]) / √(mean_i (x[t, i] − mean_i x[t, i])² + eps) · w[i] + b[i]`
    ///
    /// * `x`: `[tokens, n]`
    /// * `w`, `b`: `[n]`, F32
    /// * `out`: `[tokens, n]`, overwritten
    ///
    /// # Panics
    /// When `w` or `b` is not F32 or the lengths do not fit.
    pub fn layer_norm(&self, x: &[f32], w: Matrix<'_>, b: Matrix<'_>, eps: f32, out: &mut [f32]) {
        let (w, b) = (floats(w), floats(b));
        assert_eq!(w.len(), b.len(), "weights and biases are of one length");
        assert_eq!(x.len(), out.len(), "x and out are [tokens, {}]", w.len());
        self.rows(w.len(), out, |first, out| {
            let x = &x[first * w.len()..][..out.len()];
            for (x, out) in x.chunks_exact(w.len()).zip(out.chunks_exact_mut(w.len())) {
                (self.table.layer_norm)(x, w, b, eps, out);
            }
        });
    }

    /// Rotates the first `2·pairs` values of each head; values `i` and `i + pairs` form a pair ("NEOX" order).
    ///
    /// ```text
    /// y[i]         = x[i] · cos[t, i] − x[i + pairs] · sin[t, i]
    /// y[i + pairs] = x[i + pairs] · cos[t, i] + x[i] · sin[t, i]
    /// ```
    ///
    /// * `cos`, `sin`: `[tokens, pairs]`, already scaled by the attention factor
    /// * `x`: `[tokens, heads, head_dim]`, in place; values from `2·pairs` on stay
    ///
    /// # Panics
    /// When the lengths do not fit.
    pub fn rope(&self, cos: &[f32], sin: &[f32], pairs: usize, head_dim: usize, x: &mut [f32]) {
        self.rotate(self.table.rope, cos, sin, pairs, head_dim, x);
    }

    /// [`Kernels::rope`] for pairs of neighbours: values `2i` and `2i + 1` ("NORM" order).
    ///
    /// # Panics
    /// When the lengths do not fit.
    pub fn rope_neighbours(&self, cos: &[f32], sin: &[f32], pairs: usize, head_dim: usize, x: &mut [f32]) {
        self.rotate(neighbours, cos, sin, pairs, head_dim, x);
    }

    fn rotate(&self, rope: Rope, cos: &[f32], sin: &[f32], pairs: usize, head_dim: usize, x: &mut [f32]) {
        assert_eq!(cos.len(), sin.len(), "cos and sin are [tokens, {pairs}]");
        let tokens = cos.len() / pairs;
        let width = x.len() / tokens;
        assert!(2 * pairs <= head_dim && width.is_multiple_of(head_dim), "{pairs} pairs of {head_dim}, {width} wide");
        self.rows(width, x, |first, x| {
            for (t, x) in (first..).zip(x.chunks_exact_mut(width)) {
                rope(&cos[t * pairs..][..pairs], &sin[t * pairs..][..pairs], head_dim, x);
            }
        });
    }

    /// `gate[i] = silu(gate[i]) · up[i]`, with `silu(g) = g / (1 + e^−g)`
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn silu_mul(&self, up: &[f32], gate: &mut [f32]) {
        assert_eq!(gate.len(), up.len(), "gate and up are of one length");
        self.rows(VALUES, gate, |first, gate| (self.table.silu_mul)(&up[first * VALUES..][..gate.len()], gate));
    }

    /// `x[i] = x[i] / 2 · (1 + tanh(√(2/π) · (x[i] + 0.044715 · x[i]³)))`: GELU as GPT-2 approximates it.
    pub fn gelu(&self, x: &mut [f32]) {
        self.rows(VALUES, x, |_, x| (self.table.gelu)(x));
    }

    /// `gate[i] = g · σ(1.702 g) · (u + 1)`, with `g = min(gate[i], limit)`, `u = min(max(up[i], −limit), limit)` and
    /// `σ(x) = 1 / (1 + e^−x)`: GELU by a logistic function, gating. What is infinite becomes no number, lest the limits
    /// hide it.
    ///
    /// # Panics
    /// When the lengths differ, or the limit is not a number above 0.
    pub fn gegelu(&self, limit: f32, up: &[f32], gate: &mut [f32]) {
        assert_eq!(gate.len(), up.len(), "gate and up are of one length");
        assert!(limit > 0.0, "the limit is above 0");
        self.rows(VALUES, gate, |first, gate| {
            (self.table.gegelu)(limit, &up[first * VALUES..][..gate.len()], gate);
        });
    }

    /// `x[t, i] = e^x[t, i] / Σ_j e^x[t, j]`
    ///
    /// * `x`: `[tokens, n]`, in place
    ///
    /// # Panics
    /// When the length is not a multiple of `n`.
    pub fn softmax(&self, n: usize, x: &mut [f32]) {
        assert!(x.len().is_multiple_of(n), "x is [tokens, {n}]");
        self.rows(n, x, |_, x| x.chunks_exact_mut(n).for_each(|x| (self.table.softmax)(x)));
    }

    /// `x[i] = e^x[i]`, to two units in the last place; gradually 0 below −87, infinite from 88.8 on.
    pub fn exp(&self, x: &mut [f32]) {
        self.rows(VALUES, x, |_, x| (self.table.exp)(x));
    }

    /// `y[t, i] += b[i]`
    ///
    /// * `b`: `[n]`, F32
    /// * `y`: `[tokens, n]`
    ///
    /// # Panics
    /// When `b` is not F32 or the lengths do not fit.
    pub fn add_bias(&self, b: Matrix<'_>, y: &mut [f32]) {
        let b = floats(b);
        assert!(y.len().is_multiple_of(b.len()), "y is [tokens, {}]", b.len());
        // Plain code, for memory is what it waits for.
        self.rows(b.len(), y, |_, y| {
            for y in y.chunks_exact_mut(b.len()) {
                y.iter_mut().zip(b).for_each(|(y, b)| *y += f32::from_le_bytes(*b));
            }
        });
    }

    /// `x[i] *= factor`
    pub fn scale(&self, factor: f32, x: &mut [f32]) {
        // Plain code, for memory is what it waits for. Factors of 1 are usual.
        if factor != 1.0 {
            self.rows(VALUES, x, |_, x| x.iter_mut().for_each(|x| *x *= factor));
        }
    }

    /// `y[i] += x[i]`
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn add(&self, x: &[f32], y: &mut [f32]) {
        assert_eq!(x.len(), y.len(), "x and y are of one length");
        self.rows(VALUES, y, |first, y| (self.table.axpy)(1.0, &x[first * VALUES..][..y.len()], y));
    }

    /// `out[i] = x[tokens[i]]`
    ///
    /// * `x`: rows of `n` values
    /// * `out`: `[tokens, n]`, overwritten
    ///
    /// # Panics
    /// When the lengths do not fit, or a row is not there.
    pub fn gather(&self, x: &[f32], n: usize, tokens: &[u32], out: &mut [f32]) {
        assert_eq!(out.len(), tokens.len() * n, "out is [{}, {n}]", tokens.len());
        self.rows(n, out, |first, out| {
            for (out, &token) in out.chunks_exact_mut(n).zip(&tokens[first..]) {
                out.copy_from_slice(&x[token as usize * n..][..n]);
            }
        });
    }

    /// `y[tokens[i]] += shares[i] · x[i]`
    ///
    /// * `x`: `[tokens, n]`
    /// * `tokens`: ascending, none of them twice
    /// * `y`: rows of `n` values
    ///
    /// # Panics
    /// When the lengths do not fit, the tokens do not ascend, or a row is not there.
    pub fn scatter_add(&self, x: &[f32], n: usize, tokens: &[u32], shares: &[f32], y: &mut [f32]) {
        assert_eq!(x.len(), tokens.len() * n, "x is [{}, {n}]", tokens.len());
        assert_eq!(tokens.len(), shares.len(), "each token has a share");
        assert!(y.len().is_multiple_of(n), "y is rows of {n}");
        assert!(tokens.is_sorted_by(|a, b| a < b), "tokens ascend");
        assert!(tokens.last().is_none_or(|&last| (last as usize) < y.len() / n), "there is a row for each token");
        // A task has some rows of `y`, and finds what belongs to them.
        self.rows(n, y, |first, y| {
            let end = first + y.len() / n;
            let from = tokens.partition_point(|&token| (token as usize) < first);
            for i in (from..tokens.len()).take_while(|&i| (tokens[i] as usize) < end) {
                let y = &mut y[(tokens[i] as usize - first) * n..][..n];
                (self.table.axpy)(shares[i], &x[i * n..][..n], y);
            }
        });
    }

    /// Calls `task` with some rows of `width` values and the number of the first: all of them at once when they are few.
    fn rows(&self, width: usize, out: &mut [f32], task: impl Fn(usize, &mut [f32]) + Sync) {
        if out.len() <= width * FEW {
            task(0, out);
        } else {
            let rows = (VALUES / width).max(1);
            self.pool.chunks(out, rows * width, |_, i, out| task(i * rows, out));
        }
    }
}

/// Cosines, sines, values of a head, one token's heads.
type Rope = fn(&[f32], &[f32], usize, &mut [f32]);

/// Plain code: beside the products of the heads it is nothing.
fn neighbours(cos: &[f32], sin: &[f32], head_dim: usize, heads: &mut [f32]) {
    for head in heads.chunks_exact_mut(head_dim) {
        for ((pair, cos), sin) in head.as_chunks_mut::<2>().0.iter_mut().zip(cos).zip(sin) {
            let [x, y] = *pair;
            *pair = [x * cos - y * sin, y * cos + x * sin];
        }
    }
}

/// The values of a vector in the file.
fn floats(w: Matrix<'_>) -> &[[u8; 4]] {
    assert_eq!(w.dtype(), DType::F32, "norms are F32");
    w.bytes().as_chunks().0
}

//! Operations on rows of activations: norm, rotation, activation function, residual.

use phi_tensor::{DType, Matrix};

use crate::Kernels;

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
        assert_eq!(w.dtype(), DType::F32, "norms are F32");
        assert_eq!(x.len(), out.len(), "x and out are [tokens, {}]", w.cols());
        let (w, _) = w.bytes().as_chunks::<4>();
        for (x, out) in x.chunks_exact(w.len()).zip(out.chunks_exact_mut(w.len())) {
            (self.table.rms_norm)(x, w, eps, out);
        }
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
        assert_eq!(cos.len(), sin.len(), "cos and sin are [tokens, {pairs}]");
        let tokens = cos.len() / pairs;
        let width = x.len() / tokens;
        assert!(2 * pairs <= head_dim && width.is_multiple_of(head_dim), "{pairs} pairs of {head_dim}, {width} wide");
        let angles = cos.chunks_exact(pairs).zip(sin.chunks_exact(pairs));
        for (x, (cos, sin)) in x.chunks_exact_mut(width).zip(angles) {
            for head in x.chunks_exact_mut(head_dim) {
                let (a, b) = head[..2 * pairs].split_at_mut(pairs);
                for (((a, b), cos), sin) in a.iter_mut().zip(b).zip(cos).zip(sin) {
                    (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                }
            }
        }
    }

    /// `gate[i] = silu(gate[i]) · up[i]`, with `silu(g) = g / (1 + e^−g)`
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn silu_mul(&self, up: &[f32], gate: &mut [f32]) {
        assert_eq!(gate.len(), up.len(), "gate and up are of one length");
        (self.table.silu_mul)(up, gate);
    }

    /// `y[i] += x[i]`
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn add(&self, x: &[f32], y: &mut [f32]) {
        assert_eq!(x.len(), y.len(), "x and y are of one length");
        (self.table.axpy)(1.0, x, y);
    }
}

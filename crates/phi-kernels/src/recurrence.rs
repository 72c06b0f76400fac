//! Selective recurrence, as Mamba has it, and what stands around it: a short convolution, and the difference of paired
//! heads.
//!
//! Channels do not know each other, and each takes its tokens in their order: neither the number of threads nor the size of
//! batches changes a bit of a state.

use phi_tensor::Matrix;

use crate::Kernels;
use crate::arch::STATE;
use crate::pool::Shared;
use crate::rows::floats;

/// Channels that one task takes through all tokens: with 16 values of state each, their part of it fits the smallest
/// first-level caches.
const CHANNELS: usize = 64;

/// One recurrence.
#[derive(Clone, Copy)]
pub struct Scan<'a> {
    /// What the state decays by, below 0: `[channels, n_state]`, F32.
    pub a: Matrix<'a>,
    /// What of the input goes around the state: `[channels]`, F32.
    pub d: Matrix<'a>,
    /// Steps, above 0: `[tokens, channels]`.
    pub delta: &'a [f32],
    /// Of each token what the input writes to the state, then what is read of it: `[tokens, 2, n_state]`.
    pub b_c: &'a [f32],
    /// Input, `[tokens, channels]`.
    pub x: &'a [f32],
}

impl Kernels {
    /// ```text
    /// s[c, j] ← e^(Δ[t, c] · a[c, j]) · s[c, j] + Δ[t, c] · x[t, c] · B[t, j]
    /// y[t, c] = Σ_j C[t, j] · s[c, j] + d[c] · x[t, c]
    /// ```
    ///
    /// * `state`: `[channels, n_state]`, what the tokens before have left, and then these
    /// * `y`: `[tokens, channels]`, overwritten
    ///
    /// # Panics
    /// When the lengths do not fit, `a` or `d` is not F32, or `n_state` is not a multiple of 16.
    pub fn scan(&self, scan: Scan<'_>, state: &mut [f32], y: &mut [f32]) {
        let Scan { a, d, delta, b_c, x } = scan;
        let (channels, n_state) = (a.rows(), a.cols());
        let (a, d) = (floats(a), floats(d));
        let tokens = y.len() / channels;
        assert!(n_state.is_multiple_of(STATE), "{n_state} values of state are not whole vectors");
        assert_eq!(d.len(), channels, "d is [{channels}]");
        assert_eq!(state.len(), a.len(), "the state is [{channels}, {n_state}]");
        assert_eq!(b_c.len(), tokens * 2 * n_state, "B and C are [{tokens}, 2, {n_state}]");
        for values in [delta, x, &*y] {
            assert_eq!(values.len(), tokens * channels, "step, input and output are [{tokens}, {channels}]");
        }
        let y = Shared::new(y);
        self.pool.chunks(state, CHANNELS * n_state, |_, task, state| {
            let first = task * CHANNELS;
            let n = state.len() / n_state;
            let a = &a[first * n_state..][..state.len()];
            for (t, b_c) in b_c.chunks_exact(2 * n_state).enumerate() {
                let at = t * channels + first;
                // SAFETY: each channel is in one task.
                #[expect(unsafe_code, reason = "tasks write columns of a row-major output")]
                let y = unsafe { y.slice(at..at + n) };
                (self.table.scan)(a, &d[first..][..n], &delta[at..][..n], b_c, &x[at..][..n], state, y);
            }
        });
    }

    /// `y[t, c] = silu(b[c] + Σ_k w[c, k] · x[t − (width − 1) + k, c])`: each channel over its last few inputs.
    ///
    /// * `w`: `[channels, width]`, F32
    /// * `b`: `[channels]`, F32
    /// * `x`: `[tokens, channels]`
    /// * `before`: `[width − 1, channels]`, the inputs before these, and then the last of all
    /// * `y`: `[tokens, channels]`, overwritten
    ///
    /// # Panics
    /// When the lengths do not fit, or `w` or `b` is not F32.
    pub fn convolve(&self, w: Matrix<'_>, b: Matrix<'_>, x: &[f32], before: &mut [f32], y: &mut [f32]) {
        let (channels, width) = (w.rows(), w.cols());
        let (w, b) = (floats(w), floats(b));
        assert_eq!(b.len(), channels, "b is [{channels}]");
        assert_eq!(before.len(), (width - 1) * channels, "inputs before are [{}, {channels}]", width - 1);
        assert!(x.len() == y.len() && x.len().is_multiple_of(channels), "x and y are [tokens, {channels}]");
        let (tokens, earlier) = (x.len() / channels, width - 1);
        // Plain code, for it is next to nothing beside the matrices.
        let kept = &*before;
        self.rows(channels, y, |first, y| {
            for (t, y) in (first..).zip(y.chunks_exact_mut(channels)) {
                y.iter_mut().zip(b).for_each(|(y, b)| *y = f32::from_le_bytes(*b));
                for k in 0..width {
                    let (from, row) = match (t + k).checked_sub(earlier) {
                        Some(row) => (x, row),
                        None => (kept, t + k),
                    };
                    let row = &from[row * channels..][..channels];
                    for ((y, w), x) in y.iter_mut().zip(w.chunks_exact(width)).zip(row) {
                        *y += f32::from_le_bytes(w[k]) * x;
                    }
                }
                y.iter_mut().for_each(|y| *y /= 1.0 + (-*y).exp());
            }
        });
        // Of fewer tokens than are kept, some from before stay; each comes from a place not yet written.
        for i in 0..earlier {
            match (tokens + i).checked_sub(earlier) {
                Some(t) => before[i * channels..][..channels].copy_from_slice(&x[t * channels..][..channels]),
                None => before.copy_within((tokens + i) * channels..(tokens + i + 1) * channels, i * channels),
            }
        }
    }

    /// `x[i] = ln(1 + e^x[i])`
    pub fn softplus(&self, x: &mut [f32]) {
        self.values(x, |x| x.iter_mut().for_each(|x| *x = x.max(0.0) + (-x.abs()).exp().ln_1p()));
    }

    /// `out[r, i] = x[2r, i] − factor · x[2r + 1, i]`
    ///
    /// * `x`: `[2 · rows, n]`
    /// * `out`: `[rows, n]`, overwritten
    ///
    /// # Panics
    /// When the lengths do not fit.
    pub fn differ(&self, factor: f32, n: usize, x: &[f32], out: &mut [f32]) {
        assert_eq!(x.len(), 2 * out.len(), "x has two rows for each of out");
        assert!(out.len().is_multiple_of(n), "out is [rows, {n}]");
        self.rows(n, out, |first, out| {
            for (out, x) in out.chunks_exact_mut(n).zip(x[2 * first * n..].chunks_exact(2 * n)) {
                let (a, b) = x.split_at(n);
                for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
                    *out = a - factor * b;
                }
            }
        });
    }
}

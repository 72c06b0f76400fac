use phi_quant::codec;
use phi_tensor::{Matrix, TokenId};
use rayon::prelude::*;

use crate::Kernels;
use crate::arch::PackedRow;

/// Rows of one task when a single token is computed: enough to outweigh the hand-over to a thread.
const ROWS_PER_TASK: usize = 32;

impl Kernels {
    /// `out[t, r] = Σ_c w[r, c] · x[t, c]`
    ///
    /// * `w`: `[rows, cols]`, any type with a codec
    /// * `x`: `[tokens, cols]`
    /// * `out`: `[tokens, rows]`, overwritten
    ///
    /// # Panics
    /// When the lengths do not fit each other, or `w` has a type that cannot be read: models refuse those when bound.
    pub fn matmul(&self, w: Matrix<'_>, x: &[f32], out: &mut [f32]) {
        let tokens = x.len() / w.cols();
        assert_eq!(x.len(), tokens * w.cols(), "x is [tokens, {}]", w.cols());
        assert_eq!(out.len(), tokens * w.rows(), "out is [{tokens}, {}]", w.rows());
        let decode = codec(w.dtype()).expect("a model is only bound to types that can be read").decode;
        let dot_row = self.table.dot_row;
        let row = |r| PackedRow {
            bytes: w.row(r),
            cols: w.cols(),
            block_len: w.dtype().block_len(),
            block_bytes: w.dtype().block_bytes(),
        };
        if tokens == 1 {
            self.pool.install(|| {
                out.par_chunks_mut(ROWS_PER_TASK).enumerate().for_each(|(task, out)| {
                    for (i, out) in out.iter_mut().enumerate() {
                        dot_row(decode, row(task * ROWS_PER_TASK + i), x, std::slice::from_mut(out), 1);
                    }
                });
            });
            return;
        }
        // Each thread takes some of the tokens, so that its part of `out` is one piece.
        let share = tokens.div_ceil(self.threads()).max(1);
        self.pool.install(|| {
            let outs = out.par_chunks_mut(share * w.rows());
            outs.zip(x.par_chunks(share * w.cols())).for_each(|(out, x)| {
                for r in 0..w.rows() {
                    dot_row(decode, row(r), x, &mut out[r..], w.rows());
                }
            });
        });
    }

    /// `out[t] = table[tokens[t]]`
    ///
    /// * `table`: `[n_vocab, n_embd]`, any type with a codec
    /// * `out`: `[tokens, n_embd]`, overwritten
    ///
    /// # Panics
    /// When a token is not in the table, or the lengths do not fit.
    pub fn embed(&self, table: Matrix<'_>, tokens: &[TokenId], out: &mut [f32]) {
        assert_eq!(out.len(), tokens.len() * table.cols(), "out is [tokens, {}]", table.cols());
        let decode = codec(table.dtype()).expect("a model is only bound to types that can be read").decode;
        for (token, out) in tokens.iter().zip(out.chunks_exact_mut(table.cols())) {
            decode(table.row(token.index()), out);
        }
    }
}

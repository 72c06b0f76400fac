//! Matrices times activations: which kernel, which rows on which thread, and what becomes of the sums.

use std::sync::{MutexGuard, PoisonError};

use bytemuck::Zeroable;
use phi_quant::codec;
use phi_tensor::{DType, Matrix, TokenId};

use crate::activations::MANY;
use crate::arch::{PANEL, PANELS, Product, Rows, Scratch};
use crate::pool::Shared;
use crate::{Activations, Kernels};

/// Columns whose sums one thread keeps at a time.
const COLUMNS: usize = 512;

/// Tasks for each thread, where a matrix has rows enough: what one thread is late by is at most one of them.
const TASKS: usize = 8;

/// One thread's room.
#[derive(Zeroable)]
pub(crate) struct Work {
    scratch: Scratch,
    /// `[PANELS, columns, PANEL]`
    sums: [f32; PANELS * COLUMNS * PANEL],
}

impl Kernels {
    /// `out[t, r] = Σ_c w[r, c] · x[t, c]`
    ///
    /// Types of at most 8 bits a weight are multiplied with the activations' codes, all others with the activations.
    ///
    /// * `w`: `[rows, cols]`, any type with a codec
    /// * `x`: `[tokens, cols]`
    /// * `out`: `[tokens, rows]`, overwritten
    ///
    /// # Panics
    /// When the lengths do not fit each other, or `w` has a type that cannot be read: models refuse those when bound.
    pub fn matmul(&self, w: Matrix<'_>, x: Activations<'_>, out: &mut [f32]) {
        self.products([(w, out)], x, |sums, out| out.copy_from_slice(sums));
    }

    /// [`Kernels::matmul`] of several matrices with the same activations.
    ///
    /// # Panics
    /// Those of `matmul`.
    pub fn matmul_each<const N: usize>(&self, each: [(Matrix<'_>, &mut [f32]); N], x: Activations<'_>) {
        self.products(each, x, |sums, out| out.copy_from_slice(sums));
    }

    /// `out[t, r] += Σ_c w[r, c] · x[t, c]`
    ///
    /// # Panics
    /// Those of `matmul`.
    pub fn matmul_add(&self, w: Matrix<'_>, x: Activations<'_>, out: &mut [f32]) {
        self.products([(w, out)], x, |sums, out| {
            for (out, sum) in out.iter_mut().zip(sums) {
                *out += sum;
            }
        });
    }

    /// `out[t, r] = silu(Σ_c gate[r, c] · x[t, c]) · Σ_c up[r, c] · x[t, c]`, with `silu(g) = g / (1 + e^−g)`
    ///
    /// # Panics
    /// Those of `matmul`, and when the matrices differ in shape.
    pub fn matmul_silu(&self, gate: Matrix<'_>, up: Matrix<'_>, x: Activations<'_>, out: &mut [f32]) {
        assert_eq!(gate.rows(), up.rows(), "gate and up have as many rows");
        let (gate, up) = (Job::new(self, gate, x, out.len()), Job::new(self, up, x, out.len()));
        let panels = self.panels(gate.w.rows()).min(PANELS / 2);
        let (width, n_out) = (gate.w.rows(), out.len());
        let out = Shared::new(out);
        self.pool.run(width.div_ceil(panels * PANEL), |thread, task| {
            let mut work = self.work(thread);
            let Work { scratch, sums } = &mut **work;
            let (gates, ups) = sums.split_at_mut(PANELS / 2 * COLUMNS * PANEL);
            let first = task * panels * PANEL;
            let rows = (panels * PANEL).min(width - first);
            for column in (0..x.tokens()).step_by(COLUMNS) {
                let columns = COLUMNS.min(x.tokens() - column);
                gate.compute(x, first, rows, column, columns, scratch, gates);
                up.compute(x, first, rows, column, columns, scratch, ups);
                let len = rows.div_ceil(PANEL) * columns * PANEL;
                (self.table.silu_mul)(&ups[..len], &mut gates[..len]);
                scatter(gates, first, rows, column, columns, width, |sums, at| {
                    debug_assert!(at + sums.len() <= n_out);
                    // SAFETY: each task has rows of its own.
                    #[expect(unsafe_code, reason = "tasks write columns of a row-major matrix")]
                    unsafe { out.slice(at..at + sums.len()) }.copy_from_slice(sums);
                });
            }
        });
    }

    fn products<const N: usize>(
        &self,
        each: [(Matrix<'_>, &mut [f32]); N],
        x: Activations<'_>,
        finish: impl Fn(&[f32], &mut [f32]) + Sync,
    ) {
        let mut tasks = 0;
        let jobs = each.map(|(w, out)| {
            let job = Job::new(self, w, x, out.len());
            let panels = self.panels(w.rows());
            let first = tasks;
            tasks += w.rows().div_ceil(panels * PANEL);
            (job, Shared::new(out), panels, first)
        });
        self.pool.run(tasks, |thread, task| {
            let mut work = self.work(thread);
            let Work { scratch, sums } = &mut **work;
            let (job, out, panels, first_task) =
                jobs.iter().rev().find(|job| job.3 <= task).expect("the first job begins with task 0");
            let width = job.w.rows();
            let first = (task - first_task) * panels * PANEL;
            let rows = (panels * PANEL).min(width - first);
            for column in (0..x.tokens()).step_by(COLUMNS) {
                let columns = COLUMNS.min(x.tokens() - column);
                job.compute(x, first, rows, column, columns, scratch, sums);
                scatter(sums, first, rows, column, columns, width, |sums, at| {
                    // SAFETY: each task has rows of its own.
                    #[expect(unsafe_code, reason = "tasks write columns of a row-major matrix")]
                    finish(sums, unsafe { out.slice(at..at + sums.len()) });
                });
            }
        });
    }

    /// Panels of one task.
    fn panels(&self, rows: usize) -> usize {
        (rows / (PANEL * TASKS * self.threads())).clamp(1, PANELS)
    }

    fn work(&self, thread: usize) -> MutexGuard<'_, Box<Work>> {
        self.work[thread].lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Whether matrices of this type are multiplied with the activations' codes.
    pub fn rounds_activations(dtype: DType) -> bool {
        (crate::arch::table(crate::Isa::Scalar).product)(dtype).integer
    }
}

/// One matrix of a parallel region.
struct Job<'a> {
    w: Matrix<'a>,
    product: Product,
}

impl<'a> Job<'a> {
    fn new(kernels: &Kernels, w: Matrix<'a>, x: Activations<'_>, out_len: usize) -> Job<'a> {
        assert_eq!(x.cols(), w.cols(), "x is [tokens, {}]", w.cols());
        assert_eq!(out_len, x.tokens() * w.rows(), "out is [{}, {}]", x.tokens(), w.rows());
        assert!(codec(w.dtype()).is_some(), "a model is only bound to types that can be read");
        Job { w, product: (kernels.table.product)(w.dtype()) }
    }

    /// `sums[r / PANEL, c, r % PANEL]` of `rows` rows from `first` on, with `columns` tokens from `column` on.
    #[expect(clippy::too_many_arguments, reason = "two ranges, and room")]
    fn compute(
        &self,
        x: Activations<'_>,
        first: usize,
        rows: usize,
        column: usize,
        columns: usize,
        scratch: &mut Scratch,
        sums: &mut [f32],
    ) {
        let w = self.w.slice_rows(first, rows);
        let w = Rows { bytes: w.bytes(), row_bytes: w.row_bytes(), rows, cols: w.cols(), dtype: w.dtype() };
        if x.tokens() < MANY {
            (self.product.gemv)(w, x.acts(), sums);
        } else {
            (self.product.gemm)(w, x.acts(), column, columns, scratch, sums);
        }
    }
}

/// Calls `put` with the sums of each panel's rows and one column, and where they belong in `[tokens, width]`.
fn scatter(
    sums: &[f32],
    first: usize,
    rows: usize,
    column: usize,
    columns: usize,
    width: usize,
    mut put: impl FnMut(&[f32], usize),
) {
    for c in 0..columns {
        for panel in 0..rows.div_ceil(PANEL) {
            let here = PANEL.min(rows - panel * PANEL);
            put(&sums[(panel * columns + c) * PANEL..][..here], (column + c) * width + first + panel * PANEL);
        }
    }
}

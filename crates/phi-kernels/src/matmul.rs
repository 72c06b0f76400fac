//! Matrices times activations: which kernel, which rows on which thread, and what becomes of the sums.

#![expect(unsafe_code, reason = "tasks write columns of a row-major output")]

use bytemuck::{Pod, Zeroable};
use phi_quant::codec;
use phi_tensor::{DType, Matrix, TokenId};

use crate::activations::MANY;
use crate::arch::{Finish, PANEL, PANELS, Product, Rows, Scratch, Sums, Table, Target, finish_few};
use crate::{Activations, Kernels};

/// Columns whose sums one thread keeps at a time: the usual batch, padded.
const COLUMNS: usize = 516;

/// Tasks for each thread, where a matrix has rows enough: what one thread is late by is at most one of them.
const TASKS: usize = 8;

/// One thread's room.
#[derive(Clone, Copy, Zeroable, Pod)]
#[repr(C)]
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
        self.products([(w, out)], x, false);
    }

    /// [`Kernels::matmul`] of several matrices with the same activations.
    ///
    /// # Panics
    /// Those of `matmul`.
    pub fn matmul_each<const N: usize>(&self, each: [(Matrix<'_>, &mut [f32]); N], x: Activations<'_>) {
        self.products(each, x, false);
    }

    /// `out[t, r] += Σ_c w[r, c] · x[t, c]`
    ///
    /// # Panics
    /// Those of `matmul`.
    pub fn matmul_add(&self, w: Matrix<'_>, x: Activations<'_>, out: &mut [f32]) {
        self.products([(w, out)], x, true);
    }

    fn products<const N: usize>(&self, each: [(Matrix<'_>, &mut [f32]); N], x: Activations<'_>, add: bool) {
        let mut tasks = 0;
        let jobs = each.map(|(w, out)| {
            let job = Job::new(self, w, x, out);
            let first = tasks;
            tasks += job.tasks();
            (first, job)
        });
        self.pool.run(tasks, |thread, task| {
            let Work { scratch, sums } = &mut self.room(thread)[0].products;
            let (first, job) = jobs.iter().rev().find(|(first, _)| *first <= task).expect("the first begins with 0");
            job.for_each_part(task - first, |part| {
                let target = job.target(part);
                let finish = if add { Finish::Add(target) } else { Finish::Set(target) };
                // SAFETY: no other task has these rows.
                unsafe { job.compute(part, scratch, sums, finish) };
            });
        });
    }

    /// `out[t, r] = silu(Σ_c gate[r, c] · x[t, c]) · Σ_c up[r, c] · x[t, c]`, with `silu(g) = g / (1 + e^−g)`
    ///
    /// # Panics
    /// Those of `matmul`, and when the matrices differ in shape.
    pub fn matmul_silu(&self, gate: Matrix<'_>, up: Matrix<'_>, x: Activations<'_>, out: &mut [f32]) {
        assert_eq!(gate.rows(), up.rows(), "gate and up have as many rows");
        let mut gate = Job::new(self, gate, x, out);
        gate.panels = gate.panels.min(PANELS / 2);
        let up = Job { w: up, product: (self.table.product)(up.dtype()), ..gate };
        self.pool.run(gate.tasks(), |thread, task| {
            let Work { scratch, sums } = &mut self.room(thread)[0].products;
            let (ups, gates) = sums.split_at_mut(PANELS / 2 * COLUMNS * PANEL);
            gate.for_each_part(task, |part| {
                // SAFETY: nothing is written but `ups`.
                unsafe { up.compute(part, scratch, ups, Finish::Keep) };
                // SAFETY: no other task has these rows.
                unsafe { gate.compute(part, scratch, gates, Finish::Silu(ups, gate.target(part))) };
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

    /// Whether matrices of this type are multiplied with the activations' codes.
    pub fn rounds_activations(dtype: DType) -> bool {
        (crate::arch::table(crate::Isa::Scalar).product)(dtype).integer
    }
}

/// One matrix of a parallel region.
#[derive(Clone, Copy)]
struct Job<'a> {
    table: &'static Table,
    product: Product,
    w: Matrix<'a>,
    x: Activations<'a>,
    /// Where the output begins.
    out: Target,
    /// Panels of one task.
    panels: usize,
}

// SAFETY: the target is written by one task at each place, as `compute` demands.
unsafe impl Sync for Job<'_> {}

/// Some rows, with some tokens.
#[derive(Clone, Copy)]
struct Part {
    row: usize,
    rows: usize,
    column: usize,
    columns: usize,
}

impl<'a> Job<'a> {
    fn new(kernels: &Kernels, w: Matrix<'a>, x: Activations<'a>, out: &'a mut [f32]) -> Job<'a> {
        assert_eq!(x.cols(), w.cols(), "x is [tokens, {}]", w.cols());
        assert_eq!(out.len(), x.tokens() * w.rows(), "out is [{}, {}]", x.tokens(), w.rows());
        assert!(codec(w.dtype()).is_some(), "a model is only bound to types that can be read");
        Job {
            table: kernels.table,
            product: (kernels.table.product)(w.dtype()),
            w,
            x,
            out: Target { out: out.as_mut_ptr(), width: w.rows() },
            panels: (w.rows() / (PANEL * TASKS * kernels.threads())).clamp(1, PANELS),
        }
    }

    fn tasks(&self) -> usize {
        self.w.rows().div_ceil(self.panels * PANEL)
    }

    /// Calls `each` for all tokens, as many at a time as one thread has room for.
    fn for_each_part(&self, task: usize, mut each: impl FnMut(Part)) {
        let row = task * self.panels * PANEL;
        let rows = (self.panels * PANEL).min(self.w.rows() - row);
        for column in (0..self.x.tokens()).step_by(COLUMNS) {
            each(Part { row, rows, column, columns: COLUMNS.min(self.x.tokens() - column) });
        }
    }

    fn target(&self, part: Part) -> Target {
        let at = part.column * self.out.width + part.row;
        // A part's first place is within the output, whose length `new` checked.
        Target { out: self.out.out.wrapping_add(at), width: self.out.width }
    }

    /// # Safety
    /// No other thread has the target's rows.
    unsafe fn compute(&self, part: Part, scratch: &mut Scratch, sums: &mut [f32], finish: Finish<'_>) {
        let w = self.w.slice_rows(part.row, part.rows);
        let w = Rows { bytes: w.bytes(), row_bytes: w.row_bytes(), rows: part.rows, cols: w.cols(), dtype: w.dtype() };
        let acts = self.x.acts();
        if self.x.tokens() < MANY {
            (self.product.gemv)(w, acts, sums);
            if let Finish::Silu(up, _) = finish {
                let len = part.rows.div_ceil(PANEL) * part.columns * PANEL;
                (self.table.silu_mul)(&up[..len], &mut sums[..len]);
            }
            // SAFETY: the caller's.
            unsafe { finish_few(sums, part.rows, part.columns, finish) };
        } else {
            let sums = Sums { sums, first: part.column, columns: part.columns, finish };
            // SAFETY: the caller's.
            unsafe { (self.product.gemm)(w, acts, scratch, sums) };
        }
    }
}

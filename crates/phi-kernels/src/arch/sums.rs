//! Sums of products on their way to the output.

use super::float;
use super::simd::Simd;
use super::tile::PANEL;

/// What becomes of the sums when the last group of a row is added.
#[derive(Clone, Copy)]
pub(crate) enum Finish<'a> {
    /// They stay where they were added up.
    Keep,
    /// They are the output.
    Set(Target),
    /// They are added to the output.
    Add(Target),
    /// The output is `silu(sums) · up`, the latter added up before.
    Silu(&'a [f32], Target),
}

/// A row-major output, of which a task writes some columns.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    /// Where the task's first row of weights meets its first column of activations.
    pub(crate) out: *mut f32,
    /// Values between one column of activations and the next.
    pub(crate) width: usize,
}

/// Where sums are added up, `[panels, columns, PANEL]`, and which columns of the activations they belong to.
pub(crate) struct Sums<'a> {
    pub(crate) sums: &'a mut [f32],
    pub(crate) first: usize,
    pub(crate) columns: usize,
    pub(crate) finish: Finish<'a>,
}

/// Columns of sums are padded to a multiple of this, which every [`Simd::NC`] divides.
pub(crate) const PAD: usize = 12;

impl Sums<'_> {
    /// Where the sums of a column with a panel's rows are.
    #[inline(always)]
    fn at(&self, panel: usize, column: usize) -> usize {
        (panel * self.columns.next_multiple_of(PAD) + column) * PANEL
    }

    /// Adds a block of `2 · LANES` rows, from `lane` of a panel on, and `NC` columns; with `fresh`, to nothing.
    ///
    /// # Safety
    /// There are sums of these rows and columns.
    #[inline(always)]
    pub(super) unsafe fn add<S: Simd, const NC: usize>(
        &mut self,
        s: S,
        fresh: bool,
        (panel, lane, column): (usize, usize, usize),
        block: [[S::F; NC]; 2],
    ) {
        debug_assert!(self.at(panel, column + NC) <= self.sums.len());
        let sums = self.sums.as_mut_ptr().wrapping_add(self.at(panel, column) + lane);
        for i in 0..NC {
            for (j, row) in block.iter().enumerate() {
                // SAFETY: the caller's.
                unsafe {
                    let sum = sums.add(i * PANEL + j * S::LANES);
                    s.store(sum, if fresh { row[i] } else { s.add(row[i], s.load(sum)) });
                }
            }
        }
    }

    /// Finishes all rows with `columns` columns, from `first` on, whose sums are complete.
    ///
    /// # Safety
    /// The target is the task's own.
    #[inline(always)]
    pub(super) unsafe fn finish<S: Simd>(&self, s: S, rows: usize, first: usize, columns: usize) {
        let target = match self.finish {
            Finish::Keep => return,
            Finish::Set(target) | Finish::Add(target) | Finish::Silu(_, target) => target,
        };
        for column in first..self.columns.min(first + columns) {
            for row in (0..rows).step_by(S::LANES) {
                let at = self.at(row / PANEL, column) + row % PANEL;
                // SAFETY: there are sums of whole panels, and the target's rows and columns are the caller's.
                unsafe {
                    let out = target.out.add(column * target.width + row);
                    let mut sum = s.load(self.sums[at..][..S::LANES].as_ptr());
                    if let Finish::Silu(up, _) = self.finish {
                        sum = s.mul(float::silu(s, sum), s.load(up[at..][..S::LANES].as_ptr()));
                    }
                    let add = matches!(self.finish, Finish::Add(_));
                    if row + S::LANES <= rows {
                        s.store(out, if add { s.add(sum, s.load(out)) } else { sum });
                    } else {
                        let mut lanes = [0.0; PANEL];
                        s.store(lanes.as_mut_ptr(), sum);
                        for (i, lane) in lanes[..rows - row].iter().enumerate() {
                            *out.add(i) = if add { *out.add(i) + lane } else { *lane };
                        }
                    }
                }
            }
        }
    }
}

/// Finishes what [`super::Product::gemv`] left in `sums`, `[panels, columns, PANEL]`, for `rows` rows.
///
/// # Safety
/// The target is the task's own.
pub(crate) unsafe fn finish_few(sums: &[f32], rows: usize, columns: usize, finish: Finish<'_>) {
    let (target, add) = match finish {
        Finish::Keep => return,
        Finish::Set(target) | Finish::Silu(_, target) => (target, false),
        Finish::Add(target) => (target, true),
    };
    for panel in 0..rows.div_ceil(PANEL) {
        let here = PANEL.min(rows - panel * PANEL);
        for c in 0..columns {
            let sums = &sums[(panel * columns + c) * PANEL..][..here];
            // SAFETY: these rows and this column are within the target.
            let out = unsafe { std::slice::from_raw_parts_mut(target.out.add(c * target.width + panel * PANEL), here) };
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = if add { *out + sum } else { *sum };
            }
        }
    }
}

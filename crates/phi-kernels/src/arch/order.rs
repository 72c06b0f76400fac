//! The order in which decode reads the rows of a task: from several places of memory at once.

use super::simd::Simd;

/// Rows that the prefetch runs ahead where they are read side by side.
const AHEAD: usize = 4;

/// The order of a task's rows.
///
/// They are cut into [`Simd::STREAMS`] runs of rows that lie side by side. A step takes the next row of `R` of the runs, in
/// turn; or the next `R` rows where there is one run only.
#[derive(Clone, Copy)]
pub(super) struct Order {
    rows: usize,
    /// Rows of a run.
    run: usize,
}

/// `R` rows, in one run or in as many.
#[derive(Clone, Copy)]
pub(super) struct Step {
    run: usize,
    row: usize,
}

impl Order {
    pub(super) fn new<S: Simd>(rows: usize) -> Order {
        Order { rows, run: rows.div_ceil(S::STREAMS) }
    }

    /// Runs of a step, rows of a run.
    const fn shape<S: Simd, const R: usize>() -> (usize, usize) {
        const { assert!(S::STREAMS == 1 || S::STREAMS.is_multiple_of(R), "runs take turns") };
        if S::STREAMS == 1 { (1, R) } else { (R, 1) }
    }

    /// All steps, in their order.
    #[inline(always)]
    pub(super) fn steps<S: Simd, const R: usize>(self) -> impl Iterator<Item = Step> {
        let (runs, rows) = Order::shape::<S, R>();
        let turns = (0..S::STREAMS).step_by(runs);
        (0..self.run).step_by(rows).flat_map(move |row| turns.clone().map(move |run| Step { run, row }))
    }

    /// The rows of a step. Those of the last runs may be behind the task's last row.
    #[inline(always)]
    pub(super) fn rows<S: Simd, const R: usize>(self, step: Step) -> [usize; R] {
        let (_, side_by_side) = Order::shape::<S, R>();
        let mut rows = [0; R];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = (step.run + i / side_by_side) * self.run + step.row + i % side_by_side;
        }
        rows
    }

    /// Rows to ask for at a step: those of the next; after the last those of the next task, which begins where this ends.
    #[inline(always)]
    pub(super) fn ahead<S: Simd, const R: usize>(self, Step { run, row }: Step) -> [usize; R] {
        let (runs, _) = Order::shape::<S, R>();
        if S::STREAMS == 1 {
            self.rows::<S, R>(Step { run, row: row + AHEAD })
        } else if run + runs < S::STREAMS {
            self.rows::<S, R>(Step { run: run + runs, row })
        } else if row + 1 < self.run {
            self.rows::<S, R>(Step { run: 0, row: row + 1 })
        } else {
            let mut rows = self.rows::<S, R>(Step { run: 0, row: 0 });
            rows.iter_mut().for_each(|row| *row += self.rows);
            rows
        }
    }
}

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests {
    use super::*;

    #[cfg(target_arch = "aarch64")]
    use crate::arch::neon::Neon as Isa;
    #[cfg(target_arch = "x86_64")]
    use crate::arch::x86::Avx2 as Isa;

    /// Every row is in one step, and each step has asked for the rows of a later one.
    fn covers<const R: usize>() {
        for n in (1..70).chain([96, 128, 299]) {
            let order = Order::new::<Isa>(n);
            let mut times = vec![0; n];
            let mut asked = vec![false; 2 * n + 64];
            for (i, step) in order.steps::<Isa, R>().enumerate() {
                for row in order.rows::<Isa, R>(step) {
                    if let Some(times) = times.get_mut(row) {
                        *times += 1;
                    }
                    assert!(i * R < AHEAD || asked[row], "row {row} of {n} comes unasked");
                }
                for row in order.ahead::<Isa, R>(step) {
                    asked[row] = true;
                }
            }
            assert!(times.iter().all(|times| *times == 1), "{R} together: {times:?}");
            assert!(asked[n..].contains(&true), "the next task of {n}");
        }
    }

    #[test]
    fn an_order_covers_the_rows() {
        covers::<1>();
        covers::<2>();
        covers::<4>();
    }
}

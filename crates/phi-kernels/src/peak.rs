//! What this machine can do at best with these threads: the denominators of "how good is that".
//!
//! Decoding is bound by reading weights, prefill by multiplying them. Both bounds are measured here, on the threads that
//! do the work, because no data sheet knows how many channels of memory are plugged in, or what a shared machine leaves.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::Kernels;
use crate::arch::Tile;

/// Passes are repeated for so long: the best of some dozens on a fast machine, of a few on a slow one.
const AT_LEAST: Duration = Duration::from_millis(400);
const MIN_PASSES: usize = 3;
/// What a thread reads before it takes the next piece: large against the hand-over, small against a share of the buffer,
/// so that a thread that is held up does not hold up the pass.
const PIECE: usize = (1 << 20) / size_of::<u64>();
/// Sums that do not wait for each other: half of the sixteen registers that the narrowest vectors have, so that none of
/// them has to leave its own.
const SUMS: usize = 16;
/// Places that a piece is read from at the same time, whatever decode does here: memory gives more to who asks for more at
/// once, and it is the most that is looked for.
const STREAMS: usize = 8;
/// Rounds of a thread between two looks at the clock: milliseconds, on any machine.
const ROUNDS: usize = 1 << 12;

impl Kernels {
    /// Bytes a second that all threads together read from `buffer`: the best of several passes.
    ///
    /// It is memory that is measured only if the buffer is several times as large as the caches, and was written before:
    /// pages that nobody wrote may all be the same one.
    pub fn peak_stream(&self, buffer: &[u64]) -> f64 {
        let pieces = buffer.len().div_ceil(PIECE);
        // Without a use of the sum nothing would have to be read.
        let total = AtomicU64::new(0);
        let passes = best(|| {
            self.pool.run(pieces, |_, i| {
                let piece = &buffer[i * PIECE..buffer.len().min((i + 1) * PIECE)];
                total.fetch_add(sum(black_box(piece)), Ordering::Relaxed);
            });
        });
        black_box(total);
        size_of_val(buffer) as f64 / passes.as_secs_f64()
    }

    /// Multiply-adds of bytes a second that all threads together do when they do nothing else: the products of prefill,
    /// from the first cache, without scales. `None` for plain code.
    pub fn peak_dot(&self) -> Option<f64> {
        let run = self.table.peak?;
        let threads = self.threads();
        let tile: Box<Tile> = bytemuck::zeroed_box();
        let done = AtomicU64::new(0);
        let round = best(|| {
            done.store(0, Ordering::Relaxed);
            self.pool.run(threads, |_, _| {
                done.fetch_add(run(black_box(&tile), ROUNDS) as u64, Ordering::Relaxed);
            });
        });
        Some(done.into_inner() as f64 / round.as_secs_f64())
    }
}

/// The shortest of several passes.
fn best(mut pass: impl FnMut()) -> Duration {
    let begin = Instant::now();
    let mut best = Duration::MAX;
    let mut passes = 0;
    while passes < MIN_PASSES || begin.elapsed() < AT_LEAST {
        let start = Instant::now();
        pass();
        best = best.min(start.elapsed());
        passes += 1;
    }
    // A clock may be too coarse for an empty pass.
    best.max(Duration::from_nanos(1))
}

/// The sum of all numbers. Written so that it becomes vectors of any width.
fn sum(x: &[u64]) -> u64 {
    let mut sums = [0_u64; SUMS];
    let (chunks, rest) = x.as_chunks::<SUMS>();
    let (streams, others) = chunks.split_at(chunks.len() / STREAMS * STREAMS);
    let run = streams.len() / STREAMS;
    let mut add = |chunk: &[u64; SUMS]| {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum = sum.wrapping_add(*x);
        }
    };
    for i in 0..run {
        for stream in 0..STREAMS {
            add(&streams[stream * run + i]);
        }
    }
    others.iter().for_each(add);
    sums.iter().chain(rest).fold(0, |sum, x| sum.wrapping_add(*x))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    #[test]
    fn every_number_is_read_once() {
        for len in [0, 1, 15, 16, 17, 1000, 10_000] {
            let x: Vec<u64> = (1..=len).collect();
            assert_eq!(sum(&x), len * (len + 1) / 2);
        }
        assert_eq!(sum(&[u64::MAX, 3]), 2);
    }

    #[test]
    fn a_peak_is_a_rate() {
        let kernels = Kernels::new(Isa::Scalar, 2).unwrap();
        let rate = kernels.peak_stream(&vec![1; 3 * PIECE + 7]);
        assert!(rate.is_finite() && rate > 0.0, "{rate}");
        assert!(kernels.peak_dot().is_none_or(|rate| rate.is_finite() && rate > 0.0));
    }
}

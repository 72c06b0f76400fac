//! Scale of a sub-block whose codes are entries of a table: `x ≈ scale · VALUES[q]`.

use fearless_simd::prelude::*;

use crate::lanes::{Lanes, all, unless_zero};

/// The entries of IQ4_NL and IQ4_XS: denser around zero, where weights are.
pub(crate) const VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// First guesses to either side of the one that maps the largest magnitude to an end of the table.
const TRIES: i32 = 7;

/// The value of the nearest entry; halfway, the upper one. Midpoints of integers are exact in f32, and so is the comparison.
#[inline(always)]
fn rounded<S: Simd>(x: Lanes<S>) -> Lanes<S> {
    let simd = x.simd;
    let mut value = all(simd, f32::from(VALUES[0]));
    for pair in VALUES.windows(2) {
        let middle = (f32::from(pair[0]) + f32::from(pair[1])) / 2.0;
        value = x.simd_lt(all(simd, middle)).select(value, all(simd, f32::from(pair[1])));
    }
    value
}

/// The number of the nearest entry.
#[inline(always)]
pub(crate) fn nearest_entry(x: f32) -> u8 {
    let mut entry = 0;
    for pair in VALUES.windows(2) {
        // Not `>=`: what is no number is the last entry, as in llama.cpp.
        let below = x < (f32::from(pair[0]) + f32::from(pair[1])) / 2.0;
        entry += u8::from(!below);
    }
    entry
}

/// The scale among 16 guesses, each fitted by weighted least squares, with the largest `(Σ w·x·v)² / Σ w·v²`.
#[inline(always)]
pub(crate) fn table<S: Simd, const LEN: usize>(x: &[Lanes<S>; LEN], w: &[Lanes<S>; LEN]) -> Lanes<S> {
    let simd = x[0].simd;
    let zero = all(simd, 0.0);
    let (mut largest, mut max) = (zero, zero);
    for &x in x {
        let more = x.abs().simd_gt(largest);
        largest = more.select(x.abs(), largest);
        max = more.select(x, max);
    }
    let end = f32::from(VALUES[0]);
    let first = all(simd, 1.0) / (-max / all(simd, end));
    let (sum_qx, sum_q2) = sums(x, w, first);
    let mut scale = sum_q2.simd_gt(zero).select(sum_qx / sum_q2, zero);
    let mut best = scale * sum_qx;
    for t in -TRIES..=TRIES {
        let (sum_qx, sum_q2) = sums(x, w, all(simd, t as f32 + end) / max);
        let better = sum_q2.simd_gt(zero) & (sum_qx * sum_qx).simd_gt(best * sum_q2);
        let fitted = sum_qx / sum_q2;
        scale = better.select(fitted, scale);
        best = better.select(fitted * sum_qx, best);
    }
    unless_zero(largest, scale)
}

/// `Σ w·x·v` and `Σ w·v²`
#[inline(always)]
fn sums<S: Simd, const LEN: usize>(
    x: &[Lanes<S>; LEN],
    w: &[Lanes<S>; LEN],
    inverse: Lanes<S>,
) -> (Lanes<S>, Lanes<S>) {
    let zero = all(inverse.simd, 0.0);
    let (mut sum_qx, mut sum_q2) = (zero, zero);
    for (&x, &w) in x.iter().zip(w) {
        let q = rounded(inverse * x);
        let wq = w * q;
        sum_qx += wq * x;
        sum_q2 += wq * q;
    }
    (sum_qx, sum_q2)
}

//! Scale of a sub-block whose codes are entries of a table: `x ≈ scale · VALUES[q]`.

use crate::lanes::Lanes;

/// The entries of IQ4_NL and IQ4_XS: denser around zero, where weights are.
pub(crate) const VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// First guesses to either side of the one that maps the largest magnitude to an end of the table.
const TRIES: i32 = 7;

/// The value of the nearest entry; halfway, the upper one. Midpoints of integers are exact in f32, and so is the comparison.
#[inline(always)]
fn rounded(x: Lanes) -> Lanes {
    let mut value = Lanes::all(f32::from(VALUES[0]));
    for pair in VALUES.windows(2) {
        let middle = (f32::from(pair[0]) + f32::from(pair[1])) / 2.0;
        value = x.lt(Lanes::all(middle)).select(value, Lanes::all(f32::from(pair[1])));
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
pub(crate) fn table<const LEN: usize>(x: &[Lanes; LEN], w: &[Lanes; LEN]) -> Lanes {
    let zero = Lanes::all(0.0);
    let (mut largest, mut max) = (zero, zero);
    for &x in x {
        let more = x.abs().gt(largest);
        largest = more.select(x.abs(), largest);
        max = more.select(x, max);
    }
    let sums = |inverse: Lanes| {
        let (mut sum_qx, mut sum_q2) = (zero, zero);
        for (&x, &w) in x.iter().zip(w) {
            let q = rounded(inverse * x);
            let wq = w * q;
            sum_qx = sum_qx + wq * x;
            sum_q2 = sum_q2 + wq * q;
        }
        (sum_qx, sum_q2)
    };
    let end = f32::from(VALUES[0]);
    let first = Lanes::all(1.0) / (-max / Lanes::all(end));
    let (sum_qx, sum_q2) = sums(first);
    let mut scale = sum_q2.gt(zero).select(sum_qx / sum_q2, zero);
    let mut best = scale * sum_qx;
    for t in -TRIES..=TRIES {
        let (sum_qx, sum_q2) = sums(Lanes::all(t as f32 + end) / max);
        let better = sum_q2.gt(zero) & (sum_qx * sum_qx).gt(best * sum_q2);
        let fitted = sum_qx / sum_q2;
        scale = better.select(fitted, scale);
        best = better.select(fitted * sum_qx, best);
    }
    largest.counts().select(scale, zero)
}

//! Scale of a sub-block around zero: `x ≈ scale · (q − n)`, `q` in `0..2n`.

use crate::lanes::{LANES, Lanes, behind_each_other, side_by_side};

/// The first guess maps the value of largest magnitude to `−n`, 18 more make it a little more or less; each is rounded and
/// fitted, `scale = Σ w·x·l / Σ w·l²` with `l = q − n`. The scale with the largest `(Σ w·x·l)² / Σ w·l²` wins.
///
/// Returns the scales, and codes `q`. A sub-block of zeros has scale 0 and codes 0.
#[inline(always)]
pub(crate) fn symmetric<const LEN: usize>(x: &[Lanes; LEN], w: &[Lanes; LEN], n: i32) -> (Lanes, [Lanes; LEN]) {
    let zero = Lanes::all(0.0);
    let (mut largest, mut max) = (zero, zero);
    let mut wx = [zero; LEN];
    for ((&x, &w), wx) in x.iter().zip(w).zip(&mut wx) {
        let more = x.abs().gt(largest);
        largest = more.select(x.abs(), largest);
        max = more.select(x, max);
        *wx = w * x;
    }
    let sums = |inverse: Lanes| {
        let (mut sum_lx, mut sum_l2) = (zero, zero);
        for ((&x, &w), &wx) in x.iter().zip(w).zip(&wx) {
            let l = (inverse * x).nearest(-n, n - 1);
            sum_lx = sum_lx + wx * l;
            sum_l2 = sum_l2 + w * l * l;
        }
        (sum_lx, sum_l2)
    };

    let mut made_with = Lanes::all(-n as f32) / max;
    let (sum_lx, sum_l2) = sums(made_with);
    let mut scale = sum_l2.ne(zero).select(sum_lx / sum_l2, zero);
    let mut best = scale * sum_lx;
    for t in (-9..=9).filter(|&t| t != 0) {
        let inverse = Lanes::all(-(n as f32 + 0.1 * t as f32)) / max;
        let (sum_lx, sum_l2) = sums(inverse);
        let better = sum_l2.gt(zero) & (sum_lx * sum_lx).gt(best * sum_l2);
        let fitted = sum_lx / sum_l2;
        scale = better.select(fitted, scale);
        best = better.select(fitted * sum_lx, best);
        made_with = better.select(inverse, made_with);
    }

    let counts = largest.counts();
    let mut codes = [zero; LEN];
    for (q, &x) in codes.iter_mut().zip(x) {
        *q = counts.select((made_with * x).nearest(-n, n - 1) + Lanes::all(n as f32), zero);
    }
    (counts.select(scale, zero), codes)
}

/// The same for one sub-block of `LEN` values. Returns the scale, and writes the codes.
#[inline(always)]
pub(crate) fn symmetric_plain<const LEN: usize>(x: &[f32; LEN], w: &[f32; LEN], n: i32, codes: &mut [u8; LEN]) -> f32 {
    let (scale, found) = symmetric::<LEN>(&side_by_side(x), &side_by_side(w), n);
    let mut all = [0; 256];
    behind_each_other(&found, &mut all[..LEN * LANES]);
    codes.copy_from_slice(&all[..LEN]);
    scale.0[0]
}

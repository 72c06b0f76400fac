//! Scale of a sub-block around zero: `x ≈ scale · (q − n)`, `q` in `0..2n`.

use fearless_simd::prelude::*;

use crate::lanes::{LANES, Lanes, all, behind_each_other, nearest_lanes, side_by_side, unless_zero};

/// The first guess maps the value of largest magnitude to `−n`, 18 more make it a little more or less; each is rounded and
/// fitted, `scale = Σ w·x·l / Σ w·l²` with `l = q − n`. The scale with the largest `(Σ w·x·l)² / Σ w·l²` wins.
///
/// Returns the scales, and codes `q`. A sub-block of zeros has scale 0 and codes 0.
#[inline(always)]
pub(crate) fn symmetric<S: Simd, const LEN: usize>(
    x: &[Lanes<S>; LEN],
    w: &[Lanes<S>; LEN],
    n: i32,
) -> (Lanes<S>, [Lanes<S>; LEN]) {
    let simd = x[0].simd;
    let zero = all(simd, 0.0);
    let (mut largest, mut max) = (zero, zero);
    let mut wx = [zero; LEN];
    for ((&x, &w), wx) in x.iter().zip(w).zip(&mut wx) {
        let more = x.abs().simd_gt(largest);
        largest = more.select(x.abs(), largest);
        max = more.select(x, max);
        *wx = w * x;
    }
    let mut made_with = all(simd, -n as f32) / max;
    let (sum_lx, sum_l2) = sums(x, w, &wx, made_with, n);
    let mut scale = sum_l2.simd_ne(zero).select(sum_lx / sum_l2, zero);
    let mut best = scale * sum_lx;
    for t in (-9..=9).filter(|&t| t != 0) {
        let inverse = all(simd, -(n as f32 + 0.1 * t as f32)) / max;
        let (sum_lx, sum_l2) = sums(x, w, &wx, inverse, n);
        let better = sum_l2.simd_gt(zero) & (sum_lx * sum_lx).simd_gt(best * sum_l2);
        let fitted = sum_lx / sum_l2;
        scale = better.select(fitted, scale);
        best = better.select(fitted * sum_lx, best);
        made_with = better.select(inverse, made_with);
    }

    let mut codes = [zero; LEN];
    for (q, &x) in codes.iter_mut().zip(x) {
        *q = unless_zero(largest, nearest_lanes(made_with * x, -n, n - 1) + n as f32);
    }
    (unless_zero(largest, scale), codes)
}

/// `Σ w·x·l` and `Σ w·l²`
#[inline(always)]
fn sums<S: Simd, const LEN: usize>(
    x: &[Lanes<S>; LEN],
    w: &[Lanes<S>; LEN],
    wx: &[Lanes<S>; LEN],
    inverse: Lanes<S>,
    n: i32,
) -> (Lanes<S>, Lanes<S>) {
    let zero = all(inverse.simd, 0.0);
    let (mut sum_lx, mut sum_l2) = (zero, zero);
    for ((&x, &w), &wx) in x.iter().zip(w).zip(wx) {
        let l = nearest_lanes(inverse * x, -n, n - 1);
        sum_lx += wx * l;
        sum_l2 += w * l * l;
    }
    (sum_lx, sum_l2)
}

/// The same for one sub-block of `LEN` values. Returns the scale, and writes the codes.
#[inline(always)]
pub(crate) fn symmetric_plain<S: Simd, const LEN: usize>(
    simd: S,
    x: &[f32; LEN],
    w: &[f32; LEN],
    n: i32,
    codes: &mut [u8; LEN],
) -> f32 {
    let (scale, found) = symmetric::<S, LEN>(&side_by_side(simd, x), &side_by_side(simd, w), n);
    let mut all = [0; 256];
    behind_each_other(&found, &mut all[..LEN * LANES]);
    codes.copy_from_slice(&all[..LEN]);
    scale[0]
}

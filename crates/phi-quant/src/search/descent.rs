//! Scale of a sub-block around zero by coordinate descent: `x ≈ scale · (q − n)`, `q` in `0..2n`, weighted by `x²`.

use fearless_simd::prelude::*;

use crate::lanes::{Lanes, all, nearest_lanes, unless_zero};

/// Sweeps over the codes; most blocks settle in two.
const SWEEPS: usize = 5;

/// Begins with the value of largest magnitude at `−n`. Then, code by code: the integer that fits best when all others
/// stay, kept if `(Σ w·x·l)² / Σ w·l²` grows by it.
///
/// Returns the scales `Σ w·x·l / Σ w·l²`, and codes `q`. A sub-block of zeros has scale 0 and codes 0.
#[inline(always)]
pub(crate) fn descent<S: Simd, const LEN: usize>(x: &[Lanes<S>; LEN], n: i32) -> (Lanes<S>, [Lanes<S>; LEN]) {
    let simd = x[0].simd;
    let zero = all(simd, 0.0);
    let (mut largest, mut max) = (zero, zero);
    for &x in x {
        let more = x.abs().simd_gt(largest);
        largest = more.select(x.abs(), largest);
        max = more.select(x, max);
    }
    let inverse = all(simd, -n as f32) / max;
    let (mut sum_lx, mut sum_l2) = (zero, zero);
    let mut codes = [zero; LEN];
    for (l, &x) in codes.iter_mut().zip(x) {
        *l = nearest_lanes(inverse * x, -n, n - 1);
        let w = x * x;
        sum_lx += w * x * *l;
        sum_l2 += w * *l * *l;
    }
    for _ in 0..SWEEPS {
        let mut changed = false;
        for (l, &x) in codes.iter_mut().zip(x) {
            let w = x * x;
            let (rest_lx, rest_l2) = (sum_lx - w * x * *l, sum_l2 - w * *l * *l);
            let new = nearest_lanes(x * rest_l2 / rest_lx, -n, n - 1);
            let (new_lx, new_l2) = (rest_lx + w * x * new, rest_l2 + w * new * new);
            let better = rest_lx.simd_gt(zero)
                & new.simd_ne(*l)
                & new_l2.simd_gt(zero)
                & (new_lx * new_lx * sum_l2).simd_gt(sum_lx * sum_lx * new_l2);
            *l = better.select(new, *l);
            sum_lx = better.select(new_lx, sum_lx);
            sum_l2 = better.select(new_l2, sum_l2);
            changed |= better.any_true();
        }
        if !changed {
            break;
        }
    }
    for l in &mut codes {
        *l = unless_zero(largest, *l + n as f32);
    }
    let scale = sum_l2.simd_gt(zero).select(sum_lx / sum_l2, zero);
    (unless_zero(largest, scale), codes)
}

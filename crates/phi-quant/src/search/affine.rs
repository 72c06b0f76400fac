//! Scale and minimum of a sub-block: `x ≈ scale · q + min`, `q` in `0..=n_max`, `min ≤ 0`.

use fearless_simd::prelude::*;

use crate::lanes::{Lanes, all, nearest_lanes};

/// The inverse scales to try: `(n_max + first + t · step) / (max − min)` for `t` in `0..=count`.
#[derive(Clone, Copy)]
pub(crate) struct Steps {
    pub(crate) first: f32,
    pub(crate) step: f32,
    pub(crate) count: u32,
}

/// The tries with an importance matrix, the same in every format.
pub(crate) const WEIGHTED: Steps = Steps { first: -0.9, step: 0.05, count: 36 };

/// What was found for eight sub-blocks.
pub(crate) struct Found<S: Simd, const LEN: usize> {
    pub(crate) scale: Lanes<S>,
    /// `−min`, not negative.
    pub(crate) min: Lanes<S>,
    pub(crate) codes: [Lanes<S>; LEN],
}

/// For each inverse scale of `steps`: round, then the weighted least squares line through the rounded codes; the line with
/// the least error wins. A minimum that a better line found shifts the tries that follow.
///
/// ```text
/// error = Σ w[i] · e(scale · q[i] + min − x[i]),   e(z) = |z| with ABSOLUTE, else z²
/// ```
#[inline(always)]
pub(crate) fn affine<S: Simd, const LEN: usize, const ABSOLUTE: bool>(
    x: &[Lanes<S>; LEN],
    w: &[Lanes<S>; LEN],
    n_max: i32,
    steps: Steps,
) -> Found<S, LEN> {
    let simd = x[0].simd;
    let zero = all(simd, 0.0);
    let (mut min, mut max) = (x[0], x[0]);
    let (mut sum_w, mut sum_x) = (w[0], w[0] * x[0]);
    for (&x, &w) in x.iter().zip(w).skip(1) {
        min = x.simd_lt(min).select(x, min);
        max = x.simd_gt(max).select(x, max);
        sum_w += w;
        sum_x += w * x;
    }
    min = min.simd_gt(zero).select(zero, min);
    let varied = max.simd_ne(min);
    let mut codes = [zero; LEN];
    let mut inverse = all(simd, n_max as f32) / (max - min);
    for (q, &x) in codes.iter_mut().zip(x) {
        *q = nearest_lanes(inverse * (x - min), 0, n_max);
    }
    let mut scale = all(simd, 1.0) / inverse;
    let mut best = error::<S, LEN, ABSOLUTE>(x, w, scale, min, &codes);
    // What the best codes were made with: they are made again at the end, once.
    let mut made_with = (inverse, min);

    for t in 0..=steps.count {
        inverse = all(simd, steps.first + steps.step * t as f32 + n_max as f32) / (max - min);
        let (mut sum_l, mut sum_l2, mut sum_xl) = (zero, zero, zero);
        for ((q, &x), &w) in codes.iter_mut().zip(x).zip(w) {
            *q = nearest_lanes(inverse * (x - min), 0, n_max);
            let wq = w * *q;
            sum_l += wq;
            sum_l2 += wq * *q;
            sum_xl += wq * x;
        }
        let determinant = sum_w * sum_l2 - sum_l * sum_l;
        let line = (sum_w * sum_xl - sum_x * sum_l) / determinant;
        let offset = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
        // A minimum above zero is not stored: the line through the origin instead.
        let above = offset.simd_gt(zero);
        let offset = above.select(zero, offset);
        let line = above.select(sum_xl / sum_l2, line);
        let now = error::<S, LEN, ABSOLUTE>(x, w, line, offset, &codes);
        let better = now.simd_lt(best) & determinant.simd_gt(zero) & varied;
        best = better.select(now, best);
        scale = better.select(line, scale);
        made_with = (better.select(inverse, made_with.0), better.select(min, made_with.1));
        min = better.select(offset, min);
    }

    for (q, &x) in codes.iter_mut().zip(x) {
        *q = varied.select(nearest_lanes(made_with.0 * (x - made_with.1), 0, n_max), zero);
    }
    Found { scale: varied.select(scale, zero), min: -min, codes }
}

#[inline(always)]
fn error<S: Simd, const LEN: usize, const ABSOLUTE: bool>(
    x: &[Lanes<S>; LEN],
    w: &[Lanes<S>; LEN],
    scale: Lanes<S>,
    min: Lanes<S>,
    codes: &[Lanes<S>; LEN],
) -> Lanes<S> {
    let mut sum = all(scale.simd, 0.0);
    for ((&x, &w), &q) in x.iter().zip(w).zip(codes) {
        let z = scale * q + min - x;
        sum += w * if ABSOLUTE { z.abs() } else { z * z };
    }
    sum
}

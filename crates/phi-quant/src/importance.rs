//! How much the error of each value counts when an importance matrix is given: `w = v · √(σ² + x²)`, with `v` from the
//! matrix. Large values count more, and `σ²`, the mean square of a neighbourhood, keeps small ones from counting nothing.

use fearless_simd::prelude::*;

use crate::lanes::{Lanes, all};

/// `Σ x²`, in order.
pub(crate) fn sum_of_squares(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |sum, x| sum + x * x)
}

/// The weights of eight sub-blocks, from their part of the matrix.
#[inline(always)]
pub(crate) fn weigh<S: Simd, const LEN: usize>(
    x: &[Lanes<S>; LEN],
    importance: &[Lanes<S>; LEN],
    variance: Lanes<S>,
) -> [Lanes<S>; LEN] {
    let mut w = [all(x[0].simd, 0.0); LEN];
    for ((w, &x), &v) in w.iter_mut().zip(x).zip(importance) {
        *w = v * (variance + x * x).sqrt();
    }
    w
}

/// `Σ w` of each sub-block.
#[inline(always)]
pub(crate) fn sum<S: Simd, const LEN: usize>(w: &[Lanes<S>; LEN]) -> Lanes<S> {
    w.iter().fold(all(w[0].simd, 0.0), |sum, &w| sum + w)
}

/// `x²`, the weights where nothing better is known.
#[inline(always)]
pub(crate) fn squares<S: Simd, const LEN: usize>(x: &[Lanes<S>; LEN]) -> [Lanes<S>; LEN] {
    let mut w = [all(x[0].simd, 0.0); LEN];
    for (w, &x) in w.iter_mut().zip(x) {
        *w = x * x;
    }
    w
}

//! Rows of 32-value blocks with an importance matrix, eight blocks at a time.

use fearless_simd::prelude::*;

use crate::importance;
use crate::lanes::{LANES, Lanes, all, side_by_side};

const LEN: usize = 32;

/// Up to eight blocks, and how much the error of each value counts. Lanes beyond the last block are zero.
pub(crate) struct Group<'a, S: Simd> {
    pub(crate) x: &'a [Lanes<S>; LEN],
    pub(crate) w: &'a [Lanes<S>; LEN],
}

/// Mean square of a row.
pub(crate) fn mean_square(x: &[f32]) -> f32 {
    importance::sum_of_squares(x) / x.len() as f32
}

/// Has `encode` write each group of blocks of a row.
///
/// # Panics
/// When the lengths do not fit each other.
#[inline(always)]
pub(crate) fn weighted<S: Simd, B: bytemuck::Pod>(
    simd: S,
    x: &[f32],
    matrix: &[f32],
    variance: f32,
    bytes: &mut [u8],
    encode: impl Fn(Group<'_, S>, &mut [B]),
) {
    let blocks: &mut [B] = bytemuck::cast_slice_mut(bytes);
    assert!(x.len() == blocks.len() * LEN, "{} blocks for {} values", blocks.len(), x.len());
    assert_eq!(x.len(), matrix.len(), "a weight per value");
    let parts = x.chunks(LANES * LEN).zip(matrix.chunks(LANES * LEN));
    for ((x, matrix), blocks) in parts.zip(blocks.chunks_mut(LANES)) {
        let x = side_by_side(simd, x);
        let w = importance::weigh(&x, &side_by_side(simd, matrix), all(simd, variance));
        encode(Group { x: &x, w: &w }, blocks);
    }
}

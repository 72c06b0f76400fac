//! F32: IEEE single precision, little-endian. `x[i] = value[i]`

use crate::{blocks_for, blocks_of};
use fearless_simd::prelude::*;

#[inline(always)]
pub(crate) fn decode(bytes: &[u8], x: &mut [f32]) {
    for (block, [x]) in blocks_of::<[u8; 4], 1>(bytes, x) {
        *x = f32::from_le_bytes(*block);
    }
}

#[inline(always)]
pub(crate) fn encode(_: impl Simd, x: &[f32], _: Option<&[f32]>, bytes: &mut [u8]) {
    for ([x], block) in blocks_for::<[u8; 4], 1>(x, bytes) {
        *block = x.to_le_bytes();
    }
}

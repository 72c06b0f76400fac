//! F16: IEEE half precision, little-endian. `x[i] = value[i]`
//!
//! Written by rounding to nearest even; beyond 65504 becomes infinity, subnormals are kept.

use fearless_simd::prelude::*;
use half::f16;

use crate::{blocks_for, blocks_of};

#[inline(always)]
pub(crate) fn decode(bytes: &[u8], x: &mut [f32]) {
    for (block, [x]) in blocks_of::<[u8; 2], 1>(bytes, x) {
        *x = f16::from_le_bytes(*block).to_f32();
    }
}

#[inline(always)]
pub(crate) fn encode(_: impl Simd, x: &[f32], _: Option<&[f32]>, bytes: &mut [u8]) {
    for ([x], block) in blocks_for::<[u8; 2], 1>(x, bytes) {
        *block = f16::from_f32(*x).to_le_bytes();
    }
}

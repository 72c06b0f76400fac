//! TQ2_0: 256 values of −1, 0 or 1, in 2 bits each, with one scale.
//!
//! ```text
//! byte   0..64    64..66
//!        qs[64]   d f16
//! x[i] = d · (q[i] − 1)
//! ```
//!
//! Byte `l` of a half of 128 values has `q` of values `l`, `l + 32`, `l + 64` and `l + 96` of it, from the low bits up.

use fearless_simd::prelude::*;
use half::f16;

use crate::super_block::pack_crumbs;
use crate::{blocks_for, blocks_of};

const LEN: usize = 256;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Block {
    qs: [u8; LEN / 4],
    d: [u8; 2],
}

#[inline(always)]
pub(crate) fn decode(bytes: &[u8], x: &mut [f32]) {
    for (block, x) in blocks_of::<Block, LEN>(bytes, x) {
        let d = f16::from_le_bytes(block.d).to_f32();
        for (x, qs) in x.as_chunks_mut::<128>().0.iter_mut().zip(block.qs.as_chunks::<32>().0) {
            for (i, x) in x.iter_mut().enumerate() {
                *x = f32::from((qs[i % 32] >> (2 * (i / 32)) & 3) as i8 - 1) * d;
            }
        }
    }
}

/// `d = max|x|`, `q = round(x / d) + 1`, halves away from zero.
#[inline(always)]
pub(crate) fn encode(_: impl Simd, x: &[f32], _: Option<&[f32]>, bytes: &mut [u8]) {
    for (x, block) in blocks_for::<Block, LEN>(x, bytes) {
        let (d, q) = trits(x);
        block.d = f16::from_f32(d).to_le_bytes();
        pack_crumbs(&q, &mut block.qs);
    }
}

/// Values as 0, 1, 2 of `−d`, `0`, `d`, with `d` the largest magnitude.
#[inline(always)]
pub(crate) fn trits(x: &[f32; LEN]) -> (f32, [u8; LEN]) {
    let d = x.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    (d, x.map(|x| ((x * inverse).round() as i32 + 1) as u8))
}

//! Q5_0: 32 values in 5 bits with one scale.
//!
//! ```text
//! byte   0..2    2..6     6..22
//!        d f16   qh u32   qs[16]: low nibbles, of q[j] in the low half of qs[j], of q[j + 16] in the high one
//! x[i] = d · (q[i] − 16),  bit 4 of q[i] is bit i of qh
//! ```

use fearless_simd::prelude::*;
use half::f16;

use crate::block32::{Block32, first_largest, pack_nibbles};
use crate::groups::{Group, mean_square, weighted};
use crate::search::symmetric;
use crate::{blocks_for, blocks_of};

const LEN: usize = 32;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Block {
    d: [u8; 2],
    qh: [u8; 4],
    qs: [u8; LEN / 2],
}

#[inline(always)]
pub(crate) fn decode(bytes: &[u8], x: &mut [f32]) {
    for (block, x) in blocks_of::<Block, LEN>(bytes, x) {
        let d = f16::from_le_bytes(block.d).to_f32();
        for (x, q) in x.iter_mut().zip(unpack(&block.qh, &block.qs)) {
            *x = f32::from(q as i8 - 16) * d;
        }
    }
}

/// As Q4_0, with one bit more: `d = m / −16`, `q = min(31, ⌊x / d + 16.5⌋)`; with weights, the best scale of a search.
#[inline(always)]
pub(crate) fn encode<S: Simd>(simd: S, x: &[f32], weights: Option<&[f32]>, bytes: &mut [u8]) {
    if let Some(weights) = weights {
        return weighted::<S, Block>(simd, x, weights, mean_square(x), bytes, |Group { x, w }, blocks| {
            let (scale, codes) = symmetric(x, w, 16);
            for (lane, block) in blocks.iter_mut().enumerate() {
                block.d = f16::from_f32(scale[lane]).to_le_bytes();
                (block.qh, block.qs) = pack(&codes.map(|q| q[lane] as u8));
            }
        });
    }
    for (x, block) in blocks_for::<Block, LEN>(x, bytes) {
        let d = first_largest(simd, x) / -16.0;
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        block.d = f16::from_f32(d).to_le_bytes();
        (block.qh, block.qs) = pack(&Block32::new(simd, x).line(0.0, inverse, 16.5).bytes().map(|q| q.min(31)));
    }
}

/// The 32 codes of 5 bits.
#[inline(always)]
pub(crate) fn unpack(qh: &[u8; 4], qs: &[u8; LEN / 2]) -> [u8; LEN] {
    let qh = u32::from_le_bytes(*qh);
    std::array::from_fn(|i| {
        let low = if i < LEN / 2 { qs[i] & 15 } else { qs[i - LEN / 2] >> 4 };
        low | ((qh >> i & 1) as u8) << 4
    })
}

/// The inverse of [`unpack`].
#[inline(always)]
pub(crate) fn pack(q: &[u8; LEN]) -> ([u8; 4], [u8; LEN / 2]) {
    let qh = q.iter().enumerate().fold(0, |qh, (i, &q)| qh | u32::from(q >> 4 & 1) << i);
    (qh.to_le_bytes(), pack_nibbles(&q.map(|q| q & 15)))
}

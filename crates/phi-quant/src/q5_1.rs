//! Q5_1: 32 values in 5 bits with one scale and one minimum.
//!
//! ```text
//! byte   0..2    2..4    4..8     8..24
//!        d f16   m f16   qh u32   qs[16]: low nibbles, packed as in Q5_0
//! x[i] = d · q[i] + m,  bit 4 of q[i] is bit i of qh
//! ```

use fearless_simd::prelude::*;
use half::f16;

use crate::block32::{Block32, extremes};
use crate::groups::{Group, mean_square, weighted};
use crate::q5_0::{pack, unpack};
use crate::search::{WEIGHTED, affine};
use crate::{blocks_for, blocks_of};

const LEN: usize = 32;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Block {
    d: [u8; 2],
    m: [u8; 2],
    qh: [u8; 4],
    qs: [u8; LEN / 2],
}

#[inline(always)]
pub(crate) fn decode(bytes: &[u8], x: &mut [f32]) {
    for (block, x) in blocks_of::<Block, LEN>(bytes, x) {
        let (d, m) = (f16::from_le_bytes(block.d).to_f32(), f16::from_le_bytes(block.m).to_f32());
        for (x, q) in x.iter_mut().zip(unpack(&block.qh, &block.qs)) {
            *x = f32::from(q) * d + m;
        }
    }
}

/// As Q4_1, with one bit more: `d = (max x − m) / 31`.
#[inline(always)]
pub(crate) fn encode<S: Simd>(simd: S, x: &[f32], weights: Option<&[f32]>, bytes: &mut [u8]) {
    if let Some(weights) = weights {
        return weighted::<S, Block>(simd, x, weights, mean_square(x), bytes, |Group { x, w }, blocks| {
            let found = affine::<S, LEN, false>(x, w, 31, WEIGHTED);
            for (lane, block) in blocks.iter_mut().enumerate() {
                block.d = f16::from_f32(found.scale[lane]).to_le_bytes();
                block.m = f16::from_f32(-found.min[lane]).to_le_bytes();
                (block.qh, block.qs) = pack(&found.codes.map(|q| q[lane] as u8));
            }
        });
    }
    for (x, block) in blocks_for::<Block, LEN>(x, bytes) {
        let (min, max) = extremes(simd, x);
        let d = (max - min) / 31.0;
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        block.d = f16::from_f32(d).to_le_bytes();
        block.m = f16::from_f32(min).to_le_bytes();
        (block.qh, block.qs) = pack(&Block32::new(simd, x).line(min, inverse, 0.5).bytes());
    }
}

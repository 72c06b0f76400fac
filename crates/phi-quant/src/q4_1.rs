//! Q4_1: 32 values in 4 bits with one scale and one minimum.
//!
//! ```text
//! byte   0..2    2..4    4..20
//!        d f16   m f16   qs[16]: q[j] in the low nibble of qs[j], q[j + 16] in the high one
//! x[i] = d · q[i] + m
//! ```

use fearless_simd::prelude::*;
use half::f16;

use crate::block32::{Block32, extremes, pack_nibbles};
use crate::groups::{Group, mean_square, weighted};
use crate::search::{WEIGHTED, affine};
use crate::{blocks_for, blocks_of};

const LEN: usize = 32;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Block {
    d: [u8; 2],
    m: [u8; 2],
    qs: [u8; LEN / 2],
}

#[inline(always)]
pub(crate) fn decode(bytes: &[u8], x: &mut [f32]) {
    for (block, x) in blocks_of::<Block, LEN>(bytes, x) {
        let (d, m) = (f16::from_le_bytes(block.d).to_f32(), f16::from_le_bytes(block.m).to_f32());
        let (low, high) = x.split_at_mut(LEN / 2);
        for ((low, high), &q) in low.iter_mut().zip(high).zip(&block.qs) {
            *low = f32::from(q & 15) * d + m;
            *high = f32::from(q >> 4) * d + m;
        }
    }
}

/// `m = min x`, `d = (max x − m) / 15`, `q = ⌊(x − m) / d + ½⌋`; with weights, the best line of a search.
#[inline(always)]
pub(crate) fn encode<S: Simd>(simd: S, x: &[f32], weights: Option<&[f32]>, bytes: &mut [u8]) {
    if let Some(weights) = weights {
        return weighted::<S, Block>(simd, x, weights, mean_square(x), bytes, |Group { x, w }, blocks| {
            let found = affine::<S, LEN, false>(x, w, 15, WEIGHTED);
            for (lane, block) in blocks.iter_mut().enumerate() {
                block.d = f16::from_f32(found.scale[lane]).to_le_bytes();
                block.m = f16::from_f32(-found.min[lane]).to_le_bytes();
                block.qs = pack_nibbles(&found.codes.map(|q| q[lane] as u8));
            }
        });
    }
    for (x, block) in blocks_for::<Block, LEN>(x, bytes) {
        let (min, max) = extremes(simd, x);
        let d = (max - min) / 15.0;
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        block.d = f16::from_f32(d).to_le_bytes();
        block.m = f16::from_f32(min).to_le_bytes();
        let q = Block32::new(simd, x).line(min, inverse, 0.5).bytes();
        block.qs = pack_nibbles(&q.map(|q| q.min(15)));
    }
}

//! Q4_0: 32 values in 4 bits with one scale.
//!
//! ```text
//! byte   0..2    2..18
//!        d f16   qs[16]: q[j] in the low nibble of qs[j], q[j + 16] in the high one
//! x[i] = d · (q[i] − 8)
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
    qs: [u8; LEN / 2],
}

#[inline(always)]
pub(crate) fn decode(bytes: &[u8], x: &mut [f32]) {
    for (block, x) in blocks_of::<Block, LEN>(bytes, x) {
        let d = f16::from_le_bytes(block.d).to_f32();
        let (low, high) = x.split_at_mut(LEN / 2);
        for ((low, high), &q) in low.iter_mut().zip(high).zip(&block.qs) {
            *low = f32::from((q & 15) as i8 - 8) * d;
            *high = f32::from((q >> 4) as i8 - 8) * d;
        }
    }
}

/// `d = m / −8` with `m` the value of largest magnitude (the first of equals), sign kept, so that `m` itself becomes −8;
/// `q = min(15, ⌊x / d + 8.5⌋)`. The inverse scale is that of `d` before it is rounded to f16, as in llama.cpp.
/// With weights, the best scale of a search.
#[inline(always)]
pub(crate) fn encode<S: Simd>(simd: S, x: &[f32], weights: Option<&[f32]>, bytes: &mut [u8]) {
    if let Some(weights) = weights {
        return weighted::<S, Block>(simd, x, weights, mean_square(x), bytes, |Group { x, w }, blocks| {
            let (scale, codes) = symmetric(x, w, 8);
            for (lane, block) in blocks.iter_mut().enumerate() {
                block.d = f16::from_f32(scale[lane]).to_le_bytes();
                block.qs = pack_nibbles(&codes.map(|q| q[lane] as u8));
            }
        });
    }
    for (x, block) in blocks_for::<Block, LEN>(x, bytes) {
        let d = first_largest(simd, x) / -8.0;
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        block.d = f16::from_f32(d).to_le_bytes();
        let q = Block32::new(simd, x).line(0.0, inverse, 8.5).bytes();
        block.qs = pack_nibbles(&q.map(|q| q.min(15)));
    }
}

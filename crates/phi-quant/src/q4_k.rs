//! Q4_K: 256 values in 4 bits; 8 sub-blocks of 32, each with a 6-bit scale and a 6-bit minimum.
//!
//! ```text
//! byte   0..2    2..4       4..16        16..144
//!        d f16   dmin f16   scales[12]   qs[128]: 4 chunks of 32 bytes; chunk c holds q of sub-block 2c in its
//!                                                 low nibbles and of sub-block 2c + 1 in its high ones
//! x[i] = d · sc[s] · q[i] − dmin · mn[s],  s = i / 32
//! ```
//!
//! `scales` are unpacked by [`scale_min`].

use fearless_simd::prelude::*;
use half::f16;

use crate::search::Steps;
use crate::super_block::{Rules, pack_nibbles, pack_scales_mins, part, quantize, scale_min};
use crate::{blocks_for, blocks_of};

const LEN: usize = 256;
const SUB: usize = 32;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Block {
    d: [u8; 2],
    dmin: [u8; 2],
    scales: [u8; 12],
    qs: [u8; LEN / 2],
}

#[inline(always)]
pub(crate) fn decode(bytes: &[u8], x: &mut [f32]) {
    for (block, x) in blocks_of::<Block, LEN>(bytes, x) {
        let d = f16::from_le_bytes(block.d).to_f32();
        let dmin = f16::from_le_bytes(block.dmin).to_f32();
        for (s, x) in x.as_chunks_mut::<SUB>().0.iter_mut().enumerate() {
            let (scale, min) = scale_min(&block.scales, s);
            let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
            let qs = &block.qs[s / 2 * SUB..][..SUB];
            for (x, q) in x.iter_mut().zip(qs) {
                let q = if s % 2 == 0 { q & 15 } else { q >> 4 };
                *x = scale * f32::from(q) - min;
            }
        }
    }
}

const RULES: Rules =
    Rules { n_max: 15, scale_max: 63, steps: Steps { first: -1.0, step: 0.1, count: 20 }, variance: 2.0 };

/// Sub-blocks by `search::affine` on squared errors, packed.
#[inline(always)]
pub(crate) fn encode<S: Simd>(simd: S, x: &[f32], weights: Option<&[f32]>, bytes: &mut [u8]) {
    for (number, (x, block)) in blocks_for::<Block, LEN>(x, bytes).enumerate() {
        let found = quantize::<S, SUB, { LEN / SUB }, false>(simd, x, part(weights, number), &RULES);
        (block.d, block.dmin) = (found.d, found.dmin);
        block.scales = pack_scales_mins(&found.sc, &found.mn);
        pack_nibbles(&found.q, &mut block.qs);
    }
}

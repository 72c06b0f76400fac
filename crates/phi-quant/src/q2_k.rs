//! Q2_K: 256 values in 2 bits; 16 sub-blocks of 16, each with a 4-bit scale and a 4-bit minimum.
//!
//! ```text
//! byte   0..16                             16..80   80..82   82..84
//!        scales[16]: sc low, mn high bits  qs[64]   d f16    dmin f16
//! x[i] = d · sc[s] · q[i] − dmin · mn[s],  s = i / 16
//! ```
//!
//! Byte `l` of a half of 128 values has `q` of values `l`, `l + 32`, `l + 64` and `l + 96` of it, from the low bits up.

use fearless_simd::prelude::*;
use half::f16;

use crate::search::Steps;
use crate::super_block::{Rules, pack_crumbs, part, quantize};
use crate::{blocks_for, blocks_of};

const LEN: usize = 256;
const SUB: usize = 16;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Block {
    scales: [u8; LEN / SUB],
    qs: [u8; LEN / 4],
    d: [u8; 2],
    dmin: [u8; 2],
}

#[inline(always)]
pub(crate) fn decode(bytes: &[u8], x: &mut [f32]) {
    for (block, x) in blocks_of::<Block, LEN>(bytes, x) {
        let (d, dmin) = (f16::from_le_bytes(block.d).to_f32(), f16::from_le_bytes(block.dmin).to_f32());
        for (i, x) in x.iter_mut().enumerate() {
            let (half, g, l) = (i / 128, i % 128 / 32, i % 32);
            let q = block.qs[32 * half + l] >> (2 * g) & 3;
            let scale = block.scales[i / SUB];
            *x = d * f32::from(scale & 15) * f32::from(q) - dmin * f32::from(scale >> 4);
        }
    }
}

const RULES: Rules =
    Rules { n_max: 3, scale_max: 15, steps: Steps { first: -0.5, step: 0.1, count: 15 }, variance: 1.0 };

/// Sub-blocks by `search::affine` on magnitudes of errors, packed.
#[inline(always)]
pub(crate) fn encode<S: Simd>(simd: S, x: &[f32], weights: Option<&[f32]>, bytes: &mut [u8]) {
    for (number, (x, block)) in blocks_for::<Block, LEN>(x, bytes).enumerate() {
        let found = quantize::<S, SUB, { LEN / SUB }, true>(simd, x, part(weights, number), &RULES);
        (block.d, block.dmin) = (found.d, found.dmin);
        block.scales = std::array::from_fn(|s| found.sc[s] | found.mn[s] << 4);
        pack_crumbs(&found.q, &mut block.qs);
    }
}

//! Q6_K: 256 values in 6 bits; 16 sub-blocks of 16, each with an 8-bit scale.
//!
//! ```text
//! byte   0..128    128..192   192..208         208..210
//!        ql[128]   qh[64]     scales[16] i8    d f16
//! x[i] = d · sc[i / 16] · (q[i] − 32)
//! ```
//!
//! Each half of 128 values has 64 bytes of `ql` and 32 of `qh`. Value `32g + l` of a half (g < 4) has its low four bits in
//! `ql[32·(g mod 2) + l]`, the low nibble for g < 2 and the high one else, and its high two in bits `2g` of `qh[l]`.

use fearless_simd::prelude::*;
use half::f16;

use crate::importance::squares;
use crate::lanes::{LANES, behind_each_other, is_zero, nearest, side_by_side};
use crate::search::symmetric;
use crate::super_block::part;
use crate::{blocks_for, blocks_of};

const LEN: usize = 256;
const SUB: usize = 16;
const SUBS: usize = LEN / SUB;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Block {
    ql: [u8; LEN / 2],
    qh: [u8; LEN / 4],
    scales: [i8; SUBS],
    d: [u8; 2],
}

#[inline(always)]
pub(crate) fn decode(bytes: &[u8], x: &mut [f32]) {
    for (block, x) in blocks_of::<Block, LEN>(bytes, x) {
        let d = f16::from_le_bytes(block.d).to_f32();
        let halves = x.as_chunks_mut::<128>().0.iter_mut().zip(block.ql.as_chunks::<64>().0);
        let halves = halves.zip(block.qh.as_chunks::<32>().0).zip(block.scales.as_chunks::<8>().0);
        for (((x, ql), qh), scales) in halves {
            for (i, x) in x.iter_mut().enumerate() {
                let (g, l) = (i / 32, i % 32);
                let low = ql[32 * (g % 2) + l] >> (4 * (g / 2)) & 15;
                let high = qh[l] >> (2 * g) & 3;
                let q = (low | high << 4) as i8 - 32;
                *x = d * f32::from(scales[i / 16]) * f32::from(q);
            }
        }
    }
}

/// Scales of sub-blocks by `search::symmetric`, weighted by `x²` or by the matrix itself; the one of largest magnitude
/// becomes −128 steps of `d`. Values are rounded once more by what was stored.
#[inline(always)]
pub(crate) fn encode<S: Simd>(simd: S, x: &[f32], weights: Option<&[f32]>, bytes: &mut [u8]) {
    for (number, (x, block)) in blocks_for::<Block, LEN>(x, bytes).enumerate() {
        let importance = part::<LEN>(weights, number);
        let mut q = [0; LEN];
        let mut scales = [0.0; SUBS];
        for first in (0..SUBS).step_by(LANES) {
            let at = first * SUB..(first + LANES) * SUB;
            let lanes = side_by_side::<S, SUB>(simd, &x[at.clone()]);
            let w = match importance {
                Some(importance) => side_by_side(simd, &importance[at.clone()]),
                None => squares(&lanes),
            };
            let (scale, codes) = symmetric(&lanes, &w, 32);
            scales[first..][..LANES].copy_from_slice(&scale.to_array());
            behind_each_other(&codes, &mut q[at]);
        }
        let largest = scales.iter().fold(0.0_f32, |m, &s| if s.abs() > m.abs() { s } else { m });
        if is_zero(largest.abs()) {
            *block = bytemuck::Zeroable::zeroed();
            continue;
        }
        let inverse = -128.0 / largest;
        block.d = f16::from_f32(1.0 / inverse).to_le_bytes();
        block.scales = scales.map(|scale| nearest(inverse * scale).min(127) as i8);

        let d = f16::from_le_bytes(block.d).to_f32();
        for ((x, q), &sc) in x.as_chunks::<SUB>().0.iter().zip(q.as_chunks_mut::<SUB>().0).zip(&block.scales) {
            let scale = d * f32::from(sc);
            // Of a scale that was rounded to zero, the codes of the search stay.
            if scale != 0.0 {
                for (q, &x) in q.iter_mut().zip(x) {
                    *q = (nearest(x / scale).clamp(-32, 31) + 32) as u8;
                }
            }
        }
        let halves = q.as_chunks::<128>().0.iter().zip(block.ql.as_chunks_mut::<64>().0);
        for ((q, ql), qh) in halves.zip(block.qh.as_chunks_mut::<32>().0) {
            for l in 0..32 {
                ql[l] = q[l] & 15 | q[l + 64] << 4;
                ql[l + 32] = q[l + 32] & 15 | q[l + 96] << 4;
                qh[l] = q[l] >> 4 | q[l + 32] >> 4 << 2 | q[l + 64] >> 4 << 4 | q[l + 96] >> 4 << 6;
            }
        }
    }
}

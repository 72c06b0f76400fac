//! Q3_K: 256 values in 3 bits; 16 sub-blocks of 16, each with a 6-bit scale.
//!
//! ```text
//! byte   0..32       32..96   96..108      108..110
//!        hmask[32]   qs[64]   scales[12]   d f16
//! x[i] = d · (sc[s] − 32) · (q[i] − 4),  s = i / 16
//! ```
//!
//! Byte `l` of a half of 128 values of `qs` has the low two bits of values `l`, `l + 32`, `l + 64` and `l + 96` of it, from
//! the low bits up; bit 2 of value `i` is bit `i / 32` of `hmask[i mod 32]`. The low four bits of `sc[s]` are the low
//! nibble of `scales[s]` for `s < 8` and the high one of `scales[s − 8]` else; the high two are bits `2·(s / 4)` of
//! `scales[8 + s mod 4]`.

use fearless_simd::prelude::*;
use half::f16;

use crate::importance;
use crate::lanes::{LANES, all, behind_each_other, nearest, side_by_side};
use crate::search::{descent, symmetric, symmetric_plain};
use crate::super_block::{pack_crumbs, part};
use crate::{blocks_for, blocks_of};

const LEN: usize = 256;
const SUB: usize = 16;
const SUBS: usize = LEN / SUB;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Block {
    hmask: [u8; LEN / 8],
    qs: [u8; LEN / 4],
    scales: [u8; 12],
    d: [u8; 2],
}

#[inline(always)]
pub(crate) fn decode(bytes: &[u8], x: &mut [f32]) {
    for (block, x) in blocks_of::<Block, LEN>(bytes, x) {
        let d = f16::from_le_bytes(block.d).to_f32();
        let scales: [f32; SUBS] = std::array::from_fn(|s| d * f32::from(unpack_scale(&block.scales, s) as i8 - 32));
        for (i, x) in x.iter_mut().enumerate() {
            let (half, g, l) = (i / 128, i % 128 / 32, i % 32);
            let low = block.qs[32 * half + l] >> (2 * g) & 3;
            let high = block.hmask[l] >> (4 * half + g) & 1;
            *x = scales[i / SUB] * f32::from((low | high << 2) as i8 - 4);
        }
    }
}

/// Scales of sub-blocks by `search::descent`, the largest of them as −32 steps of `d`; with weights both by
/// `search::symmetric`. Values are rounded once more by what was stored.
#[inline(always)]
pub(crate) fn encode<S: Simd>(simd: S, x: &[f32], weights: Option<&[f32]>, bytes: &mut [u8]) {
    for (number, (x, block)) in blocks_for::<Block, LEN>(x, bytes).enumerate() {
        let importance = part::<LEN>(weights, number);
        let mut q = [0; LEN];
        let (mut scales, mut sums) = ([0.0; SUBS], [0.0; SUBS]);
        for first in (0..SUBS).step_by(LANES) {
            let at = first * SUB..(first + LANES) * SUB;
            let lanes = side_by_side::<S, SUB>(simd, &x[at.clone()]);
            let (scale, codes) = match importance {
                Some(importance) => {
                    let variance = 2.0 * importance::sum_of_squares(x) / LEN as f32;
                    let importance = side_by_side(simd, &importance[at.clone()]);
                    let w = importance::weigh(&lanes, &importance, all(simd, variance));
                    sums[first..][..LANES].copy_from_slice(&importance::sum(&w).to_array());
                    symmetric(&lanes, &w, 4)
                }
                None => descent(&lanes, 4),
            };
            scales[first..][..LANES].copy_from_slice(&scale.to_array());
            behind_each_other(&codes, &mut q[at]);
        }
        let mut sc = [0; SUBS];
        let d = match importance {
            Some(_) => symmetric_plain(simd, &scales, &sums, 32, &mut sc),
            None => code(&scales, &mut sc),
        };
        block.d = f16::from_f32(d).to_le_bytes();
        block.scales = pack_scales(&sc);

        let d = f16::from_le_bytes(block.d).to_f32();
        for ((x, q), &sc) in x.as_chunks::<SUB>().0.iter().zip(q.as_chunks_mut::<SUB>().0).zip(&sc) {
            let scale = d * f32::from(sc as i8 - 32);
            // Of a scale that was rounded to zero, the codes of the search stay.
            if scale != 0.0 {
                for (q, &x) in q.iter_mut().zip(x) {
                    *q = (nearest(x / scale).clamp(-4, 3) + 4) as u8;
                }
            }
        }
        block.hmask = [0; LEN / 8];
        for (g, q) in q.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            for (mask, q) in block.hmask.iter_mut().zip(q) {
                *mask |= *q >> 2 << g;
                *q &= 3;
            }
        }
        pack_crumbs(&q, &mut block.qs);
    }
}

/// Codes scales so that the one of largest magnitude becomes −32, stored as 0. Returns the step.
fn code(scales: &[f32; SUBS], codes: &mut [u8; SUBS]) -> f32 {
    let largest = scales.iter().fold(0.0_f32, |m, &s| if s.abs() > m.abs() { s } else { m });
    if largest == 0.0 {
        codes.fill(0);
        return 0.0;
    }
    let inverse = -32.0 / largest;
    for (code, &scale) in codes.iter_mut().zip(scales) {
        *code = (i32::from(nearest(inverse * scale) as i8).clamp(-32, 31) + 32) as u8;
    }
    1.0 / inverse
}

fn unpack_scale(packed: &[u8; 12], s: usize) -> u8 {
    let low = if s < 8 { packed[s] & 15 } else { packed[s - 8] >> 4 };
    low | (packed[8 + s % 4] >> (2 * (s / 4)) & 3) << 4
}

/// The inverse of [`unpack_scale`].
fn pack_scales(sc: &[u8; SUBS]) -> [u8; 12] {
    let mut packed = [0; 12];
    for (s, &sc) in sc.iter().enumerate() {
        packed[s % 8] |= (sc & 15) << (4 * (s / 8));
        packed[8 + s % 4] |= sc >> 4 << (2 * (s / 4));
    }
    packed
}

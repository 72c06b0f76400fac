//! IQ4_XS: 256 values as entries of the table of IQ4_NL; 8 sub-blocks of 32, each with a 6-bit scale.
//!
//! ```text
//! byte   0..2    2..4           4..8          8..136
//!        d f16   scales_h u16   scales_l[4]   qs[128]: 16 bytes per sub-block, packed as in IQ4_NL
//! x[i] = d · (sc[s] − 32) · VALUES[q[i]],  s = i / 32
//! ```
//!
//! The low four bits of `sc[s]` are a nibble of `scales_l[s / 2]` (low for even `s`), the high two are bits `2s` of
//! `scales_h`.

use fearless_simd::prelude::*;
use half::f16;

use crate::importance::{squares, sum_of_squares, weigh};
use crate::iq4_nl::{entries, pack_entries};
use crate::lanes::{LANES, all, nearest, side_by_side};
use crate::search::table;
use crate::super_block::part;
use crate::{blocks_for, blocks_of};

const LEN: usize = 256;
const SUB: usize = 32;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Block {
    d: [u8; 2],
    scales_h: [u8; 2],
    scales_l: [u8; LANES / 2],
    qs: [u8; LEN / 2],
}

#[inline(always)]
pub(crate) fn decode(bytes: &[u8], x: &mut [f32]) {
    for (block, x) in blocks_of::<Block, LEN>(bytes, x) {
        let d = f16::from_le_bytes(block.d).to_f32();
        let scales_h = u16::from_le_bytes(block.scales_h);
        let blocks = x.as_chunks_mut::<SUB>().0.iter_mut().zip(block.qs.as_chunks::<{ SUB / 2 }>().0);
        for (s, (x, qs)) in blocks.enumerate() {
            let low = block.scales_l[s / 2] >> (4 * (s % 2)) & 15;
            let high = (scales_h >> (2 * s) & 3) as u8;
            entries(qs, d * f32::from((low | high << 4) as i8 - 32), x);
        }
    }
}

/// The best scale of a search for each sub-block; the largest of them becomes −32 or 32 steps of `d`.
#[inline(always)]
pub(crate) fn encode<S: Simd>(simd: S, x: &[f32], weights: Option<&[f32]>, bytes: &mut [u8]) {
    for (number, (x, block)) in blocks_for::<Block, LEN>(x, bytes).enumerate() {
        let lanes = side_by_side::<S, SUB>(simd, x);
        let w = match part::<LEN>(weights, number) {
            Some(importance) => {
                let variance = sum_of_squares(x) * (2.0 / LEN as f32);
                weigh(&lanes, &side_by_side(simd, importance), all(simd, variance))
            }
            None => squares(&lanes),
        };
        let scales = table(&lanes, &w).to_array();
        let largest = scales.iter().fold(0.0_f32, |m, &s| if s.abs() > m.abs() { s } else { m });
        let d = -largest / 32.0;
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        *block = Block { d: f16::from_f32(d).to_le_bytes(), ..bytemuck::Zeroable::zeroed() };
        let mut scales_h = 0;
        let blocks = x.as_chunks::<SUB>().0.iter().zip(block.qs.as_chunks_mut::<{ SUB / 2 }>().0);
        for (s, (x, qs)) in blocks.enumerate() {
            let scale = nearest(inverse * scales[s]).clamp(-32, 31);
            pack_entries(x, d * scale as f32, qs);
            let code = (scale + 32) as u16;
            block.scales_l[s / 2] |= (code as u8 & 15) << (4 * (s % 2));
            scales_h |= code >> 4 << (2 * s);
        }
        block.scales_h = scales_h.to_le_bytes();
    }
}

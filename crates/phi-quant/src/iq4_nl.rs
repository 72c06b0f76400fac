//! IQ4_NL: 32 values as entries of a table, with one scale.
//!
//! ```text
//! byte   0..2    2..18
//!        d f16   qs[16]: q[j] in the low nibble of qs[j], q[j + 16] in the high one
//! x[i] = d · VALUES[q[i]]
//! ```

use fearless_simd::prelude::*;
use half::f16;

use crate::blocks_of;
use crate::importance::{squares, weigh};
use crate::lanes::{LANES, all, side_by_side};
use crate::search::{VALUES, nearest_entry, table};

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
        entries(&block.qs, f16::from_le_bytes(block.d).to_f32(), x);
    }
}

/// The best scale of a search; each value as the entry nearest to `x / d`, with `d` before it is rounded to f16.
#[inline(always)]
pub(crate) fn encode<S: Simd>(simd: S, x: &[f32], weights: Option<&[f32]>, bytes: &mut [u8]) {
    let blocks: &mut [Block] = bytemuck::cast_slice_mut(bytes);
    assert!(x.len() == blocks.len() * LEN, "{} blocks for {} values", blocks.len(), x.len());
    for (group, blocks) in blocks.chunks_mut(LANES).enumerate() {
        let x = &x[group * LANES * LEN..][..blocks.len() * LEN];
        let lanes = side_by_side::<S, LEN>(simd, x);
        let w = match weights {
            Some(weights) => {
                let variance = squares(&lanes).iter().fold(all(simd, 0.0), |sum, &x2| sum + x2);
                let importance = side_by_side(simd, &weights[group * LANES * LEN..][..x.len()]);
                weigh(&lanes, &importance, variance * all(simd, 2.0 / LEN as f32))
            }
            None => squares(&lanes),
        };
        let scale = table(&lanes, &w);
        for ((block, x), d) in blocks.iter_mut().zip(x.as_chunks::<LEN>().0).zip(scale.to_array()) {
            block.d = f16::from_f32(d).to_le_bytes();
            pack_entries(x, d, &mut block.qs);
        }
    }
}

/// `x[i] = d · VALUES[q[i]]`
#[inline(always)]
pub(crate) fn entries(qs: &[u8; LEN / 2], d: f32, x: &mut [f32; LEN]) {
    let (low, high) = x.split_at_mut(LEN / 2);
    for ((low, high), &q) in low.iter_mut().zip(high).zip(qs) {
        *low = d * f32::from(VALUES[usize::from(q & 15)]);
        *high = d * f32::from(VALUES[usize::from(q >> 4)]);
    }
}

/// The entries nearest to `x / d`; nearest to 0 when `d` is 0.
#[inline(always)]
pub(crate) fn pack_entries(x: &[f32; LEN], d: f32, qs: &mut [u8; LEN / 2]) {
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let (low, high) = x.split_at(LEN / 2);
    for ((q, &low), &high) in qs.iter_mut().zip(low).zip(high) {
        *q = nearest_entry(inverse * low) | nearest_entry(inverse * high) << 4;
    }
}

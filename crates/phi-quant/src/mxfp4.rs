//! MXFP4: 32 values as 4-bit floats with one power of two, the OCP microscaling format.
//!
//! ```text
//! byte   0       1..17
//!        e u8    qs[16]: q[j] in the low nibble of qs[j], q[j + 16] in the high one
//! x[i] = 2^(e − 128) · DOUBLED[q[i]]
//! ```
//!
//! `DOUBLED` are twice the values of E2M1 (sign, two bits of exponent, one of mantissa), so that they are integers.

use crate::{blocks_for, blocks_of};
use fearless_simd::prelude::*;

const LEN: usize = 32;

/// Twice the values of E2M1.
pub(crate) const DOUBLED: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Block {
    e: u8,
    qs: [u8; LEN / 2],
}

#[inline(always)]
pub(crate) fn decode(bytes: &[u8], x: &mut [f32]) {
    for (block, x) in blocks_of::<Block, LEN>(bytes, x) {
        let scale = half_power(block.e);
        let (low, high) = x.split_at_mut(LEN / 2);
        for ((low, high), &q) in low.iter_mut().zip(high).zip(&block.qs) {
            *low = f32::from(DOUBLED[usize::from(q & 15)]) * scale;
            *high = f32::from(DOUBLED[usize::from(q >> 4)]) * scale;
        }
    }
}

/// `e = ⌊log₂ max|x|⌋ − 2 + 127`, so that the largest value lies between 4 and 8; each value as the nearest float.
#[inline(always)]
pub(crate) fn encode(_: impl Simd, x: &[f32], _: Option<&[f32]>, bytes: &mut [u8]) {
    for (x, block) in blocks_for::<Block, LEN>(x, bytes) {
        let largest = x.iter().fold(0.0_f32, |m, x| if m < x.abs() { x.abs() } else { m });
        // The logarithm is rounded to f32 first: just below a power of two it is that power's.
        let log2 = || f64::from(largest).log2() as f32;
        block.e = if largest > 0.0 { (log2().floor() - 2.0 + 127.0) as i32 as u8 } else { 0 };
        let scale = half_power(block.e);
        let (low, high) = x.split_at(LEN / 2);
        for ((q, &low), &high) in block.qs.iter_mut().zip(low).zip(high) {
            *q = nearest(low, scale) | nearest(high, scale) << 4;
        }
    }
}

/// `2^(e − 128)`, the lowest two of which are not normal.
fn half_power(e: u8) -> f32 {
    f32::from_bits(if e < 2 { 0x0020_0000 << e } else { (u32::from(e) - 1) << 23 })
}

/// The code whose value is nearest; of equals the first.
#[inline(always)]
fn nearest(x: f32, scale: f32) -> u8 {
    let (mut best, mut least) = (0, (f32::from(DOUBLED[0]) * scale - x).abs());
    for (code, &value) in (1..).zip(&DOUBLED[1..]) {
        let error = (f32::from(value) * scale - x).abs();
        if error < least {
            (best, least) = (code, error);
        }
    }
    best
}

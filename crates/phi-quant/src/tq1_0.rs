//! TQ1_0: 256 values of −1, 0 or 1, five to a byte, with one scale.
//!
//! ```text
//! byte   0..48    48..52   52..54
//!        qs[48]   qh[4]    d f16
//! x[i] = d · (t[i] − 1)
//! ```
//!
//! A byte is a fraction of 256 whose digits to base 3 are the trits: `t = ⌊3 · frac(b · 3ⁿ / 256)⌋` for digit `n`. Bytes 0
//! to 31 of `qs` have values `32n + m`, bytes 32 to 47 values `160 + 16n + m`, and `qh` values `240 + 4n + m` (n < 4).

use fearless_simd::prelude::*;
use half::f16;

use crate::tq2_0::trits;
use crate::{blocks_for, blocks_of};

const LEN: usize = 256;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Block {
    qs: [u8; 48],
    qh: [u8; 4],
    d: [u8; 2],
}

/// Bytes side by side, the value that the first begins with, and trits in each.
const RUNS: [(std::ops::Range<usize>, usize, usize); 3] = [(0..32, 0, 5), (32..48, 160, 5), (48..52, 240, 4)];

#[inline(always)]
pub(crate) fn decode(bytes: &[u8], x: &mut [f32]) {
    for (block, x) in blocks_of::<Block, LEN>(bytes, x) {
        let d = f16::from_le_bytes(block.d).to_f32();
        let packed: &[u8] = bytemuck::bytes_of(block);
        for (bytes, first, digits) in RUNS {
            let width = bytes.len();
            for (m, &byte) in packed[bytes].iter().enumerate() {
                let mut fraction = byte;
                for n in 0..digits {
                    let trit = ((u16::from(fraction) * 3) >> 8) as i8;
                    x[first + n * width + m] = f32::from(trit - 1) * d;
                    fraction = fraction.wrapping_mul(3);
                }
            }
        }
    }
}

/// `d = max|x|`, trits as in TQ2_0. The fraction is rounded up, so that cutting off gives the digits back.
#[inline(always)]
pub(crate) fn encode(_: impl Simd, x: &[f32], _: Option<&[f32]>, bytes: &mut [u8]) {
    for (x, block) in blocks_for::<Block, LEN>(x, bytes) {
        let (d, q) = trits(x);
        let packed = bytemuck::bytes_of_mut(block);
        for (bytes, first, digits) in RUNS {
            let width = bytes.len();
            for (m, byte) in packed[bytes].iter_mut().enumerate() {
                let number = (0..5).fold(0_u8, |number, n| {
                    let trit = if n < digits { q[first + n * width + m] } else { 0 };
                    number.wrapping_mul(3).wrapping_add(trit)
                });
                *byte = (u16::from(number) * 256).div_ceil(243) as u8;
            }
        }
        block.d = f16::from_f32(d).to_le_bytes();
    }
}

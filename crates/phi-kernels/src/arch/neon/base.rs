//! Every 64-bit Arm: products of bytes in 16 bits, eight at a time, of which as many are added as 16 bits hold.

use std::arch::aarch64::*;
use std::arch::is_aarch64_feature_detected;

use super::bytes::bytes_128;
use super::float::float_128;
use crate::arch::formats::Format;
use crate::arch::simd::{Simd, TILE_STRIDE};
use crate::arch::tile::Scales;

/// The processor runs NEON.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Neon(());

impl Neon {
    pub(crate) fn detect() -> Option<Neon> {
        is_aarch64_feature_detected!("neon").then_some(Neon(()))
    }
}

impl Simd for Neon {
    float_128!();
    bytes_128!();

    #[inline(always)]
    fn dot<F: Format, const STEP: usize>(
        self,
        g: Self::G,
        codes: uint8x16x2_t,
        a: uint8x16x2_t,
        scales: &Scales,
    ) -> Self::G {
        // SAFETY: `self` proves NEON.
        unsafe {
            let sign = vdupq_n_u8(if F::BITS == 8 { 128 } else { 0 });
            let w = [codes.0, codes.1].map(|w| vreinterpretq_s8_u8(veorq_u8(w, sign)));
            let a = [a.0, a.1].map(|a| vreinterpretq_s8_u8(a));
            // Two products in each lane, 2 · 128 · 127 at most; or four of narrow codes, 4 · 63 · 127.
            let mul = |i: usize| vmull_s8(vget_low_s8(w[i]), vget_low_s8(a[i]));
            let low = vmlal_high_s8(mul(0), w[0], a[0]);
            let high = vmlal_high_s8(mul(1), w[1], a[1]);
            let all = vmlal_high_s8(vmlal_s8(low, vget_low_s8(w[1]), vget_low_s8(a[1])), w[1], a[1]);
            match F::BITS {
                8 => {
                    let low = vpaddlq_s16(low);
                    let sums = if F::SUB == 32 { vpadalq_s16(low, high) } else { vpaddq_s32(low, vpaddlq_s16(high)) };
                    g.take::<F, STEP>(sums, |a, b| vpaddq_s32(a, b), |a, b| vpaddq_s32(a, b), &scales.scale)
                }
                5.. => {
                    let sums = vpaddlq_s16(if F::SUB == 32 { all } else { vpaddq_s16(low, high) });
                    g.take::<F, STEP>(sums, |a, b| vpaddq_s32(a, b), |a, b| vpaddq_s32(a, b), &scales.scale)
                }
                // Sixteen, 16 · 15 · 127 at most.
                _ => {
                    let sums = if F::SUB == 32 { all } else { vpaddq_s16(low, high) };
                    g.take::<F, STEP>(
                        vreinterpretq_s32_s16(sums),
                        |a, b| vreinterpretq_s32_s16(pair(a, b)),
                        |a, b| vpaddlq_s16(pair(a, b)),
                        &scales.scale,
                    )
                }
            }
        }
    }

    const NC: usize = 4;
    const RUNNING: bool = false;

    #[inline(always)]
    fn zero_t(self) -> int32x4_t {
        // SAFETY: `self` proves NEON.
        unsafe { vdupq_n_s32(0) }
    }
    #[inline(always)]
    fn to_floats<const NV: usize, const NC: usize>(self, sums: [[int32x4_t; NC]; NV]) -> [[float32x4_t; NC]; NV] {
        // SAFETY: `self` proves NEON.
        sums.map(|sums| sums.map(|x| unsafe { vcvtq_f32_s32(x) }))
    }

    #[inline(always)]
    unsafe fn panel_dot<const BITS: u32, const K4: usize, const NV: usize, const NC: usize>(
        self,
        w: *const i8,
        _plane: usize,
        a: [*const u8; NC],
        sums: [[int32x4_t; NC]; NV],
    ) -> [[int32x4_t; NC]; NV] {
        // SAFETY: the caller's; `self` proves NEON.
        unsafe { if BITS == 8 { wide::<K4, NV, NC>(w, a, sums) } else { narrow::<BITS, K4, NV, NC>(w, a, sums) } }
    }
}

/// Adds neighbouring lanes of 16 bits.
///
/// # Safety
/// The processor has NEON.
#[inline(always)]
unsafe fn pair(a: int32x4_t, b: int32x4_t) -> int16x8_t {
    // SAFETY: the caller's.
    unsafe { vpaddq_s16(vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b)) }
}

/// [`Simd::panel_dot`] of codes below 8 bits, whose products add up in 16 bits. A vector of codes is two times two rows.
///
/// # Safety
/// That of `panel_dot`.
#[inline(always)]
unsafe fn narrow<const BITS: u32, const K4: usize, const NV: usize, const NC: usize>(
    w: *const i8,
    a: [*const u8; NC],
    mut sums: [[int32x4_t; NC]; NV],
) -> [[int32x4_t; NC]; NV] {
    // A lane has one product of each step, and two lanes are added: 256 · 127 is the most that 16 bits hold.
    let chain = 256 >> BITS;
    // SAFETY: the caller's.
    unsafe {
        for first in (0..K4).step_by(chain) {
            let mut pairs = [[[vdupq_n_s16(0); 2]; NC]; NV];
            for k in first..K4.min(first + chain) {
                let mut rows = [vdupq_n_s8(0); NV];
                for v in 0..NV {
                    rows[v] = vld1q_s8(w.add(k * TILE_STRIDE + v * 16));
                }
                for c in 0..NC {
                    let x = vreinterpretq_s8_s32(vld1q_dup_s32(a[c].add(4 * k).cast()));
                    for v in 0..NV {
                        pairs[v][c][0] = vmlal_s8(pairs[v][c][0], vget_low_s8(rows[v]), vget_low_s8(x));
                        pairs[v][c][1] = vmlal_high_s8(pairs[v][c][1], rows[v], x);
                    }
                }
            }
            for v in 0..NV {
                for c in 0..NC {
                    sums[v][c] = vpadalq_s16(sums[v][c], vpaddq_s16(pairs[v][c][0], pairs[v][c][1]));
                }
            }
        }
        sums
    }
}

/// [`Simd::panel_dot`] of codes of 8 bits: 2 · 128 · 127 is the most that 16 bits hold.
///
/// # Safety
/// That of `panel_dot`.
#[inline(always)]
unsafe fn wide<const K4: usize, const NV: usize, const NC: usize>(
    w: *const i8,
    a: [*const u8; NC],
    mut sums: [[int32x4_t; NC]; NV],
) -> [[int32x4_t; NC]; NV] {
    // SAFETY: the caller's.
    unsafe {
        let mut halves = [[[vdupq_n_s32(0); 2]; NC]; NV];
        for k in (0..K4).step_by(2) {
            let mut rows = [[vdupq_n_s8(0); 2]; NV];
            for v in 0..NV {
                for i in 0..2 {
                    rows[v][i] = vld1q_s8(w.add((k + i) * TILE_STRIDE + v * 16));
                }
            }
            for c in 0..NC {
                let mut x = [vdupq_n_s8(0); 2];
                for i in 0..2 {
                    x[i] = vreinterpretq_s8_s32(vld1q_dup_s32(a[c].add(4 * (k + i)).cast()));
                }
                for v in 0..NV {
                    let low = vmull_s8(vget_low_s8(rows[v][0]), vget_low_s8(x[0]));
                    let low = vmlal_s8(low, vget_low_s8(rows[v][1]), vget_low_s8(x[1]));
                    let high = vmlal_high_s8(vmull_high_s8(rows[v][0], x[0]), rows[v][1], x[1]);
                    halves[v][c][0] = vpadalq_s16(halves[v][c][0], low);
                    halves[v][c][1] = vpadalq_s16(halves[v][c][1], high);
                }
            }
        }
        for v in 0..NV {
            for c in 0..NC {
                sums[v][c] = vaddq_s32(sums[v][c], vpaddq_s32(halves[v][c][0], halves[v][c][1]));
            }
        }
        sums
    }
}

crate::arch::make_table!(Neon, "neon");

//! With dot products: four bytes times four bytes into each lane of 32 bits.

use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

use super::bytes::{Sums, bytes_128};
use super::float::float_128;
use crate::arch::formats::Format;
use crate::arch::simd::{Simd, TILE_STRIDE};
use crate::arch::tile::Scales;

/// The processor runs NEON with dot products.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NeonDot(());

impl NeonDot {
    pub(crate) fn detect() -> Option<NeonDot> {
        is_aarch64_feature_detected!("dotprod").then_some(NeonDot(()))
    }
}

// The intrinsics are unstable (stdarch_neon_dotprod); the assembly goes when they are not.

/// `sums[i] + Σ_j a[4 i + j] · b[4 i + j]`, `j` below 4
///
/// # Safety
/// The processor has dot products.
#[inline(always)]
unsafe fn sdot(sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    let mut sums = sums;
    // SAFETY: the caller's.
    unsafe {
        asm!("sdot {0:v}.4s, {1:v}.16b, {2:v}.16b", inlateout(vreg) sums, in(vreg) a, in(vreg) b,
            options(pure, nomem, nostack, preserves_flags));
    }
    sums
}

/// `sums[i] + Σ_j a[4 i + j] · b[4 LANE + j]`, `j` below 4
///
/// # Safety
/// The processor has dot products.
#[inline(always)]
unsafe fn sdot_lane<const LANE: usize>(sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    let mut sums = sums;
    // SAFETY: the caller's.
    unsafe {
        asm!("sdot {0:v}.4s, {1:v}.16b, {2:v}.4b[{3}]", inlateout(vreg) sums, in(vreg) a, in(vreg) b, const LANE,
            options(pure, nomem, nostack, preserves_flags));
    }
    sums
}

/// [`Simd::dot`] by `sdot`.
macro_rules! dot_sdot {
    () => {
        #[inline(always)]
        fn dot<F: Format, const STEP: usize>(
            self,
            g: Self::G,
            codes: uint8x16x2_t,
            a: uint8x16x2_t,
            scales: &Scales,
        ) -> Self::G {
            // SAFETY: `self` proves the instructions.
            unsafe { $crate::arch::neon::dot::dot::<F, STEP>(g, codes, a, &scales.scale) }
        }
    };
}

/// # Safety
/// The processor has dot products.
#[inline(always)]
pub(super) unsafe fn dot<F: Format, const STEP: usize>(
    g: Sums,
    codes: uint8x16x2_t,
    a: uint8x16x2_t,
    scales: &[f32; 16],
) -> Sums {
    // SAFETY: the caller's.
    unsafe {
        let sign = vdupq_n_u8(if F::BITS == 8 { 128 } else { 0 });
        let low = vreinterpretq_s8_u8(veorq_u8(codes.0, sign));
        let high = vreinterpretq_s8_u8(veorq_u8(codes.1, sign));
        let (a_low, a_high) = (vreinterpretq_s8_u8(a.0), vreinterpretq_s8_u8(a.1));
        let first = sdot(vdupq_n_s32(0), low, a_low);
        let sums = if F::SUB == 32 {
            sdot(first, high, a_high)
        } else {
            vpaddq_s32(first, sdot(vdupq_n_s32(0), high, a_high))
        };
        g.take::<F, STEP>(sums, |a, b| vpaddq_s32(a, b), |a, b| vpaddq_s32(a, b), scales)
    }
}

/// Sums begin with this, a float, of which the integer in the last bits is what is added to it, up to 2^22: that is more
/// than 256 · 128 · 127, all the products of a row of a tile. So a subtraction takes the place of a conversion, which
/// keeps one of a Cortex-A76's two pipes busy for two cycles, and sums need not begin anew in each sub-block.
const START: f32 = 12_582_912.0; // 1.5 · 2^23

#[inline(always)]
pub(super) fn start() -> int32x4_t {
    // SAFETY: every 64-bit Arm has NEON.
    unsafe { vreinterpretq_s32_f32(vdupq_n_f32(START)) }
}

/// What was added to [`start`].
#[inline(always)]
pub(super) fn since_start(sums: int32x4_t) -> float32x4_t {
    // SAFETY: every 64-bit Arm has NEON.
    unsafe { vsubq_f32(vreinterpretq_f32_s32(sums), vdupq_n_f32(START)) }
}

pub(super) use dot_sdot;

impl Simd for NeonDot {
    float_128!();
    bytes_128!();
    dot_sdot!();

    const NC: usize = 4;
    const RUNNING: bool = true;

    #[inline(always)]
    fn zero_t(self) -> int32x4_t {
        start()
    }
    #[inline(always)]
    fn to_floats<const NV: usize, const NC: usize>(self, sums: [[int32x4_t; NC]; NV]) -> [[float32x4_t; NC]; NV] {
        sums.map(|sums| sums.map(since_start))
    }

    #[inline(always)]
    unsafe fn panel_dot<const BITS: u32, const K4: usize, const NV: usize, const NC: usize>(
        self,
        w: *const i8,
        _plane: usize,
        a: [*const u8; NC],
        mut sums: [[int32x4_t; NC]; NV],
    ) -> [[int32x4_t; NC]; NV] {
        // SAFETY: the caller's; `self` proves the instructions.
        unsafe {
            // Sixteen activations of a column at once, four by four.
            for k in (0..K4).step_by(4) {
                let mut x = [vdupq_n_s8(0); NC];
                for c in 0..NC {
                    x[c] = vld1q_s8(a[c].add(4 * k).cast());
                }
                macro_rules! lane {
                    ($($lane:literal)*) => {$(
                        for v in 0..NV {
                            let rows = vld1q_s8(w.add((k + $lane) * TILE_STRIDE + v * 16));
                            for c in 0..NC {
                                sums[v][c] = sdot_lane::<$lane>(sums[v][c], rows, x[c]);
                            }
                        }
                    )*};
                }
                lane!(0 1 2 3);
            }
            sums
        }
    }
}

crate::arch::make_table!(NeonDot, "neon,dotprod");

//! With products of matrices: two rows by two columns, eight bytes deep, in one instruction.

use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

use super::bytes::bytes_128;
use super::dot::{dot_sdot, since_start, start};
use super::float::float_128;
use crate::arch::formats::Format;
use crate::arch::simd::{Simd, TILE_STRIDE};
use crate::arch::tile::Scales;

/// The processor runs NEON with dot products and products of matrices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct I8mm(());

impl I8mm {
    pub(crate) fn detect() -> Option<I8mm> {
        (is_aarch64_feature_detected!("dotprod") && is_aarch64_feature_detected!("i8mm")).then_some(I8mm(()))
    }
}

/// `sums[2 i + j] + Σ_k a[8 i + k] · b[8 j + k]`, `k` below 8
///
/// # Safety
/// The processor has products of matrices.
#[inline(always)]
unsafe fn smmla(sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    let mut sums = sums;
    // The intrinsic is unstable (stdarch_neon_i8mm); the assembly goes when it is not.
    // SAFETY: the caller's.
    unsafe {
        asm!("smmla {0:v}.4s, {1:v}.16b, {2:v}.16b", inlateout(vreg) sums, in(vreg) a, in(vreg) b,
            options(pure, nomem, nostack, preserves_flags));
    }
    sums
}

impl Simd for I8mm {
    float_128!();
    bytes_128!();
    dot_sdot!();

    /// Eight values of two rows are a vector: word `k` of four rows holds rows 0 and 1 where `k` is even, 2 and 3 where
    /// it is odd.
    #[inline(always)]
    unsafe fn transpose_codes(self, src: *const u8, src_stride: usize, dst: *mut u8, dst_stride: usize) {
        // SAFETY: the caller's; `self` proves NEON.
        unsafe {
            let mut r = [vdupq_n_u64(0); 4];
            for (i, r) in r.iter_mut().enumerate() {
                *r = vreinterpretq_u64_u8(vld1q_u8(src.add(i * src_stride)));
            }
            for i in 0..2 {
                let dst = dst.add(i * dst_stride);
                vst1q_u8(dst, vreinterpretq_u8_u64(vtrn1q_u64(r[2 * i], r[2 * i + 1])));
                vst1q_u8(dst.add(2 * dst_stride), vreinterpretq_u8_u64(vtrn2q_u64(r[2 * i], r[2 * i + 1])));
            }
        }
    }

    const NC: usize = 4;
    const RUNNING: bool = true;

    #[inline(always)]
    fn zero_t(self) -> int32x4_t {
        start()
    }
    #[inline(always)]
    fn to_floats<const NV: usize, const NC: usize>(self, sums: [[int32x4_t; NC]; NV]) -> [[float32x4_t; NC]; NV] {
        let mut floats = sums.map(|sums| sums.map(since_start));
        for v in 0..NV {
            for c in (0..NC).step_by(2) {
                let (low, high) = (floats[v][c], floats[v][c + 1]);
                // SAFETY: `self` proves NEON.
                (floats[v][c], floats[v][c + 1]) = unsafe { (vuzp1q_f32(low, high), vuzp2q_f32(low, high)) };
            }
        }
        floats
    }

    /// The sums of rows `2 i` and `2 i + 1` of vector `v` with columns `c` and `c + 1` are `sums[v][c + i]`.
    #[inline(always)]
    unsafe fn panel_dot<const BITS: u32, const K4: usize, const NV: usize, const NC: usize>(
        self,
        w: *const i8,
        _plane: usize,
        a: [*const u8; NC],
        mut sums: [[int32x4_t; NC]; NV],
    ) -> [[int32x4_t; NC]; NV] {
        assert!(NC.is_multiple_of(2), "columns go in pairs");
        // SAFETY: the caller's; `self` proves the instructions.
        unsafe {
            for k in (0..K4).step_by(4) {
                for c in (0..NC).step_by(2) {
                    let first = vreinterpretq_s64_s8(vld1q_s8(a[c].add(4 * k).cast()));
                    let second = vreinterpretq_s64_s8(vld1q_s8(a[c + 1].add(4 * k).cast()));
                    let x = [vtrn1q_s64(first, second), vtrn2q_s64(first, second)].map(|x| vreinterpretq_s8_s64(x));
                    for (half, x) in x.into_iter().enumerate() {
                        for v in 0..NV {
                            for i in 0..2 {
                                let rows = vld1q_s8(w.add((k + 2 * half + i) * TILE_STRIDE + v * 16));
                                sums[v][c + i] = smmla(sums[v][c + i], rows, x);
                            }
                        }
                    }
                }
            }
            sums
        }
    }
}

crate::arch::make_table!(I8mm, "neon,dotprod,i8mm");

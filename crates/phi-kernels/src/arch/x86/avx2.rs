//! AVX2 without VNNI: products of bytes come in pairs of 16 bits (`vpmaddubsw`), so sums of a few stay in 16 bits.

use std::arch::asm;
use std::arch::x86_64::*;

use super::bytes::{bytes_256, scales_256, whole_scales};
use super::float::float_256;
use crate::arch::SIDE;
use crate::arch::formats::Format;
use crate::arch::simd::{Simd, TILE_STRIDE};
use crate::arch::tile::Scales;

/// The processor runs AVX2, FMA and F16C.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Avx2(());

impl Avx2 {
    pub(crate) fn detect() -> Option<Avx2> {
        let here =
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
        here.then_some(Avx2(()))
    }
}

impl Simd for Avx2 {
    float_256!();
    bytes_256!();
    scales_256!();

    // `vpmaddubsw` saturates at 16 bits, so wide codes go in as magnitudes, their signs on the activations.
    const SIGNED_BYTES: bool = true;

    #[inline(always)]
    fn dot<F: Format, const STEP: usize>(self, mut g: Self::G, codes: __m256i, a: __m256i, scales: &Scales) -> Self::G {
        // SAFETY: `self` proves AVX2 and FMA.
        unsafe {
            let pairs = if F::BITS < 8 {
                _mm256_maddubs_epi16(codes, a)
            } else {
                let w = _mm256_xor_si256(codes, _mm256_set1_epi8(-128));
                _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(a, w))
            };
            if !F::WHOLE {
                return g.take::<F, STEP>(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)), scales);
            }
            g.whole = _mm256_add_epi32(g.whole, _mm256_madd_epi16(pairs, whole_scales::<STEP, false>(scales)));
            g
        }
    }

    const STREAMS: usize = 8;
    const ROWS: usize = 4;
    const BIAS: u8 = 128;
    const NC: usize = 3;
    const SPLIT: bool = true;
    const RUNNING: bool = false;
    type T = __m256i;

    #[inline(always)]
    fn zero_t(self) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn panel_dot<const BITS: u32, const K4: usize, const NV: usize, const NC: usize>(
        self,
        w: *const i8,
        plane: usize,
        a: [*const u8; NC],
        sums: [[__m256i; NC]; NV],
    ) -> [[__m256i; NC]; NV] {
        // SAFETY: the caller's; `self` proves AVX2.
        unsafe {
            match BITS {
                // |code| · activation · two products: at most 8 · 255 · 2 = 4080, of which eight fit 15 bits;
                0..=4 => chain::<8, K4, NV, NC>(w, a, 1, sums),
                // 16 · 255 · 2 = 8160: four;
                5 => chain::<4, K4, NV, NC>(w, a, 1, sums),
                // 32 · 255 · 2 = 16 320: two.
                6 => chain::<2, K4, NV, NC>(w, a, 1, sums),
                // `16 · high + low`, each of 4 bits.
                _ => {
                    let sums = chain::<8, K4, NV, NC>(w, a, 1, sums);
                    chain::<8, K4, NV, NC>(w.add(plane), a, 16, sums)
                }
            }
        }
    }

    #[inline(always)]
    fn to_floats<const NV: usize, const NC: usize>(self, sums: [[__m256i; NC]; NV]) -> [[__m256; NC]; NV] {
        // Not by `map`: a closure does not have the kernel's features, and each instruction would become a call.
        // SAFETY: `self` proves AVX2.
        unsafe {
            let mut floats = [[_mm256_setzero_ps(); NC]; NV];
            for v in 0..NV {
                for c in 0..NC {
                    floats[v][c] = _mm256_cvtepi32_ps(sums[v][c]);
                }
            }
            floats
        }
    }
}

/// `x`, of which the compiler knows nothing: it would add all products of a chain as a tree, and run out of registers.
#[inline]
#[target_feature(enable = "avx2")]
fn keep(mut x: __m256i) -> __m256i {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0} */", inout(ymm_reg) x, options(pure, nomem, nostack, preserves_flags)) };
    x
}

/// `sums + factor · Σ_k w · a`, adding `CHAIN` pairs of products in 16 bits before they are widened.
///
/// # Safety
/// That of [`Simd::panel_dot`], and the processor has AVX2.
#[inline(always)]
unsafe fn chain<const CHAIN: usize, const K4: usize, const NV: usize, const NC: usize>(
    w: *const i8,
    a: [*const u8; NC],
    factor: i16,
    mut sums: [[__m256i; NC]; NV],
) -> [[__m256i; NC]; NV] {
    // SAFETY: the caller's.
    unsafe {
        let factor = _mm256_set1_epi16(factor);
        for first in (0..K4).step_by(CHAIN) {
            let mut pairs = [[_mm256_setzero_si256(); NC]; NV];
            for k in first..K4.min(first + CHAIN) {
                let mut rows = [_mm256_setzero_si256(); NV];
                for (v, rows) in rows.iter_mut().enumerate() {
                    *rows = _mm256_loadu_si256(w.add(k * TILE_STRIDE + v * 32).cast());
                }
                for c in 0..NC {
                    let x = _mm256_set1_epi32(a[c].add(4 * k).cast::<i32>().read_unaligned());
                    for v in 0..NV {
                        pairs[v][c] = keep(_mm256_add_epi16(pairs[v][c], _mm256_maddubs_epi16(x, rows[v])));
                    }
                }
            }
            for v in 0..NV {
                for c in 0..NC {
                    sums[v][c] = _mm256_add_epi32(sums[v][c], _mm256_madd_epi16(pairs[v][c], factor));
                }
            }
        }
        sums
    }
}

crate::arch::make_table!(Avx2, "avx2,fma,f16c");

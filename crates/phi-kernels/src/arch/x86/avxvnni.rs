//! AVX-VNNI: the products of four bytes in one instruction, 256 bits wide.

use std::arch::x86_64::*;

use super::bytes::{bytes_256, scales_256, whole_scales};
use super::float::float_256;
use crate::arch::SIDE;
use crate::arch::formats::Format;
use crate::arch::simd::{Simd, TILE_STRIDE};
use crate::arch::tile::Scales;

/// The processor runs AVX2, FMA, F16C and AVX-VNNI.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AvxVnni(());

impl AvxVnni {
    pub(crate) fn detect() -> Option<AvxVnni> {
        let here = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("avxvnni");
        here.then_some(AvxVnni(()))
    }
}

impl Simd for AvxVnni {
    float_256!();
    bytes_256!();
    scales_256!();

    // `vpdpbusd` takes unsigned codes of any width.
    const SIGNED_BYTES: bool = false;

    #[inline(always)]
    fn dot<F: Format, const STEP: usize>(self, mut g: Self::G, codes: __m256i, a: __m256i, scales: &Scales) -> Self::G {
        // SAFETY: `self` proves the instructions.
        unsafe {
            let products = _mm256_dpbusd_avx_epi32(_mm256_setzero_si256(), codes, a);
            if !F::WHOLE {
                return g.take::<F, STEP>(products, scales);
            }
            // Four products, 4 · 63 · 127 at most, fit 16 bits: two steps are scaled and added in one.
            if STEP.is_multiple_of(2) {
                g.one = products;
                return g;
            }
            let both = _mm256_packs_epi32(g.one, products);
            g.whole = _mm256_dpwssd_avx_epi32(g.whole, both, whole_scales::<STEP, true>(scales));
            g
        }
    }

    const STREAMS: usize = 8;
    const ROWS: usize = 4;
    const BIAS: u8 = 128;
    const NC: usize = 3;
    const SPLIT: bool = false;
    const RUNNING: bool = false;
    type T = __m256i;

    #[inline(always)]
    fn zero_t(self) -> __m256i {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn panel_dot<const BITS: u32, const K4: usize, const NV: usize, const NC: usize>(
        self,
        w: *const i8,
        _plane: usize,
        a: [*const u8; NC],
        mut sums: [[__m256i; NC]; NV],
    ) -> [[__m256i; NC]; NV] {
        // SAFETY: the caller's; `self` proves the instructions.
        unsafe {
            for k in 0..K4 {
                let mut rows = [_mm256_setzero_si256(); NV];
                for (v, rows) in rows.iter_mut().enumerate() {
                    *rows = _mm256_loadu_si256(w.add(k * TILE_STRIDE + v * 32).cast());
                }
                for c in 0..NC {
                    let x = _mm256_set1_epi32(a[c].add(4 * k).cast::<i32>().read_unaligned());
                    for v in 0..NV {
                        sums[v][c] = _mm256_dpbusd_avx_epi32(sums[v][c], x, rows[v]);
                    }
                }
            }
            sums
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

crate::arch::make_table!(AvxVnni, "avx2,fma,f16c,avxvnni");

//! AVX-512 with VNNI: sixteen floats, or the products of sixty-four bytes, in one instruction.

use std::arch::x86_64::*;

use super::bytes::scales_256;
use super::wide::bytes_512;
use crate::arch::SIDE;
use crate::arch::formats::Format;
use crate::arch::simd::{Simd, TILE_STRIDE};
use crate::arch::tile::Scales;

/// The processor runs AVX-512 F, BW, VL, DQ and VNNI, and FMA and F16C besides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Avx512(());

impl Avx512 {
    pub(crate) fn detect() -> Option<Avx512> {
        let here = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vnni")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        here.then_some(Avx512(()))
    }
}

impl Simd for Avx512 {
    bytes_512!();
    scales_256!();

    type F = __m512;
    const LANES: usize = 16;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m512 {
        // SAFETY: the caller's.
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, x: __m512) {
        // SAFETY: the caller's.
        unsafe { _mm512_storeu_ps(p, x) }
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    fn abs(self, a: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_abs_ps(a) }
    }
    #[inline(always)]
    fn round(self, a: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    fn exp2i(self, n: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe {
            let n = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(n))
        }
    }
    #[inline(always)]
    fn sum(self, a: __m512) -> f32 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_reduce_add_ps(a) }
    }
    #[inline(always)]
    fn sum_each(self, [a, b, c, d]: [__m512; 4]) -> [f32; 4] {
        let mut out = [0.0; 4];
        // SAFETY: `self` proves AVX-512, and `out` has four floats.
        unsafe {
            // Lane `4l + i` of each pair of sums is half of lanes `4l` to `4l + 3` of vector `i`.
            let ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
            let cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
            let (ab, cd) = (_mm512_castps_pd(ab), _mm512_castps_pd(cd));
            let low = _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd));
            let high = _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd));
            let x = _mm512_add_ps(low, high);
            let x = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x));
            let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            _mm_storeu_ps(out.as_mut_ptr(), x);
        }
        out
    }
    #[inline(always)]
    fn largest(self, a: __m512) -> f32 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_reduce_max_ps(a) }
    }
    #[inline(always)]
    unsafe fn load_f16(self, p: *const u8) -> __m512 {
        // SAFETY: the caller's; `self` proves AVX-512.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const u8) -> __m512 {
        // SAFETY: the caller's; `self` proves AVX-512.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast())))) }
    }
    #[inline(always)]
    fn splat_f16(self, bits: u16) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_cvtph_ps(_mm256_set1_epi16(bits as i16)) }
    }
    #[inline(always)]
    unsafe fn load_i8(self, p: *const i8) -> __m512 {
        // SAFETY: the caller's; `self` proves AVX-512.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast()))) }
    }
    #[inline(always)]
    unsafe fn store_i8(self, p: *mut i8, x: __m512) {
        // SAFETY: the caller's; `self` proves AVX-512.
        unsafe { _mm_storeu_si128(p.cast(), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x))) }
    }
    #[inline(always)]
    unsafe fn transpose(self, src: *const u8, src_stride: usize, dst: *mut u8, dst_stride: usize) {
        // SAFETY: the caller's; `self` proves AVX-512.
        unsafe {
            let mut r = [_mm512_setzero_si512(); 16];
            for (i, r) in r.iter_mut().enumerate() {
                *r = _mm512_loadu_si512(src.add(i * src_stride).cast());
            }
            // Four rows at a time: lane `l` of `u[4q + j]` is column `4l + j` of rows `4q` to `4q + 3`.
            let mut u = [_mm512_setzero_si512(); 16];
            for q in [0, 4, 8, 12] {
                let t0 = _mm512_unpacklo_epi32(r[q], r[q + 1]);
                let t1 = _mm512_unpackhi_epi32(r[q], r[q + 1]);
                let t2 = _mm512_unpacklo_epi32(r[q + 2], r[q + 3]);
                let t3 = _mm512_unpackhi_epi32(r[q + 2], r[q + 3]);
                u[q] = _mm512_unpacklo_epi64(t0, t2);
                u[q + 1] = _mm512_unpackhi_epi64(t0, t2);
                u[q + 2] = _mm512_unpacklo_epi64(t1, t3);
                u[q + 3] = _mm512_unpackhi_epi64(t1, t3);
            }
            for j in 0..4 {
                let a = _mm512_shuffle_i32x4::<0x88>(u[j], u[4 + j]);
                let b = _mm512_shuffle_i32x4::<0xdd>(u[j], u[4 + j]);
                let c = _mm512_shuffle_i32x4::<0x88>(u[8 + j], u[12 + j]);
                let d = _mm512_shuffle_i32x4::<0xdd>(u[8 + j], u[12 + j]);
                _mm512_storeu_si512(dst.add(j * dst_stride).cast(), _mm512_shuffle_i32x4::<0x88>(a, c));
                _mm512_storeu_si512(dst.add((j + 4) * dst_stride).cast(), _mm512_shuffle_i32x4::<0x88>(b, d));
                _mm512_storeu_si512(dst.add((j + 8) * dst_stride).cast(), _mm512_shuffle_i32x4::<0xdd>(a, c));
                _mm512_storeu_si512(dst.add((j + 12) * dst_stride).cast(), _mm512_shuffle_i32x4::<0xdd>(b, d));
            }
        }
    }

    const STREAMS: usize = 8;
    const ROWS: usize = 4;
    const BIAS: u8 = 128;
    const NC: usize = 6;
    const SPLIT: bool = false;
    const RUNNING: bool = false;
    type T = __m512i;

    #[inline(always)]
    fn zero_t(self) -> __m512i {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn panel_dot<const BITS: u32, const K4: usize, const NV: usize, const NC: usize>(
        self,
        w: *const i8,
        _plane: usize,
        a: [*const u8; NC],
        mut sums: [[__m512i; NC]; NV],
    ) -> [[__m512i; NC]; NV] {
        // SAFETY: the caller's; `self` proves the instructions.
        unsafe {
            for k in 0..K4 {
                let mut rows = [_mm512_setzero_si512(); NV];
                for (v, rows) in rows.iter_mut().enumerate() {
                    *rows = _mm512_loadu_si512(w.add(k * TILE_STRIDE + v * 64).cast());
                }
                for c in 0..NC {
                    let x = _mm512_set1_epi32(a[c].add(4 * k).cast::<i32>().read_unaligned());
                    for v in 0..NV {
                        sums[v][c] = _mm512_dpbusd_epi32(sums[v][c], x, rows[v]);
                    }
                }
            }
            sums
        }
    }

    #[inline(always)]
    fn to_floats<const NV: usize, const NC: usize>(self, sums: [[__m512i; NC]; NV]) -> [[__m512; NC]; NV] {
        // Not by `map`: a closure does not have the kernel's features, and each instruction would become a call.
        // SAFETY: `self` proves AVX-512.
        unsafe {
            let mut floats = [[_mm512_setzero_ps(); NC]; NV];
            for v in 0..NV {
                for c in 0..NC {
                    floats[v][c] = _mm512_cvtepi32_ps(sums[v][c]);
                }
            }
            floats
        }
    }
}

crate::arch::make_table!(Avx512, "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,fma,f16c,avx2");

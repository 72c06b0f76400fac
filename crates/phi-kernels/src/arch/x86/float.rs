//! Eight floats at a time, for the two instruction sets of 256 bits.

use std::arch::x86_64::*;

/// # Safety
/// The processor has AVX2.
#[inline(always)]
pub(super) unsafe fn sum_256(x: __m256) -> f32 {
    // SAFETY: the caller's.
    unsafe {
        let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
        _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
    }
}

/// # Safety
/// The processor has AVX2.
#[inline(always)]
pub(super) unsafe fn largest_256(x: __m256) -> f32 {
    // SAFETY: the caller's.
    unsafe {
        let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
        _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)))
    }
}

/// # Safety
/// The processor has AVX2; eight words are readable and writable at each row.
#[inline(always)]
pub(super) unsafe fn transpose_256(src: *const u8, src_stride: usize, dst: *mut u8, dst_stride: usize) {
    // SAFETY: the caller's.
    unsafe {
        let mut r = [_mm256_setzero_ps(); 8];
        for (i, r) in r.iter_mut().enumerate() {
            *r = _mm256_loadu_ps(src.add(i * src_stride).cast());
        }
        let mut u = [_mm256_setzero_pd(); 8];
        for q in [0, 4] {
            let t0 = _mm256_castps_pd(_mm256_unpacklo_ps(r[q], r[q + 1]));
            let t1 = _mm256_castps_pd(_mm256_unpackhi_ps(r[q], r[q + 1]));
            let t2 = _mm256_castps_pd(_mm256_unpacklo_ps(r[q + 2], r[q + 3]));
            let t3 = _mm256_castps_pd(_mm256_unpackhi_ps(r[q + 2], r[q + 3]));
            u[q] = _mm256_unpacklo_pd(t0, t2);
            u[q + 1] = _mm256_unpackhi_pd(t0, t2);
            u[q + 2] = _mm256_unpacklo_pd(t1, t3);
            u[q + 3] = _mm256_unpackhi_pd(t1, t3);
        }
        for j in 0..4 {
            _mm256_storeu_pd(dst.add(j * dst_stride).cast(), _mm256_permute2f128_pd::<0x20>(u[j], u[j + 4]));
            _mm256_storeu_pd(dst.add((j + 4) * dst_stride).cast(), _mm256_permute2f128_pd::<0x31>(u[j], u[j + 4]));
        }
    }
}

/// The methods of `Simd` on floats, in AVX2.
macro_rules! float_256 {
    () => {
        type F = __m256;
        const LANES: usize = 8;

        #[inline(always)]
        fn splat(self, x: f32) -> __m256 {
            // SAFETY: `self` proves AVX2.
            unsafe { _mm256_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(self, p: *const f32) -> __m256 {
            // SAFETY: the caller's.
            unsafe { _mm256_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32, x: __m256) {
            // SAFETY: the caller's.
            unsafe { _mm256_storeu_ps(p, x) }
        }
        #[inline(always)]
        fn add(self, a: __m256, b: __m256) -> __m256 {
            // SAFETY: `self` proves AVX2.
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        fn sub(self, a: __m256, b: __m256) -> __m256 {
            // SAFETY: `self` proves AVX2.
            unsafe { _mm256_sub_ps(a, b) }
        }
        #[inline(always)]
        fn mul(self, a: __m256, b: __m256) -> __m256 {
            // SAFETY: `self` proves AVX2.
            unsafe { _mm256_mul_ps(a, b) }
        }
        #[inline(always)]
        fn div(self, a: __m256, b: __m256) -> __m256 {
            // SAFETY: `self` proves AVX2.
            unsafe { _mm256_div_ps(a, b) }
        }
        #[inline(always)]
        fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
            // SAFETY: `self` proves FMA.
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        fn max(self, a: __m256, b: __m256) -> __m256 {
            // SAFETY: `self` proves AVX2.
            unsafe { _mm256_max_ps(a, b) }
        }
        #[inline(always)]
        fn min(self, a: __m256, b: __m256) -> __m256 {
            // SAFETY: `self` proves AVX2.
            unsafe { _mm256_min_ps(a, b) }
        }
        #[inline(always)]
        fn abs(self, a: __m256) -> __m256 {
            // SAFETY: `self` proves AVX2.
            unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), a) }
        }
        #[inline(always)]
        fn round(self, a: __m256) -> __m256 {
            // SAFETY: `self` proves AVX2.
            unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
        }
        #[inline(always)]
        fn exp2i(self, n: __m256) -> __m256 {
            // SAFETY: `self` proves AVX2.
            unsafe {
                let n = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(n))
            }
        }
        #[inline(always)]
        fn sum(self, a: __m256) -> f32 {
            // SAFETY: `self` proves AVX2.
            unsafe { $crate::arch::x86::float::sum_256(a) }
        }
        #[inline(always)]
        fn sum_each(self, [a, b, c, d]: [__m256; 4]) -> [f32; 4] {
            let mut out = [0.0; 4];
            // SAFETY: `self` proves AVX2, and `out` has four floats.
            unsafe {
                // Lane `4l + i` of each pair of sums is half of lanes `4l` to `4l + 3` of vector `i`.
                let ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
                let cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
                let (ab, cd) = (_mm256_castps_pd(ab), _mm256_castps_pd(cd));
                let low = _mm256_castpd_ps(_mm256_unpacklo_pd(ab, cd));
                let high = _mm256_castpd_ps(_mm256_unpackhi_pd(ab, cd));
                let x = _mm256_add_ps(low, high);
                let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
                _mm_storeu_ps(out.as_mut_ptr(), x);
            }
            out
        }
        #[inline(always)]
        fn largest(self, a: __m256) -> f32 {
            // SAFETY: `self` proves AVX2.
            unsafe { $crate::arch::x86::float::largest_256(a) }
        }
        #[inline(always)]
        unsafe fn load_f16(self, p: *const u8) -> __m256 {
            // SAFETY: the caller's; `self` proves F16C.
            unsafe { _mm256_cvtph_ps(_mm_loadu_si128(p.cast())) }
        }
        #[inline(always)]
        unsafe fn load_bf16(self, p: *const u8) -> __m256 {
            // SAFETY: the caller's; `self` proves AVX2.
            unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast())))) }
        }
        #[inline(always)]
        fn splat_f16(self, bits: u16) -> __m256 {
            // SAFETY: `self` proves F16C.
            unsafe { _mm256_cvtph_ps(_mm_set1_epi16(bits as i16)) }
        }
        #[inline(always)]
        unsafe fn load_i8(self, p: *const i8) -> __m256 {
            // SAFETY: the caller's; `self` proves AVX2.
            unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast()))) }
        }
        #[inline(always)]
        unsafe fn store_i8(self, p: *mut i8, x: __m256) {
            // SAFETY: the caller's; `self` proves AVX2.
            unsafe {
                let x = _mm256_cvtps_epi32(x);
                let x = _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
                _mm_storel_epi64(p.cast(), _mm_packs_epi16(x, x));
            }
        }
        #[inline(always)]
        unsafe fn transpose(self, src: *const u8, src_stride: usize, dst: *mut u8, dst_stride: usize) {
            // SAFETY: the caller's; `self` proves AVX2.
            unsafe { $crate::arch::x86::float::transpose_256(src, src_stride, dst, dst_stride) }
        }
    };
}

pub(super) use float_256;

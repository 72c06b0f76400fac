//! What the three instruction sets do alike: 32 bytes at a time, and the eight lanes of a row's running sums.

use std::arch::x86_64::*;

/// The methods of `Simd` on bytes, in AVX2.
macro_rules! bytes_256 {
    () => {
        type B = __m256i;
        type G = __m256;
        const LOADS_SCALES: bool = true;

        #[inline(always)]
        unsafe fn load_bytes(self, p: *const u8) -> __m256i {
            // SAFETY: the caller's.
            unsafe { _mm256_loadu_si256(p.cast()) }
        }
        #[inline(always)]
        unsafe fn store_bytes(self, p: *mut u8, b: __m256i) {
            // SAFETY: the caller's.
            unsafe { _mm256_storeu_si256(p.cast(), b) }
        }
        #[inline(always)]
        unsafe fn nibbles(self, p: *const u8) -> __m256i {
            // SAFETY: 16 bytes are readable, says the caller; `self` proves AVX2.
            unsafe {
                let both = _mm256_broadcastsi128_si256(_mm_loadu_si128(p.cast()));
                let high = _mm256_setr_epi64x(0, 0, 4, 4);
                _mm256_and_si256(_mm256_srlv_epi64(both, high), _mm256_set1_epi8(15))
            }
        }
        #[inline(always)]
        fn splat_byte(self, b: u8) -> __m256i {
            // SAFETY: `self` proves AVX2.
            unsafe { _mm256_set1_epi8(b as i8) }
        }
        #[inline(always)]
        fn and(self, a: __m256i, b: __m256i) -> __m256i {
            // SAFETY: `self` proves AVX2.
            unsafe { _mm256_and_si256(a, b) }
        }
        #[inline(always)]
        fn or(self, a: __m256i, b: __m256i) -> __m256i {
            // SAFETY: `self` proves AVX2.
            unsafe { _mm256_or_si256(a, b) }
        }
        #[inline(always)]
        fn xor(self, a: __m256i, b: __m256i) -> __m256i {
            // SAFETY: `self` proves AVX2.
            unsafe { _mm256_xor_si256(a, b) }
        }
        #[inline(always)]
        fn sub_bytes(self, a: __m256i, b: __m256i) -> __m256i {
            // SAFETY: `self` proves AVX2.
            unsafe { _mm256_sub_epi8(a, b) }
        }
        #[inline(always)]
        fn shr(self, a: __m256i, n: u32) -> __m256i {
            // SAFETY: `self` proves AVX2.
            unsafe { _mm256_srl_epi16(a, _mm_cvtsi32_si128(n as i32)) }
        }
        #[inline(always)]
        fn shl(self, a: __m256i, n: u32) -> __m256i {
            // SAFETY: `self` proves AVX2.
            unsafe { _mm256_sll_epi16(a, _mm_cvtsi32_si128(n as i32)) }
        }
        #[inline(always)]
        fn lookup(self, table: &[u8; 16], i: __m256i) -> __m256i {
            // SAFETY: `self` proves AVX2, and the table has 16 bytes.
            unsafe { _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast())), i) }
        }
        #[inline(always)]
        fn mask_bits(self, word: u32) -> __m256i {
            // SAFETY: `self` proves AVX2.
            unsafe {
                let spread = _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
                let bits = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
                let bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(word as i32), spread);
                _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bits), bits)
            }
        }

        #[inline(always)]
        fn zero_g(self) -> __m256 {
            // SAFETY: `self` proves AVX2.
            unsafe { _mm256_setzero_ps() }
        }
        #[inline(always)]
        fn fma_g(self, g: __m256, a: &[f32; 8], b: &[f32; 8]) -> __m256 {
            // SAFETY: `self` proves AVX2 and FMA; both have eight floats.
            unsafe { _mm256_fmadd_ps(_mm256_loadu_ps(a.as_ptr()), _mm256_loadu_ps(b.as_ptr()), g) }
        }
        #[inline(always)]
        fn scale_g(self, sum: __m256, g: __m256, scale: f32) -> __m256 {
            // SAFETY: `self` proves AVX2 and FMA.
            unsafe { _mm256_fmadd_ps(g, _mm256_set1_ps(scale), sum) }
        }
        #[inline(always)]
        fn sum_g(self, g: __m256) -> f32 {
            // SAFETY: `self` proves AVX2.
            unsafe { $crate::arch::x86::float::sum_256(g) }
        }
        #[inline(always)]
        fn f16(self, bits: u16) -> f32 {
            // SAFETY: `self` proves F16C.
            unsafe { _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits)))) }
        }
        #[inline(always)]
        fn f16x8(self, bits: [u16; 8]) -> [f32; 8] {
            let [a, b, c, d, e, f, g, h] = bits.map(|b| b as i16);
            let mut out = [0.0; 8];
            // SAFETY: `self` proves F16C, and `out` has eight floats.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr(), _mm256_cvtph_ps(_mm_setr_epi16(a, b, c, d, e, f, g, h))) };
            out
        }
        #[inline(always)]
        fn prefetch(self, p: *const u8) {
            // SAFETY: a hint, which may point anywhere.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
        }
    };
}

/// Products by `vpdpbusd`, which takes unsigned codes of any width.
macro_rules! dot_vnni {
    ($dpbusd:ident) => {
        const SIGNED_BYTES: bool = false;

        #[inline(always)]
        fn dot<const BITS: u32, const SUB: usize, const STEP: usize>(
            self,
            g: __m256,
            codes: __m256i,
            a: __m256i,
            scales: &[f32; 16],
        ) -> __m256 {
            // SAFETY: `self` proves the instructions.
            unsafe {
                let products = $dpbusd(_mm256_setzero_si256(), codes, a);
                $crate::arch::x86::bytes::fold_256::<SUB, STEP>(g, products, scales)
            }
        }
    };
}

/// Adds sums of products, 16 in the low half and 16 in the high half, times the scales of step `STEP`.
///
/// # Safety
/// The processor has AVX2 and FMA.
#[inline(always)]
pub(super) unsafe fn fold_256<const SUB: usize, const STEP: usize>(
    g: __m256,
    products: __m256i,
    scales: &[f32; 16],
) -> __m256 {
    // SAFETY: the caller's.
    unsafe {
        let scale = if SUB == 32 {
            _mm256_set1_ps(scales[STEP])
        } else {
            _mm256_blend_ps::<0xf0>(_mm256_set1_ps(scales[2 * STEP]), _mm256_set1_ps(scales[2 * STEP + 1]))
        };
        _mm256_fmadd_ps(_mm256_cvtepi32_ps(products), scale, g)
    }
}

pub(super) use {bytes_256, dot_vnni};

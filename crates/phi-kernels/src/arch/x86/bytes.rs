//! Bytes in AVX2: 32 at a time, and the eight lanes of a row's running sums; and what scales all three instruction sets
//! read.

use std::arch::asm;
use std::arch::x86_64::*;

use crate::arch::SIDE;
use crate::arch::formats::Format;
use crate::arch::tile::Scales;

/// The methods of `Simd` on bytes, in AVX2.
macro_rules! bytes_256 {
    () => {
        type B = __m256i;
        const RUNS: usize = 1;
        type G = $crate::arch::x86::bytes::Sums;
        const WHOLE: bool = true;
        const SCALES_AHEAD: bool = true;

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
        unsafe fn nibbles<const STRIDE: usize>(self, p: *const u8, i: usize) -> __m256i {
            // SAFETY: 16 bytes are readable, says the caller; `self` proves AVX2.
            unsafe {
                let both = _mm256_broadcastsi128_si256(_mm_loadu_si128(p.add(STRIDE * i).cast()));
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
        unsafe fn mask_bits<const STRIDE: usize>(self, p: *const u8, i: usize) -> __m256i {
            // SAFETY: 4 bytes are readable, says the caller; `self` proves AVX2.
            unsafe {
                let word = p.add(STRIDE * i).cast::<i32>().read_unaligned();
                let spread = _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
                let bits = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
                let bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(word), spread);
                _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bits), bits)
            }
        }

        #[inline(always)]
        fn zero_g(self) -> Self::G {
            // SAFETY: `self` proves AVX2.
            unsafe { $crate::arch::x86::bytes::Sums::zero() }
        }
        #[inline(always)]
        fn fma_g(self, mut g: Self::G, a: &[f32; 8], b: &[f32; 8]) -> Self::G {
            // SAFETY: `self` proves AVX2 and FMA; both have eight floats.
            g.floats = unsafe { _mm256_fmadd_ps(_mm256_loadu_ps(a.as_ptr()), _mm256_loadu_ps(b.as_ptr()), g.floats) };
            g
        }
        #[inline(always)]
        fn scale_g(self, mut sum: Self::G, g: Self::G, scale: f32) -> Self::G {
            // SAFETY: `self` proves AVX2 and FMA.
            sum.floats = unsafe { _mm256_fmadd_ps(g.floats, _mm256_set1_ps(scale), sum.floats) };
            sum
        }
        #[inline(always)]
        fn add_group<F: Format, const R: usize>(
            self,
            sums: &mut [Self::G; R],
            g: [Self::G; R],
            scales: &[Scales; R],
            side: &[f32; SIDE],
        ) {
            use $crate::arch::x86::bytes::whole_sums;
            if !F::WHOLE {
                return $crate::arch::gemv::add_group::<Self, F, R>(self, sums, g, scales, side);
            }
            for r in 0..R {
                // SAFETY: `self` proves the instructions.
                let g = unsafe { g[r].take_whole::<F>(&scales[r], whole_sums::<F>(side)) };
                sums[r] = self.scale_g(sums[r], g, side[0]);
            }
        }
        #[inline(always)]
        unsafe fn six_bits<const R: usize>(self, p: [*const u8; R]) -> [[[i16; 8]; R]; 2] {
            const { assert!(R == 1 || R.is_multiple_of(2), "rows come by two") };
            let mut out = [[[0; 8]; R]; 2];
            for r in (0..R).step_by(2) {
                // SAFETY: the caller's; `self` proves AVX2; there are eight of each row.
                unsafe {
                    // Two rows, or one twice. Words: what is before, those of scales, of minima, and the high parts of both.
                    let [first, second] = [p[r], p[(r + 1).min(R - 1)]].map(|p| p.cast());
                    let w = _mm256_castsi128_si256(_mm_loadu_si128(first));
                    let w = _mm256_inserti128_si256::<1>(w, _mm_loadu_si128(second));
                    let low = _mm256_shuffle_epi32::<0b11_10_11_01>(w);
                    let low = _mm256_srlv_epi32(low, _mm256_setr_epi32(0, 0, 0, 4, 0, 0, 0, 4));
                    let low = _mm256_and_si256(low, _mm256_set1_epi64x(0x0f0f_0f0f_3f3f_3f3f));
                    let high = _mm256_srli_epi32::<2>(_mm256_shuffle_epi32::<0b10_10_01_01>(w));
                    let high = _mm256_and_si256(high, _mm256_set1_epi64x(0x3030_3030_0000_0000));
                    let (both, zero) = (_mm256_or_si256(low, high), _mm256_setzero_si256());
                    let widened = [_mm256_unpacklo_epi8(both, zero), _mm256_unpackhi_epi8(both, zero)];
                    for (out, rows) in out.iter_mut().zip(widened) {
                        let out = out[r..].as_mut_ptr();
                        if R > 1 {
                            _mm256_storeu_si256(out.cast(), rows);
                        } else {
                            _mm_storeu_si128(out.cast(), _mm256_castsi256_si128(rows));
                        }
                    }
                }
            }
            out
        }
        #[inline(always)]
        fn sum_g(self, g: Self::G) -> f32 {
            // SAFETY: `self` proves AVX2.
            unsafe { $crate::arch::x86::float::sum_256(g.floats) }
        }
        #[inline(always)]
        unsafe fn f16x8<const STRIDE: usize>(self, p: *const u8) -> [f32; 8] {
            // SAFETY: the caller's; `self` proves F16C.
            unsafe { $crate::arch::x86::bytes::f16x8::<STRIDE>(p) }
        }
    };
}

/// The methods of `Simd` on a few scales, in AVX2 and F16C.
macro_rules! scales_256 {
    () => {
        #[inline(always)]
        fn f16(self, bits: u16) -> f32 {
            // SAFETY: `self` proves F16C.
            unsafe { _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits)))) }
        }
        #[inline(always)]
        fn scale_i16(self, d: f32, q: [i16; 8]) -> [f32; 8] {
            let mut out = [0.0; 8];
            // SAFETY: `self` proves AVX2; both have eight values.
            unsafe {
                let q = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm_loadu_si128(q.as_ptr().cast())));
                _mm256_storeu_ps(out.as_mut_ptr(), _mm256_mul_ps(q, _mm256_set1_ps(d)));
            }
            out
        }
        #[inline(always)]
        fn scale_i8(self, d: f32, q: [i8; 8]) -> [f32; 8] {
            let mut out = [0.0; 8];
            // SAFETY: `self` proves AVX2; both have eight values.
            unsafe {
                let q = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(q.as_ptr().cast())));
                _mm256_storeu_ps(out.as_mut_ptr(), _mm256_mul_ps(q, _mm256_set1_ps(d)));
            }
            out
        }
        #[inline(always)]
        fn split(self, q: [[i8; 8]; 2]) -> [[i16; 8]; 2] {
            let mut out = [[0; 8]; 2];
            // SAFETY: `self` proves AVX2; both have sixteen values.
            unsafe {
                let q = _mm_loadu_si128(q.as_ptr().cast());
                _mm_storeu_si128(out[0].as_mut_ptr().cast(), _mm_srai_epi16::<8>(_mm_slli_epi16::<8>(q)));
                _mm_storeu_si128(out[1].as_mut_ptr().cast(), _mm_srai_epi16::<8>(q));
            }
            out
        }
        #[inline(always)]
        fn prefetch(self, p: *const u8) {
            // SAFETY: a hint, which may point anywhere.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
        }
    };
}

/// Eight half floats, `STRIDE` bytes apart.
///
/// # Safety
/// Four bytes are readable at each; the processor has F16C.
#[inline(always)]
pub(super) unsafe fn f16x8<const STRIDE: usize>(p: *const u8) -> [f32; 8] {
    let mut out = [0.0; 8];
    // SAFETY: the caller's; `out` has eight floats.
    unsafe {
        // Four bytes come to a register by a load alone, two by a shuffle more.
        let mut w = [_mm_setzero_si128(); 8];
        for (i, w) in w.iter_mut().enumerate() {
            *w = _mm_cvtsi32_si128(p.add(i * STRIDE).cast::<i32>().read_unaligned());
        }
        let low = _mm_unpacklo_epi32(_mm_unpacklo_epi16(w[0], w[1]), _mm_unpacklo_epi16(w[2], w[3]));
        let high = _mm_unpacklo_epi32(_mm_unpacklo_epi16(w[4], w[5]), _mm_unpacklo_epi16(w[6], w[7]));
        _mm256_storeu_ps(out.as_mut_ptr(), _mm256_cvtph_ps(_mm_unpacklo_epi64(low, high)));
    }
    out
}

/// A row's running sums.
#[derive(Clone, Copy)]
pub(crate) struct Sums {
    pub(super) floats: __m256,
    /// Sums of products times whole scales.
    pub(super) whole: __m256i,
    /// Products of one step, for the next to be put beside them.
    pub(super) one: __m256i,
}

impl Sums {
    /// # Safety
    /// The processor has AVX2.
    #[inline(always)]
    pub(super) unsafe fn zero() -> Sums {
        // SAFETY: the caller's.
        unsafe { Sums { floats: _mm256_setzero_ps(), whole: _mm256_setzero_si256(), one: _mm256_setzero_si256() } }
    }

    /// Adds sums of products, 16 in the low half and 16 in the high half, times the scales of step `STEP`.
    ///
    /// # Safety
    /// The processor has AVX2 and FMA.
    #[inline(always)]
    pub(super) unsafe fn take<F: Format, const STEP: usize>(mut self, products: __m256i, scales: &Scales) -> Sums {
        let scale = &scales.scale;
        // SAFETY: the caller's.
        unsafe {
            let scale = if F::SUB == 32 {
                _mm256_set1_ps(scale[STEP])
            } else {
                _mm256_blend_ps::<0xf0>(_mm256_set1_ps(scale[2 * STEP]), _mm256_set1_ps(scale[2 * STEP + 1]))
            };
            self.floats = _mm256_fmadd_ps(_mm256_cvtepi32_ps(products), scale, self.floats);
        }
        self
    }

    /// Makes floats of what was added to `whole`, with what minima give or the middle gave, times `sums` of activations.
    ///
    /// # Safety
    /// The processor has AVX2 and FMA.
    #[inline(always)]
    pub(super) unsafe fn take_whole<F: Format>(mut self, scales: &Scales, sums: __m256i) -> Sums {
        // SAFETY: both have sixteen numbers; the rest is the caller's.
        unsafe {
            let times = |whole: &[[i16; 8]; 2]| _mm256_madd_epi16(_mm256_loadu_si256(whole.as_ptr().cast()), sums);
            if F::MIN {
                let minima = _mm256_cvtepi32_ps(times(&scales.whole_min));
                self.floats = _mm256_fnmadd_ps(minima, _mm256_set1_ps(scales.dmin), self.floats);
            } else {
                let middle = _mm256_sll_epi32(times(&scales.whole), _mm_cvtsi32_si128(F::BITS as i32 - 1));
                self.whole = _mm256_sub_epi32(self.whole, middle);
            }
            let whole = _mm256_cvtepi32_ps(self.whole);
            self.floats = _mm256_fmadd_ps(whole, _mm256_set1_ps(scales.d), self.floats);
        }
        self
    }
}

/// `p`, and the compiler does not know that it is, nor what is there.
#[inline(always)]
pub(super) fn unknown<T>(mut p: *const T) -> *const T {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0} */", inout(reg) p, options(pure, readonly, nostack, preserves_flags)) };
    p
}

/// Sums of activations in the order of [`Scales::whole`]; those of 32 values are taken twice, so only half is there.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
pub(super) unsafe fn whole_sums<F: Format>(side: &[f32; SIDE]) -> __m256i {
    let sums = &side[if F::SUB == 32 { 1 } else { 9 }..];
    // SAFETY: there are eight of 32 values or sixteen of 16, at most 32 · 127; the rest is the caller's.
    unsafe {
        let first = _mm256_cvtps_epi32(_mm256_loadu_ps(sums[..8].as_ptr()));
        if F::SUB == 32 {
            return _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(first, _mm256_setzero_si256()));
        }
        let second = _mm256_cvtps_epi32(_mm256_loadu_ps(sums[8..16].as_ptr()));
        // Words 0 to 3 and 8 to 11 are in the low half, the others in the high one.
        let all = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(first, second));
        let even_odd = _mm256_setr_epi8(
            0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15, 0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15,
        );
        _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_shuffle_epi8(all, even_odd))
    }
}

/// Bytes of the word that each lane takes: in each half, that of a step; or four times that of a step, and behind it
/// that of the next.
struct Spread {
    one: [[u8; 32]; 8],
    two: [[u8; 32]; 4],
}

static SPREAD: Spread = {
    let mut spread = Spread { one: [[0; 32]; 8], two: [[0; 32]; 4] };
    let mut i = 0;
    while i < 8 * 32 {
        let (step, byte) = (i / 32, i % 32);
        spread.one[step][byte] = (2 * step + byte % 2) as u8;
        if step % 2 == 1 {
            let step = if byte % 16 < 8 { step - 1 } else { step };
            spread.two[i / 64][byte] = (2 * step + byte % 2) as u8;
        }
        i += 1;
    }
    spread
};

/// The whole scale of each 16-bit lane: those of step `STEP`; or, with `TWO`, of the step before and of this one.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
pub(super) unsafe fn whole_scales<const STEP: usize, const TWO: bool>(scales: &Scales) -> __m256i {
    // Of a table it knows the compiler would make two shuffles of one.
    let spread = unknown(&raw const SPREAD);
    // SAFETY: there are sixteen scales, and a table of 32 bytes; the rest is the caller's.
    unsafe {
        let lanes = if TWO { &raw const (*spread).two[STEP / 2] } else { &raw const (*spread).one[STEP] };
        _mm256_shuffle_epi8(_mm256_loadu_si256((&raw const scales.whole).cast()), _mm256_loadu_si256(lanes.cast()))
    }
}

pub(super) use {bytes_256, scales_256};

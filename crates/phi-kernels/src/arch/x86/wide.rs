//! Bytes in AVX-512: 64 at a time, and the sixteen lanes of a row's running sums.

use std::arch::asm;
use std::arch::x86_64::*;

use super::bytes::{unknown, whole_sums};
use crate::arch::SIDE;
use crate::arch::formats::Format;
use crate::arch::tile::Scales;

/// The methods of `Simd` on bytes, in AVX-512. A macro only because an impl is one block: those on floats are in avx512.rs.
macro_rules! bytes_512 {
    () => {
        type B = __m512i;
        const RUNS: usize = 2;
        type G = $crate::arch::x86::wide::Sums;
        const HALVES: bool = true;
        const WHOLE: bool = true;
        const SCALES_AHEAD: bool = false;
        const SIGNED_BYTES: bool = false;

        #[inline(always)]
        unsafe fn load_bytes(self, p: *const u8) -> __m512i {
            // SAFETY: the caller's.
            unsafe { _mm512_loadu_si512(p.cast()) }
        }
        #[inline(always)]
        unsafe fn store_bytes(self, p: *mut u8, b: __m512i) {
            // SAFETY: the caller's.
            unsafe { _mm512_storeu_si512(p.cast(), b) }
        }
        #[inline(always)]
        unsafe fn fields(self, p: *const u8, i: usize, place: impl Fn(usize) -> (usize, i32)) -> __m512i {
            let ((at, right), (next_at, next_right)) = (place(2 * i), place(2 * i + 1));
            assert!((right < 0 && next_right <= 0) || (right >= 0 && next_right >= 0), "both are shifted the same way");
            // SAFETY: the caller's; `self` proves AVX-512.
            unsafe {
                let bytes = if next_at == at {
                    _mm512_broadcast_i64x4(_mm256_loadu_si256(p.add(at).cast()))
                } else {
                    let [low, high] = [at, next_at].map(|at| p.add(at).cast());
                    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(_mm256_loadu_si256(low)), _mm256_loadu_si256(high))
                };
                let [n, next] = [right, next_right].map(|n| n.unsigned_abs() as i16);
                let n = _mm512_mask_set1_epi16(_mm512_set1_epi16(n), 0xffff_0000, next);
                if right < 0 { _mm512_sllv_epi16(bytes, n) } else { _mm512_srlv_epi16(bytes, n) }
            }
        }
        #[inline(always)]
        unsafe fn nibbles<const STRIDE: usize>(self, p: *const u8, i: usize) -> __m512i {
            // SAFETY: twice 16 bytes are readable, says the caller; `self` proves AVX-512.
            unsafe {
                let p = p.add(2 * i * STRIDE);
                let first = _mm512_broadcast_i32x4(_mm_loadu_si128(p.cast()));
                let both = _mm512_mask_broadcast_i32x4(first, 0xff00, _mm_loadu_si128(p.add(STRIDE).cast()));
                let high = _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4);
                _mm512_and_si512(_mm512_srlv_epi64(both, high), _mm512_set1_epi8(15))
            }
        }
        #[inline(always)]
        unsafe fn nibble_halves<const STRIDE: usize>(self, p: *const u8, i: usize) -> [__m512i; 2] {
            // SAFETY: four times 16 bytes are readable, says the caller; `self` proves AVX-512.
            unsafe {
                let p = p.add(4 * i * STRIDE);
                let mut both = _mm512_castsi128_si512(_mm_loadu_si128(p.cast()));
                both = _mm512_inserti32x4::<1>(both, _mm_loadu_si128(p.add(STRIDE).cast()));
                both = _mm512_inserti32x4::<2>(both, _mm_loadu_si128(p.add(2 * STRIDE).cast()));
                both = _mm512_inserti32x4::<3>(both, _mm_loadu_si128(p.add(3 * STRIDE).cast()));
                let both = $crate::arch::x86::wide::keep(both);
                let nibble = _mm512_set1_epi8(15);
                [_mm512_and_si512(both, nibble), _mm512_and_si512(_mm512_srli_epi16::<4>(both), nibble)]
            }
        }
        #[inline(always)]
        fn halves(self, [a, b]: [__m512i; 2]) -> [__m512i; 2] {
            // SAFETY: `self` proves AVX-512.
            unsafe { [_mm512_shuffle_i64x2::<0x88>(a, b), _mm512_shuffle_i64x2::<0xdd>(a, b)] }
        }
        #[inline(always)]
        unsafe fn mask_bits<const STRIDE: usize>(self, p: *const u8, i: usize) -> __m512i {
            // SAFETY: twice 4 bytes are readable, says the caller; `self` proves AVX-512.
            unsafe {
                let p = p.add(2 * i * STRIDE);
                let (low, high) = (p.cast::<u32>().read_unaligned(), p.add(STRIDE).cast::<u32>().read_unaligned());
                _mm512_movm_epi8(u64::from(low) | u64::from(high) << 32)
            }
        }
        #[inline(always)]
        fn splat_byte(self, b: u8) -> __m512i {
            // SAFETY: `self` proves AVX-512.
            unsafe { _mm512_set1_epi8(b as i8) }
        }
        #[inline(always)]
        fn and(self, a: __m512i, b: __m512i) -> __m512i {
            // SAFETY: `self` proves AVX-512.
            unsafe { _mm512_and_si512(a, b) }
        }
        #[inline(always)]
        fn or(self, a: __m512i, b: __m512i) -> __m512i {
            // SAFETY: `self` proves AVX-512.
            unsafe { _mm512_or_si512(a, b) }
        }
        #[inline(always)]
        fn xor(self, a: __m512i, b: __m512i) -> __m512i {
            // SAFETY: `self` proves AVX-512.
            unsafe { _mm512_xor_si512(a, b) }
        }
        #[inline(always)]
        fn sub_bytes(self, a: __m512i, b: __m512i) -> __m512i {
            // SAFETY: `self` proves AVX-512.
            unsafe { _mm512_sub_epi8(a, b) }
        }
        #[inline(always)]
        fn shr(self, a: __m512i, n: u32) -> __m512i {
            // SAFETY: `self` proves AVX-512.
            unsafe { _mm512_srl_epi16(a, _mm_cvtsi32_si128(n as i32)) }
        }
        #[inline(always)]
        fn shl(self, a: __m512i, n: u32) -> __m512i {
            // SAFETY: `self` proves AVX-512.
            unsafe { _mm512_sll_epi16(a, _mm_cvtsi32_si128(n as i32)) }
        }
        #[inline(always)]
        fn lookup(self, table: &[u8; 16], i: __m512i) -> __m512i {
            // SAFETY: `self` proves AVX-512, and the table has 16 bytes.
            unsafe { _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast())), i) }
        }

        #[inline(always)]
        unsafe fn f16x8<const STRIDE: usize>(self, p: *const u8) -> [f32; 8] {
            // SAFETY: the caller's; `self` proves AVX-512 and F16C.
            unsafe {
                if STRIDE == 18 {
                    $crate::arch::x86::wide::f16x8_of_18(p)
                } else {
                    $crate::arch::x86::bytes::f16x8::<STRIDE>(p)
                }
            }
        }

        #[inline(always)]
        fn zero_g(self) -> Self::G {
            // SAFETY: `self` proves AVX-512.
            unsafe { $crate::arch::x86::wide::Sums::zero() }
        }
        #[inline(always)]
        fn dot<F: Format, const STEP: usize>(
            self,
            mut g: Self::G,
            codes: __m512i,
            a: __m512i,
            scales: &Scales,
        ) -> Self::G {
            // SAFETY: `self` proves the instructions.
            unsafe {
                // Second halves have the lanes and the scales of the first ones.
                let second = F::HALVES && !STEP.is_multiple_of(2);
                let products = _mm512_dpbusd_epi32(if second { g.one } else { _mm512_setzero_si512() }, codes, a);
                if F::HALVES && !second {
                    g.one = products;
                    return g;
                }
                if !F::WHOLE {
                    return g.take::<F, STEP>(products, scales);
                }
                // Four products, 4 · 63 · 127 at most, fit 16 bits: two steps are scaled and added in one.
                if STEP.is_multiple_of(2) {
                    g.one = products;
                    return g;
                }
                let both = _mm512_packs_epi32(g.one, products);
                g.whole = _mm512_dpwssd_epi32(g.whole, both, $crate::arch::x86::wide::whole_scales::<F, STEP>(scales));
                g
            }
        }
        #[inline(always)]
        fn add_group<F: Format, const R: usize>(
            self,
            sums: &mut [Self::G; R],
            g: [Self::G; R],
            scales: &[Scales; R],
            side: &[f32; SIDE],
        ) {
            use $crate::arch::x86::wide::add_minima;
            // SAFETY: `self` proves the instructions.
            unsafe {
                match (F::WHOLE, F::SUB) {
                    (true, 32) => add_minima::<F, R>(sums, g, scales, side),
                    (true, _) => {
                        for r in 0..R {
                            sums[r] = self.scale_g(sums[r], g[r].take_whole::<F>(&scales[r], side), side[0]);
                        }
                    }
                    (false, _) => $crate::arch::gemv::add_group::<Self, F, R>(self, sums, g, scales, side),
                }
            }
        }
        #[inline(always)]
        fn sum_rows<const R: usize>(self, sums: [Self::G; R]) -> [f32; R] {
            let mut minima = [[0.0; 4]; 4];
            // SAFETY: `self` proves AVX-512; there are sixteen floats.
            unsafe { _mm512_storeu_ps(minima.as_mut_ptr().cast(), sums[0].minima) };
            let mut out = [0.0; R];
            for r in 0..R {
                out[r] = self.sum_g(sums[r]) + minima[r].iter().sum::<f32>();
            }
            out
        }
        #[inline(always)]
        unsafe fn six_bits<const R: usize>(self, p: [*const u8; R]) -> [[[i16; 8]; R]; 2] {
            // SAFETY: the caller's; `self` proves AVX-512.
            unsafe { $crate::arch::x86::wide::six_bits(p) }
        }
        #[inline(always)]
        fn fma_g(self, mut g: Self::G, a: &[f32; 8], b: &[f32; 8]) -> Self::G {
            // SAFETY: `self` proves AVX-512; both have eight floats.
            unsafe {
                let a = _mm512_zextps256_ps512(_mm256_loadu_ps(a.as_ptr()));
                let b = _mm512_zextps256_ps512(_mm256_loadu_ps(b.as_ptr()));
                g.floats = _mm512_fmadd_ps(a, b, g.floats);
            }
            g
        }
        #[inline(always)]
        fn scale_g(self, mut sum: Self::G, g: Self::G, scale: f32) -> Self::G {
            // SAFETY: `self` proves AVX-512.
            sum.floats = unsafe { _mm512_fmadd_ps(g.floats, _mm512_set1_ps(scale), sum.floats) };
            sum
        }
        #[inline(always)]
        fn sum_g(self, g: Self::G) -> f32 {
            // SAFETY: `self` proves AVX-512.
            unsafe { _mm512_reduce_add_ps(g.floats) }
        }
    };
}

/// Eight half floats, 18 bytes apart: all are in two vectors.
///
/// # Safety
/// 128 bytes are readable; the processor has AVX-512 and F16C.
#[inline(always)]
pub(super) unsafe fn f16x8_of_18(p: *const u8) -> [f32; 8] {
    let mut out = [0.0; 8];
    // SAFETY: the caller's; `out` has eight floats.
    unsafe {
        let words = _mm512_castsi128_si512(_mm_setr_epi16(0, 9, 18, 27, 36, 45, 54, 63));
        // The compiler would take nibbles out of what is here rather than load them.
        let p = unknown(p);
        let (low, high) = (_mm512_loadu_si512(p.cast()), _mm512_loadu_si512(p.add(64).cast()));
        let all = _mm512_castsi512_si128(_mm512_permutex2var_epi16(low, words, high));
        _mm256_storeu_ps(out.as_mut_ptr(), _mm256_cvtph_ps(all));
    }
    out
}

/// `x`, of which the compiler knows nothing: it would make the halves of nibbles anew, out of smaller loads.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn keep(mut x: __m512i) -> __m512i {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0} */", inout(zmm_reg) x, options(pure, nomem, nostack, preserves_flags)) };
    x
}

/// A row's running sums.
#[derive(Clone, Copy)]
pub(crate) struct Sums {
    pub(super) floats: __m512,
    /// In the first of some rows: what minima give to all of them, in a quarter each.
    pub(super) minima: __m512,
    /// Sums of products times whole scales.
    pub(super) whole: __m512i,
    /// Products of one step, for the next to be put beside them.
    pub(super) one: __m512i,
}

impl Sums {
    /// # Safety
    /// The processor has AVX-512.
    #[inline(always)]
    pub(super) unsafe fn zero() -> Sums {
        // SAFETY: the caller's.
        unsafe {
            let (floats, integers) = (_mm512_setzero_ps(), _mm512_setzero_si512());
            Sums { floats, minima: floats, whole: integers, one: integers }
        }
    }

    /// Adds sums of products, of four values in each lane, times the scales of step `STEP`.
    ///
    /// # Safety
    /// The processor has AVX-512.
    #[inline(always)]
    pub(super) unsafe fn take<F: Format, const STEP: usize>(mut self, products: __m512i, scales: &Scales) -> Sums {
        // SAFETY: there are sixteen scales; the rest is the caller's.
        unsafe {
            let lanes = _mm512_loadu_si512(const { lane_scales(STEP, F::SUB, F::HALVES) }.as_ptr().cast());
            // What was just stored can be loaded at once, but not with more beside it.
            let scale = if F::SUB == 32 {
                _mm512_castps256_ps512(_mm256_loadu_ps(scales.scale.as_ptr()))
            } else {
                _mm512_loadu_ps(scales.scale.as_ptr())
            };
            let scale = _mm512_permutexvar_ps(lanes, scale);
            self.floats = _mm512_fmadd_ps(_mm512_cvtepi32_ps(products), scale, self.floats);
        }
        self
    }

    /// Makes floats of what was added to `whole`, with what minima give or the middle gave, times the sums of activations,
    /// for a format with scales of 16 values.
    ///
    /// # Safety
    /// The processor has AVX-512.
    #[inline(always)]
    pub(super) unsafe fn take_whole<F: Format>(mut self, scales: &Scales, side: &[f32; SIDE]) -> Sums {
        // SAFETY: both have sixteen numbers; the rest is the caller's.
        unsafe {
            let halves = if F::MIN { &scales.whole_min } else { &scales.whole };
            let [low, high] = halves.each_ref().map(|half| half.as_ptr().cast());
            let whole = _mm256_zextsi128_si256(_mm_loadu_si128(low));
            let whole = _mm256_inserti128_si256::<1>(whole, _mm_loadu_si128(high));
            let zero = _mm256_madd_epi16(whole, whole_sums::<F>(side));
            if F::MIN {
                let minima = _mm512_zextps256_ps512(_mm256_cvtepi32_ps(zero));
                self.floats = _mm512_fnmadd_ps(minima, _mm512_set1_ps(scales.dmin), self.floats);
            } else {
                let middle = _mm256_sll_epi32(zero, _mm_cvtsi32_si128(F::BITS as i32 - 1));
                self.whole = _mm512_sub_epi32(self.whole, _mm512_zextsi256_si512(middle));
            }
            self.floats = _mm512_fmadd_ps(_mm512_cvtepi32_ps(self.whole), _mm512_set1_ps(scales.d), self.floats);
        }
        self
    }
}

/// Sixteen bytes of each of up to four rows, side by side.
///
/// # Safety
/// 16 bytes are readable at each; the processor has AVX-512.
#[inline(always)]
unsafe fn quarters<const R: usize>(p: [*const u8; R]) -> __m512i {
    const { assert!(matches!(R, 1 | 2 | 4), "a quarter, a half or a whole vector") };
    // SAFETY: the caller's.
    unsafe {
        let mut all = _mm512_zextsi128_si512(_mm_loadu_si128(p[0].cast()));
        if R > 1 {
            all = _mm512_inserti32x4::<1>(all, _mm_loadu_si128(p[1].cast()));
        }
        if R > 2 {
            all = _mm512_inserti32x4::<2>(all, _mm_loadu_si128(p[2].cast()));
        }
        if R > 3 {
            all = _mm512_inserti32x4::<3>(all, _mm_loadu_si128(p[3].cast()));
        }
        all
    }
}

/// [`Simd::six_bits`](crate::arch::simd::Simd::six_bits).
///
/// # Safety
/// That of `six_bits`; the processor has AVX-512.
#[inline(always)]
pub(super) unsafe fn six_bits<const R: usize>(p: [*const u8; R]) -> [[[i16; 8]; R]; 2] {
    let mut out = [[[0; 8]; R]; 2];
    // SAFETY: the caller's; there are eight of each row.
    unsafe {
        // Words of each row: what is before, those of scales, of minima, and the high parts of both.
        let w = keep(quarters(p));
        let low = _mm512_srlv_epi32(_mm512_shuffle_epi32::<0b11_10_11_01>(w), _mm512_setr4_epi32(0, 0, 0, 4));
        let low = _mm512_and_si512(low, _mm512_set1_epi64(0x0f0f_0f0f_3f3f_3f3f));
        let high = _mm512_srli_epi32::<2>(_mm512_shuffle_epi32::<0b10_10_01_01>(w));
        let high = _mm512_and_si512(high, _mm512_set1_epi64(0x3030_3030_0000_0000));
        let both = _mm512_or_si512(low, high);
        let zero = _mm512_setzero_si512();
        for (out, q) in out.iter_mut().zip([_mm512_unpacklo_epi8(both, zero), _mm512_unpackhi_epi8(both, zero)]) {
            match R {
                4 => _mm512_storeu_si512(out.as_mut_ptr().cast(), q),
                2 => _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm512_castsi512_si256(q)),
                _ => _mm_storeu_si128(out.as_mut_ptr().cast(), _mm512_castsi512_si128(q)),
            }
        }
    }
    out
}

/// [`Simd::add_group`](crate::arch::simd::Simd::add_group) of a format with whole scales and minima of 32 values.
///
/// # Safety
/// The processor has AVX-512.
#[inline(always)]
pub(super) unsafe fn add_minima<F: Format, const R: usize>(
    sums: &mut [Sums; R],
    g: [Sums; R],
    scales: &[Scales; R],
    side: &[f32; SIDE],
) {
    assert!(F::WHOLE && F::MIN && F::SUB == 32);
    let mut minima = [side.as_ptr().cast(); R];
    let mut d = [0.0; 8];
    for r in 0..R {
        minima[r] = scales[r].whole_min[0].as_ptr().cast();
        (d[2 * r], d[2 * r + 1]) = (scales[r].d, scales[r].dmin);
    }
    // SAFETY: there are eight minima of each row, and eight floats; the rest is the caller's.
    unsafe {
        let side_sums = _mm512_broadcast_i32x4(_mm256_castsi256_si128(whole_sums::<F>(side)));
        let minima = _mm512_cvtepi32_ps(_mm512_madd_epi16(quarters(minima), side_sums));
        let d = _mm512_castps256_ps512(_mm256_mul_ps(_mm256_loadu_ps(d.as_ptr()), _mm256_set1_ps(side[0])));
        let dmin = _mm512_permutexvar_ps(_mm512_setr_epi32(1, 1, 1, 1, 3, 3, 3, 3, 5, 5, 5, 5, 7, 7, 7, 7), d);
        sums[0].minima = _mm512_fnmadd_ps(minima, dmin, sums[0].minima);
        let mut each = [0.0_f32; 8];
        _mm256_storeu_ps(each.as_mut_ptr(), _mm512_castps512_ps256(d));
        // Out of memory it comes to all lanes by the multiplication itself, out of a register by a shuffle.
        let d = unknown(each.as_ptr());
        for r in 0..R {
            let d = _mm512_set1_ps(*d.add(2 * r));
            sums[r].floats = _mm512_fmadd_ps(_mm512_cvtepi32_ps(g[r].whole), d, sums[r].floats);
        }
    }
}

/// The scale of each lane of step `step`, four values a lane and `sub` a scale; or four lanes a scale, in halves.
const fn lane_scales(step: usize, sub: usize, halves: bool) -> [i32; 16] {
    let mut lanes = [0; 16];
    let mut i = 0;
    while i < 16 {
        lanes[i] = if halves { 4 * (step / 2) + i / 4 } else { (64 * step + 4 * i) / sub } as i32;
        i += 1;
    }
    lanes
}

/// Bytes of the whole scale of each 16-bit lane, in quarters that hold those of either half of the runs in turn: four
/// lanes of a run of a step, and behind them four of the next step.
static SPREAD: [[u8; 64]; 2] = {
    let mut spread = [[0; 64]; 2];
    let mut i = 0;
    while i < 2 * 64 {
        let (steps, byte) = (i / 64, i % 64);
        let run = 4 * steps + 2 * (byte % 16 / 8) + byte / 32;
        spread[steps][byte] = (2 * run + byte % 2) as u8;
        i += 1;
    }
    spread
};

/// The whole scale of each 16-bit lane: those of the step before `STEP` and of `STEP`.
///
/// # Safety
/// The processor has AVX-512.
#[inline(always)]
pub(super) unsafe fn whole_scales<F: Format, const STEP: usize>(scales: &Scales) -> __m512i {
    // Of a table it knows the compiler would make two shuffles of one.
    let spread = unknown(&raw const SPREAD);
    // SAFETY: there are sixteen scales, and a table of 64 bytes; the rest is the caller's.
    unsafe {
        let [low, high] = scales.whole.each_ref().map(|half| half.as_ptr().cast());
        let mut both = _mm512_broadcast_i32x4(_mm_loadu_si128(low));
        if F::SUB == 16 {
            both = _mm512_mask_broadcast_i32x4(both, 0xf0f0, _mm_loadu_si128(high));
        }
        _mm512_shuffle_epi8(both, _mm512_loadu_si512((&raw const (*spread)[STEP / 2]).cast()))
    }
}

pub(super) use bytes_512;

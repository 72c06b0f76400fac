//! What the three instruction sets do alike: 32 bytes at a time in two registers, and a row's running sums.

use std::arch::aarch64::*;

use crate::arch::formats::Format;

/// A row's running sums.
///
/// The integers of four sub-blocks are added by pairs until each sub-block has a lane of one vector: that takes fewer
/// instructions than turning each into floats, and their scales then are a vector as they lie.
#[derive(Clone, Copy)]
pub(crate) struct Sums {
    pub(super) floats: float32x4_t,
    /// Of one sub-block, for its neighbour to be added.
    one: int32x4_t,
    /// Of two sub-blocks, for the next two to be added.
    two: int32x4_t,
}

impl Sums {
    #[inline(always)]
    pub(super) fn zero() -> Sums {
        // SAFETY: every 64-bit Arm has NEON.
        unsafe { Sums { floats: vdupq_n_f32(0.0), one: vdupq_n_s32(0), two: vdupq_n_s32(0) } }
    }

    /// Takes step `STEP`'s sums: those of 32 products in any lanes, or those of 16 in the low lanes and 16 in the high.
    /// `pair` adds neighbours, `finish` makes four lanes of four sub-blocks.
    #[inline(always)]
    pub(super) fn take<F: Format, const STEP: usize>(
        mut self,
        sums: int32x4_t,
        pair: impl Fn(int32x4_t, int32x4_t) -> int32x4_t,
        finish: impl Fn(int32x4_t, int32x4_t) -> int32x4_t,
        scales: &[f32; 16],
    ) -> Sums {
        if F::SUB == 32 && STEP.is_multiple_of(2) {
            self.one = sums;
            return self;
        }
        let two = if F::SUB == 32 { pair(self.one, sums) } else { sums };
        let (steps, first) = if F::SUB == 32 { (4, STEP / 4 * 4) } else { (2, STEP / 2 * 4) };
        if !(STEP + 1).is_multiple_of(steps) {
            self.two = two;
            return self;
        }
        let four = finish(self.two, two);
        let scales = &scales[first..][..4];
        // SAFETY: there are four scales; every 64-bit Arm has NEON.
        self.floats = unsafe { vfmaq_f32(self.floats, vcvtq_f32_s32(four), vld1q_f32(scales.as_ptr())) };
        self
    }
}

/// Shifts by immediates, which the compiler sees through: bits that are not there need no mask.
macro_rules! shift {
    ($name:ident, $by:ident) => {
        #[inline(always)]
        pub(super) fn $name(a: uint8x16_t, n: u32) -> uint8x16_t {
            // SAFETY: every 64-bit Arm has NEON.
            unsafe {
                match n {
                    1 => $by::<1>(a),
                    2 => $by::<2>(a),
                    3 => $by::<3>(a),
                    4 => $by::<4>(a),
                    5 => $by::<5>(a),
                    6 => $by::<6>(a),
                    7 => $by::<7>(a),
                    _ => a,
                }
            }
        }
    };
}

shift!(shr, vshrq_n_u8);
shift!(shl, vshlq_n_u8);

/// The methods of `Simd` on bytes.
macro_rules! bytes_128 {
    () => {
        type B = uint8x16x2_t;
        const RUNS: usize = 1;
        type G = $crate::arch::neon::bytes::Sums;

        #[inline(always)]
        unsafe fn load_bytes(self, p: *const u8) -> uint8x16x2_t {
            // SAFETY: the caller's.
            unsafe { uint8x16x2_t(vld1q_u8(p), vld1q_u8(p.add(16))) }
        }
        #[inline(always)]
        unsafe fn store_bytes(self, p: *mut u8, b: uint8x16x2_t) {
            // SAFETY: the caller's.
            unsafe {
                vst1q_u8(p, b.0);
                vst1q_u8(p.add(16), b.1);
            }
        }
        #[inline(always)]
        unsafe fn nibbles<const STRIDE: usize>(self, p: *const u8, i: usize) -> uint8x16x2_t {
            // SAFETY: 16 bytes are readable, says the caller; `self` proves NEON.
            unsafe {
                let both = vld1q_u8(p.add(STRIDE * i));
                uint8x16x2_t(vandq_u8(both, vdupq_n_u8(15)), vshrq_n_u8::<4>(both))
            }
        }
        #[inline(always)]
        fn splat_byte(self, b: u8) -> uint8x16x2_t {
            // SAFETY: `self` proves NEON.
            unsafe { uint8x16x2_t(vdupq_n_u8(b), vdupq_n_u8(b)) }
        }
        #[inline(always)]
        fn and(self, a: uint8x16x2_t, b: uint8x16x2_t) -> uint8x16x2_t {
            // SAFETY: `self` proves NEON.
            unsafe { uint8x16x2_t(vandq_u8(a.0, b.0), vandq_u8(a.1, b.1)) }
        }
        #[inline(always)]
        fn or(self, a: uint8x16x2_t, b: uint8x16x2_t) -> uint8x16x2_t {
            // SAFETY: `self` proves NEON.
            unsafe { uint8x16x2_t(vorrq_u8(a.0, b.0), vorrq_u8(a.1, b.1)) }
        }
        #[inline(always)]
        fn xor(self, a: uint8x16x2_t, b: uint8x16x2_t) -> uint8x16x2_t {
            // SAFETY: `self` proves NEON.
            unsafe { uint8x16x2_t(veorq_u8(a.0, b.0), veorq_u8(a.1, b.1)) }
        }
        #[inline(always)]
        fn sub_bytes(self, a: uint8x16x2_t, b: uint8x16x2_t) -> uint8x16x2_t {
            // SAFETY: `self` proves NEON.
            unsafe { uint8x16x2_t(vsubq_u8(a.0, b.0), vsubq_u8(a.1, b.1)) }
        }
        #[inline(always)]
        fn shr(self, a: uint8x16x2_t, n: u32) -> uint8x16x2_t {
            use $crate::arch::neon::bytes::shr;
            uint8x16x2_t(shr(a.0, n), shr(a.1, n))
        }
        #[inline(always)]
        fn shl(self, a: uint8x16x2_t, n: u32) -> uint8x16x2_t {
            use $crate::arch::neon::bytes::shl;
            uint8x16x2_t(shl(a.0, n), shl(a.1, n))
        }
        #[inline(always)]
        fn lookup(self, table: &[u8; 16], i: uint8x16x2_t) -> uint8x16x2_t {
            // SAFETY: `self` proves NEON, and the table has 16 bytes.
            unsafe {
                let table = vld1q_u8(table.as_ptr());
                uint8x16x2_t(vqtbl1q_u8(table, i.0), vqtbl1q_u8(table, i.1))
            }
        }
        #[inline(always)]
        unsafe fn mask_bits<const STRIDE: usize>(self, p: *const u8, i: usize) -> uint8x16x2_t {
            // SAFETY: 4 bytes are readable, says the caller; `self` proves NEON.
            unsafe {
                let bytes = vreinterpretq_u8_u32(vdupq_n_u32(p.add(STRIDE * i).cast::<u32>().read_unaligned()));
                let bits = vreinterpretq_u8_u64(vdupq_n_u64(0x8040_2010_0804_0201));
                let low = vcombine_u8(vdup_laneq_u8::<0>(bytes), vdup_laneq_u8::<1>(bytes));
                let high = vcombine_u8(vdup_laneq_u8::<2>(bytes), vdup_laneq_u8::<3>(bytes));
                uint8x16x2_t(vtstq_u8(low, bits), vtstq_u8(high, bits))
            }
        }

        // NEON multiplies signed bytes with signed ones.
        const SIGNED_BYTES: bool = true;
        const WHOLE: bool = false;
        const SCALES_AHEAD: bool = false;
        // No board was at hand to see what more would do.
        const STREAMS: usize = 1;
        const ROWS: usize = 2;
        const BIAS: u8 = 0;
        const SPLIT: bool = false;

        #[inline(always)]
        fn pairs_rows(self, columns: usize, sub: usize) -> bool {
            columns == 1 && sub == 32
        }
        #[inline(always)]
        fn zero_g(self) -> Self::G {
            $crate::arch::neon::bytes::Sums::zero()
        }
        #[inline(always)]
        fn fma_g(self, mut g: Self::G, a: &[f32; 8], b: &[f32; 8]) -> Self::G {
            // SAFETY: `self` proves NEON; both have eight floats.
            unsafe {
                g.floats = vfmaq_f32(g.floats, vld1q_f32(a.as_ptr()), vld1q_f32(b.as_ptr()));
                g.floats = vfmaq_f32(g.floats, vld1q_f32(a.as_ptr().add(4)), vld1q_f32(b.as_ptr().add(4)));
            }
            g
        }
        #[inline(always)]
        fn scale_g(self, mut sum: Self::G, g: Self::G, scale: f32) -> Self::G {
            // SAFETY: `self` proves NEON.
            sum.floats = unsafe { vfmaq_n_f32(sum.floats, g.floats, scale) };
            sum
        }
        #[inline(always)]
        fn sum_g(self, g: Self::G) -> f32 {
            // SAFETY: `self` proves NEON.
            unsafe { vaddvq_f32(g.floats) }
        }

        type T = int32x4_t;
    };
}

pub(super) use bytes_128;

//! Four floats at a time.

use std::arch::aarch64::*;
use std::arch::asm;

/// Asks for the cache line at `p` for one use.
#[inline(always)]
pub(super) fn prefetch(p: *const u8) {
    // The intrinsic is unstable (stdarch_aarch64_prefetch); this goes when it is not.
    // SAFETY: a hint, which may point anywhere.
    unsafe { asm!("prfm pldl1strm, [{}]", in(reg) p, options(nostack, preserves_flags, readonly)) }
}

/// `word`, of which the compiler does not know how it came about: it would put it together lane by lane.
#[inline(always)]
pub(super) fn keep(mut word: u64) -> u64 {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0} */", inout(reg) word, options(pure, nomem, nostack, preserves_flags)) };
    word
}

/// Transposes four rows of four words.
///
/// # Safety
/// Four words are readable at each row of `src`, and writable at those of `dst`.
#[inline(always)]
pub(super) unsafe fn transpose_128(src: *const u8, src_stride: usize, dst: *mut u8, dst_stride: usize) {
    // SAFETY: the caller's; every 64-bit Arm has NEON.
    unsafe {
        let mut r = [vdupq_n_u32(0); 4];
        for (i, r) in r.iter_mut().enumerate() {
            *r = vreinterpretq_u32_u8(vld1q_u8(src.add(i * src_stride)));
        }
        // Lane `2l + i` of `low[j]` is column `2l + j` of row `i`.
        let low = [vtrn1q_u32(r[0], r[1]), vtrn2q_u32(r[0], r[1])].map(|x| vreinterpretq_u64_u32(x));
        let high = [vtrn1q_u32(r[2], r[3]), vtrn2q_u32(r[2], r[3])].map(|x| vreinterpretq_u64_u32(x));
        for j in 0..2 {
            vst1q_u8(dst.add(j * dst_stride), vreinterpretq_u8_u64(vtrn1q_u64(low[j], high[j])));
            vst1q_u8(dst.add((j + 2) * dst_stride), vreinterpretq_u8_u64(vtrn2q_u64(low[j], high[j])));
        }
    }
}

/// The methods of `Simd` on floats.
macro_rules! float_128 {
    () => {
        type F = float32x4_t;
        const LANES: usize = 4;

        #[inline(always)]
        fn splat(self, x: f32) -> float32x4_t {
            // SAFETY: `self` proves NEON.
            unsafe { vdupq_n_f32(x) }
        }
        #[inline(always)]
        unsafe fn load(self, p: *const f32) -> float32x4_t {
            // SAFETY: the caller's.
            unsafe { vld1q_f32(p) }
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32, x: float32x4_t) {
            // SAFETY: the caller's.
            unsafe { vst1q_f32(p, x) }
        }
        #[inline(always)]
        fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
            // SAFETY: `self` proves NEON.
            unsafe { vaddq_f32(a, b) }
        }
        #[inline(always)]
        fn sub(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
            // SAFETY: `self` proves NEON.
            unsafe { vsubq_f32(a, b) }
        }
        #[inline(always)]
        fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
            // SAFETY: `self` proves NEON.
            unsafe { vmulq_f32(a, b) }
        }
        #[inline(always)]
        fn div(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
            // SAFETY: `self` proves NEON.
            unsafe { vdivq_f32(a, b) }
        }
        #[inline(always)]
        fn fma(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
            // SAFETY: `self` proves NEON.
            unsafe { vfmaq_f32(c, a, b) }
        }
        #[inline(always)]
        fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
            // SAFETY: `self` proves NEON.
            unsafe { vmaxq_f32(a, b) }
        }
        #[inline(always)]
        fn min(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
            // SAFETY: `self` proves NEON.
            unsafe { vminq_f32(a, b) }
        }
        #[inline(always)]
        fn abs(self, a: float32x4_t) -> float32x4_t {
            // SAFETY: `self` proves NEON.
            unsafe { vabsq_f32(a) }
        }
        #[inline(always)]
        fn round(self, a: float32x4_t) -> float32x4_t {
            // SAFETY: `self` proves NEON.
            unsafe { vrndnq_f32(a) }
        }
        #[inline(always)]
        fn exp2i(self, n: float32x4_t) -> float32x4_t {
            // SAFETY: `self` proves NEON.
            unsafe { vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127)))) }
        }
        #[inline(always)]
        fn sum(self, a: float32x4_t) -> f32 {
            // SAFETY: `self` proves NEON.
            unsafe { vaddvq_f32(a) }
        }
        #[inline(always)]
        fn sum_each(self, [a, b, c, d]: [float32x4_t; 4]) -> [f32; 4] {
            let mut out = [0.0; 4];
            // SAFETY: `self` proves NEON, and `out` has four floats.
            unsafe { vst1q_f32(out.as_mut_ptr(), vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d))) };
            out
        }
        #[inline(always)]
        fn largest(self, a: float32x4_t) -> f32 {
            // SAFETY: `self` proves NEON.
            unsafe { vmaxvq_f32(a) }
        }
        #[inline(always)]
        unsafe fn load_f16(self, p: *const u8) -> float32x4_t {
            // SAFETY: the caller's; `self` proves NEON.
            unsafe { vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p))) }
        }
        #[inline(always)]
        unsafe fn load_bf16(self, p: *const u8) -> float32x4_t {
            // SAFETY: the caller's; `self` proves NEON.
            unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(vreinterpret_u16_u8(vld1_u8(p)))) }
        }
        #[inline(always)]
        unsafe fn load_i8(self, p: *const i8) -> float32x4_t {
            // SAFETY: the caller's; `self` proves NEON.
            unsafe {
                let bytes = vreinterpret_s8_u32(vdup_n_u32(p.cast::<u32>().read_unaligned()));
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(bytes))))
            }
        }
        #[inline(always)]
        unsafe fn store_i8(self, p: *mut i8, x: float32x4_t) {
            // SAFETY: the caller's; `self` proves NEON.
            unsafe {
                let x = vmovn_s32(vcvtnq_s32_f32(x));
                let x = vmovn_s16(vcombine_s16(x, x));
                p.cast::<u32>().write_unaligned(vget_lane_u32::<0>(vreinterpret_u32_s8(x)));
            }
        }
        #[inline(always)]
        fn f16(self, bits: u16) -> f32 {
            // SAFETY: `self` proves NEON.
            unsafe { vgetq_lane_f32::<0>(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(bits)))) }
        }
        #[inline(always)]
        unsafe fn f16x8<const STRIDE: usize>(self, p: *const u8) -> [f32; 8] {
            let mut out = [0.0; 8];
            for i in 0..2 {
                // SAFETY: the caller's; `self` proves NEON; `out` has four values from `4 i` on.
                unsafe {
                    // Put together in a general register, where loads of lanes would keep the vector pipes busy.
                    let mut word = 0;
                    for j in (4 * i..4 * i + 4).rev() {
                        word = word << 16 | u64::from(p.add(j * STRIDE).cast::<u16>().read_unaligned());
                    }
                    let word = vcreate_u64($crate::arch::neon::float::keep(word));
                    vst1q_f32(out.as_mut_ptr().add(4 * i), vcvt_f32_f16(vreinterpret_f16_u64(word)));
                }
            }
            out
        }
        #[inline(always)]
        unsafe fn six_bits<const R: usize>(self, p: [*const u8; R]) -> [[[i16; 8]; R]; 2] {
            let mut out = [[[0; 8]; R]; 2];
            for r in 0..R {
                // SAFETY: the caller's; `self` proves NEON; there are eight of each row.
                unsafe {
                    let [_, u0, u1, u2] = p[r].cast::<[u32; 4]>().read_unaligned();
                    let scale = [u0 & 0x3f3f_3f3f, (u2 & 0x0f0f_0f0f) | ((u0 >> 2) & 0x3030_3030)];
                    let min = [u1 & 0x3f3f_3f3f, ((u2 >> 4) & 0x0f0f_0f0f) | ((u1 >> 2) & 0x3030_3030)];
                    for (out, [low, high]) in out.iter_mut().zip([scale, min]) {
                        let bytes = vcreate_u8(u64::from(low) | u64::from(high) << 32);
                        vst1q_s16(out[r].as_mut_ptr(), vreinterpretq_s16_u16(vmovl_u8(bytes)));
                    }
                }
            }
            out
        }
        #[inline(always)]
        fn scale_i8(self, d: f32, q: [i8; 8]) -> [f32; 8] {
            let mut wide = [0; 8];
            // SAFETY: `self` proves NEON; both have eight values.
            unsafe { vst1q_s16(wide.as_mut_ptr(), vmovl_s8(vld1_s8(q.as_ptr()))) };
            self.scale_i16(d, wide)
        }
        #[inline(always)]
        fn scale_i16(self, d: f32, q: [i16; 8]) -> [f32; 8] {
            let mut out = [0.0; 8];
            // SAFETY: `self` proves NEON; both have eight values.
            unsafe {
                let q = vld1q_s16(q.as_ptr());
                let (low, high) = (vmovl_s16(vget_low_s16(q)), vmovl_high_s16(q));
                vst1q_f32(out.as_mut_ptr(), vmulq_n_f32(vcvtq_f32_s32(low), d));
                vst1q_f32(out.as_mut_ptr().add(4), vmulq_n_f32(vcvtq_f32_s32(high), d));
            }
            out
        }
        #[inline(always)]
        fn prefetch(self, p: *const u8) {
            $crate::arch::neon::float::prefetch(p);
        }
        #[inline(always)]
        unsafe fn transpose(self, src: *const u8, src_stride: usize, dst: *mut u8, dst_stride: usize) {
            // SAFETY: the caller's.
            unsafe { $crate::arch::neon::float::transpose_128(src, src_stride, dst, dst_stride) }
        }
    };
}

pub(super) use float_128;

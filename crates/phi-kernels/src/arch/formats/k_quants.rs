//! Super-blocks of 256 values, whose sub-blocks have small integer scales of their own.
//!
//! Values `32 run` to `32 run + 31`, a run, have their bits at one place of 32 bytes, side by side with those of other runs.

use std::array::from_mut;

use super::{Format, read_u16, read_u32};
use crate::arch::simd::Simd;
use crate::arch::tile::Scales;

const NIBBLES: u64 = 0x0f0f_0f0f_0f0f_0f0f;

/// Sixteen scales, `d` times as many small numbers.
#[inline(always)]
fn small_scales<S: Simd>(s: S, d: f32, q: [[i8; 8]; 2], out: &mut Scales) {
    out.d = d;
    if S::WHOLE {
        out.whole = s.split(q);
    }
    out.scale[..8].copy_from_slice(&s.scale_i8(d, q[0]));
    out.scale[8..].copy_from_slice(&s.scale_i8(d, q[1]));
}

/// Two bits of each value: four runs in 32 bytes.
///
/// # Safety
/// 64 bytes are readable.
#[inline(always)]
unsafe fn pairs<S: Simd>(s: S, p: *const u8, i: usize) -> S::B {
    // SAFETY: the caller's.
    unsafe { s.fields(p, i, |run| (32 * (run / 4), 2 * (run as i32 % 4))) }
}

/// Four bits of each value: two runs in 32 bytes.
///
/// # Safety
/// 128 bytes are readable.
#[inline(always)]
unsafe fn nibbles<S: Simd>(s: S, p: *const u8, i: usize) -> S::B {
    // SAFETY: the caller's.
    unsafe { s.fields(p, i, |run| (32 * (run / 2), 4 * (run as i32 % 2))) }
}

/// 16 bytes of scale and minimum (4 bits each), 64 bytes of pairs, `d`, `dmin`.
pub(crate) struct Q2K;

impl Format for Q2K {
    const BYTES: usize = 84;
    const SUB: usize = 16;
    const BITS: u32 = 2;
    const MIN: bool = true;
    const WHOLE: bool = true;

    #[inline(always)]
    unsafe fn scales<S: Simd>(s: S, group: *const u8, out: &mut Scales) {
        // SAFETY: the caller's.
        let (d, dmin, both) = unsafe {
            (s.f16(read_u16(group.add(80))), s.f16(read_u16(group.add(82))), group.cast::<[[u8; 8]; 2]>().read())
        };
        let both = both.map(u64::from_le_bytes);
        small_scales(s, d, both.map(|both| (both & NIBBLES).to_le_bytes().map(|b| b as i8)), out);
        let min = both.map(|both| ((both >> 4) & NIBBLES).to_le_bytes().map(|b| b as i8));
        out.dmin = dmin;
        if S::WHOLE {
            out.whole_min = s.split(min);
        }
        out.min[..8].copy_from_slice(&s.scale_i8(-dmin, min[0]));
        out.min[8..].copy_from_slice(&s.scale_i8(-dmin, min[1]));
    }
    #[inline(always)]
    unsafe fn codes<S: Simd>(s: S, group: *const u8, i: usize) -> S::B {
        // SAFETY: the caller's.
        s.and(unsafe { pairs(s, group.add(16), i) }, s.splat_byte(3))
    }
}

/// 256 high bits, 64 bytes of pairs, 16 scales of 6 bits, `d`.
pub(crate) struct Q3K;

impl Format for Q3K {
    const BYTES: usize = 110;
    const SUB: usize = 16;
    const BITS: u32 = 3;
    const MIN: bool = false;
    const WHOLE: bool = true;

    #[inline(always)]
    unsafe fn scales<S: Simd>(s: S, group: *const u8, out: &mut Scales) {
        // SAFETY: the caller's.
        let (d, w) = unsafe {
            let p = group.add(96);
            (s.f16(read_u16(group.add(108))), [read_u32(p), read_u32(p.add(4)), read_u32(p.add(8))])
        };
        let word = |q: usize, low: u32| {
            let six_bits = (low & 0x0f0f_0f0f) | ((w[2] >> (2 * q)) & 0x0303_0303) << 4;
            // Less 32, byte by byte.
            u64::from(((six_bits | 0x8080_8080) - 0x2020_2020) ^ 0x8080_8080)
        };
        let scales = [word(0, w[0]) | word(1, w[1]) << 32, word(2, w[0] >> 4) | word(3, w[1] >> 4) << 32];
        small_scales(s, d, scales.map(|scales| scales.to_le_bytes().map(|b| b as i8)), out);
    }
    #[inline(always)]
    unsafe fn codes<S: Simd>(s: S, group: *const u8, i: usize) -> S::B {
        // SAFETY: the caller's.
        let (low, high) = unsafe { (pairs(s, group.add(32), i), s.fields(group, i, |run| (0, run as i32 - 2))) };
        s.or(s.and(low, s.splat_byte(3)), s.and(high, s.splat_byte(4)))
    }
}

/// Scales and minima of eight sub-blocks, 6 bits each, in 12 bytes behind `d` and `dmin`.
///
/// # Safety
/// 16 bytes are readable at each group.
#[inline(always)]
unsafe fn packed_scales<S: Simd, const R: usize>(s: S, groups: [*const u8; R], out: &mut [Scales; R]) {
    // SAFETY: the caller's.
    let [scales, minima] = unsafe { s.six_bits(groups) };
    for (r, out) in out.iter_mut().enumerate() {
        // SAFETY: the caller's.
        (out.d, out.dmin) = unsafe { (s.f16(read_u16(groups[r])), s.f16(read_u16(groups[r].add(2)))) };
        (out.whole, out.whole_min) = ([scales[r]; 2], [minima[r]; 2]);
        out.scale[..8].copy_from_slice(&s.scale_i16(out.d, scales[r]));
        out.min[..8].copy_from_slice(&s.scale_i16(-out.dmin, minima[r]));
    }
}

/// `d`, `dmin`, packed scales, 128 bytes of nibbles.
pub(crate) struct Q4K;

impl Format for Q4K {
    const BYTES: usize = 144;
    const SUB: usize = 32;
    const BITS: u32 = 4;
    const MIN: bool = true;
    const WHOLE: bool = true;

    #[inline(always)]
    unsafe fn scales<S: Simd>(s: S, group: *const u8, out: &mut Scales) {
        // SAFETY: the caller's.
        unsafe { packed_scales(s, [group], from_mut(out)) }
    }
    #[inline(always)]
    unsafe fn rows_scales<S: Simd, const R: usize>(s: S, groups: [*const u8; R], out: &mut [Scales; R]) {
        // SAFETY: the caller's.
        unsafe { packed_scales(s, groups, out) }
    }
    #[inline(always)]
    unsafe fn codes<S: Simd>(s: S, group: *const u8, i: usize) -> S::B {
        // SAFETY: the caller's.
        s.and(unsafe { nibbles(s, group.add(16), i) }, s.splat_byte(15))
    }
}

/// `d`, `dmin`, packed scales, 256 high bits, 128 bytes of nibbles.
pub(crate) struct Q5K;

impl Format for Q5K {
    const BYTES: usize = 176;
    const SUB: usize = 32;
    const BITS: u32 = 5;
    const MIN: bool = true;
    const WHOLE: bool = true;

    #[inline(always)]
    unsafe fn scales<S: Simd>(s: S, group: *const u8, out: &mut Scales) {
        // SAFETY: the caller's.
        unsafe { packed_scales(s, [group], from_mut(out)) }
    }
    #[inline(always)]
    unsafe fn rows_scales<S: Simd, const R: usize>(s: S, groups: [*const u8; R], out: &mut [Scales; R]) {
        // SAFETY: the caller's.
        unsafe { packed_scales(s, groups, out) }
    }
    #[inline(always)]
    unsafe fn codes<S: Simd>(s: S, group: *const u8, i: usize) -> S::B {
        // SAFETY: the caller's.
        let (low, high) =
            unsafe { (nibbles(s, group.add(48), i), s.fields(group.add(16), i, |run| (0, run as i32 - 4))) };
        s.or(s.and(low, s.splat_byte(15)), s.and(high, s.splat_byte(16)))
    }
}

/// 128 bytes of low nibbles, 64 bytes of high pairs, 16 signed scales, `d`.
pub(crate) struct Q6K;

impl Format for Q6K {
    const BYTES: usize = 210;
    const SUB: usize = 16;
    const BITS: u32 = 6;
    const MIN: bool = false;
    const WHOLE: bool = true;

    #[inline(always)]
    unsafe fn scales<S: Simd>(s: S, group: *const u8, out: &mut Scales) {
        // SAFETY: the caller's.
        let (d, scales) = unsafe { (s.f16(read_u16(group.add(208))), group.add(192).cast::<[[i8; 8]; 2]>().read()) };
        small_scales(s, d, scales, out);
    }
    #[inline(always)]
    unsafe fn codes<S: Simd>(s: S, group: *const u8, i: usize) -> S::B {
        // SAFETY: the caller's.
        let (low, high) = unsafe {
            let low = s.fields(group, i, |run| (64 * (run / 4) + 32 * (run % 2), 4 * (run as i32 % 4 / 2)));
            (low, s.fields(group.add(128), i, |run| (32 * (run / 4), 2 * (run as i32 % 4) - 4)))
        };
        s.or(s.and(low, s.splat_byte(15)), s.and(high, s.splat_byte(0x30)))
    }
}

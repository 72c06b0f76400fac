//! Super-blocks of 256 values, whose sub-blocks have small integer scales of their own.
//!
//! Values `32 i` to `32 i + 31` of the 2-, 3- and 6-bit formats have their bits in pair `g = i % 4` of each byte of half
//! `h = i / 4`.

use super::{Format, read_u16, read_u32};
use crate::arch::simd::Simd;
use crate::arch::tile::Scales;

/// 16 bytes of scale and minimum (4 bits each), 64 bytes of pairs, `d`, `dmin`.
pub(crate) struct Q2K;

impl Format for Q2K {
    const BYTES: usize = 84;
    const SUB: usize = 16;
    const BITS: u32 = 2;
    const MIN: bool = true;

    #[inline(always)]
    unsafe fn scales<S: Simd>(s: S, group: *const u8, out: &mut Scales) {
        // SAFETY: the caller's.
        let (d, dmin) = unsafe { (s.f16(read_u16(group.add(80))), s.f16(read_u16(group.add(82)))) };
        for j in 0..16 {
            // SAFETY: the caller's.
            let both = unsafe { group.add(j).read() };
            out.scale[j] = d * f32::from(both & 15);
            out.min[j] = -dmin * f32::from(both >> 4);
        }
    }
    #[inline(always)]
    unsafe fn codes<S: Simd>(s: S, group: *const u8, i: usize) -> S::B {
        // SAFETY: the caller's.
        let pairs = unsafe { s.load_bytes(group.add(16 + 32 * (i / 4))) };
        s.and(s.shr(pairs, 2 * (i as u32 % 4)), s.splat_byte(3))
    }
}

/// 256 high bits, 64 bytes of pairs, 16 scales of 6 bits, `d`.
pub(crate) struct Q3K;

impl Format for Q3K {
    const BYTES: usize = 110;
    const SUB: usize = 16;
    const BITS: u32 = 3;
    const MIN: bool = false;

    #[inline(always)]
    unsafe fn scales<S: Simd>(s: S, group: *const u8, out: &mut Scales) {
        // SAFETY: the caller's.
        let (d, w) = unsafe {
            let p = group.add(96);
            (s.f16(read_u16(group.add(108))), [read_u32(p), read_u32(p.add(4)), read_u32(p.add(8))])
        };
        for (q, low) in [w[0], w[1], w[0] >> 4, w[1] >> 4].into_iter().enumerate() {
            let word = (low & 0x0f0f_0f0f) | ((w[2] >> (2 * q)) & 0x0303_0303) << 4;
            for (j, byte) in word.to_le_bytes().into_iter().enumerate() {
                out.scale[4 * q + j] = d * (i32::from(byte) - 32) as f32;
            }
        }
    }
    #[inline(always)]
    unsafe fn codes<S: Simd>(s: S, group: *const u8, i: usize) -> S::B {
        // SAFETY: the caller's.
        let (high, pairs) = unsafe { (s.load_bytes(group), s.load_bytes(group.add(32 + 32 * (i / 4)))) };
        let low = s.and(s.shr(pairs, 2 * (i as u32 % 4)), s.splat_byte(3));
        let high = if i < 2 { s.shl(high, 2 - i as u32) } else { s.shr(high, i as u32 - 2) };
        s.or(low, s.and(high, s.splat_byte(4)))
    }
}

/// Scales and minima of eight sub-blocks, 6 bits each, in 12 bytes behind `d` and `dmin`.
///
/// # Safety
/// 16 bytes are readable.
#[inline(always)]
unsafe fn packed_scales<S: Simd>(s: S, group: *const u8, out: &mut Scales) {
    // SAFETY: the caller's.
    let (d, dmin, u0, u1, u2) = unsafe {
        (
            s.f16(read_u16(group)),
            s.f16(read_u16(group.add(2))),
            read_u32(group.add(4)),
            read_u32(group.add(8)),
            read_u32(group.add(12)),
        )
    };
    let scale = [u0 & 0x3f3f_3f3f, (u2 & 0x0f0f_0f0f) | ((u0 >> 2) & 0x3030_3030)];
    let min = [u1 & 0x3f3f_3f3f, ((u2 >> 4) & 0x0f0f_0f0f) | ((u1 >> 2) & 0x3030_3030)];
    let bytes = |[low, high]: [u32; 2]| (u64::from(low) | u64::from(high) << 32).to_le_bytes();
    out.scale[..8].copy_from_slice(&s.scale_u8(d, bytes(scale)));
    out.min[..8].copy_from_slice(&s.scale_u8(-dmin, bytes(min)));
}

/// `d`, `dmin`, packed scales, 128 bytes of nibbles.
pub(crate) struct Q4K;

impl Format for Q4K {
    const BYTES: usize = 144;
    const SUB: usize = 32;
    const BITS: u32 = 4;
    const MIN: bool = true;

    #[inline(always)]
    unsafe fn scales<S: Simd>(s: S, group: *const u8, out: &mut Scales) {
        // SAFETY: the caller's.
        unsafe { packed_scales(s, group, out) }
    }
    #[inline(always)]
    unsafe fn codes<S: Simd>(s: S, group: *const u8, i: usize) -> S::B {
        // SAFETY: the caller's.
        let both = unsafe { s.load_bytes(group.add(16 + 32 * (i / 2))) };
        s.and(if i.is_multiple_of(2) { both } else { s.shr(both, 4) }, s.splat_byte(15))
    }
}

/// `d`, `dmin`, packed scales, 256 high bits, 128 bytes of nibbles.
pub(crate) struct Q5K;

impl Format for Q5K {
    const BYTES: usize = 176;
    const SUB: usize = 32;
    const BITS: u32 = 5;
    const MIN: bool = true;

    #[inline(always)]
    unsafe fn scales<S: Simd>(s: S, group: *const u8, out: &mut Scales) {
        // SAFETY: the caller's.
        unsafe { packed_scales(s, group, out) }
    }
    #[inline(always)]
    unsafe fn codes<S: Simd>(s: S, group: *const u8, i: usize) -> S::B {
        // SAFETY: the caller's.
        let (high, both) = unsafe { (s.load_bytes(group.add(16)), s.load_bytes(group.add(48 + 32 * (i / 2)))) };
        let low = s.and(if i.is_multiple_of(2) { both } else { s.shr(both, 4) }, s.splat_byte(15));
        let high = if i < 4 { s.shl(high, 4 - i as u32) } else { s.shr(high, i as u32 - 4) };
        s.or(low, s.and(high, s.splat_byte(16)))
    }
}

/// 128 bytes of low nibbles, 64 bytes of high pairs, 16 signed scales, `d`.
pub(crate) struct Q6K;

impl Format for Q6K {
    const BYTES: usize = 210;
    const SUB: usize = 16;
    const BITS: u32 = 6;
    const MIN: bool = false;

    #[inline(always)]
    unsafe fn scales<S: Simd>(s: S, group: *const u8, out: &mut Scales) {
        // SAFETY: the caller's.
        let (d, scales) = unsafe { (s.f16(read_u16(group.add(208))), group.add(192).cast::<[[i8; 8]; 2]>().read()) };
        out.scale[..8].copy_from_slice(&s.scale_i8(d, scales[0]));
        out.scale[8..].copy_from_slice(&s.scale_i8(d, scales[1]));
    }
    #[inline(always)]
    unsafe fn codes<S: Simd>(s: S, group: *const u8, i: usize) -> S::B {
        let (h, g) = (i / 4, i % 4);
        // SAFETY: the caller's.
        let (low, high) =
            unsafe { (s.load_bytes(group.add(64 * h + 32 * (g % 2))), s.load_bytes(group.add(128 + 32 * h))) };
        let low = s.and(if g < 2 { low } else { s.shr(low, 4) }, s.splat_byte(15));
        let high = if g < 2 { s.shl(high, 4 - 2 * g as u32) } else { s.shr(high, 2 * g as u32 - 4) };
        s.or(low, s.and(high, s.splat_byte(0x30)))
    }
}

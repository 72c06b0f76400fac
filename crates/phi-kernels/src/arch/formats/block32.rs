//! Blocks of 32 values with one scale each.

use phi_quant::Decode;

use super::{Float, Format, block_scales};
use crate::arch::simd::{MAX_RUNS, Simd};
use crate::arch::tile::Scales;

/// `d`, 16 bytes of nibbles.
pub(crate) struct Q4_0;

impl Format for Q4_0 {
    const BYTES: usize = 8 * 18;
    const SUB: usize = 32;
    const BITS: u32 = 4;
    const MIN: bool = false;

    #[inline(always)]
    unsafe fn scales<S: Simd>(s: S, group: *const u8, out: &mut Scales) {
        // SAFETY: the caller's.
        unsafe { block_scales::<S, 18>(s, group, &mut out.scale) }
    }
    #[inline(always)]
    unsafe fn codes<S: Simd>(s: S, group: *const u8, i: usize) -> S::B {
        // SAFETY: the caller's.
        unsafe { s.nibbles::<18>(group.add(2), i) }
    }

    const HALVES: bool = true;

    #[inline(always)]
    unsafe fn halves<S: Simd>(s: S, group: *const u8, i: usize) -> [S::B; 2] {
        // SAFETY: the caller's.
        unsafe { s.nibble_halves::<18>(group.add(2), i) }
    }
}

/// `d`, `m`, 16 bytes of nibbles.
pub(crate) struct Q4_1;

impl Format for Q4_1 {
    const BYTES: usize = 8 * 20;
    const SUB: usize = 32;
    const BITS: u32 = 4;
    const MIN: bool = true;

    #[inline(always)]
    unsafe fn scales<S: Simd>(s: S, group: *const u8, out: &mut Scales) {
        // SAFETY: the caller's.
        unsafe {
            block_scales::<S, 20>(s, group, &mut out.scale);
            block_scales::<S, 20>(s, group.add(2), &mut out.min);
        }
    }
    #[inline(always)]
    unsafe fn codes<S: Simd>(s: S, group: *const u8, i: usize) -> S::B {
        // SAFETY: the caller's.
        unsafe { s.nibbles::<20>(group.add(4), i) }
    }

    const HALVES: bool = true;

    #[inline(always)]
    unsafe fn halves<S: Simd>(s: S, group: *const u8, i: usize) -> [S::B; 2] {
        // SAFETY: the caller's.
        unsafe { s.nibble_halves::<20>(group.add(4), i) }
    }
}

/// Nibbles with a fifth bit each, of blocks `STRIDE` bytes apart: 32 high bits, 16 bytes of nibbles.
///
/// # Safety
/// The group's blocks are readable from the high bits on.
#[inline(always)]
unsafe fn five_bits<S: Simd, const STRIDE: usize>(s: S, p: *const u8, i: usize) -> S::B {
    // SAFETY: the caller's.
    let (low, high) = unsafe { (s.nibbles::<STRIDE>(p.add(4), i), s.mask_bits::<STRIDE>(p, i)) };
    s.or(low, s.and(high, s.splat_byte(16)))
}

/// `d`, 32 high bits, 16 bytes of nibbles.
pub(crate) struct Q5_0;

impl Format for Q5_0 {
    const BYTES: usize = 8 * 22;
    const SUB: usize = 32;
    const BITS: u32 = 5;
    const MIN: bool = false;

    #[inline(always)]
    unsafe fn scales<S: Simd>(s: S, group: *const u8, out: &mut Scales) {
        // SAFETY: the caller's.
        unsafe { block_scales::<S, 22>(s, group, &mut out.scale) }
    }
    #[inline(always)]
    unsafe fn codes<S: Simd>(s: S, group: *const u8, i: usize) -> S::B {
        // SAFETY: the caller's.
        unsafe { five_bits::<S, 22>(s, group.add(2), i) }
    }
}

/// `d`, `m`, 32 high bits, 16 bytes of nibbles.
pub(crate) struct Q5_1;

impl Format for Q5_1 {
    const BYTES: usize = 8 * 24;
    const SUB: usize = 32;
    const BITS: u32 = 5;
    const MIN: bool = true;

    #[inline(always)]
    unsafe fn scales<S: Simd>(s: S, group: *const u8, out: &mut Scales) {
        // SAFETY: the caller's.
        unsafe {
            block_scales::<S, 24>(s, group, &mut out.scale);
            block_scales::<S, 24>(s, group.add(2), &mut out.min);
        }
    }
    #[inline(always)]
    unsafe fn codes<S: Simd>(s: S, group: *const u8, i: usize) -> S::B {
        // SAFETY: the caller's.
        unsafe { five_bits::<S, 24>(s, group.add(4), i) }
    }
}

/// `d`, 32 signed bytes; a code is the byte plus 128.
pub(crate) struct Q8_0;

impl Format for Q8_0 {
    const BYTES: usize = 8 * 34;
    const SUB: usize = 32;
    const BITS: u32 = 8;
    const MIN: bool = false;

    #[inline(always)]
    unsafe fn scales<S: Simd>(s: S, group: *const u8, out: &mut Scales) {
        // SAFETY: the caller's.
        unsafe { block_scales::<S, 34>(s, group, &mut out.scale) }
    }
    #[inline(always)]
    unsafe fn codes<S: Simd>(s: S, group: *const u8, i: usize) -> S::B {
        // SAFETY: the caller's.
        s.xor(unsafe { s.fields(group.add(2), i, |run| (34 * run, 0)) }, s.splat_byte(128))
    }
}

/// As keys and values are read: `d · q`.
impl Float for Q8_0 {
    #[inline(always)]
    fn decode<S: Simd>(s: S, _codec: Decode, bytes: &[u8], out: &mut [f32]) {
        let blocks = bytes.as_chunks::<34>().0;
        assert_eq!(out.len(), 32 * blocks.len(), "these bytes are these values");
        for (block, out) in blocks.iter().zip(out.as_chunks_mut().0) {
            // SAFETY: 32 bytes follow the scale.
            unsafe { scaled(s, block, block.as_ptr().add(2).cast(), out) };
        }
    }
}

/// As keys and values are read: `d · (q − 8)`.
impl Float for Q4_0 {
    #[inline(always)]
    fn decode<S: Simd>(s: S, _codec: Decode, bytes: &[u8], out: &mut [f32]) {
        let blocks = bytes.as_chunks::<18>().0;
        assert_eq!(out.len(), 32 * blocks.len(), "these bytes are these values");
        for (blocks, out) in blocks.chunks(S::RUNS).zip(out.chunks_mut(32 * S::RUNS)) {
            // The last vector may be of more blocks than are left.
            let mut room = [[0; 18]; MAX_RUNS];
            let whole = if blocks.len() == S::RUNS {
                blocks
            } else {
                room[..blocks.len()].copy_from_slice(blocks);
                &room
            };
            let mut codes = [[0_i8; 32]; MAX_RUNS];
            // SAFETY: 16 bytes follow the scale of each, and there are as many codes as a vector may have.
            unsafe {
                let nibbles = s.nibbles::<18>(whole.as_ptr().cast::<u8>().add(2), 0);
                s.store_bytes(codes.as_mut_ptr().cast(), s.sub_bytes(nibbles, s.splat_byte(8)));
            }
            for ((block, codes), out) in blocks.iter().zip(&codes).zip(out.as_chunks_mut().0) {
                // SAFETY: there are 32 codes.
                unsafe { scaled(s, block, codes.as_ptr(), out) };
            }
        }
    }
}

/// Codes times the scale that a block begins with.
///
/// # Safety
/// 32 codes are readable.
#[inline(always)]
unsafe fn scaled<S: Simd>(s: S, block: &[u8], codes: *const i8, out: &mut [f32; 32]) {
    let d = s.splat_f16(u16::from_le_bytes([block[0], block[1]]));
    for i in (0..32).step_by(S::LANES) {
        // SAFETY: the caller's; `out` has as many.
        unsafe { s.store(out.as_mut_ptr().add(i), s.mul(s.load_i8(codes.add(i)), d)) };
    }
}

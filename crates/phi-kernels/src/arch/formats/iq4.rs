//! Nibbles that index a table of 16 values.

use super::{Format, block_scales, read_u16, read_u32};
use crate::arch::simd::Simd;
use crate::arch::tile::Scales;

/// The table's values plus 128.
const VALUES: [u8; 16] = [1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241];

/// `d`, 16 bytes of nibbles.
pub(crate) struct Iq4Nl;

impl Format for Iq4Nl {
    const BYTES: usize = 8 * 18;
    const SUB: usize = 32;
    const BITS: u32 = 8;
    const MIN: bool = false;

    #[inline(always)]
    unsafe fn scales<S: Simd>(s: S, group: *const u8, out: &mut Scales) {
        // SAFETY: the caller's.
        unsafe { block_scales::<S, 18>(s, group, &mut out.scale) }
    }
    #[inline(always)]
    unsafe fn codes<S: Simd>(s: S, group: *const u8, i: usize) -> S::B {
        // SAFETY: the caller's.
        s.lookup(&VALUES, unsafe { s.nibbles::<18>(group.add(2), i) })
    }

    const HALVES: bool = true;

    #[inline(always)]
    unsafe fn halves<S: Simd>(s: S, group: *const u8, i: usize) -> [S::B; 2] {
        // SAFETY: the caller's.
        let [low, high] = unsafe { s.nibble_halves::<18>(group.add(2), i) };
        [s.lookup(&VALUES, low), s.lookup(&VALUES, high)]
    }
}

/// `d`, eight scales of 6 bits in two places, 128 bytes of nibbles.
pub(crate) struct Iq4Xs;

impl Format for Iq4Xs {
    const BYTES: usize = 136;
    const SUB: usize = 32;
    const BITS: u32 = 8;
    const MIN: bool = false;

    #[inline(always)]
    unsafe fn scales<S: Simd>(s: S, group: *const u8, out: &mut Scales) {
        // SAFETY: the caller's.
        let (d, high, low) = unsafe { (s.f16(read_u16(group)), read_u16(group.add(2)), read_u32(group.add(4))) };
        for i in 0..8 {
            let scale = ((low >> (4 * i)) & 15) | ((u32::from(high) >> (2 * i)) & 3) << 4;
            out.scale[i] = d * (scale as i32 - 32) as f32;
        }
    }
    #[inline(always)]
    unsafe fn codes<S: Simd>(s: S, group: *const u8, i: usize) -> S::B {
        // SAFETY: the caller's.
        s.lookup(&VALUES, unsafe { s.nibbles::<16>(group.add(8), i) })
    }
}

//! How each format's bytes become codes in registers and scales beside them: what decode multiplies and prefill lays
//! out in tiles. The definition of a format is its codec in phi-quant; here is the same in vectors.

mod block32;
mod float;
mod iq4;
mod k_quants;

pub(crate) use block32::{Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
pub(crate) use float::{Bf16, F16, F32, Float, Other};
pub(crate) use iq4::{Iq4Nl, Iq4Xs};
pub(crate) use k_quants::{Q2K, Q3K, Q4K, Q5K, Q6K};

use super::simd::Simd;
use super::tile::Scales;

/// A format of integer codes, 256 values at a time (a super-block, or eight blocks of 32).
pub(crate) trait Format: 'static {
    /// Bytes of 256 values.
    const BYTES: usize;
    /// Values of one scale: 16 or 32.
    const SUB: usize;
    /// Codes are below `2^BITS`. Without minima, half of that stands for 0.
    const BITS: u32;
    /// Whether sub-blocks have a minimum.
    const MIN: bool;
    /// Whether scales of sub-blocks are whole numbers times a number of the group.
    const WHOLE: bool = false;

    /// Scales, and minima where the format has them.
    ///
    /// # Safety
    /// `BYTES` bytes are readable.
    unsafe fn scales<S: Simd>(s: S, group: *const u8, out: &mut Scales);

    /// Those of a group of each row.
    ///
    /// # Safety
    /// `BYTES` bytes are readable at each.
    #[inline(always)]
    unsafe fn rows_scales<S: Simd, const R: usize>(s: S, groups: [*const u8; R], out: &mut [Scales; R]) {
        for (out, group) in out.iter_mut().zip(groups) {
            // SAFETY: the caller's.
            unsafe { Self::scales(s, group, out) };
        }
    }

    /// Vector `i` of the codes: those of the values of [`Simd::RUNS`] runs of 32.
    ///
    /// # Safety
    /// `BYTES` bytes are readable.
    unsafe fn codes<S: Simd>(s: S, group: *const u8, i: usize) -> S::B;

    /// Whether first halves of blocks are low nibbles and second ones high nibbles, with one scale for both.
    const HALVES: bool = false;

    /// Vectors `2 i` and `2 i + 1` of the codes, as [`Simd::halves`] has them.
    ///
    /// # Safety
    /// `BYTES` bytes are readable.
    #[inline(always)]
    unsafe fn halves<S: Simd>(s: S, group: *const u8, i: usize) -> [S::B; 2] {
        // SAFETY: the caller's.
        unsafe { [Self::codes(s, group, 2 * i), Self::codes(s, group, 2 * i + 1)] }
    }
}

/// # Safety
/// Two bytes are readable.
#[inline(always)]
unsafe fn read_u16(p: *const u8) -> u16 {
    // SAFETY: the caller's.
    u16::from_le(unsafe { p.cast::<u16>().read_unaligned() })
}

/// # Safety
/// Four bytes are readable.
#[inline(always)]
unsafe fn read_u32(p: *const u8) -> u32 {
    // SAFETY: the caller's.
    u32::from_le(unsafe { p.cast::<u32>().read_unaligned() })
}

/// Scales of eight blocks, `BYTES` bytes apart.
///
/// # Safety
/// Eight blocks are readable.
#[inline(always)]
unsafe fn block_scales<S: Simd, const BYTES: usize>(s: S, group: *const u8, out: &mut [f32; 16]) {
    // SAFETY: the caller's; a block has more bytes than two.
    out[..8].copy_from_slice(&unsafe { s.f16x8::<BYTES>(group) });
}

/// The one list of formats with kernels of their own: `$integer` with `$i` naming a [`Format`], or `$floating` with `$f`
/// naming a [`Float`], which any other type is read as.
macro_rules! with_format {
    ($dtype:expr, $i:ident => $integer:expr, $f:ident => $floating:expr) => {
        with_format!(@ $dtype, $i => $integer, $f => $floating,
            Q4_0 Q4_0, Q4_1 Q4_1, Q5_0 Q5_0, Q5_1 Q5_1, Q8_0 Q8_0,
            Q2_K Q2K, Q3_K Q3K, Q4_K Q4K, Q5_K Q5K, Q6_K Q6K, IQ4_NL Iq4Nl, IQ4_XS Iq4Xs;
            F32 F32, F16 F16, BF16 Bf16)
    };
    (@ $dtype:expr, $i:ident => $integer:expr, $f:ident => $floating:expr,
        $($id:ident $format:ident),*; $($fid:ident $float:ident),*) => {
        match $dtype {
            $(phi_tensor::DType::$id => {
                type $i = $crate::arch::formats::$format;
                $integer
            })*
            $(phi_tensor::DType::$fid => {
                type $f = $crate::arch::formats::$float;
                $floating
            })*
            _ => {
                type $f = $crate::arch::formats::Other;
                $floating
            }
        }
    };
}

pub(crate) use with_format;

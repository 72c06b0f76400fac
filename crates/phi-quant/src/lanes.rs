//! Eight sub-blocks side by side.
//!
//! The searches of the quantizers are chains of dependent additions: one sub-block at a time they wait for the adder,
//! and adding in another order would change the last bit. So each lane is a sub-block of its own, every lane does what
//! the plain loop would, in its order, and results are equal to the bit on every machine: nothing is fused or
//! reassociated.

use fearless_simd::prelude::*;
use fearless_simd::{Bytes, f32x8, i32x8};

/// Sub-blocks at once: one AVX2 register, two of NEON or SSE.
pub(crate) const LANES: usize = 8;

/// A number per lane.
pub(crate) type Lanes<S> = f32x8<S>;

/// Below this a block counts as zero.
const ZERO: f32 = 1e-15;
/// Added to a number of at most 22 bits, it leaves the nearest integer in the mantissa: 1.5 · 2²³.
const MAGIC: f32 = 12_582_912.0;
/// The bits of the mantissa, and those of a sum with [`MAGIC`] that stand for zero.
const MANTISSA: i32 = 0x007f_ffff;
const MIDDLE: i32 = 0x0040_0000;

/// The same number in every lane.
#[inline(always)]
pub(crate) fn all<S: Simd>(simd: S, x: f32) -> Lanes<S> {
    f32x8::splat(simd, x)
}

/// The nearest integer, halves to even, for |x| < 2²². Beyond, and for what is no number, whatever the low bits of
/// `x + MAGIC` say: that is llama.cpp's rule too, and files must agree.
#[inline(always)]
pub(crate) fn nearest(x: f32) -> i32 {
    ((x + MAGIC).to_bits() as i32 & MANTISSA) - MIDDLE
}

/// [`nearest`] in every lane, then between `low` and `high`.
#[inline(always)]
pub(crate) fn nearest_lanes<S: Simd>(x: Lanes<S>, low: i32, high: i32) -> Lanes<S> {
    let bits: i32x8<S> = (x + MAGIC).bitcast();
    ((bits & MANTISSA) - MIDDLE).max(low).min(high).to_float()
}

/// Whether a magnitude counts as zero.
#[inline(always)]
pub(crate) fn is_zero(magnitude: f32) -> bool {
    magnitude < ZERO
}

/// Keeps the lanes whose magnitude does not count as zero.
#[inline(always)]
pub(crate) fn unless_zero<S: Simd>(magnitude: Lanes<S>, x: Lanes<S>) -> Lanes<S> {
    magnitude.simd_ge(ZERO).select(x, all(x.simd, 0.0))
}

/// Eight sub-blocks that lie behind each other, as lanes: `out[i]` has value `i` of each. Lanes that are missing are zero.
#[inline(always)]
pub(crate) fn side_by_side<S: Simd, const LEN: usize>(simd: S, x: &[f32]) -> [Lanes<S>; LEN] {
    let mut out = [[0.0; LANES]; LEN];
    for (lane, block) in x.as_chunks::<LEN>().0.iter().enumerate() {
        for (out, &x) in out.iter_mut().zip(block) {
            out[lane] = x;
        }
    }
    let mut lanes = [all(simd, 0.0); LEN];
    for (lanes, values) in lanes.iter_mut().zip(out) {
        *lanes = values.simd_into(simd);
    }
    lanes
}

/// Codes of eight sub-blocks, back behind each other.
#[inline(always)]
pub(crate) fn behind_each_other<S: Simd, const LEN: usize>(codes: &[Lanes<S>; LEN], out: &mut [u8]) {
    for (i, codes) in codes.iter().enumerate() {
        let codes: [f32; LANES] = codes.to_array();
        for (block, code) in out.as_chunks_mut::<LEN>().0.iter_mut().zip(codes) {
            block[i] = code as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_rounds_halves_to_even() {
        for (x, want) in [(0.5, 0), (1.5, 2), (-0.5, 0), (-2.5, -2), (2.499_999_8, 2), (4_194_303.0, 4_194_303)] {
            assert_eq!(nearest(x), want, "{x}");
        }
    }
}

//! One block of 32 values in four vectors: for the formats that have no scale to search for.
//!
//! Vectors are handled without closures and `map`: those would be functions of their own, for any machine.

use fearless_simd::prelude::*;
use fearless_simd::{f32x8, i32x8};

const WIDTH: usize = 8;

/// 32 values.
#[derive(Clone, Copy)]
pub(crate) struct Block32<S: Simd>([f32x8<S>; 4]);

impl<S: Simd> Block32<S> {
    #[inline(always)]
    pub(crate) fn new(simd: S, x: &[f32; 32]) -> Block32<S> {
        let parts = x.as_chunks::<WIDTH>().0;
        let part = |i: usize| f32x8::load_array_ref(simd, &parts[i]);
        Block32([part(0), part(1), part(2), part(3)])
    }

    /// `(x − a) · b + c`
    #[inline(always)]
    pub(crate) fn line(self, a: f32, b: f32, c: f32) -> Block32<S> {
        let [x0, x1, x2, x3] = self.0;
        Block32([(x0 - a) * b + c, (x1 - a) * b + c, (x2 - a) * b + c, (x3 - a) * b + c])
    }

    /// `x · b`, rounded, halves away from zero.
    #[inline(always)]
    pub(crate) fn rounded(self, b: f32) -> Block32<S> {
        let [x0, x1, x2, x3] = self.0;
        Block32([(x0 * b).round(), (x1 * b).round(), (x2 * b).round(), (x3 * b).round()])
    }

    #[inline(always)]
    pub(crate) fn max(&self) -> f32 {
        let [a, b, c, d] = self.0;
        a.max(b).max(c.max(d)).reduce_max()
    }

    #[inline(always)]
    pub(crate) fn min(&self) -> f32 {
        let [a, b, c, d] = self.0;
        a.min(b).min(c.min(d)).reduce_min()
    }

    /// The largest magnitude.
    #[inline(always)]
    pub(crate) fn largest(&self) -> f32 {
        let [a, b, c, d] = self.0;
        a.abs().max(b.abs()).max(c.abs().max(d.abs())).reduce_max()
    }

    /// The integer parts as bytes.
    #[inline(always)]
    pub(crate) fn bytes(self) -> [u8; 32] {
        let mut out = [0; 32];
        for (out, x) in out.as_chunks_mut::<WIDTH>().0.iter_mut().zip(self.0) {
            let whole: [i32; WIDTH] = x.to_int_precise::<i32x8<S>>().to_array();
            for (out, whole) in out.iter_mut().zip(whole) {
                *out = whole as u8;
            }
        }
        out
    }
}

/// The value of largest magnitude, with its sign; of equals the first.
#[inline(always)]
pub(crate) fn first_largest<S: Simd>(simd: S, x: &[f32; 32]) -> f32 {
    let block = Block32::new(simd, x);
    let (min, max) = (block.min(), block.max());
    if max > -min {
        max
    } else if max < -min {
        min
    } else {
        x.iter().fold(0.0, |m: f32, &x| if x.abs() > m.abs() { x } else { m })
    }
}

/// The least and the greatest; of zeros of both signs the first.
#[inline(always)]
pub(crate) fn extremes<S: Simd>(simd: S, x: &[f32; 32]) -> (f32, f32) {
    let block = Block32::new(simd, x);
    let (min, max) = (block.min(), block.max());
    if min != 0.0 && max != 0.0 {
        return (min, max);
    }
    x.iter()
        .fold((f32::MAX, -f32::MAX), |(min, max), &x| (if x < min { x } else { min }, if x > max { x } else { max }))
}

/// 32 codes of 4 bits in 16 bytes: code `j` in the low nibble of byte `j`, code `j + 16` in the high one.
#[inline(always)]
pub(crate) fn pack_nibbles(q: &[u8; 32]) -> [u8; 16] {
    std::array::from_fn(|j| q[j] | q[j + 16] << 4)
}

//! Eight sub-blocks side by side.
//!
//! The searches of the quantizers are chains of dependent additions: one sub-block at a time they wait for the adder,
//! and adding in another order would change the last bit. So each lane is a sub-block of its own, every lane does what
//! the plain loop would, in its order, and results are equal to the bit on every machine. Written so that compilers
//! turn each operation into one or two vector instructions; nothing here depends on it.

use std::ops::{Add, BitAnd, Div, Mul, Neg, Sub};

/// Sub-blocks at once: one AVX2 register, two of NEON.
pub(crate) const LANES: usize = 8;

/// A number per lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lanes(pub(crate) [f32; LANES]);

/// A decision per lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mask(pub(crate) [bool; LANES]);

/// Below this a block counts as zero.
const ZERO: f32 = 1e-15;
/// Added to a number of at most 22 bits, it leaves the nearest integer in the mantissa: 1.5 · 2²³.
const MAGIC: f32 = 12_582_912.0;

impl Lanes {
    #[inline(always)]
    pub(crate) fn all(x: f32) -> Lanes {
        Lanes([x; LANES])
    }

    #[inline(always)]
    fn map(self, f: impl Fn(f32) -> f32) -> Lanes {
        let mut out = self;
        for x in &mut out.0 {
            *x = f(*x);
        }
        out
    }

    #[inline(always)]
    fn with(self, other: Lanes, f: impl Fn(f32, f32) -> f32) -> Lanes {
        let mut out = self;
        for (x, y) in out.0.iter_mut().zip(other.0) {
            *x = f(*x, y);
        }
        out
    }

    #[inline(always)]
    fn test(self, other: Lanes, f: impl Fn(f32, f32) -> bool) -> Mask {
        let mut out = Mask([false; LANES]);
        for (out, (x, y)) in out.0.iter_mut().zip(self.0.into_iter().zip(other.0)) {
            *out = f(x, y);
        }
        out
    }

    #[inline(always)]
    pub(crate) fn abs(self) -> Lanes {
        self.map(f32::abs)
    }

    #[inline(always)]
    pub(crate) fn sqrt(self) -> Lanes {
        self.map(f32::sqrt)
    }

    /// The nearest integer between `low` and `high`, halves to even, by llama.cpp's rule: see [`nearest`].
    #[inline(always)]
    pub(crate) fn nearest(self, low: i32, high: i32) -> Lanes {
        self.map(|x| nearest(x).max(low).min(high) as f32)
    }

    #[inline(always)]
    pub(crate) fn lt(self, other: Lanes) -> Mask {
        self.test(other, |x, y| x < y)
    }

    #[inline(always)]
    pub(crate) fn gt(self, other: Lanes) -> Mask {
        self.test(other, |x, y| x > y)
    }

    #[inline(always)]
    pub(crate) fn ne(self, other: Lanes) -> Mask {
        self.test(other, |x, y| x != y)
    }

    /// Lanes that do not count as zero.
    #[inline(always)]
    pub(crate) fn counts(self) -> Mask {
        self.test(self, |x, _| x >= ZERO)
    }
}

impl Mask {
    /// `a` where set, else `b`.
    #[inline(always)]
    pub(crate) fn select(self, a: Lanes, b: Lanes) -> Lanes {
        let mut out = b;
        for (out, (a, set)) in out.0.iter_mut().zip(a.0.into_iter().zip(self.0)) {
            if set {
                *out = a;
            }
        }
        out
    }

    #[inline(always)]
    pub(crate) fn any(self) -> bool {
        self.0.into_iter().any(|set| set)
    }
}

impl BitAnd for Mask {
    type Output = Mask;

    #[inline(always)]
    fn bitand(self, other: Mask) -> Mask {
        let mut out = self;
        for (x, y) in out.0.iter_mut().zip(other.0) {
            *x &= y;
        }
        out
    }
}

impl Neg for Lanes {
    type Output = Lanes;

    #[inline(always)]
    fn neg(self) -> Lanes {
        self.map(|x| -x)
    }
}

macro_rules! operator {
    ($trait:ident, $method:ident, $op:tt) => {
        impl $trait for Lanes {
            type Output = Lanes;

            #[inline(always)]
            fn $method(self, other: Lanes) -> Lanes {
                self.with(other, |x, y| x $op y)
            }
        }
    };
}
operator!(Add, add, +);
operator!(Sub, sub, -);
operator!(Mul, mul, *);
operator!(Div, div, /);

/// The nearest integer, halves to even, for |x| < 2²². Beyond, and for what is no number, whatever the low bits of
/// `x + MAGIC` say: that is llama.cpp's rule too, and files must agree.
#[inline(always)]
pub(crate) fn nearest(x: f32) -> i32 {
    ((x + MAGIC).to_bits() & 0x007f_ffff) as i32 - 0x0040_0000
}

/// Whether a magnitude counts as zero.
#[inline(always)]
pub(crate) fn is_zero(magnitude: f32) -> bool {
    magnitude < ZERO
}

/// Eight sub-blocks that lie behind each other, as lanes: `out[i]` has value `i` of each.
#[inline(always)]
pub(crate) fn side_by_side<const LEN: usize>(x: &[f32]) -> [Lanes; LEN] {
    let mut out = [Lanes::all(0.0); LEN];
    for (lane, block) in x.as_chunks::<LEN>().0.iter().enumerate() {
        for (out, &x) in out.iter_mut().zip(block) {
            out.0[lane] = x;
        }
    }
    out
}

/// Codes of eight sub-blocks, back behind each other.
#[inline(always)]
pub(crate) fn behind_each_other<const LEN: usize>(codes: &[Lanes; LEN], out: &mut [u8]) {
    for (lane, block) in out.as_chunks_mut::<LEN>().0.iter_mut().enumerate() {
        for (out, code) in block.iter_mut().zip(codes) {
            *out = code.0[lane] as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_rounds_halves_to_even() {
        for (x, want) in [(0.5, 0), (1.5, 2), (-0.5, 0), (-2.5, -2), (2.4999998, 2), (4_194_303.0, 4_194_303)] {
            assert_eq!(nearest(x), want, "{x}");
        }
    }
}

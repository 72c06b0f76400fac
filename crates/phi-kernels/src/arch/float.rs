//! Rows of floats.

use super::SIDE;
use super::simd::Simd;
use super::tile::GROUP;

/// `Σ_i a[i] · b[i]`
#[inline(always)]
pub(crate) fn dot<S: Simd>(s: S, a: &[f32], b: &[f32]) -> f32 {
    let len = a.len().min(b.len());
    let mut sums = [s.splat(0.0); 4];
    let step = 4 * S::LANES;
    let whole = len / step * step;
    for i in (0..whole).step_by(step) {
        for (j, sum) in sums.iter_mut().enumerate() {
            let at = i + j * S::LANES;
            // SAFETY: both have a vector's floats from `at` on.
            *sum = unsafe { s.fma(s.load(a.as_ptr().add(at)), s.load(b.as_ptr().add(at)), *sum) };
        }
    }
    let mut rest = 0.0;
    for i in whole..len {
        rest += a[i] * b[i];
    }
    s.sum(s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3]))) + rest
}

/// `y[i] += a · x[i]`
#[inline(always)]
pub(crate) fn axpy<S: Simd>(s: S, a: f32, x: &[f32], y: &mut [f32]) {
    let len = x.len().min(y.len());
    let whole = len / S::LANES * S::LANES;
    let factor = s.splat(a);
    for i in (0..whole).step_by(S::LANES) {
        // SAFETY: both have a vector's floats from `i` on.
        unsafe { s.store(y.as_mut_ptr().add(i), s.fma(factor, s.load(x.as_ptr().add(i)), s.load(y.as_ptr().add(i)))) };
    }
    for i in whole..len {
        y[i] = a.mul_add(x[i], y[i]);
    }
}

/// `out[i] = x[i] / √(mean x² + eps) · w[i]`
#[inline(always)]
pub(crate) fn rms_norm<S: Simd>(s: S, x: &[f32], w: &[[u8; 4]], eps: f32, out: &mut [f32]) {
    let scale = 1.0 / (dot(s, x, x) / x.len() as f32 + eps).sqrt();
    for ((out, x), w) in out.iter_mut().zip(x).zip(w) {
        *out = x * scale * f32::from_le_bytes(*w);
    }
}

/// `gate[i] = silu(gate[i]) · up[i]`
#[inline(always)]
pub(crate) fn silu_mul<S: Simd>(s: S, up: &[f32], gate: &mut [f32]) {
    let whole = gate.len().min(up.len()) / S::LANES * S::LANES;
    for i in (0..whole).step_by(S::LANES) {
        // SAFETY: both have a vector's floats from `i` on.
        unsafe {
            let (g, u) = (s.load(gate.as_ptr().add(i)), s.load(up.as_ptr().add(i)));
            s.store(gate.as_mut_ptr().add(i), s.mul(silu(s, g), u));
        }
    }
    for (g, u) in gate[whole..].iter_mut().zip(&up[whole..]) {
        *g = *g / (1.0 + (-*g).exp()) * u;
    }
}

/// `x / (1 + e^−x)`
#[inline(always)]
pub(crate) fn silu<S: Simd>(s: S, x: S::F) -> S::F {
    s.div(x, s.add(s.splat(1.0), exp(s, s.sub(s.splat(0.0), x))))
}

/// `e^x` to about 1.5 units in the last place; 0 below −87.3, and at most `e^88`.
///
/// `x = n · ln 2 + r` with `n` whole, in two steps, then `e^r` by its series to the sixth power and `2^n` by exponent.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    let x = s.min(s.max(x, s.splat(-104.0)), s.splat(88.0));
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    let r = s.fma(n, s.splat(-0.693_359_4), x);
    let r = s.fma(n, s.splat(2.121_944_4e-4), r);
    let mut p = s.splat(1.0 / 720.0);
    for c in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = s.fma(p, r, s.splat(c));
    }
    // Below −126 the exponent has no place; half of `n` at a time.
    let half = s.round(s.mul(n, s.splat(0.5)));
    s.mul(s.mul(p, s.exp2i(half)), s.exp2i(s.sub(n, half)))
}

/// Rounds a group of activations: `d = max |x| / 127`, `q = x / d`, and the sums of codes.
///
/// `x` may have fewer than 256 values; the rest are 0.
#[inline(always)]
pub(crate) fn quantize<S: Simd>(s: S, x: &[f32], bias: u8, q: &mut [i8; GROUP], side: &mut [f32; SIDE]) {
    let mut padded = [0.0; GROUP];
    let x: &[f32; GROUP] = match x.try_into() {
        Ok(x) => x,
        Err(_) => {
            padded[..x.len()].copy_from_slice(x);
            &padded
        }
    };
    let mut largest = s.splat(0.0);
    for i in (0..GROUP).step_by(S::LANES) {
        // SAFETY: `x` has a vector's floats from `i` on.
        largest = s.max(largest, s.abs(unsafe { s.load(x.as_ptr().add(i)) }));
    }
    let largest = s.largest(largest);
    let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    side[0] = largest / 127.0;
    let inverse = s.splat(inverse);
    for i in (0..GROUP).step_by(S::LANES) {
        // SAFETY: `x` and `q` have a vector's values from `i` on.
        unsafe { s.store_i8(q.as_mut_ptr().add(i), s.mul(s.load(x.as_ptr().add(i)), inverse)) };
    }
    for j in 0..16 {
        let sum: i32 = q[16 * j..][..16].iter().map(|&q| i32::from(q)).sum();
        side[9 + j] = sum as f32;
    }
    for j in 0..8 {
        side[1 + j] = side[9 + 2 * j] + side[10 + 2 * j];
    }
    if bias != 0 {
        for q in q.iter_mut() {
            *q = (*q as u8 ^ bias) as i8;
        }
    }
}

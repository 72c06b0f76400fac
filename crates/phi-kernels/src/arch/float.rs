//! Rows of floats.
//!
//! Functions of one value are applied to whole vectors; what is left at the end of a row goes through a vector of its
//! own, so a value gives the same result wherever it stands.

use std::f32::consts::LN_2;

use super::SIDE;
use super::simd::Simd;
use super::tile::GROUP;

/// At least as many floats as any vector has.
const WIDEST: usize = 16;

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

/// `out[i] = f(out[i], x[0][i], x[1][i], …)`, the inputs little-endian floats that lie anywhere.
///
/// `f` is called in one place, or the compiler would leave it a function without this one's features.
#[inline(always)]
fn map<S: Simd, const N: usize>(s: S, x: [&[Bytes]; N], out: &mut [f32], f: impl Fn(S::F, [S::F; N]) -> S::F) {
    for x in x {
        assert_eq!(x.len(), out.len(), "rows of one length");
    }
    let mut rests = [[[0; 4]; WIDEST]; N];
    let mut rest = [0.0; WIDEST];
    for i in (0..out.len()).step_by(S::LANES) {
        let left = out.len() - i;
        let mut from = x.map(|x| x[i..].as_ptr());
        let mut to = out[i..].as_mut_ptr();
        if left < S::LANES {
            for j in 0..N {
                rests[j][..left].copy_from_slice(&x[j][i..]);
                from[j] = rests[j].as_ptr();
            }
            rest[..left].copy_from_slice(&out[i..]);
            to = rest.as_mut_ptr();
        }
        // SAFETY: all have a vector's floats from `i` on, or are arrays of as many as in the widest vector.
        unsafe {
            let mut vectors = [s.splat(0.0); N];
            for (vector, from) in vectors.iter_mut().zip(from) {
                *vector = s.load(from.cast());
            }
            s.store(to, f(s.load(to), vectors));
        }
        if left < S::LANES {
            out[i..].copy_from_slice(&rest[..left]);
        }
    }
}

/// A float as a file has it.
type Bytes = [u8; 4];

fn bytes(x: &[f32]) -> &[Bytes] {
    bytemuck::cast_slice(x)
}

/// `y[i] += a · x[i]`
#[inline(always)]
pub(crate) fn axpy<S: Simd>(s: S, a: f32, x: &[f32], y: &mut [f32]) {
    let a = s.splat(a);
    map(s, [bytes(x)], y, |y, [x]| s.fma(a, x, y));
}

/// `out[i] = x[i] / √(mean x² + eps) · w[i]`
#[inline(always)]
pub(crate) fn rms_norm<S: Simd>(s: S, x: &[f32], w: &[Bytes], eps: f32, out: &mut [f32]) {
    let scale = s.splat(1.0 / (dot(s, x, x) / x.len() as f32 + eps).sqrt());
    map(s, [bytes(x), w], out, |_, [x, w]| s.mul(s.mul(x, scale), w));
}

/// `out[i] = (x[i] − mean x) / √(mean (x − mean x)² + eps) · w[i] + b[i]`
#[inline(always)]
pub(crate) fn layer_norm<S: Simd>(s: S, x: &[f32], w: &[Bytes], b: &[Bytes], eps: f32, out: &mut [f32]) {
    let n = x.len() as f32;
    let mean = s.splat(sum(s, x) / n);
    map(s, [bytes(x)], out, |_, [x]| s.sub(x, mean));
    let scale = s.splat(1.0 / (dot(s, out, out) / n + eps).sqrt());
    map(s, [w, b], out, |centered, [w, b]| s.fma(s.mul(centered, scale), w, b));
}

/// `Σ_i x[i]`
#[inline(always)]
fn sum<S: Simd>(s: S, x: &[f32]) -> f32 {
    let mut sums = [s.splat(0.0); 4];
    let step = 4 * S::LANES;
    let whole = x.len() / step * step;
    for i in (0..whole).step_by(step) {
        for (j, sum) in sums.iter_mut().enumerate() {
            // SAFETY: four vectors' floats follow from `i` on.
            *sum = s.add(*sum, unsafe { s.load(x.as_ptr().add(i + j * S::LANES)) });
        }
    }
    let rest: f32 = x[whole..].iter().sum();
    s.sum(s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3]))) + rest
}

/// Rotates pairs `i` and `i + pairs` of each head; the values behind them stay.
#[inline(always)]
pub(crate) fn rope<S: Simd>(s: S, cos: &[f32], sin: &[f32], head_dim: usize, heads: &mut [f32]) {
    let pairs = cos.len();
    assert!(sin.len() == pairs && 2 * pairs <= head_dim, "{pairs} pairs in a head of {head_dim}");
    let whole = pairs / S::LANES * S::LANES;
    for head in heads.chunks_exact_mut(head_dim) {
        let (a, b) = head[..2 * pairs].split_at_mut(pairs);
        for i in (0..whole).step_by(S::LANES) {
            // SAFETY: all four have a vector's floats from `i` on.
            unsafe {
                let (cos, sin) = (s.load(cos.as_ptr().add(i)), s.load(sin.as_ptr().add(i)));
                let (x, y) = (s.load(a.as_ptr().add(i)), s.load(b.as_ptr().add(i)));
                s.store(a.as_mut_ptr().add(i), s.sub(s.mul(x, cos), s.mul(y, sin)));
                s.store(b.as_mut_ptr().add(i), s.add(s.mul(y, cos), s.mul(x, sin)));
            }
        }
        for i in whole..pairs {
            (a[i], b[i]) = (a[i] * cos[i] - b[i] * sin[i], b[i] * cos[i] + a[i] * sin[i]);
        }
    }
}

/// `gate[i] = silu(gate[i]) · up[i]`
#[inline(always)]
pub(crate) fn silu_mul<S: Simd>(s: S, up: &[f32], gate: &mut [f32]) {
    map(s, [bytes(up)], gate, |g, [u]| s.mul(silu(s, g), u));
}

/// `x / (1 + e^−x)`
#[inline(always)]
pub(crate) fn silu<S: Simd>(s: S, x: S::F) -> S::F {
    s.div(x, s.add(s.splat(1.0), exp(s, s.sub(s.splat(0.0), x))))
}

/// `x / 2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`, which is `x / (1 + e^(−2 · that))`
#[inline(always)]
pub(crate) fn gelu<S: Simd>(s: S, x: &mut [f32]) {
    let (one, cube) = (s.splat(1.0), s.splat(GELU_CUBE));
    let factor = s.splat(-2.0 * SQRT_2_OVER_PI);
    map(s, [], x, |x, []| {
        let inner = s.mul(x, s.fma(s.mul(x, x), cube, one));
        s.div(x, s.add(one, exp(s, s.mul(inner, factor))))
    });
}

/// The constants of GELU by `tanh`.
pub(crate) const GELU_CUBE: f32 = 0.044_715;
pub(crate) const SQRT_2_OVER_PI: f32 = 0.797_884_6;

/// `gate[i] = g / (1 + e^(−1.702 g)) · (u + 1)`, with `g = min(gate[i], limit)` and `u = up[i]` within `± limit`
///
/// What is infinite becomes no number, lest the limits hide it.
#[inline(always)]
pub(crate) fn gegelu<S: Simd>(s: S, limit: f32, up: &[f32], gate: &mut [f32]) {
    let (zero, one, factor) = (s.splat(0.0), s.splat(1.0), s.splat(-GELU_LOGISTIC));
    let (most, least) = (s.splat(limit), s.splat(-limit));
    map(s, [bytes(up)], gate, |g, [u]| {
        let odd = s.fma(g, zero, s.mul(u, zero));
        let g = s.min(most, g);
        let u = s.max(least, s.min(most, u));
        s.fma(s.div(g, s.add(one, exp(s, s.mul(g, factor)))), s.add(u, one), odd)
    });
}

/// GELU by a logistic function: `x · σ(1.702 x)`.
pub(crate) const GELU_LOGISTIC: f32 = 1.702;

/// `x[i] = e^(x[i] − max x) / Σ_j e^(x[j] − max x)`
#[inline(always)]
pub(crate) fn softmax<S: Simd>(s: S, x: &mut [f32]) {
    let Some(&first) = x.first() else { return };
    let whole = x.len() / S::LANES * S::LANES;
    let mut largest = s.splat(first);
    for i in (0..whole).step_by(S::LANES) {
        // SAFETY: `x` has a vector's floats from `i` on.
        largest = s.max(largest, unsafe { s.load(x.as_ptr().add(i)) });
    }
    let largest = x[whole..].iter().fold(s.largest(largest), |m, &x| m.max(x));
    let shift = s.splat(largest);
    map(s, [], x, |x, []| exp(s, s.sub(x, shift)));
    let scale = s.splat(1.0 / sum(s, x));
    map(s, [], x, |x, []| s.mul(x, scale));
}

/// `x[i] = e^x[i]`
#[inline(always)]
pub(crate) fn exps<S: Simd>(s: S, x: &mut [f32]) {
    map(s, [], x, |x, []| exp(s, x));
}

/// `e^x` to two units in the last place, gradually to 0 below −87.3 and infinite from 88.8 on; what is no number stays
/// so.
///
/// `x = n · ln 2 + r` with `n` whole, in two steps, then a polynomial for `e^r` (off by 3·10⁻⁸) and `2^n` by exponent.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    // The value second: what is no number stays so on x86.
    let x = s.min(s.splat(89.0), s.max(s.splat(-104.0), x));
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    let r = s.fma(n, s.splat(-0.693_359_4), x);
    let r = s.fma(n, s.splat(2.121_944_4e-4), r);
    let mut p = s.splat(1.406_126_8e-3);
    for c in [8.379_018e-3, 4.166_477_7e-2, 0.166_663_65, 0.500_000_04, 1.0, 1.0] {
        p = s.fma(p, r, s.splat(c));
    }
    // Below −126 the exponent has no place; half of `n` at a time.
    let half = s.round(s.mul(n, s.splat(0.5)));
    s.mul(s.mul(p, s.exp2i(half)), s.exp2i(s.sub(n, half)))
}

/// `2^x` for `x` up to 0, where 1 is exact, to two units in the last place; 0 below −126.5.
#[inline(always)]
pub(crate) fn exp2<S: Simd>(s: S, x: S::F) -> S::F {
    let x = s.max(s.splat(-127.0), x);
    let n = s.round(x);
    let r = s.sub(x, n);
    let mut p = s.splat(1.559_467_8e-4);
    for c in [1.340_664_4e-3, 9.617_693e-3, 5.550_310_6e-2, 0.240_226_53, LN_2, 1.0] {
        p = s.fma(p, r, s.splat(c));
    }
    s.mul(p, s.exp2i(n))
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

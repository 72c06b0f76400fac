//! What Q2_K, Q4_K and Q5_K share: 256 values in `SUBS` sub-blocks, each with a small integer scale and minimum.
//!
//! ```text
//! x[i] = d · sc[s] · q[i] − dmin · mn[s],  s = i / LEN
//! ```

use fearless_simd::prelude::*;
use half::f16;

use crate::importance;
use crate::lanes::{LANES, Lanes, all, behind_each_other, nearest, side_by_side};
use crate::search::{Steps, WEIGHTED, affine, positive};

pub(crate) const SUPER: usize = 256;

/// What differs between them.
pub(crate) struct Rules {
    /// Largest code of a value.
    pub(crate) n_max: i32,
    /// Largest code of a scale or minimum.
    pub(crate) scale_max: i32,
    /// Tries without an importance matrix.
    pub(crate) steps: Steps,
    /// `σ²` of an importance matrix, as a multiple of the mean square of the super-block.
    pub(crate) variance: f32,
}

/// A super-block before its integers are packed.
pub(crate) struct Affine<const SUBS: usize> {
    pub(crate) d: [u8; 2],
    pub(crate) dmin: [u8; 2],
    pub(crate) sc: [u8; SUBS],
    pub(crate) mn: [u8; SUBS],
    pub(crate) q: [u8; SUPER],
}

/// Searches scale and minimum of every sub-block, codes those, and rounds the values once more by what was stored.
///
/// With `ABSOLUTE` errors are summed by magnitude, weighted by `|x|`; else squared, weighted by `√mean(x²) + |x|`.
#[inline(always)]
pub(crate) fn quantize<S: Simd, const LEN: usize, const SUBS: usize, const ABSOLUTE: bool>(
    simd: S,
    x: &[f32; SUPER],
    importance: Option<&[f32; SUPER]>,
    rules: &Rules,
) -> Affine<SUBS> {
    let mut found = Affine { d: [0; 2], dmin: [0; 2], sc: [0; SUBS], mn: [0; SUBS], q: [0; SUPER] };
    let (mut scales, mut mins, mut sums) = ([0.0; SUBS], [0.0; SUBS], [0.0; SUBS]);
    let variance = match importance {
        Some(_) => rules.variance * importance::sum_of_squares(x) / SUPER as f32,
        None => 0.0,
    };
    for first in (0..SUBS).step_by(LANES) {
        let at = first * LEN..(first + LANES) * LEN;
        let blocks = side_by_side::<S, LEN>(simd, &x[at.clone()]);
        let best = match importance {
            Some(importance) => {
                let importance = side_by_side::<S, LEN>(simd, &importance[at.clone()]);
                let w = importance::weigh(&blocks, &importance, all(simd, variance));
                sums[first..][..LANES].copy_from_slice(&importance::sum(&w).to_array());
                affine::<S, LEN, false>(&blocks, &w, rules.n_max, WEIGHTED)
            }
            None => {
                let w = plain_weights::<S, LEN, ABSOLUTE>(&blocks);
                affine::<S, LEN, ABSOLUTE>(&blocks, &w, rules.n_max, rules.steps)
            }
        };
        scales[first..][..LANES].copy_from_slice(&best.scale.to_array());
        mins[first..][..LANES].copy_from_slice(&best.min.to_array());
        behind_each_other(&best.codes, &mut found.q[at]);
    }

    let (d, dmin) = if importance.is_some() {
        let d = positive(&scales, &sums, rules.scale_max, &mut found.sc);
        (d, positive(&mins, &sums, rules.scale_max, &mut found.mn))
    } else {
        (code(&scales, rules.scale_max, &mut found.sc), code(&mins, rules.scale_max, &mut found.mn))
    };
    found.d = f16::from_f32(d).to_le_bytes();
    found.dmin = f16::from_f32(dmin).to_le_bytes();

    let (d, dmin) = (f16::from_le_bytes(found.d).to_f32(), f16::from_le_bytes(found.dmin).to_f32());
    let blocks = x.as_chunks::<LEN>().0.iter().zip(found.q.as_chunks_mut::<LEN>().0);
    for ((x, q), (&sc, &mn)) in blocks.zip(found.sc.iter().zip(&found.mn)) {
        let (scale, min) = (d * f32::from(sc), dmin * f32::from(mn));
        // Of a scale that was rounded to zero, the codes of the search stay.
        if scale != 0.0 {
            for (q, &x) in q.iter_mut().zip(x) {
                *q = nearest((x + min) / scale).clamp(0, rules.n_max) as u8;
            }
        }
    }
    found
}

#[inline(always)]
fn plain_weights<S: Simd, const LEN: usize, const ABSOLUTE: bool>(x: &[Lanes<S>; LEN]) -> [Lanes<S>; LEN] {
    let simd = x[0].simd;
    let squares = x.iter().fold(all(simd, 0.0), |sum, &x| sum + x * x);
    let average = (squares / all(simd, LEN as f32)).sqrt();
    let mut w = [all(simd, 0.0); LEN];
    for (w, &x) in w.iter_mut().zip(x) {
        *w = if ABSOLUTE { x.abs() } else { average + x.abs() };
    }
    w
}

/// Codes numbers that are not negative so that the largest becomes `n_max`. Returns the scale.
fn code<const N: usize>(x: &[f32; N], n_max: i32, codes: &mut [u8; N]) -> f32 {
    let max = x.iter().fold(0.0_f32, |max, &x| if x > max { x } else { max });
    let inverse = if max > 0.0 { n_max as f32 / max } else { 0.0 };
    for (code, &x) in codes.iter_mut().zip(x) {
        *code = (nearest(inverse * x) as u8).min(n_max as u8);
    }
    max / n_max as f32
}

/// Puts 256 codes of at most 2 bits into 64 bytes: byte `l` of a half of 128 values has codes `l`, `l + 32`, `l + 64` and
/// `l + 96` of it, from the low bits up.
pub(crate) fn pack_crumbs(q: &[u8; SUPER], out: &mut [u8; SUPER / 4]) {
    for (q, out) in q.as_chunks::<128>().0.iter().zip(out.as_chunks_mut::<32>().0) {
        for (l, out) in out.iter_mut().enumerate() {
            *out = q[l] | q[l + 32] << 2 | q[l + 64] << 4 | q[l + 96] << 6;
        }
    }
}

/// Puts the low nibbles of 256 codes into 128 bytes: byte `l` of a chunk of 64 values has codes `l` and `l + 32` of it.
pub(crate) fn pack_nibbles(q: &[u8; SUPER], out: &mut [u8; SUPER / 2]) {
    for (q, out) in q.as_chunks::<64>().0.iter().zip(out.as_chunks_mut::<32>().0) {
        for (l, out) in out.iter_mut().enumerate() {
            *out = q[l] & 15 | q[l + 32] << 4;
        }
    }
}

/// The 6-bit scale and minimum of sub-block `s` of Q4_K and Q5_K.
///
/// Those of 0 to 3 are the low six bits of `packed[s]` and `packed[s + 4]`. Those of 4 to 7 have their low four bits in
/// the nibbles of `packed[s + 4]` and their high two on top of the first eight bytes.
pub(crate) fn scale_min(packed: &[u8; 12], s: usize) -> (u8, u8) {
    if s < 4 {
        (packed[s] & 63, packed[s + 4] & 63)
    } else {
        let low = packed[s + 4];
        (low & 15 | packed[s - 4] >> 6 << 4, low >> 4 | packed[s] >> 6 << 4)
    }
}

/// The inverse of [`scale_min`].
pub(crate) fn pack_scales_mins(sc: &[u8; 8], mn: &[u8; 8]) -> [u8; 12] {
    let mut packed = [0; 12];
    for s in 0..4 {
        packed[s] = sc[s] | sc[s + 4] >> 4 << 6;
        packed[s + 4] = mn[s] | mn[s + 4] >> 4 << 6;
        packed[s + 8] = sc[s + 4] & 15 | mn[s + 4] << 4;
    }
    packed
}

/// The part of an importance matrix that a block of a row has.
pub(crate) fn part<const N: usize>(importance: Option<&[f32]>, block: usize) -> Option<&[f32; N]> {
    importance.map(|all| &all.as_chunks::<N>().0[block])
}

//! One scale for the scales (or minima) of a super-block: `x ≈ scale · q`, `q` in `0..=n_max`.

use crate::lanes::{is_zero, nearest};

const SWEEPS: usize = 5;

/// First the best of nine guesses by weighted squared error, then coordinate descent as in `descent`.
///
/// Returns `Σ w·x·q / Σ w·q²`, and writes the codes.
pub(crate) fn positive<const N: usize>(x: &[f32; N], w: &[f32; N], n_max: i32, codes: &mut [u8; N]) -> f32 {
    let max = x.iter().fold(0.0_f32, |max, &x| if max > x { max } else { x });
    if is_zero(max) {
        codes.fill(0);
        return 0.0;
    }
    let mut inverse = n_max as f32 / max;
    let error = |inverse: f32, code: &dyn Fn(i32) -> i32| {
        let scale = 1.0 / inverse;
        x.iter().zip(w).fold(0.0, |sum, (&x, &w)| {
            let z = x - scale * code(nearest(inverse * x)) as f32;
            sum + w * z * z
        })
    };
    // llama.cpp keeps the codes of the first guess in bytes, and bounds only the others.
    let mut best = error(inverse, &|l| i32::from(l as u8));
    for t in (-4..=4).filter(|&t| t != 0) {
        let tried = (0.1 * t as f32 + n_max as f32) / max;
        let now = error(tried, &|l| l.min(n_max));
        if now < best {
            (best, inverse) = (now, tried);
        }
    }
    let (mut sum_lx, mut sum_l2) = (0.0, 0.0);
    for ((q, &x), &w) in codes.iter_mut().zip(x).zip(w) {
        let l = nearest(inverse * x).min(n_max);
        *q = l as u8;
        sum_lx += w * x * l as f32;
        sum_l2 += w * l as f32 * l as f32;
    }
    for _ in 0..SWEEPS {
        let mut changed = false;
        for ((q, &x), &w) in codes.iter_mut().zip(x).zip(w) {
            let l = f32::from(*q);
            let (rest_lx, rest_l2) = (sum_lx - w * x * l, sum_l2 - w * l * l);
            if !(rest_lx > 0.0 && rest_l2 > 0.0) {
                continue;
            }
            let new = nearest(x * rest_l2 / rest_lx).min(n_max);
            if new == i32::from(*q) {
                continue;
            }
            let (new_lx, new_l2) = (rest_lx + w * x * new as f32, rest_l2 + w * new as f32 * new as f32);
            if new_lx * new_lx * sum_l2 > sum_lx * sum_lx * new_l2 {
                *q = new as u8;
                (sum_lx, sum_l2) = (new_lx, new_l2);
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    if sum_l2 > 0.0 { sum_lx / sum_l2 } else { 0.0 }
}

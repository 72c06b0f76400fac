//! The products of prefill and nothing else: what no kernel of an instruction set can exceed.

use std::hint::black_box;

use super::simd::{Simd, TILE_STRIDE};
use super::tile::{GROUP, PANEL, Tile};

/// Multiplies a tile of 4-bit codes with columns of activations, `rounds` times; returns how many products that were.
#[inline(always)]
pub(crate) fn peak<S: Simd>(s: S, tile: &Tile, rounds: usize) -> usize {
    let zeros = black_box([[0_u8; GROUP]; 6]);
    for _ in 0..rounds {
        for v in (0..PANEL / S::LANES).step_by(2) {
            // `S::NC` is a constant only through these arms.
            match const { S::NC } {
                6 => block::<S, 6>(s, tile, v, &zeros),
                4 => block::<S, 4>(s, tile, v, &zeros),
                _ => block::<S, 3>(s, tile, v, &zeros),
            }
        }
    }
    rounds * PANEL * GROUP * S::NC
}

#[inline(always)]
fn block<S: Simd, const NC: usize>(s: S, tile: &Tile, v: usize, columns: &[[u8; GROUP]; 6]) {
    let mut dots = [[s.zero_t(); NC]; 2];
    for first in (0..GROUP).step_by(32) {
        let mut a = [columns[0].as_ptr(); NC];
        for (a, column) in a.iter_mut().zip(columns) {
            *a = column[first..].as_ptr();
        }
        // SAFETY: a tile has the codes of all its rows, and a column 256 activations.
        dots = unsafe {
            let codes = tile.codes[0].as_ptr().add(first / 4 * TILE_STRIDE + v * S::LANES * 4);
            s.panel_dot::<4, 8, 2, NC>(codes, tile.codes[0].len(), a, dots)
        };
    }
    let mut sum = s.splat(0.0);
    for row in s.to_floats(dots) {
        for dot in row {
            sum = s.add(sum, dot);
        }
    }
    black_box(s.sum(sum));
}

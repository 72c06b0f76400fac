//! Every operation, plainly: the definition.

use phi_quant::Decode;

use super::{PackedRow, Table};

pub(crate) static TABLE: Table = Table { dot_row, dot, axpy, rms_norm, silu_mul };

/// Values unpacked at a time: a whole number of blocks of every format, small enough to stay in the first cache.
const TILE: usize = 256;

fn dot_row(decode: Decode, row: PackedRow<'_>, x: &[f32], out: &mut [f32], out_stride: usize) {
    let mut tile = [0.0; TILE];
    let tile_bytes = TILE / row.block_len * row.block_bytes;
    out.iter_mut().step_by(out_stride).for_each(|out| *out = 0.0);
    for (i, bytes) in row.bytes.chunks(tile_bytes).enumerate() {
        let first = i * TILE;
        let len = TILE.min(row.cols - first);
        let tile = &mut tile[..len];
        decode(bytes, tile);
        for (x, out) in x.chunks_exact(row.cols).zip(out.iter_mut().step_by(out_stride)) {
            *out += dot(tile, &x[first..][..len]);
        }
    }
}

/// Eight partial sums, so that a compiler may use vectors without changing the order of any of them.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 8;
    let (a8, a_rest) = a.as_chunks::<LANES>();
    let (b8, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a8.iter().zip(b8) {
        for i in 0..LANES {
            sums[i] += a[i] * b[i];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    let [s0, s1, s2, s3, s4, s5, s6, s7] = sums;
    ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7)) + rest
}

fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

fn rms_norm(x: &[f32], w: &[[u8; 4]], eps: f32, out: &mut [f32]) {
    let mean_square = dot(x, x) / x.len() as f32;
    let scale = 1.0 / (mean_square + eps).sqrt();
    for ((out, x), w) in out.iter_mut().zip(x).zip(w) {
        *out = x * scale * f32::from_le_bytes(*w);
    }
}

fn silu_mul(up: &[f32], gate: &mut [f32]) {
    for (g, u) in gate.iter_mut().zip(up) {
        *g = *g / (1.0 + (-*g).exp()) * u;
    }
}

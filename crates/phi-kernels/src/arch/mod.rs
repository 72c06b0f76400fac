//! One table of functions for each instruction set. The only `match` on an [`Isa`].
//!
//! A table entry works on whole rows, so the indirect call vanishes in the work. An instruction set lists what it
//! accelerates and takes the rest from the one it falls back on.

mod scalar;

use phi_quant::Decode;

use crate::Isa;

/// The row-sized functions that drivers are made of.
pub(crate) struct Table {
    /// `out[t] = Σ_c w[c] · x[t, c]` for one packed row `w`; `out[t]` is `out[t · out_stride]` of the slice.
    pub(crate) dot_row: fn(decode: Decode, packed: PackedRow<'_>, x: &[f32], out: &mut [f32], out_stride: usize),
    /// `Σ_i a[i] · b[i]`
    pub(crate) dot: fn(a: &[f32], b: &[f32]) -> f32,
    /// `y[i] += a · x[i]`
    pub(crate) axpy: fn(a: f32, x: &[f32], y: &mut [f32]),
    /// `out[i] = x[i] / √(mean x² + eps) · w[i]`, `w` as the file has it
    pub(crate) rms_norm: RmsNorm,
    /// `gate[i] = silu(gate[i]) · up[i]`
    pub(crate) silu_mul: fn(up: &[f32], gate: &mut [f32]),
}

/// Input, little-endian weights, `eps`, output.
pub(crate) type RmsNorm = fn(x: &[f32], w: &[[u8; 4]], eps: f32, out: &mut [f32]);

/// One row of a packed matrix.
#[derive(Clone, Copy)]
pub(crate) struct PackedRow<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) cols: usize,
    pub(crate) block_len: usize,
    pub(crate) block_bytes: usize,
}

pub(crate) fn table(isa: Isa) -> &'static Table {
    match isa {
        Isa::Scalar => &scalar::TABLE,
    }
}

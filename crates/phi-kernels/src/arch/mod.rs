//! One table of functions for each instruction set. The only `match` on an [`Isa`].
//!
//! A table entry works on whole rows, so the indirect call vanishes in the work. The kernels (`gemv`, `gemm`, `float`)
//! are written once, over `simd`, which says what an instruction set has to offer, and `formats`, which says how a
//! format's bytes become codes and scales. `scalar` is every operation, plainly: the definition.

#![allow(unsafe_code, reason = "every line of SIMD is here, behind tables of safe functions")]
#![allow(clippy::multiple_unsafe_ops_per_block, reason = "a kernel's loads and stores lean on one fact, stated once")]
#![allow(clippy::needless_range_loop, reason = "loops over registers, unrolled by their index")]

mod float;
mod formats;
mod gemm;
mod gemv;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
mod peak;
mod scalar;
mod simd;
mod sums;
mod tile;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

use phi_quant::{Decode, codec};
use phi_tensor::DType;

use crate::Isa;
use formats::Format;

pub(crate) use sums::{Finish, PAD, Sums, Target, finish_few};
pub(crate) use tile::{GROUP, PANEL, PANELS, Scratch, Tile};

/// The functions that drivers are made of.
pub(crate) struct Table {
    /// How a matrix of this type is multiplied.
    pub(crate) product: fn(DType) -> Product,
    /// What is added to activations, for the integer products of [`Product::gemm`].
    pub(crate) bias: u8,
    /// Does nothing but products of codes, `rounds` times; returns how many. `None` where there are none to speak of.
    pub(crate) peak: Option<fn(&Tile, rounds: usize) -> usize>,
    /// Rounds one row of activations: `[cols]` to codes and sides of its groups.
    pub(crate) quantize: Quantize,
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

/// One group of at most 256 values; its codes, with `bias` added; its side.
pub(crate) type Quantize = fn(x: &[f32], bias: u8, q: &mut [i8; GROUP], side: &mut [f32; SIDE]);

/// A matrix times columns of activations.
#[derive(Clone, Copy)]
pub(crate) struct Product {
    /// Whether it takes activations as codes; else as floats.
    pub(crate) integer: bool,
    /// Few columns: `out[r / PANEL, c, r % PANEL] = Σ_k w[r, k] · a[c, k]`
    pub(crate) gemv: fn(Rows<'_>, Acts<'_>, out: &mut [f32]),
    /// Many columns, and at most [`PANELS`] panels of rows.
    ///
    /// # Safety
    /// The sums' target is the task's own.
    pub(crate) gemm: unsafe fn(Rows<'_>, Acts<'_>, &mut Scratch, Sums<'_>),
}

/// Rows of a packed matrix, one behind the other.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) row_bytes: usize,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) dtype: DType,
}

impl Rows<'_> {
    /// The bytes of group `b` of row `r`, fewer than a group's at the end of a row.
    #[inline(always)]
    fn group(&self, r: usize, b: usize) -> &[u8] {
        let bytes = GROUP / self.dtype.block_len() * self.dtype.block_bytes();
        let row = &self.bytes[r * self.row_bytes..][..self.row_bytes];
        let group = &row[b * bytes..];
        &group[..bytes.min(group.len())]
    }

    fn decode(&self) -> Decode {
        codec(self.dtype).expect("a model is only bound to types that can be read").decode
    }

    /// Copies what follows the last whole group of row `r`; blocks of zeros behind it add nothing.
    #[inline(always)]
    fn tail<F: Format>(&self, r: usize, out: &mut [u8; 512]) {
        let tail = self.group(r, self.cols / GROUP);
        debug_assert!(F::BYTES <= out.len());
        out[..tail.len()].copy_from_slice(tail);
    }
}

/// Floats that go with 256 codes of activations: their scale, the sums of each 32 codes, and of each 16.
pub(crate) const SIDE: usize = 1 + 8 + 16;

/// Columns of activations.
#[derive(Clone, Copy)]
pub(crate) struct Acts<'a> {
    /// `[n, cols]`
    pub(crate) x: &'a [f32],
    /// `[cols / GROUP, n, GROUP]`
    pub(crate) q: &'a [i8],
    /// `[cols / GROUP, n, SIDE]`
    pub(crate) side: &'a [f32],
    /// Columns.
    pub(crate) n: usize,
}

impl Acts<'_> {
    /// The codes of group `b` of a column.
    #[inline(always)]
    fn group(&self, b: usize, column: usize) -> *const i8 {
        self.q[(b * self.n + column) * GROUP..][..GROUP].as_ptr()
    }

    #[inline(always)]
    fn side(&self, b: usize, column: usize) -> &[f32; SIDE] {
        self.side[(b * self.n + column) * SIDE..].first_chunk().expect("every group has a side")
    }
}

/// The table of an instruction set.
pub(crate) fn table(isa: Isa) -> &'static Table {
    match isa {
        Isa::Scalar => &scalar::TABLE,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(_) => &x86::AVX2,
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni(_) => &x86::AVXVNNI,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(_) => &x86::AVX512,
        #[cfg(target_arch = "aarch64")]
        Isa::Neon(_) => &neon::NEON,
        #[cfg(target_arch = "aarch64")]
        Isa::NeonDot(_) => &neon::NEON_DOT,
        #[cfg(target_arch = "aarch64")]
        Isa::I8mm(_) => &neon::I8MM,
    }
}

/// The table of an instruction set: each kernel, compiled with its features.
macro_rules! make_table {
    ($isa:ident, $features:literal) => {
        pub(crate) static TABLE: $crate::arch::Table = {
            use $crate::arch::formats::*;
            use $crate::arch::{Acts, GROUP, Product, Rows, SIDE, Scratch, Sums, Table, Tile, float, gemm, gemv, peak};

            #[target_feature(enable = $features)]
            fn gemv_of<F: Format>(w: Rows<'_>, acts: Acts<'_>, out: &mut [f32]) {
                // SAFETY: `product` names this for the format of the rows.
                unsafe { gemv::gemv::<$isa, F>($isa(()), w, acts, out) }
            }
            #[target_feature(enable = $features)]
            unsafe fn gemm_of<F: Format>(w: Rows<'_>, acts: Acts<'_>, scratch: &mut Scratch, sums: Sums<'_>) {
                // SAFETY: `product` names this for the format of the rows; the target is the caller's promise.
                unsafe { gemm::gemm::<$isa, F>($isa(()), w, acts, &mut scratch.tiles, sums) }
            }
            #[target_feature(enable = $features)]
            fn gemv_float_of<F: Float>(w: Rows<'_>, acts: Acts<'_>, out: &mut [f32]) {
                gemv::gemv_float::<$isa, F>($isa(()), w, acts, out);
            }
            #[target_feature(enable = $features)]
            unsafe fn gemm_float_of<F: Float>(w: Rows<'_>, acts: Acts<'_>, scratch: &mut Scratch, sums: Sums<'_>) {
                // SAFETY: the target is the caller's promise.
                unsafe { gemm::gemm_float::<$isa, F>($isa(()), w, acts, &mut scratch.floats, sums) }
            }
            #[target_feature(enable = $features)]
            fn quantize(x: &[f32], bias: u8, q: &mut [i8; GROUP], side: &mut [f32; SIDE]) {
                float::quantize($isa(()), x, bias, q, side);
            }
            #[target_feature(enable = $features)]
            fn peak_of(tile: &Tile, rounds: usize) -> usize {
                peak::peak($isa(()), tile, rounds)
            }
            #[target_feature(enable = $features)]
            fn dot(a: &[f32], b: &[f32]) -> f32 {
                float::dot($isa(()), a, b)
            }
            #[target_feature(enable = $features)]
            fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
                float::axpy($isa(()), a, x, y);
            }
            #[target_feature(enable = $features)]
            fn rms_norm(x: &[f32], w: &[[u8; 4]], eps: f32, out: &mut [f32]) {
                float::rms_norm($isa(()), x, w, eps, out);
            }
            #[target_feature(enable = $features)]
            fn silu_mul(up: &[f32], gate: &mut [f32]) {
                float::silu_mul($isa(()), up, gate);
            }

            // SAFETY, of all that follow: the table is given out for a value of the type, which proves the features.
            Table {
                product: |dtype| {
                    with_format!(
                        dtype,
                        F => Product {
                            integer: true,
                            gemv: |w, acts, out| unsafe { gemv_of::<F>(w, acts, out) },
                            gemm: |w, acts, scratch, sums| unsafe { gemm_of::<F>(w, acts, scratch, sums) },
                        },
                        F => Product {
                            integer: false,
                            gemv: |w, acts, out| unsafe { gemv_float_of::<F>(w, acts, out) },
                            gemm: |w, acts, scratch, sums| unsafe { gemm_float_of::<F>(w, acts, scratch, sums) },
                        }
                    )
                },
                bias: <$isa as $crate::arch::simd::Simd>::BIAS,
                peak: Some(|tile, rounds| unsafe { peak_of(tile, rounds) }),
                quantize: |x, bias, q, side| unsafe { quantize(x, bias, q, side) },
                dot: |a, b| unsafe { dot(a, b) },
                axpy: |a, x, y| unsafe { axpy(a, x, y) },
                rms_norm: |x, w, eps, out| unsafe { rms_norm(x, w, eps, out) },
                silu_mul: |up, gate| unsafe { silu_mul(up, gate) },
            }
        };
    };
}

use make_table;

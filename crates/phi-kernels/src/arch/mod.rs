//! One table of functions for each instruction set. The only `match` on an [`Isa`].
//!
//! A table entry works on whole rows, so the indirect call vanishes in the work. The kernels (`gemv`, `gemm`, `float`)
//! are written once, over `simd`, which says what an instruction set has to offer, and `formats`, which says how a
//! format's bytes become codes and scales. `scalar` is every operation, plainly: the definition.

#![allow(unsafe_code, reason = "every line of SIMD is here, behind tables of safe functions")]
#![allow(clippy::multiple_unsafe_ops_per_block, reason = "a kernel's loads and stores lean on one fact, stated once")]
#![allow(clippy::undocumented_unsafe_blocks, reason = "the entries of a table share one reason, said above them")]
#![allow(clippy::needless_range_loop, reason = "loops over registers, unrolled by their index")]

mod attention;
mod float;
mod formats;
mod gemm;
mod gemv;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
mod order;
mod peak;
mod scalar;
mod scan;
mod simd;
mod sums;
mod tile;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

use std::ops::Range;

use phi_quant::{Decode, codec};
use phi_tensor::DType;

use crate::Isa;
use formats::Format;

pub(crate) use attention::{Cached, FEW, Queries, RING, Room, block_rows};
pub(crate) use scan::STATE;
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
    /// `y[i] += a · x[i]`
    pub(crate) axpy: fn(a: f32, x: &[f32], y: &mut [f32]),
    /// `out[i] = x[i] / √(mean x² + eps) · w[i]`, `w` as the file has it
    pub(crate) rms_norm: RmsNorm,
    /// `out[i] = (x[i] − mean x) / √(mean (x − mean x)² + eps) · w[i] + b[i]`, `w` and `b` as the file has them
    pub(crate) layer_norm: LayerNorm,
    /// Rotates pairs `i` and `i + pairs` of one token's heads by the angles whose cosines and sines these are.
    pub(crate) rope: fn(cos: &[f32], sin: &[f32], head_dim: usize, heads: &mut [f32]),
    /// `gate[i] = silu(gate[i]) · up[i]`
    pub(crate) silu_mul: fn(up: &[f32], gate: &mut [f32]),
    /// `x[i] / 2 · (1 + tanh(√(2/π) · (x[i] + 0.044715 x[i]³)))`
    pub(crate) gelu: fn(x: &mut [f32]),
    /// `gate[i] = g / (1 + e^(−1.702 g)) · (u + 1)`, with `g = min(gate[i], limit)` and `u = up[i]` within `± limit`; what is
    /// infinite becomes no number
    pub(crate) gegelu: fn(limit: f32, up: &[f32], gate: &mut [f32]),
    /// `x[i] = e^x[i] / Σ_j e^x[j]`
    pub(crate) softmax: fn(x: &mut [f32]),
    /// `x[i] = e^x[i]`
    pub(crate) exp: fn(x: &mut [f32]),
    /// One token of some channels: `s[c, j] ← e^(Δ[c] · a[c, j]) · s[c, j] + Δ[c] · x[c] · B[j]`, then
    /// `y[c] = Σ_j C[j] · s[c, j] + d[c] · x[c]`
    pub(crate) scan: Scan,
    /// How keys and values of this type become floats.
    pub(crate) unpack: fn(DType) -> Unpack,
    /// Attention of a block of queries, of at most [`block_rows`].
    pub(crate) attend: Attend,
    /// Attention of at most [`FEW`] queries over some of their keys.
    pub(crate) attend_few: AttendFew,
}

/// Input, little-endian weights, `eps`, output.
pub(crate) type RmsNorm = fn(x: &[f32], w: &[[u8; 4]], eps: f32, out: &mut [f32]);

/// Input, little-endian weights and biases, `eps`, output.
pub(crate) type LayerNorm = fn(x: &[f32], w: &[[u8; 4]], b: &[[u8; 4]], eps: f32, out: &mut [f32]);

/// Decays and factors as the file has them, steps, `B` and `C` in a row, input, state, output.
pub(crate) type Scan =
    fn(a: &[[u8; 4]], d: &[[u8; 4]], delta: &[f32], b_c: &[f32], x: &[f32], state: &mut [f32], y: &mut [f32]);

/// Rows become floats, `stride` apart, zeros behind them up to whole vectors. What lies `ahead` bytes further is wanted
/// next, unless that is 0.
pub(crate) type Unpack = fn(rows: Rows<'_>, ahead: usize, stride: usize, out: &mut [f32]);

/// Calls `put` with the number of each query and its weighted mean of values.
pub(crate) type Attend =
    fn(queries: &Queries<'_>, k: Cached<'_>, v: Cached<'_>, room: &mut Room, put: &mut dyn FnMut(usize, &[f32]));

/// Calls `put` with the number of each query, its largest score, the sum of its weights and the weighted sum of values.
pub(crate) type AttendFew = fn(
    queries: &Queries<'_>,
    keys: Range<usize>,
    k: Cached<'_>,
    v: Cached<'_>,
    room: &mut Room,
    put: &mut dyn FnMut(usize, f32, f32, &[f32]),
);

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

impl<'a> Rows<'a> {
    /// The bytes of group `b` of row `r`, fewer than a group's at the end of a row.
    #[inline(always)]
    fn group(&self, r: usize, b: usize) -> &[u8] {
        let bytes = GROUP / self.dtype.block_len() * self.dtype.block_bytes();
        let row = &self.bytes[r * self.row_bytes..][..self.row_bytes];
        let group = &row[b * bytes..];
        &group[..bytes.min(group.len())]
    }

    /// Some of the rows.
    fn range(&self, rows: Range<usize>) -> Self {
        let bytes = &self.bytes[rows.start * self.row_bytes..rows.end * self.row_bytes];
        Rows { bytes, rows: rows.len(), ..*self }
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
            use phi_tensor::DType;
            use $crate::arch::formats::*;
            use $crate::arch::{Acts, Cached, GROUP, Product, Queries, Room, Rows, SIDE, Scratch, Sums, Table, Tile};
            use $crate::arch::{attention, float, gemm, gemv, peak, scan};

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
            fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
                float::axpy($isa(()), a, x, y);
            }
            #[target_feature(enable = $features)]
            fn rms_norm(x: &[f32], w: &[[u8; 4]], eps: f32, out: &mut [f32]) {
                float::rms_norm($isa(()), x, w, eps, out);
            }
            #[target_feature(enable = $features)]
            fn layer_norm(x: &[f32], w: &[[u8; 4]], b: &[[u8; 4]], eps: f32, out: &mut [f32]) {
                float::layer_norm($isa(()), x, w, b, eps, out);
            }
            #[target_feature(enable = $features)]
            fn rope(cos: &[f32], sin: &[f32], head_dim: usize, heads: &mut [f32]) {
                float::rope($isa(()), cos, sin, head_dim, heads);
            }
            #[target_feature(enable = $features)]
            fn silu_mul(up: &[f32], gate: &mut [f32]) {
                float::silu_mul($isa(()), up, gate);
            }
            #[target_feature(enable = $features)]
            fn gelu(x: &mut [f32]) {
                float::gelu($isa(()), x);
            }
            #[target_feature(enable = $features)]
            fn gegelu(limit: f32, up: &[f32], gate: &mut [f32]) {
                float::gegelu($isa(()), limit, up, gate);
            }
            #[target_feature(enable = $features)]
            fn softmax(x: &mut [f32]) {
                float::softmax($isa(()), x);
            }
            #[target_feature(enable = $features)]
            fn exp(x: &mut [f32]) {
                float::exps($isa(()), x);
            }
            #[target_feature(enable = $features)]
            fn scan_of(
                a: &[[u8; 4]],
                d: &[[u8; 4]],
                delta: &[f32],
                b_c: &[f32],
                x: &[f32],
                state: &mut [f32],
                y: &mut [f32],
            ) {
                scan::scan($isa(()), a, d, delta, b_c, x, state, y);
            }
            #[target_feature(enable = $features)]
            fn unpack_of<F: Float>(rows: Rows<'_>, ahead: usize, stride: usize, out: &mut [f32]) {
                attention::unpack::<$isa, F>($isa(()), rows, ahead, stride, out);
            }
            #[target_feature(enable = $features)]
            fn attend(
                queries: &Queries<'_>,
                k: Cached<'_>,
                v: Cached<'_>,
                room: &mut Room,
                put: &mut dyn FnMut(usize, &[f32]),
            ) {
                attention::many($isa(()), queries, k, v, room, put);
            }
            #[target_feature(enable = $features)]
            fn attend_few(
                queries: &Queries<'_>,
                keys: std::ops::Range<usize>,
                k: Cached<'_>,
                v: Cached<'_>,
                room: &mut Room,
                put: &mut dyn FnMut(usize, f32, f32, &[f32]),
            ) {
                attention::few($isa(()), queries, keys, k, v, room, put);
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
                axpy: |a, x, y| unsafe { axpy(a, x, y) },
                rms_norm: |x, w, eps, out| unsafe { rms_norm(x, w, eps, out) },
                layer_norm: |x, w, b, eps, out| unsafe { layer_norm(x, w, b, eps, out) },
                rope: |cos, sin, head_dim, heads| unsafe { rope(cos, sin, head_dim, heads) },
                silu_mul: |up, gate| unsafe { silu_mul(up, gate) },
                gelu: |x| unsafe { gelu(x) },
                gegelu: |limit, up, gate| unsafe { gegelu(limit, up, gate) },
                softmax: |x| unsafe { softmax(x) },
                exp: |x| unsafe { exp(x) },
                scan: |a, d, delta, b_c, x, state, y| unsafe { scan_of(a, d, delta, b_c, x, state, y) },
                unpack: |dtype| match dtype {
                    DType::F32 => |rows, ahead, stride, out| unsafe { unpack_of::<F32>(rows, ahead, stride, out) },
                    DType::F16 => |rows, ahead, stride, out| unsafe { unpack_of::<F16>(rows, ahead, stride, out) },
                    DType::BF16 => |rows, ahead, stride, out| unsafe { unpack_of::<Bf16>(rows, ahead, stride, out) },
                    DType::Q8_0 => |rows, ahead, stride, out| unsafe { unpack_of::<Q8_0>(rows, ahead, stride, out) },
                    DType::Q4_0 => |rows, ahead, stride, out| unsafe { unpack_of::<Q4_0>(rows, ahead, stride, out) },
                    _ => |rows, ahead, stride, out| unsafe { unpack_of::<Other>(rows, ahead, stride, out) },
                },
                attend: |queries, k, v, room, put| unsafe { attend(queries, k, v, room, put) },
                attend_few: |queries, keys, k, v, room, put| unsafe { attend_few(queries, keys, k, v, room, put) },
            }
        };
    };
}

use make_table;

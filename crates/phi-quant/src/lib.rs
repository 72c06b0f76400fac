//! What a block's bytes mean.
//!
//! One file per format. Each opens with its byte map and its equation; its scalar code is the definition that every
//! faster kernel is tested against. Blocks are `#[repr(C)]` structs of byte arrays: their alignment is 1, so the bytes
//! of a file map are viewed as blocks wherever they lie.
//!
//! Formats without a choice to make round one block at a time (`block32`). The others look for scales: `search` has the
//! formulas, `lanes` does eight sub-blocks at once without changing a bit of what one at a time gives, `super_block` and
//! `groups` are what several formats share around them, and `importance` is how an importance matrix weighs errors.
//!
//! This crate does not know files, models or threads.
//!
//! ```
//! use phi_quant::codec;
//! use phi_tensor::DType;
//!
//! let codec = codec(DType::Q8_0).unwrap();
//! let row: Vec<f32> = (0..32).map(|i| (4 * i + 3) as f32).collect();
//! let mut packed = [0_u8; 34];
//! (codec.encode.unwrap())(&row, None, &mut packed);
//! let mut back = [0.0; 32];
//! (codec.decode)(&packed, &mut back);
//! assert_eq!(back[31], 127.0);
//! ```

#![forbid(unsafe_code)]

mod bf16;
mod block32;
mod f16;
mod f32;
mod grid;
mod groups;
mod importance;
mod iq1_m;
mod iq1_s;
mod iq2_s;
mod iq2_xs;
mod iq2_xxs;
mod iq3_s;
mod iq3_xxs;
mod iq4_nl;
mod iq4_xs;
mod lanes;
mod mxfp4;
mod nvfp4;
mod plain;
mod q1_0;
mod q2_0;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
mod q8_1;
mod q8_k;
mod search;
mod super_block;
mod tq1_0;
mod tq2_0;

use fearless_simd::{Level, dispatch};
use phi_tensor::DType;

/// How one format is read and, where we can, written. Both work on whole blocks, any number of them.
#[derive(Clone, Copy)]
pub struct Codec {
    /// Unpacks blocks: `x` holds `block_len` values for each `block_bytes` of bytes.
    ///
    /// # Panics
    /// When the lengths do not fit each other.
    pub decode: Decode,
    /// Packs one row of values, by the rules of llama.cpp's reference quantizer, to the byte. With `weights`, one per
    /// value, errors count as much as they say (an importance matrix); formats without a choice to make ignore them.
    ///
    /// # Panics
    /// When the lengths do not fit each other.
    pub encode: Option<Encode>,
}

/// Packed blocks in, values out.
pub type Decode = fn(bytes: &[u8], x: &mut [f32]);

/// Values of one row in, and the weight of each; packed blocks out.
pub type Encode = fn(x: &[f32], weights: Option<&[f32]>, bytes: &mut [u8]);

/// Every format once, and its module. Both directions are compiled for each instruction set and chosen when called.
macro_rules! formats {
    (written: $($w:ident = $w_module:ident),* ; read: $($r:ident = $decode:path),*) => {
        /// The codec of a format, or `None` for a format this program does not read.
        // Never inlined: the crate that calls it would compile every codec again, for minutes.
        #[inline(never)]
        pub fn codec(dtype: DType) -> Option<&'static Codec> {
            Some(match dtype {
                $(DType::$w => {
                    const CODEC: Codec = Codec {
                        decode: |bytes, x| dispatch!(Level::new(), _simd => $w_module::decode(bytes, x)),
                        encode: Some(|x, weights, bytes| {
                            dispatch!(Level::new(), simd => $w_module::encode(simd, x, weights, bytes));
                        }),
                    };
                    &CODEC
                })*
                $(DType::$r => {
                    const CODEC: Codec = Codec {
                        decode: |bytes, x| dispatch!(Level::new(), _simd => $decode(bytes, x)),
                        encode: None,
                    };
                    &CODEC
                })*
                _ => return None,
            })
        }

        /// What `codec(dtype)` encodes with, without choosing an instruction set: to compare with.
        ///
        /// # Panics
        /// When the format has no encoder, or the lengths do not fit each other.
        #[inline(never)]
        pub fn encode_plainly(dtype: DType, x: &[f32], weights: Option<&[f32]>, bytes: &mut [u8]) {
            match dtype {
                $(DType::$w => dispatch!(Level::baseline(), simd => $w_module::encode(simd, x, weights, bytes)),)*
                _ => panic!("{dtype} has no encoder"),
            }
        }
    };
}

formats! {
    written:
        F32 = f32, F16 = f16, BF16 = bf16,
        Q4_0 = q4_0, Q4_1 = q4_1, Q5_0 = q5_0, Q5_1 = q5_1, Q8_0 = q8_0,
        Q2_K = q2_k, Q3_K = q3_k, Q4_K = q4_k, Q5_K = q5_k, Q6_K = q6_k,
        IQ4_NL = iq4_nl, IQ4_XS = iq4_xs, TQ1_0 = tq1_0, TQ2_0 = tq2_0, MXFP4 = mxfp4;
    read:
        IQ1_S = iq1_s::decode, IQ1_M = iq1_m::decode,
        IQ2_XXS = iq2_xxs::decode, IQ2_XS = iq2_xs::decode, IQ2_S = iq2_s::decode,
        IQ3_XXS = iq3_xxs::decode, IQ3_S = iq3_s::decode,
        NVFP4 = nvfp4::decode, Q1_0 = q1_0::decode, Q2_0 = q2_0::decode, Q8_1 = q8_1::decode, Q8_K = q8_k::decode,
        I8 = plain::decode_i8, I16 = plain::decode_i16, I32 = plain::decode_i32, I64 = plain::decode_i64,
        F64 = plain::decode_f64
}

/// The largest magnitude; what is no number counts as larger than all, infinity next.
pub fn peak(x: &[f32]) -> f32 {
    /// Of the bits without the sign: among them integers are ordered as the numbers are.
    #[inline(always)]
    fn largest(x: &[f32]) -> u32 {
        x.iter().fold(0, |m, x| m.max(x.to_bits() & 0x7fff_ffff))
    }
    f32::from_bits(dispatch!(Level::new(), _simd => largest(x)))
}

/// Views packed bytes as blocks beside the values they stand for.
///
/// # Panics
/// When the lengths do not fit each other.
fn blocks_of<'a, B: bytemuck::AnyBitPattern, const N: usize>(
    bytes: &'a [u8],
    x: &'a mut [f32],
) -> impl Iterator<Item = (&'a B, &'a mut [f32; N])> {
    let blocks: &[B] = bytemuck::cast_slice(bytes);
    let (values, rest) = x.as_chunks_mut::<N>();
    assert!(
        rest.is_empty() && values.len() == blocks.len(),
        "{} blocks stand for {} values",
        blocks.len(),
        x_len(values, rest)
    );
    blocks.iter().zip(values)
}

/// Views values beside the blocks that will stand for them.
///
/// # Panics
/// When the lengths do not fit each other.
fn blocks_for<'a, B: bytemuck::Pod, const N: usize>(
    x: &'a [f32],
    bytes: &'a mut [u8],
) -> impl Iterator<Item = (&'a [f32; N], &'a mut B)> {
    let blocks: &mut [B] = bytemuck::cast_slice_mut(bytes);
    let (values, rest) = x.as_chunks::<N>();
    assert!(
        rest.is_empty() && values.len() == blocks.len(),
        "{} blocks for {} values",
        blocks.len(),
        x_len(values, rest)
    );
    values.iter().zip(blocks)
}

fn x_len<const N: usize>(chunks: &[[f32; N]], rest: &[f32]) -> usize {
    chunks.len() * N + rest.len()
}

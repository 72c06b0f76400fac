//! What a block's bytes mean.
//!
//! One file per format. Each opens with its byte map and its equation; its scalar code is the definition that every
//! faster kernel is tested against. Blocks are `#[repr(C)]` structs of byte arrays: their alignment is 1, so the bytes
//! of a file map are viewed as blocks wherever they lie.
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
mod f16;
mod f32;
mod grid;
mod iq1_m;
mod iq1_s;
mod iq2_s;
mod iq2_xs;
mod iq2_xxs;
mod iq3_s;
mod iq3_xxs;
mod nvfp4;
mod plain;
mod q1_0;
mod q2_0;
mod q4_0;
mod q4_k;
mod q6_k;
mod q8_0;
mod q8_1;
mod q8_k;

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

/// The codec of a format, or `None` for a format this program does not read.
pub fn codec(dtype: DType) -> Option<&'static Codec> {
    Some(match dtype {
        DType::F32 => &f32::CODEC,
        DType::F16 => &f16::CODEC,
        DType::BF16 => &bf16::CODEC,
        DType::Q4_0 => &q4_0::CODEC,
        DType::Q4_K => &q4_k::CODEC,
        DType::Q6_K => &q6_k::CODEC,
        DType::Q8_0 => &q8_0::CODEC,
        DType::Q1_0 => &q1_0::CODEC,
        DType::Q2_0 => &q2_0::CODEC,
        DType::Q8_1 => &q8_1::CODEC,
        DType::Q8_K => &q8_k::CODEC,
        DType::IQ1_S => &iq1_s::CODEC,
        DType::IQ1_M => &iq1_m::CODEC,
        DType::IQ2_XXS => &iq2_xxs::CODEC,
        DType::IQ2_XS => &iq2_xs::CODEC,
        DType::IQ2_S => &iq2_s::CODEC,
        DType::IQ3_XXS => &iq3_xxs::CODEC,
        DType::IQ3_S => &iq3_s::CODEC,
        DType::NVFP4 => &nvfp4::CODEC,
        DType::I8 => &plain::I8,
        DType::I16 => &plain::I16,
        DType::I32 => &plain::I32,
        DType::I64 => &plain::I64,
        DType::F64 => &plain::F64,
        _ => return None,
    })
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

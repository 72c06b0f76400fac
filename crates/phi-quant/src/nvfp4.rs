//! NVFP4: 64 values as 4-bit floats; 4 sub-blocks of 16, each with an 8-bit float for a scale.
//!
//! ```text
//! byte   0..4              4..36
//!        d[4] unsigned     qs[32]: 8 bytes for a sub-block, its values 0 to 7 in their low nibbles, 8 to 15 in the
//!        E4M3              high ones
//! x[i] = E2M1[q[i]] · d[i / 16]
//! ```
//!
//! A model may carry one more factor for a whole tensor, in a tensor of its own.

use crate::blocks_of;
use crate::mxfp4::DOUBLED;

const LEN: usize = 64;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Block {
    d: [u8; LEN / 16],
    qs: [u8; LEN / 2],
}

#[inline(always)]
pub(crate) fn decode(bytes: &[u8], x: &mut [f32]) {
    for (block, x) in blocks_of::<Block, LEN>(bytes, x) {
        let parts = block.d.iter().zip(block.qs.as_chunks::<8>().0).zip(x.as_chunks_mut::<16>().0);
        for ((&d, qs), x) in parts {
            let d = half_of_e4m3(d);
            for (j, q) in qs.iter().enumerate() {
                x[j] = f32::from(DOUBLED[usize::from(q & 15)]) * d;
                x[j + 8] = f32::from(DOUBLED[usize::from(q >> 4)]) * d;
            }
        }
    }
}

/// Half of the float with 4 bits of exponent, 3 of mantissa and no sign: the top bit says nothing. Its NaN is zero here.
fn half_of_e4m3(byte: u8) -> f32 {
    let (exponent, mantissa) = (u32::from(byte >> 3 & 15), u32::from(byte & 7));
    let value = match exponent {
        _ if byte == 0x7f => 0.0,
        0 => mantissa as f32 / 512.0,
        _ => f32::from_bits((exponent + 127 - 7) << 23 | mantissa << 20),
    };
    0.5 * value
}

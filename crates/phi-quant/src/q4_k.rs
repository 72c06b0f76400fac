//! Q4_K: 256 values in 4 bits; 8 sub-blocks of 32, each with a 6-bit scale and a 6-bit minimum.
//!
//! ```text
//! byte   0..2    2..4       4..16        16..144
//!        d f16   dmin f16   scales[12]   qs[128]: 4 chunks of 32 bytes; chunk c holds q of sub-block 2c in its
//!                                                 low nibbles and of sub-block 2c + 1 in its high ones
//! x[i] = d · sc[s] · q[i] − dmin · mn[s],  s = i / 32
//! ```
//!
//! The 6-bit numbers of sub-blocks 0 to 3 are the low six bits of `scales[s]` (scale) and `scales[s + 4]` (minimum).
//! Those of 4 to 7 have their low four bits in the nibbles of `scales[s + 4]` and their high two on top of those bytes.

use half::f16;

use crate::{Codec, blocks_of};

const LEN: usize = 256;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Block {
    d: [u8; 2],
    dmin: [u8; 2],
    scales: [u8; 12],
    qs: [u8; LEN / 2],
}

pub(crate) const CODEC: Codec = Codec { decode, encode: None };

fn decode(bytes: &[u8], x: &mut [f32]) {
    for (block, x) in blocks_of::<Block, LEN>(bytes, x) {
        let d = f16::from_le_bytes(block.d).to_f32();
        let dmin = f16::from_le_bytes(block.dmin).to_f32();
        for (s, x) in x.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let (scale, min) = scale_min(&block.scales, s);
            let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
            let qs = &block.qs[s / 2 * 32..][..32];
            for (x, q) in x.iter_mut().zip(qs) {
                let q = if s % 2 == 0 { q & 15 } else { q >> 4 };
                *x = scale * f32::from(q) - min;
            }
        }
    }
}

/// The 6-bit scale and minimum of sub-block `s`.
fn scale_min(scales: &[u8; 12], s: usize) -> (u8, u8) {
    if s < 4 {
        (scales[s] & 63, scales[s + 4] & 63)
    } else {
        let low = scales[s + 4];
        (low & 15 | scales[s - 4] >> 6 << 4, low >> 4 | scales[s] >> 6 << 4)
    }
}

//! Q6_K: 256 values in 6 bits; 16 sub-blocks of 16, each with an 8-bit scale.
//!
//! ```text
//! byte   0..128    128..192   192..208         208..210
//!        ql[128]   qh[64]     scales[16] i8    d f16
//! x[i] = d · sc[i / 16] · (q[i] − 32)
//! ```
//!
//! Each half of 128 values has 64 bytes of `ql` and 32 of `qh`. Value `32g + l` of a half (g < 4) has its low four bits in
//! `ql[32·(g mod 2) + l]`, the low nibble for g < 2 and the high one else, and its high two in bits `2g` of `qh[l]`.

use half::f16;

use crate::{Codec, blocks_of};

const LEN: usize = 256;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Block {
    ql: [u8; LEN / 2],
    qh: [u8; LEN / 4],
    scales: [i8; LEN / 16],
    d: [u8; 2],
}

pub(crate) const CODEC: Codec = Codec { decode, encode: None };

fn decode(bytes: &[u8], x: &mut [f32]) {
    for (block, x) in blocks_of::<Block, LEN>(bytes, x) {
        let d = f16::from_le_bytes(block.d).to_f32();
        let halves = x.as_chunks_mut::<128>().0.iter_mut().zip(block.ql.as_chunks::<64>().0);
        let halves = halves.zip(block.qh.as_chunks::<32>().0).zip(block.scales.as_chunks::<8>().0);
        for (((x, ql), qh), scales) in halves {
            for (i, x) in x.iter_mut().enumerate() {
                let (g, l) = (i / 32, i % 32);
                let low = ql[32 * (g % 2) + l] >> (4 * (g / 2)) & 15;
                let high = qh[l] >> (2 * g) & 3;
                let q = (low | high << 4) as i8 - 32;
                *x = d * f32::from(scales[i / 16]) * f32::from(q);
            }
        }
    }
}

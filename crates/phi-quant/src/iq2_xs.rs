//! IQ2_XS: 256 values as points of a codebook of 512; each point gives eight magnitudes, each scale is for two points.
//!
//! ```text
//! byte   0..2    2..66                                           66..74
//!        d f16   w[32] u16: 9 bits of index, then 7 of signs     scales[8]: two nibbles s each, low one first
//! x[8k + j] = ± d · (s[k / 2] + ½) / 4 · grid[w[k] mod 512][j]
//! ```
//!
//! The eighth sign of a point makes the number of negatives even.

use half::f16;

use crate::{blocks_of, grid};

const LEN: usize = 256;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Block {
    d: [u8; 2],
    words: [[u8; 2]; LEN / 8],
    scales: [u8; LEN / 32],
}

#[inline(always)]
pub(crate) fn decode(bytes: &[u8], x: &mut [f32]) {
    for (block, x) in blocks_of::<Block, LEN>(bytes, x) {
        let d = f16::from_le_bytes(block.d).to_f32();
        for (k, (word, x)) in block.words.iter().zip(x.as_chunks_mut::<8>().0).enumerate() {
            let word = u16::from_le_bytes(*word);
            let s = block.scales[k / 4] >> (4 * (k / 2 % 2)) & 15;
            let scale = d * (0.5 + f32::from(s)) * 0.25;
            grid::write(scale, &grid::IQ2_XS[usize::from(word & 511)], grid::even_signs(u32::from(word >> 9)), x);
        }
    }
}

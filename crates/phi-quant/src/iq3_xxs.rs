//! IQ3_XXS: 256 values as points of a codebook of 256; each point gives four magnitudes.
//!
//! ```text
//! byte   0..2    2..66     66..98
//!        d f16   idx[64]   8 × u32, one for 32 values: 4 × 7 signs and, on top, the 4-bit scale s
//! x[4t + j] = ± d · (s[t / 8] + ½) / 2 · grid[idx[t]][j]
//! ```
//!
//! Seven signs are for two points; the eighth makes the number of negatives even.

use half::f16;

use crate::{blocks_of, grid};

const LEN: usize = 256;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Block {
    d: [u8; 2],
    idx: [u8; LEN / 4],
    signs_scales: [[u8; 4]; LEN / 32],
}

#[inline(always)]
pub(crate) fn decode(bytes: &[u8], x: &mut [f32]) {
    for (block, x) in blocks_of::<Block, LEN>(bytes, x) {
        let d = f16::from_le_bytes(block.d).to_f32();
        for (t, (&idx, x)) in block.idx.iter().zip(x.as_chunks_mut::<4>().0).enumerate() {
            let word = u32::from_le_bytes(block.signs_scales[t / 8]);
            let scale = d * (0.5 + (word >> 28) as f32) * 0.5;
            let signs = grid::even_signs(word >> (7 * (t / 2 % 4))) >> (4 * (t % 2));
            grid::write(scale, &grid::IQ3_XXS[usize::from(idx)], signs, x);
        }
    }
}

//! IQ2_XXS: 256 values as points of a codebook of 256; each point gives eight magnitudes.
//!
//! ```text
//! byte   0..2    2..66
//!        d f16   8 groups of 32 values: idx[4], then a u32 of 4 × 7 signs and, on top, the 4-bit scale s
//! x[8k + j] = ± d · (s + ½) / 4 · grid[idx[k]][j]  in each group, k < 4
//! ```
//!
//! Bit `j` of the seven at `7k` is the sign of value `j`; the eighth makes the number of negatives even.

use half::f16;

use crate::{blocks_of, grid};

const LEN: usize = 256;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Block {
    d: [u8; 2],
    groups: [Group; LEN / 32],
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Group {
    idx: [u8; 4],
    signs_scale: [u8; 4],
}

#[inline(always)]
pub(crate) fn decode(bytes: &[u8], x: &mut [f32]) {
    for (block, x) in blocks_of::<Block, LEN>(bytes, x) {
        let d = f16::from_le_bytes(block.d).to_f32();
        for (group, x) in block.groups.iter().zip(x.as_chunks_mut::<32>().0) {
            let word = u32::from_le_bytes(group.signs_scale);
            let scale = d * (0.5 + (word >> 28) as f32) * 0.25;
            for (k, (&idx, x)) in group.idx.iter().zip(x.as_chunks_mut::<8>().0).enumerate() {
                grid::write(scale, &grid::IQ2_XXS[usize::from(idx)], grid::even_signs(word >> (7 * k)), x);
            }
        }
    }
}

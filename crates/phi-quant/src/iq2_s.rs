//! IQ2_S: 256 values as points of a codebook of 1024; each point gives eight magnitudes, each scale is for two points.
//!
//! ```text
//! byte   0..2    2..34     34..66      66..74                        74..82
//!        d f16   idx[32]   signs[32]   qh[8]: 2 bits for each idx    scales[8]: two nibbles s each, low one first
//! x[8k + j] = ± d · (s[k / 2] + ½) / 4 · grid[idx[k] + 256 · qh[k]][j],  minus where bit j of signs[k] is set
//! ```

use half::f16;

use crate::{blocks_of, grid};

const LEN: usize = 256;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Block {
    d: [u8; 2],
    idx: [u8; LEN / 8],
    signs: [u8; LEN / 8],
    qh: [u8; LEN / 32],
    scales: [u8; LEN / 32],
}

#[inline(always)]
pub(crate) fn decode(bytes: &[u8], x: &mut [f32]) {
    for (block, x) in blocks_of::<Block, LEN>(bytes, x) {
        let d = f16::from_le_bytes(block.d).to_f32();
        for (k, x) in x.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let high = block.qh[k / 4] >> (2 * (k % 4)) & 3;
            let s = block.scales[k / 4] >> (4 * (k / 2 % 2)) & 15;
            let scale = d * (0.5 + f32::from(s)) * 0.25;
            let point = usize::from(block.idx[k]) | usize::from(high) << 8;
            grid::write(scale, &grid::IQ2_S[point], block.signs[k], x);
        }
    }
}

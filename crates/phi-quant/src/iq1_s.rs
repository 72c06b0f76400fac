//! IQ1_S: 256 values as points of a codebook of 2048; each point gives eight of −1, 0 and 1, all moved by an eighth.
//!
//! ```text
//! byte   0..2    2..34     34..50
//!        d f16   idx[32]   qh[8] u16, one for 32 values: 4 × 3 high bits of idx, 3 bits of scale s, and on top the
//!                          direction of the move
//! x[8k + j] = d · (2 s[k / 4] + 1) · (grid[idx[k] + 256 · qh[k]][j] ± ⅛),  minus where the top bit is set
//! ```

use half::f16;

use crate::{blocks_of, grid};

const LEN: usize = 256;

/// How far the points are moved.
pub(crate) const DELTA: f32 = 0.125;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Block {
    d: [u8; 2],
    idx: [u8; LEN / 8],
    qh: [[u8; 2]; LEN / 32],
}

#[inline(always)]
pub(crate) fn decode(bytes: &[u8], x: &mut [f32]) {
    for (block, x) in blocks_of::<Block, LEN>(bytes, x) {
        let d = f16::from_le_bytes(block.d).to_f32();
        for (k, (&idx, x)) in block.idx.iter().zip(x.as_chunks_mut::<8>().0).enumerate() {
            let word = u16::from_le_bytes(block.qh[k / 4]);
            let scale = d * f32::from(2 * (word >> 12 & 7) + 1);
            let delta = if word >> 15 == 1 { -DELTA } else { DELTA };
            let point = usize::from(idx) | usize::from(word >> (3 * (k % 4)) & 7) << 8;
            for (x, &g) in x.iter_mut().zip(&grid::IQ1[point]) {
                *x = scale * (f32::from(g) + delta);
            }
        }
    }
}

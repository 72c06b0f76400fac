//! IQ1_M: 256 values as points of IQ1_S's codebook; each point has its own direction, each scale is for two points.
//!
//! ```text
//! byte   0..32     32..48                                        48..56
//!        idx[32]   qh[16]: a nibble for each idx, low one        scales[4] u16: 4 × 3 bits of scale s, and on top a
//!                  first: 3 high bits of idx and the direction   nibble of d, an f16: the lowest first
//! x[8k + j] = d · (2 s[k / 2] + 1) · (grid[idx[k] + 256 · qh[k]][j] ± ⅛),  minus where the nibble's top bit is set
//! ```

use half::f16;

use crate::{blocks_of, grid, iq1_s::DELTA};

const LEN: usize = 256;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Block {
    idx: [u8; LEN / 8],
    qh: [u8; LEN / 16],
    scales: [[u8; 2]; LEN / 64],
}

#[inline(always)]
pub(crate) fn decode(bytes: &[u8], x: &mut [f32]) {
    for (block, x) in blocks_of::<Block, LEN>(bytes, x) {
        let scales = block.scales.map(u16::from_le_bytes);
        let d = scales.iter().rev().fold(0, |d, word| d << 4 | word >> 12);
        let d = f16::from_bits(d).to_f32();
        for (k, (&idx, x)) in block.idx.iter().zip(x.as_chunks_mut::<8>().0).enumerate() {
            let scale = d * f32::from(2 * (scales[k / 8] >> (3 * (k / 2 % 4)) & 7) + 1);
            let high = block.qh[k / 2] >> (4 * (k % 2));
            let delta = if high & 8 != 0 { -DELTA } else { DELTA };
            let point = usize::from(idx) | usize::from(high & 7) << 8;
            for (x, &g) in x.iter_mut().zip(&grid::IQ1[point]) {
                *x = scale * (f32::from(g) + delta);
            }
        }
    }
}

//! IQ3_S: 256 values as points of a codebook of 512; each point gives four magnitudes.
//!
//! ```text
//! byte   0..2    2..66     66..74                      74..106              106..110
//!        d f16   idx[64]   qh[8]: 1 bit for each idx   signs[32]: 1 bit     scales[4]: a nibble s for 32 values,
//!                                                      for each value       low one first
//! x[4t + j] = ± d · (2 s[t / 8] + 1) · grid[idx[t] + 256 · qh[t]][j]
//! ```

use half::f16;

use crate::{blocks_of, grid};

const LEN: usize = 256;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Block {
    d: [u8; 2],
    idx: [u8; LEN / 4],
    qh: [u8; LEN / 32],
    signs: [u8; LEN / 8],
    scales: [u8; LEN / 64],
}

#[inline(always)]
pub(crate) fn decode(bytes: &[u8], x: &mut [f32]) {
    for (block, x) in blocks_of::<Block, LEN>(bytes, x) {
        let d = f16::from_le_bytes(block.d).to_f32();
        for (t, (&idx, x)) in block.idx.iter().zip(x.as_chunks_mut::<4>().0).enumerate() {
            let s = block.scales[t / 16] >> (4 * (t / 8 % 2)) & 15;
            let scale = d * f32::from(1 + 2 * s);
            let point = usize::from(idx) | usize::from(block.qh[t / 8] >> (t % 8) & 1) << 8;
            grid::write(scale, &grid::IQ3_S[point], block.signs[t / 2] >> (4 * (t % 2)), x);
        }
    }
}

//! Q8_K: 256 values as signed bytes with one scale, and sums of 16, which only save work where activations meet a minimum.
//!
//! ```text
//! byte   0..4    4..260      260..292
//!        d f32   q[256] i8   sums[16] i16
//! x[i] = d · q[i]
//! ```

use crate::blocks_of;

const LEN: usize = 256;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Block {
    d: [u8; 4],
    q: [i8; LEN],
    sums: [[u8; 2]; LEN / 16],
}

#[inline(always)]
pub(crate) fn decode(bytes: &[u8], x: &mut [f32]) {
    for (block, x) in blocks_of::<Block, LEN>(bytes, x) {
        let d = f32::from_le_bytes(block.d);
        for (x, &q) in x.iter_mut().zip(&block.q) {
            *x = d * f32::from(q);
        }
    }
}

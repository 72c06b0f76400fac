//! Q2_0: 64 values of −1, 0, 1 and 2 with one scale.
//!
//! ```text
//! byte   0..2    2..18
//!        d f16   qs[16]: 2 bits for each value, the lowest first
//! x[i] = (q[i] − 1) · d
//! ```

use half::f16;

use crate::blocks_of;

const LEN: usize = 64;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Block {
    d: [u8; 2],
    qs: [u8; LEN / 4],
}

#[inline(always)]
pub(crate) fn decode(bytes: &[u8], x: &mut [f32]) {
    for (block, x) in blocks_of::<Block, LEN>(bytes, x) {
        let d = f16::from_le_bytes(block.d).to_f32();
        for (i, x) in x.iter_mut().enumerate() {
            let q = block.qs[i / 4] >> (2 * (i % 4)) & 3;
            *x = f32::from(q as i8 - 1) * d;
        }
    }
}

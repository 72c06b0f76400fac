//! Q1_0: 128 values as signs of one scale.
//!
//! ```text
//! byte   0..2    2..18
//!        d f16   qs[16]: bit i, the lowest first, is the sign of value i
//! x[i] = q[i] = 1 ? d : −d
//! ```

use half::f16;

use crate::blocks_of;

const LEN: usize = 128;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Block {
    d: [u8; 2],
    qs: [u8; LEN / 8],
}

#[inline(always)]
pub(crate) fn decode(bytes: &[u8], x: &mut [f32]) {
    for (block, x) in blocks_of::<Block, LEN>(bytes, x) {
        let d = f16::from_le_bytes(block.d).to_f32();
        for (i, x) in x.iter_mut().enumerate() {
            *x = if block.qs[i / 8] >> (i % 8) & 1 == 1 { d } else { -d };
        }
    }
}

//! Q8_1: 32 values as signed bytes with one scale and their sum, which only saves work where activations meet a minimum.
//!
//! ```text
//! byte   0..2    2..4            4..36
//!        d f16   d · Σ q, f16    q[32] i8
//! x[i] = d · q[i]
//! ```

use half::f16;

use crate::blocks_of;

const LEN: usize = 32;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Block {
    d: [u8; 2],
    sum: [u8; 2],
    q: [i8; LEN],
}

#[inline(always)]
pub(crate) fn decode(bytes: &[u8], x: &mut [f32]) {
    for (block, x) in blocks_of::<Block, LEN>(bytes, x) {
        let d = f16::from_le_bytes(block.d).to_f32();
        for (x, &q) in x.iter_mut().zip(&block.q) {
            *x = f32::from(q) * d;
        }
    }
}

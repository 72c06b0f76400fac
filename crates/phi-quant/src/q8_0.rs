//! Q8_0: 32 values as signed bytes with one scale.
//!
//! ```text
//! byte   0..2    2..34
//!        d f16   q[32] i8
//! x[i] = d · q[i]
//! ```

use fearless_simd::prelude::*;
use half::f16;

use crate::block32::Block32;
use crate::{blocks_for, blocks_of};

const LEN: usize = 32;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Block {
    d: [u8; 2],
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

/// `d = max|x| / 127`, `q = round(x / d)`, halves away from zero. The inverse scale is that of `d` before it is rounded
/// to f16, as in llama.cpp.
#[inline(always)]
pub(crate) fn encode<S: Simd>(simd: S, x: &[f32], _: Option<&[f32]>, bytes: &mut [u8]) {
    for (x, block) in blocks_for::<Block, LEN>(x, bytes) {
        let x = Block32::new(simd, x);
        let d = x.largest() / 127.0;
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        block.d = f16::from_f32(d).to_le_bytes();
        block.q = bytemuck::cast(x.rounded(inverse).bytes());
    }
}

//! I8, I16, I32, I64 and F64: numbers, little-endian, read as the nearest single. `x[i] = value[i]`
//!
//! GGUF files hold them beside the weights; none is a way to pack weights, so none is written.

use crate::blocks_of;

macro_rules! decoders {
    ($($name:ident: $number:ty;)*) => {
        $(#[inline(always)]
        pub(crate) fn $name(bytes: &[u8], x: &mut [f32]) {
            for (block, [x]) in blocks_of::<[u8; size_of::<$number>()], 1>(bytes, x) {
                *x = <$number>::from_le_bytes(*block) as f32;
            }
        })*
    };
}

decoders! {
    decode_i8: i8;
    decode_i16: i16;
    decode_i32: i32;
    decode_i64: i64;
    decode_f64: f64;
}

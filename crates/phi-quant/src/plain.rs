//! I8, I16, I32, I64 and F64: numbers, little-endian, read as the nearest single. `x[i] = value[i]`
//!
//! GGUF files hold them beside the weights; none is a way to pack weights, so none is written.

use crate::{Codec, blocks_of};

macro_rules! codecs {
    ($($name:ident = $number:ty;)*) => {
        $(pub(crate) const $name: Codec = Codec {
            decode: |bytes, x| {
                for (block, [x]) in blocks_of::<[u8; size_of::<$number>()], 1>(bytes, x) {
                    *x = <$number>::from_le_bytes(*block) as f32;
                }
            },
            encode: None,
        };)*
    };
}

codecs! {
    I8 = i8;
    I16 = i16;
    I32 = i32;
    I64 = i64;
    F64 = f64;
}

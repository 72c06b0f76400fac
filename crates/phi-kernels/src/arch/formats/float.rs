//! Formats whose values are used as floats.

use phi_quant::Decode;

use crate::arch::simd::Simd;

/// A format that is read as floats.
pub(crate) trait Float: 'static {
    /// Unpacks `out.len()` values from `bytes`, whose format may have any `codec`.
    fn decode<S: Simd>(s: S, codec: Decode, bytes: &[u8], out: &mut [f32]);
}

/// Runs `load` for each vector, and once more for the values behind the last whole one.
macro_rules! float {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $load:ident, $one:expr) => {
        $(#[$doc])*
        pub(crate) struct $name;

        impl Float for $name {
            #[inline(always)]
            fn decode<S: Simd>(s: S, _codec: Decode, bytes: &[u8], out: &mut [f32]) {
                assert_eq!(bytes.len(), $bytes * out.len(), "these bytes are these values");
                let whole = out.len() / S::LANES * S::LANES;
                for i in (0..whole).step_by(S::LANES) {
                    // SAFETY: `out` has a vector's floats from `i` on, and `bytes` those of as many values.
                    unsafe { s.store(out.as_mut_ptr().add(i), s.$load(bytes.as_ptr().add($bytes * i).cast())) };
                }
                let (values, _) = bytes.as_chunks::<$bytes>();
                for (out, value) in out[whole..].iter_mut().zip(&values[whole..]) {
                    *out = $one(s, *value);
                }
            }
        }
    };
}

float!(
    /// 32 bits.
    F32, 4, load, |_s: S, bytes: [u8; 4]| f32::from_le_bytes(bytes)
);
float!(
    /// Half floats.
    F16, 2, load_f16, |s: S, bytes: [u8; 2]| s.f16(u16::from_le_bytes(bytes))
);
float!(
    /// Floats cut to 16 bits.
    Bf16, 2, load_bf16, |_s: S, bytes: [u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
);

/// Any format, by its codec.
pub(crate) struct Other;

impl Float for Other {
    #[inline(always)]
    fn decode<S: Simd>(_s: S, codec: Decode, bytes: &[u8], out: &mut [f32]) {
        codec(bytes, out);
    }
}

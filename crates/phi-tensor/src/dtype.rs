use std::fmt;

/// Declares every type once: its name, its number in a GGUF file, and the geometry of its block.
macro_rules! dtypes {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $block_len:literal values in $block_bytes:literal bytes;)*) => {
        /// How numbers are packed: a row is a sequence of blocks, a block holds `block_len` values in `block_bytes`.
        ///
        /// Geometry only; what the bytes mean is the business of `phi-quant`.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[allow(non_camel_case_types, reason = "GGML's own spelling, the one users type and read")]
        #[non_exhaustive]
        pub enum DType { $($(#[$doc])* $name,)* }

        impl DType {
            /// Every type, in order of its number.
            pub const ALL: &'static [DType] = &[$(DType::$name),*];

            /// The number that stands for this type in a GGUF tensor table.
            pub const fn id(self) -> u32 {
                match self { $(DType::$name => $id,)* }
            }

            /// GGML's upper-case name, such as `Q4_K`.
            pub const fn name(self) -> &'static str {
                match self { $(DType::$name => stringify!($name),)* }
            }

            /// Values in one block.
            pub const fn block_len(self) -> usize {
                match self { $(DType::$name => $block_len,)* }
            }

            /// Bytes of one block.
            pub const fn block_bytes(self) -> usize {
                match self { $(DType::$name => $block_bytes,)* }
            }
        }
    };
}

dtypes! {
    /// IEEE single precision.
    F32 = 0, 1 values in 4 bytes;
    /// IEEE half precision.
    F16 = 1, 1 values in 2 bytes;
    /// 4 bits and a scale.
    Q4_0 = 2, 32 values in 18 bytes;
    /// 4 bits, a scale and a minimum.
    Q4_1 = 3, 32 values in 20 bytes;
    /// 5 bits and a scale.
    Q5_0 = 6, 32 values in 22 bytes;
    /// 5 bits, a scale and a minimum.
    Q5_1 = 7, 32 values in 24 bytes;
    /// 8 bits and a scale.
    Q8_0 = 8, 32 values in 34 bytes;
    /// 8 bits, a scale and a sum; only used for activations.
    Q8_1 = 9, 32 values in 36 bytes;
    /// 2-bit K-quant.
    Q2_K = 10, 256 values in 84 bytes;
    /// 3-bit K-quant.
    Q3_K = 11, 256 values in 110 bytes;
    /// 4-bit K-quant.
    Q4_K = 12, 256 values in 144 bytes;
    /// 5-bit K-quant.
    Q5_K = 13, 256 values in 176 bytes;
    /// 6-bit K-quant.
    Q6_K = 14, 256 values in 210 bytes;
    /// 8-bit K-quant; only used for activations.
    Q8_K = 15, 256 values in 292 bytes;
    /// 2.06-bit codebook.
    IQ2_XXS = 16, 256 values in 66 bytes;
    /// 2.31-bit codebook.
    IQ2_XS = 17, 256 values in 74 bytes;
    /// 3.06-bit codebook.
    IQ3_XXS = 18, 256 values in 98 bytes;
    /// 1.56-bit codebook.
    IQ1_S = 19, 256 values in 50 bytes;
    /// 4 bits through a table, a scale.
    IQ4_NL = 20, 32 values in 18 bytes;
    /// 3.44-bit codebook.
    IQ3_S = 21, 256 values in 110 bytes;
    /// 2.56-bit codebook.
    IQ2_S = 22, 256 values in 82 bytes;
    /// 4 bits through a table, 256 at a time.
    IQ4_XS = 23, 256 values in 136 bytes;
    /// Integer, 8 bits.
    I8 = 24, 1 values in 1 bytes;
    /// Integer, 16 bits.
    I16 = 25, 1 values in 2 bytes;
    /// Integer, 32 bits.
    I32 = 26, 1 values in 4 bytes;
    /// Integer, 64 bits.
    I64 = 27, 1 values in 8 bytes;
    /// IEEE double precision.
    F64 = 28, 1 values in 8 bytes;
    /// 1.75-bit codebook.
    IQ1_M = 29, 256 values in 56 bytes;
    /// The upper half of a single.
    BF16 = 30, 1 values in 2 bytes;
    /// Ternary, five to a byte.
    TQ1_0 = 34, 256 values in 54 bytes;
    /// Ternary, four to a byte.
    TQ2_0 = 35, 256 values in 66 bytes;
    /// OCP microscaling, 4 bits.
    MXFP4 = 39, 32 values in 17 bytes;
    /// NVIDIA 4 bits with E4M3 scales.
    NVFP4 = 40, 64 values in 36 bytes;
    /// One bit and a scale.
    Q1_0 = 41, 128 values in 18 bytes;
    /// Two bits and a scale.
    Q2_0 = 42, 64 values in 18 bytes;
}

impl DType {
    /// The type behind a number from a tensor table.
    pub fn from_id(id: u32) -> Result<DType, UnknownDType> {
        let found = DType::ALL.iter().copied().find(|t| t.id() == id);
        found.ok_or(match id {
            4 | 5 | 31..=33 | 36..=38 => UnknownDType::Removed(id),
            _ => UnknownDType::Unknown(id),
        })
    }

    /// The type with this name, in any case.
    pub fn from_name(name: &str) -> Option<DType> {
        DType::ALL.iter().copied().find(|t| t.name().eq_ignore_ascii_case(name))
    }

    /// Bytes of a row of `cols` values, or `None` when blocks do not divide it (or the size does not fit 64 bits).
    pub fn row_bytes(self, cols: u64) -> Option<u64> {
        let block_len = self.block_len() as u64;
        if !cols.is_multiple_of(block_len) {
            return None;
        }
        (cols / block_len).checked_mul(self.block_bytes() as u64)
    }

    /// Bits each value costs, scales included.
    pub fn bits_per_value(self) -> f64 {
        8.0 * self.block_bytes() as f64 / self.block_len() as f64
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A type number that stands for nothing we can read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UnknownDType {
    /// The number once meant something, in files nobody makes any more.
    #[error("{0} (removed)")]
    Removed(u32),
    /// The number never meant anything in GGML.
    #[error("{0} unknown")]
    Unknown(u32),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_lead_back() {
        for &dtype in DType::ALL {
            assert_eq!(DType::from_id(dtype.id()), Ok(dtype));
            assert_eq!(DType::from_name(&dtype.name().to_lowercase()), Some(dtype));
        }
        assert_eq!(DType::from_id(4), Err(UnknownDType::Removed(4)));
        assert_eq!(DType::from_id(200), Err(UnknownDType::Unknown(200)));
    }

    #[test]
    fn row_bytes_counts_whole_blocks() {
        assert_eq!(DType::Q4_K.row_bytes(512), Some(288));
        assert_eq!(DType::Q4_K.row_bytes(64), None);
        assert_eq!(DType::F32.row_bytes(u64::MAX), None);
    }
}

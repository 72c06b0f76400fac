use phi_tensor::DType;

macro_rules! file_types {
    ($($name:ident = $id:literal, $base:ident;)*) => {
        /// What users ask for and `general.file_type` says: a base type, and a mixture around it.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[allow(non_camel_case_types, reason = "llama-quantize's own spelling, the one users type and read")]
        pub enum FileType { $(#[doc = concat!("`", stringify!($name), "`")] $name,)* }

        impl FileType {
            /// Every file type, in llama.cpp's order of numbers.
            pub const ALL: &'static [FileType] = &[$(FileType::$name),*];

            /// The number in `general.file_type`.
            pub const fn id(self) -> u32 {
                match self { $(FileType::$name => $id,)* }
            }

            /// The name.
            pub const fn name(self) -> &'static str {
                match self { $(FileType::$name => stringify!($name),)* }
            }

            /// The type of every matrix that no rule speaks of.
            pub const fn base(self) -> DType {
                match self { $(FileType::$name => DType::$base,)* }
            }
        }
    };
}

file_types! {
    F32 = 0, F32;
    F16 = 1, F16;
    Q4_0 = 2, Q4_0;
    Q4_1 = 3, Q4_1;
    Q8_0 = 7, Q8_0;
    Q5_0 = 8, Q5_0;
    Q5_1 = 9, Q5_1;
    Q2_K = 10, Q2_K;
    Q3_K_S = 11, Q3_K;
    Q3_K_M = 12, Q3_K;
    Q3_K_L = 13, Q3_K;
    Q4_K_S = 14, Q4_K;
    Q4_K_M = 15, Q4_K;
    Q5_K_S = 16, Q5_K;
    Q5_K_M = 17, Q5_K;
    Q6_K = 18, Q6_K;
    IQ2_XXS = 19, IQ2_XXS;
    IQ2_XS = 20, IQ2_XS;
    Q2_K_S = 21, Q2_K;
    IQ3_XS = 22, IQ3_S;
    IQ3_XXS = 23, IQ3_XXS;
    IQ1_S = 24, IQ1_S;
    IQ4_NL = 25, IQ4_NL;
    IQ3_S = 26, IQ3_S;
    IQ3_M = 27, IQ3_S;
    IQ2_S = 28, IQ2_XS;
    IQ2_M = 29, IQ2_S;
    IQ4_XS = 30, IQ4_XS;
    IQ1_M = 31, IQ1_M;
    BF16 = 32, BF16;
    TQ1_0 = 36, TQ1_0;
    TQ2_0 = 37, TQ2_0;
    MXFP4_MOE = 38, MXFP4;
    NVFP4 = 39, NVFP4;
    Q1_0 = 40, Q1_0;
    Q2_0 = 41, Q2_0;
}

/// Other names.
const ALIASES: &[(&str, FileType)] =
    &[("Q3_K", FileType::Q3_K_M), ("Q4_K", FileType::Q4_K_M), ("Q5_K", FileType::Q5_K_M)];

impl FileType {
    /// The file type of this name, in any case, or of this number.
    pub fn find(text: &str) -> Option<FileType> {
        let number = text.parse().ok();
        let alias = ALIASES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, found)| *found);
        let named = |t: &&FileType| t.name().eq_ignore_ascii_case(text) || Some(t.id()) == number;
        alias.or_else(|| FileType::ALL.iter().find(named).copied())
    }

    /// Whether matrices keep their numbers, as singles or halves: such a file follows no rules.
    pub fn is_plain(self) -> bool {
        self.base().block_len() == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_lead_back() {
        for &file_type in FileType::ALL {
            assert_eq!(FileType::find(&file_type.name().to_lowercase()), Some(file_type));
            assert_eq!(FileType::find(&file_type.id().to_string()), Some(file_type));
        }
        assert_eq!(FileType::find("q4_k"), Some(FileType::Q4_K_M));
        assert_eq!(FileType::find("Q4_K_X"), None);
    }
}

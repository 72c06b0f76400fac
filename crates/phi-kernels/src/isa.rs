//! The instruction sets, and the only place that asks the processor what it has.

use std::fmt;
use std::str::FromStr;

#[cfg(target_arch = "aarch64")]
pub(crate) use crate::arch::neon::{I8mm, Neon, NeonDot};
#[cfg(target_arch = "x86_64")]
pub(crate) use crate::arch::x86::{Avx2, Avx512, AvxVnni};

/// An instruction set that this program has code for. The values other than [`Isa::Scalar`] hold a proof: they exist only
/// where the processor, and the system, run it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Isa {
    /// Plain code, on every machine: the definition of each operation.
    Scalar,
    /// x86-64 with AVX2, FMA and F16C: Haswell (2013) and Zen (2017) on.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// The same and AVX-VNNI: Alder Lake (2021) and Zen 5 (2024) on.
    #[cfg(target_arch = "x86_64")]
    AvxVnni(AvxVnni),
    /// AVX-512 with VNNI: Ice Lake (2019), Zen 4 (2022).
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    /// Every 64-bit Arm: Raspberry Pi 3 and 4.
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    /// With dot products: Raspberry Pi 5, Apple M1.
    #[cfg(target_arch = "aarch64")]
    NeonDot(NeonDot),
    /// With products of matrices: Apple M2, phones of 2022 on.
    #[cfg(target_arch = "aarch64")]
    I8mm(I8mm),
}

impl Isa {
    /// What this machine can run, slowest first.
    pub fn available() -> Vec<Isa> {
        let scalar = std::iter::once(Isa::Scalar);
        #[cfg(target_arch = "x86_64")]
        let here =
            [Avx2::detect().map(Isa::Avx2), AvxVnni::detect().map(Isa::AvxVnni), Avx512::detect().map(Isa::Avx512)];
        #[cfg(target_arch = "aarch64")]
        let here = [Neon::detect().map(Isa::Neon), NeonDot::detect().map(Isa::NeonDot), I8mm::detect().map(Isa::I8mm)];
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let here: [Option<Isa>; 0] = [];
        scalar.chain(here.into_iter().flatten()).collect()
    }

    /// The fastest that this machine can run.
    pub fn detect() -> Isa {
        *Isa::available().last().expect("scalar code runs everywhere")
    }

    /// The name users type.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni(_) => "avxvnni",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => "avx512",
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) => "neon",
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDot(_) => "dotprod",
            #[cfg(target_arch = "aarch64")]
            Isa::I8mm(_) => "i8mm",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// By name; `auto` is the fastest. Only what this machine can run has a value.
impl FromStr for Isa {
    type Err = UnknownIsa;

    fn from_str(name: &str) -> Result<Isa, UnknownIsa> {
        if name == "auto" {
            return Ok(Isa::detect());
        }
        Isa::available().into_iter().find(|isa| isa.name() == name).ok_or_else(|| UnknownIsa(name.into()))
    }
}

/// Not an instruction set that this program has code for and this machine can run.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is not available here (available: auto, {names})", names = names())]
pub struct UnknownIsa(pub String);

fn names() -> String {
    Isa::available().iter().map(|isa| isa.name()).collect::<Vec<_>>().join(", ")
}

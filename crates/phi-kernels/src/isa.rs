use std::fmt;
use std::str::FromStr;

/// An instruction set that this program has code for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Isa {
    /// Plain code, on every machine: the definition of each operation.
    Scalar,
}

impl Isa {
    /// What this machine can run, slowest first.
    pub fn available() -> Vec<Isa> {
        vec![Isa::Scalar]
    }

    /// The fastest that this machine can run.
    pub fn detect() -> Isa {
        *Isa::available().last().expect("scalar code runs everywhere")
    }

    /// The name users type.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
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

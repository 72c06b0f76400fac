//! What the tests here share.

use phi_cli::{Exit, Io};

/// What a run said and how it ended.
pub(crate) struct Ran {
    pub(crate) exit: Exit,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs the program, in this process.
pub(crate) fn run(args: &[&str]) -> Ran {
    let (mut io, captured) = Io::captured();
    let exit = phi_quantize::main(["phi-quantize"].iter().chain(args), &mut io);
    drop(io);
    Ran { exit, out: captured.out(), err: captured.err() }
}

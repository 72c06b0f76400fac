//! The two programs, run in this process through the front door.

use std::ffi::OsString;

use phi_cli::{Exit, Io};

/// What a run said and how it ended.
pub struct Ran {
    /// Its status.
    pub exit: Exit,
    /// All of stdout.
    pub out: String,
    /// All of stderr.
    pub err: String,
}

impl Ran {
    /// What it printed: it has to succeed.
    #[track_caller]
    pub fn done(self) -> String {
        assert_eq!(self.exit, Exit::Done, "{}{}", self.out, self.err);
        self.out
    }
}

/// `phi-run` with these arguments.
pub fn phi_run<A: Into<OsString>>(args: impl IntoIterator<Item = A>) -> Ran {
    ran("phi-run", args, |_| {}, phi_run::main)
}

/// `phi-run` with these arguments, after somebody has pressed Ctrl-C.
pub fn phi_run_interrupted<A: Into<OsString>>(args: impl IntoIterator<Item = A>) -> Ran {
    ran("phi-run", args, |io| io.interrupt().set(), phi_run::main)
}

/// `phi-quantize` with these arguments.
pub fn phi_quantize<A: Into<OsString>>(args: impl IntoIterator<Item = A>) -> Ran {
    ran("phi-quantize", args, |_| {}, phi_quantize::main)
}

fn ran<A: Into<OsString>>(
    name: &str,
    args: impl IntoIterator<Item = A>,
    before: impl FnOnce(&mut Io),
    main: impl FnOnce(Vec<OsString>, &mut Io) -> Exit,
) -> Ran {
    let (mut io, captured) = Io::captured();
    before(&mut io);
    let args = std::iter::once(name.into()).chain(args.into_iter().map(Into::into)).collect();
    let exit = main(args, &mut io);
    drop(io);
    Ran { exit, out: captured.out(), err: captured.err() }
}

//! `phi-quantize`: makes GGUF models.
//!
//! ```text
//! typed (args) → meant (job) → work (quantize, inspect, check, compare, synth, split) → exit code
//! ```
//!
//! The work is a stream: per tensor the recipe names a type, the codec encodes rows, the writer appends. What a folder
//! says is the business of `phi-convert`; what bytes mean, of `phi-quant`. Errors are rendered here and nowhere else.

#![forbid(unsafe_code)]

mod args;
mod check;
mod compare;
mod faults;
mod fit;
mod inspect;
mod job;
mod quantize;
mod report;
mod rows;
mod source;
mod split;
mod stream;
mod summary;
mod synth;
mod weights;

use std::ffi::OsString;

use phi_cli::{Exit, Io, Report};

use crate::args::{Args, Command};

/// Runs the program. `args` begins with its name, as the system hands them over.
pub fn main(args: impl IntoIterator<Item = impl Into<OsString> + Clone>, io: &mut Io) -> Exit {
    match phi_cli::parse::<Args>(args, io) {
        Ok(args) => {
            let result = run(args, io);
            io.end(result)
        }
        Err(exit) => exit,
    }
}

fn run(args: Args, io: &mut Io) -> Result<(), Report> {
    match args.command {
        Some(Command::Inspect(what)) => inspect::inspect(&what, io),
        Some(Command::Check(what)) => check::check(&what, io),
        Some(Command::Compare(what)) => compare::compare(&what, io),
        Some(Command::Synth(what)) => synth::synth(&what, io),
        Some(Command::Split(what)) => split::split(&what, io),
        Some(Command::Merge(what)) => split::merge(&what, io),
        Some(Command::Completions { shell }) => Ok(phi_cli::completions::<Args>(shell, io)?),
        None => {
            io.set_talk(args.quantize.talk());
            quantize::quantize(&args.quantize.try_into()?, io)
        }
    }
}

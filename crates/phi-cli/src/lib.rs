//! How tools speak.
//!
//! stdout is the result, stderr is talk. [`Io`] knows which of the two is a terminal, whether colour is wanted and how
//! much talk is; tests give it two buffers instead. A [`Report`] is a failure ready to be shown: message, place, causes
//! and hints, rendered here and nowhere else. [`Exit`] is how a program ends. [`Interrupt`] is Ctrl-C as a flag.
//!
//! This crate knows nothing of models; it would serve any pair of tools.
//!
//! ```
//! use phi_cli::{Exit, Io, Report};
//!
//! let (mut io, captured) = Io::captured();
//! io.print("the result\n")?;
//! io.note("some talk");
//! let report = Report::new("`in` is not a model").file("in").hint("give a folder");
//! assert_eq!(io.fail(&report), Exit::Failed);
//! assert_eq!(captured.out(), "the result\n");
//! assert_eq!(captured.err(), "some talk\nerror: in: `in` is not a model\n\nhint: give a folder\n");
//! # Ok::<(), std::io::Error>(())
//! ```

#![forbid(unsafe_code)]

mod args;
mod cores;
mod exit;
mod interrupt;
mod io;
mod progress;
mod report;
mod size;
mod table;
mod text;

pub use args::{Shell, completions, parse};
pub use cores::physical_cores;
pub use exit::Exit;
pub use interrupt::Interrupt;
pub use io::{Captured, Io, Style, Talk};
pub use progress::Progress;
pub use report::Report;
pub use size::{BadSize, Size, gb, gib, mib, tokens};
pub use table::{Align, Table};
pub use text::printable;

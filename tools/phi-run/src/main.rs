//! The program; all of it is in the library, so that tests run it in their own process.

use std::process::ExitCode;

fn main() -> ExitCode {
    phi_run::main(std::env::args_os(), &mut phi_cli::Io::std()).into()
}

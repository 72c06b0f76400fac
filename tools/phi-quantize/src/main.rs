//! `phi-quantize`, the program.

use std::process::ExitCode;

use phi_cli::Io;

fn main() -> ExitCode {
    phi_quantize::main(std::env::args_os(), &mut Io::std()).into()
}

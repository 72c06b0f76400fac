use std::ffi::OsString;
use std::io;

use clap::{CommandFactory, Parser};
pub use clap_complete::Shell;

use crate::{Exit, Io};

/// Reads the command line. Help and version go to stdout and are success; misuse goes to stderr.
pub fn parse<T: Parser>(args: impl IntoIterator<Item = impl Into<OsString> + Clone>, io: &mut Io) -> Result<T, Exit> {
    let error = match T::try_parse_from(args) {
        Ok(parsed) => return Ok(parsed),
        Err(error) => error,
    };
    let text = error.render();
    if error.use_stderr() {
        let shown = if io.color() { text.ansi().to_string() } else { text.to_string() };
        io.misuse(shown);
        return Err(Exit::Misused);
    }
    let color = io.out_is_terminal() && io.color();
    let printed = if color { io.print(text.ansi()) } else { io.print(text) };
    Err(io.end(printed.map_err(Into::into)))
}

/// Prints the script that teaches `shell` the command line of `T`.
pub fn completions<T: CommandFactory>(shell: Shell, io: &mut Io) -> io::Result<()> {
    let mut command = T::command();
    let name = command.get_name().to_string();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    io.out().write_all(&script)
}

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::{Arc, Mutex};

use serde::Serialize;

use crate::{Exit, Interrupt, Report};

/// Where a tool speaks to, and how. The only way to print.
pub struct Io {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    out_terminal: bool,
    err_terminal: bool,
    color: bool,
    talk: Talk,
    interrupt: Interrupt,
}

/// How much is said on stderr.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum Talk {
    /// Errors and warnings.
    Quiet,
    /// What a user wants to know.
    #[default]
    Normal,
    /// What somebody looking for a fault wants to know.
    Verbose,
}

impl Io {
    /// The process's own stdout and stderr. Listens for Ctrl-C.
    pub fn std() -> Io {
        let (out, err) = (io::stdout(), io::stderr());
        let (out_terminal, err_terminal) = (out.is_terminal(), err.is_terminal());
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Io {
            // A result of many lines in a pipe is one write, not many; a terminal wants each line as it comes.
            out: if out_terminal { Box::new(out) } else { Box::new(BufWriter::new(out)) },
            err: Box::new(err),
            out_terminal,
            err_terminal: err_terminal && !dumb,
            color: err_terminal && !no_color && !dumb,
            talk: Talk::Normal,
            interrupt: Interrupt::listen(),
        }
    }

    /// Two buffers, as a pipe would be: no colour, no progress bar. For tests.
    pub fn captured() -> (Io, Captured) {
        let captured = Captured::default();
        let io = Io {
            out: Box::new(captured.out.clone()),
            err: Box::new(captured.err.clone()),
            out_terminal: false,
            err_terminal: false,
            color: false,
            talk: Talk::Normal,
            interrupt: Interrupt::new(),
        };
        (io, captured)
    }

    /// Says more or less from here on.
    pub fn set_talk(&mut self, talk: Talk) {
        self.talk = talk;
    }

    /// How much is said.
    pub fn talk(&self) -> Talk {
        self.talk
    }

    /// Whether stdout is read by a person.
    pub fn out_is_terminal(&self) -> bool {
        self.out_terminal
    }

    /// Whether stderr can show a progress bar.
    pub fn err_is_terminal(&self) -> bool {
        self.err_terminal
    }

    /// Whether stderr may be coloured.
    pub fn color(&self) -> bool {
        self.color
    }

    /// Ctrl-C.
    pub fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// Writes a part of the result to stdout. A closed pipe is an error here, and success in [`Io::end`].
    pub fn print(&mut self, text: impl Display) -> io::Result<()> {
        write!(self.out, "{text}")
    }

    /// Writes a part of the result and hands it over at once: for text that grows before the reader's eyes.
    pub fn stream(&mut self, text: impl Display) -> io::Result<()> {
        write!(self.out, "{text}")?;
        self.out.flush()
    }

    /// Writes the result as JSON.
    pub fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut self.out, value)?;
        self.out.write_all(b"\n")
    }

    /// Says something a user wants to know.
    pub fn note(&mut self, text: impl Display) {
        if self.talk >= Talk::Normal {
            self.say(format_args!("{text}\n"));
        }
    }

    /// Says something only `-v` shows.
    pub fn verbose(&mut self, text: impl Display) {
        if self.talk >= Talk::Verbose {
            self.say(format_args!("{text}\n"));
        }
    }

    /// Says something the user should act on.
    pub fn warn(&mut self, text: impl Display) {
        let label = self.paint("33;1", "warning:");
        self.say(format_args!("{label} {text}\n"));
    }

    /// Shows a failure, and says how to end.
    pub fn fail(&mut self, report: &Report) -> Exit {
        // What was printed so far comes before the error.
        let _ = self.out.flush();
        let shown = report.render(|code, text| self.paint(code, text));
        self.say(shown);
        report.exit
    }

    /// Ends the program: hands over what is still buffered, and shows the failure if there is one. A reader that went
    /// away has what it wanted: a closed pipe is success.
    pub fn end(&mut self, result: Result<(), Report>) -> Exit {
        let result = result.and_then(|()| Ok(self.out.flush()?));
        match result {
            Ok(()) => Exit::Done,
            Err(report) if report.broken_pipe => Exit::Done,
            Err(report) => self.fail(&report),
        }
    }

    /// Shows what the argument parser has to say.
    pub(crate) fn misuse(&mut self, text: String) {
        self.say(text);
    }

    /// Writes to stderr. Where that fails there is nobody left to tell.
    fn say(&mut self, text: impl Display) {
        let _ = write!(self.err, "{text}");
    }

    pub(crate) fn out(&mut self) -> &mut dyn Write {
        &mut self.out
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}

/// What was said to an [`Io`] made by [`Io::captured`].
#[derive(Clone, Default)]
pub struct Captured {
    out: Shared,
    err: Shared,
}

impl Captured {
    /// Everything on stdout so far.
    pub fn out(&self) -> String {
        self.out.text()
    }

    /// Everything on stderr so far.
    pub fn err(&self) -> String {
        self.err.text()
    }
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no writer panics")).into_owned()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no writer panics").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

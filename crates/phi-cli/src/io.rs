use std::ffi::OsStr;
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
    out_color: bool,
    color: bool,
    talk: Talk,
    interrupt: Interrupt,
}

/// How a part of the result looks on a terminal.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Style {
    /// As everything.
    #[default]
    Plain,
    /// Less than the rest.
    Faint,
    /// Something else than the rest.
    Accent,
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
        let (no_color, term) = (std::env::var_os("NO_COLOR"), std::env::var_os("TERM"));
        let dumb = term.as_deref().is_some_and(|term| term == "dumb");
        let color = |terminal| wants_color(terminal, no_color.as_deref(), term.as_deref());
        Io {
            // A result of many lines in a pipe is one write, not many; a terminal wants each line as it comes.
            out: if out_terminal { Box::new(out) } else { Box::new(BufWriter::new(out)) },
            err: Box::new(err),
            out_terminal,
            err_terminal: err_terminal && !dumb,
            out_color: color(out_terminal),
            color: color(err_terminal),
            talk: Talk::Normal,
            interrupt: Interrupt::listen(),
        }
    }

    /// Two buffers, as a pipe would be: no colour, no progress bar. For tests.
    pub fn captured() -> (Io, Captured) {
        Io::captured_from(false, false)
    }

    /// Two buffers, of which stdout is taken for a terminal, which may have colours. For tests.
    pub fn captured_terminal(color: bool) -> (Io, Captured) {
        Io::captured_from(true, color)
    }

    fn captured_from(out_terminal: bool, out_color: bool) -> (Io, Captured) {
        let captured = Captured::default();
        let io = Io {
            out: Box::new(captured.out.clone()),
            err: Box::new(captured.err.clone()),
            out_terminal,
            err_terminal: false,
            out_color,
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

    /// As [`Io::stream`], in a style where that can be seen.
    pub fn stream_in(&mut self, style: Style, text: impl Display) -> io::Result<()> {
        match style {
            Style::Faint if self.out_color => self.stream(format_args!("\x1b[2m{text}\x1b[0m")),
            Style::Accent if self.out_color => self.stream(format_args!("\x1b[36m{text}\x1b[0m")),
            _ => self.stream(text),
        }
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

/// Whether a stream may be coloured: it is a terminal that can, and nobody minds (<https://no-color.org>).
fn wants_color(terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    terminal && no_color.is_none_or(OsStr::is_empty) && term.is_none_or(|term| term != "dumb")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_whose_owner_does_not_mind() {
        let color = |terminal, no_color: Option<&str>, term: Option<&str>| {
            wants_color(terminal, no_color.map(OsStr::new), term.map(OsStr::new))
        };
        assert!(color(true, None, Some("xterm")) && color(true, None, None) && color(true, Some(""), None));
        assert!(!color(false, None, Some("xterm")));
        assert!(!color(true, Some("1"), None) && !color(true, Some("0"), Some("xterm")));
        assert!(!color(true, None, Some("dumb")));
    }

    #[test]
    fn styles_are_seen_where_there_are_colours() {
        for ((mut io, captured), want) in [
            (Io::captured_terminal(true), "a\x1b[2mb\x1b[0m\x1b[36mc\x1b[0m"),
            (Io::captured_terminal(false), "abc"),
            (Io::captured(), "abc"),
        ] {
            for (style, text) in [(Style::Plain, "a"), (Style::Faint, "b"), (Style::Accent, "c")] {
                io.stream_in(style, text).unwrap();
            }
            assert_eq!(captured.out(), want);
        }
    }
}

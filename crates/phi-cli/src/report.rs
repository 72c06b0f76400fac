use std::error::Error;
use std::fmt::{Display, Write};
use std::io;
use std::path::Path;

use serde::Serialize;

use crate::{Exit, printable};

/// A failure, ready to be shown. The library's error gives the facts; the tool adds the file and the hints, because only
/// the tool knows its flags.
///
/// ```text
/// error: model.gguf: tensor[17] "blk.1.ffn_down.weight": needs bytes 9437184..18874368, file ends at 16777216
///   at byte 40312 (field: offset)
///   Caused by: …
///
/// hint: the file is 2097152 bytes short; the download may be incomplete
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The file it is about.
    pub file: Option<Box<str>>,
    /// The field's path inside the file.
    pub field: Option<Box<str>>,
    /// What is wrong.
    pub message: Box<str>,
    /// The byte at which the field begins.
    pub offset: Option<u64>,
    /// What led to it, outermost first.
    pub causes: Vec<String>,
    /// What the user can do.
    pub hints: Vec<String>,
    /// How the program ends.
    #[serde(skip)]
    pub exit: Exit,
    #[serde(skip)]
    pub(crate) broken_pipe: bool,
}

impl Report {
    /// A failure in our own words.
    pub fn new(message: impl Display) -> Report {
        Report {
            file: None,
            field: None,
            message: message.to_string().into(),
            offset: None,
            causes: Vec::new(),
            hints: Vec::new(),
            exit: Exit::Failed,
            broken_pipe: false,
        }
    }

    /// A failure in a library's words, with its causes.
    pub fn of(error: &dyn Error) -> Report {
        Report::new(error).causes(error.source())
    }

    /// Misuse of the command line.
    pub fn misuse(message: impl Display) -> Report {
        Report::new(message).exit(Exit::Misused)
    }

    /// Ctrl-C.
    pub fn interrupted() -> Report {
        Report::new("interrupted").exit(Exit::Interrupted)
    }

    /// Names the file.
    pub fn file(mut self, file: impl AsRef<Path>) -> Report {
        self.file = Some(file.as_ref().display().to_string().into());
        self
    }

    /// Names the field.
    pub fn field(mut self, field: impl Into<Box<str>>) -> Report {
        self.field = Some(field.into());
        self
    }

    /// Names the byte.
    pub fn at(mut self, offset: Option<u64>) -> Report {
        self.offset = offset;
        self
    }

    /// Adds an error and what caused it. A cause that its effect already quotes is left out.
    pub fn causes(mut self, first: Option<&dyn Error>) -> Report {
        let mut next = first;
        while let Some(cause) = next {
            let text = cause.to_string();
            let effect = self.causes.last().map_or(&*self.message, String::as_str);
            if !effect.ends_with(&text) {
                self.causes.push(text);
            }
            next = cause.source();
        }
        self
    }

    /// Adds a hint.
    pub fn hint(mut self, hint: impl Display) -> Report {
        self.hints.push(hint.to_string());
        self
    }

    /// Adds a hint, if there is one.
    pub fn hint_if(self, hint: Option<impl Display>) -> Report {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }

    /// Says how the program ends.
    pub fn exit(mut self, exit: Exit) -> Report {
        self.exit = exit;
        self
    }

    pub(crate) fn render(&self, paint: impl Fn(&str, &str) -> String) -> String {
        // Stopping when asked to is no error.
        if self.exit == Exit::Interrupted {
            return format!("{}\n", printable(&self.message));
        }
        let mut shown = paint("31;1", "error:");
        for part in [&self.file, &self.field].into_iter().flatten() {
            let _ = write!(shown, " {}:", printable(part));
        }
        let _ = writeln!(shown, " {}", printable(&self.message));
        if let Some(offset) = self.offset {
            let _ = write!(shown, "  at byte {offset}");
            // The last word of the path is the field itself.
            let field = self.field.as_deref().and_then(|field| field.rsplit([' ', '.']).next());
            if let Some(field) = field {
                let _ = write!(shown, " (field: {})", printable(field));
            }
            shown.push('\n');
        }
        for cause in &self.causes {
            let _ = writeln!(shown, "  Caused by: {}", printable(cause));
        }
        if !self.hints.is_empty() {
            shown.push('\n');
        }
        for hint in &self.hints {
            let _ = writeln!(shown, "{} {}", paint("36;1", "hint:"), printable(hint));
        }
        shown
    }
}

/// Writing the result failed.
impl From<io::Error> for Report {
    fn from(error: io::Error) -> Report {
        let mut report = Report::new(format_args!("cannot write to stdout: {error}"));
        report.broken_pipe = error.kind() == io::ErrorKind::BrokenPipe;
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(report: &Report) -> String {
        report.render(|_, text| text.to_string())
    }

    #[test]
    fn everything_has_its_line() {
        let cause = io::Error::other("the disk is full");
        let report = Report::new("writing failed").file("a.gguf").field("tensor[1] \"w\" offset");
        let report = report.at(Some(7)).causes(Some(&cause)).hint("make room").hint("or give another disk");
        assert_eq!(
            plain(&report),
            "error: a.gguf: tensor[1] \"w\" offset: writing failed\n  at byte 7 (field: offset)\n  Caused by: the disk is \
             full\n\nhint: make room\nhint: or give another disk\n"
        );
    }

    #[test]
    fn a_cause_that_is_quoted_is_not_repeated() {
        let cause = io::Error::other("no such file");
        let report = Report::new("open: no such file").causes(Some(&cause));
        assert_eq!(plain(&report), "error: open: no such file\n");
    }

    #[test]
    fn a_file_cannot_speak_to_the_terminal() {
        assert_eq!(plain(&Report::new("\x1b[2Jgone")), "error: [2Jgone\n");
    }
}

//! An answer as it comes: words as they are, thinking fainter or not at all, calls of tools in a colour of their own.

use std::time::{Duration, Instant};

use phi_cli::{Io, Progress, Report, Style, printable};
use phi_runtime::{Section, Sections, TextError, ToolCall, tool_calls};
use serde_json::{Value, json};

/// What becomes of an answer's parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wishes {
    /// The answer has parts: it is one of a chat. Raw text is text, whatever stands in it.
    pub(crate) parts: bool,
    /// The prompt already opened the model's thinking.
    pub(crate) thinking: bool,
    /// Thinking is not shown.
    pub(crate) hide_thinking: bool,
    /// Nothing is shown before the end.
    pub(crate) silent: bool,
}

/// An answer that is being shown.
pub(crate) struct Shown {
    wishes: Wishes,
    sections: Sections,
    said: Said,
    /// Something but white space was shown.
    begun: bool,
    waiting: Option<Waiting>,
    /// How long a reader looks at nothing without wondering.
    patience: Duration,
}

/// An answer.
#[derive(Default)]
pub(crate) struct Said {
    parts: Vec<(Section, String)>,
    thinking: bool,
}

/// Thinking that nobody sees.
struct Waiting {
    since: Instant,
    told: bool,
    bar: Option<Progress>,
}

impl Shown {
    pub(crate) fn new(wishes: Wishes) -> Shown {
        let said = Said { parts: Vec::new(), thinking: wishes.thinking };
        let sections = Sections::new(wishes.thinking);
        Shown { wishes, sections, said, begun: false, waiting: None, patience: Duration::from_secs(1) }
    }

    /// Shows what is known of the answer with this piece.
    pub(crate) fn piece(&mut self, io: &mut Io, piece: &str) -> Result<(), Report> {
        if !self.wishes.parts {
            return self.part(io, Section::Text, piece);
        }
        for (section, text) in self.sections.push(piece) {
            self.part(io, section, &text)?;
        }
        if self.wishes.hide_thinking && self.sections.section() == Section::Thinking {
            self.wait(io);
        }
        Ok(())
    }

    /// Shows the rest.
    pub(crate) fn finish(mut self, io: &mut Io) -> Result<Said, Report> {
        let sections = std::mem::replace(&mut self.sections, Sections::new(false));
        for (section, text) in sections.finish() {
            self.part(io, section, &text)?;
        }
        Ok(self.said)
    }

    fn part(&mut self, io: &mut Io, section: Section, text: &str) -> Result<(), Report> {
        self.said.add(section, text);
        let hidden = self.wishes.hide_thinking && section == Section::Thinking;
        if self.wishes.silent || hidden {
            return Ok(());
        }
        self.waiting = None;
        // The blank between thinking and answer belongs to what is not shown.
        let text = if self.wishes.hide_thinking && !self.begun { text.trim_start() } else { text };
        if text.is_empty() {
            return Ok(());
        }
        self.begun = true;
        let style = match section {
            Section::Thinking => Style::Faint,
            Section::ToolCall => Style::Accent,
            Section::Text => Style::Plain,
        };
        // A model's text must not act on a terminal.
        Ok(if io.out_is_terminal() { io.stream_in(style, printable(text)) } else { io.stream_in(style, text) }?)
    }

    /// Says that the model thinks, once that takes its time.
    fn wait(&mut self, io: &mut Io) {
        let waiting = self.waiting.get_or_insert_with(|| Waiting { since: Instant::now(), told: false, bar: None });
        if waiting.since.elapsed() < self.patience {
            return;
        }
        if io.err_is_terminal() {
            let bar = waiting.bar.get_or_insert_with(|| Progress::open(io));
            bar.name("thinking");
            bar.add(1);
        } else if !waiting.told {
            waiting.told = true;
            io.note("thinking …");
        }
    }
}

impl Said {
    fn add(&mut self, section: Section, text: &str) {
        match self.parts.last_mut() {
            Some((last, so_far)) if *last == section => so_far.push_str(text),
            _ => self.parts.push((section, text.into())),
        }
    }

    fn of(&self, wanted: impl Fn(Section) -> bool) -> String {
        self.parts.iter().filter(|(section, _)| wanted(*section)).map(|(_, text)| text.as_str()).collect()
    }

    /// All of it, as the model will read it.
    pub(crate) fn whole(&self) -> String {
        self.of(|_| true)
    }

    /// The tools that it calls.
    pub(crate) fn calls(&self) -> Result<Vec<ToolCall>, TextError> {
        let called = self.parts.iter().any(|(section, _)| *section == Section::ToolCall);
        if called { tool_calls(&self.whole(), self.thinking) } else { Ok(Vec::new()) }
    }

    /// Whether there is nothing in it but thinking.
    pub(crate) fn is_all_thinking(&self) -> bool {
        let thought = |(section, text): &(Section, String)| *section == Section::Thinking || text.trim().is_empty();
        self.thought().is_some() && self.parts.iter().all(thought)
    }

    fn thought(&self) -> Option<String> {
        let thought = self.of(|section| section == Section::Thinking);
        let inside = thought.trim();
        let inside = inside.strip_prefix("<think>").unwrap_or(inside);
        let inside = inside.strip_suffix("</think>").unwrap_or(inside);
        (!thought.is_empty()).then(|| inside.trim().to_string())
    }

    /// The fields of a JSON object: `text`; `thinking` and `tool_calls`, in OpenAI's shape, where there are such. Calls
    /// that cannot be read stay text.
    pub(crate) fn fields(&self, hide_thinking: bool) -> Vec<(&'static str, Value)> {
        let calls = self.calls().unwrap_or_default();
        let text = self.of(|section| section == Section::Text || (section == Section::ToolCall && calls.is_empty()));
        let thought = self.thought();
        let text = if thought.is_some() { text.trim_start().to_string() } else { text };
        let thought = thought.filter(|_| !hide_thinking).map(|thought| ("thinking", json!(thought)));
        let function =
            |call: ToolCall| json!({"type": "function", "function": {"name": call.name, "arguments": call.arguments}});
        let calls: Vec<Value> = calls.into_iter().map(function).collect();
        let calls = (!calls.is_empty()).then(|| ("tool_calls", Value::from(calls)));
        [("text", json!(text))].into_iter().chain(thought).chain(calls).collect()
    }

    /// Says which tools are called, and with `answer_with` how to answer.
    pub(crate) fn tell_calls(&self, answer_with: &str, io: &mut Io) {
        match self.calls() {
            Ok(calls) => {
                for ToolCall { name, arguments } in &calls {
                    io.note(format_args!("calls {} {}", printable(name), printable(arguments)));
                }
                if !calls.is_empty() && !answer_with.is_empty() {
                    io.note(answer_with);
                }
            }
            Err(e) => io.warn(printable(&e.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: &str = r#"<|tool_call|>[{"name": "f", "arguments": {"a": [1.50]}}]<|/tool_call|>"#;

    fn wishes() -> Wishes {
        Wishes { parts: true, thinking: false, hide_thinking: false, silent: false }
    }

    /// Shows an answer character by character.
    fn show(answer: &str, wishes: Wishes, (mut io, captured): (Io, phi_cli::Captured)) -> (Said, String, String) {
        let mut shown = Shown { patience: Duration::ZERO, ..Shown::new(wishes) };
        for piece in answer.split_inclusive(|_: char| true) {
            shown.piece(&mut io, piece).unwrap();
        }
        let said = shown.finish(&mut io).unwrap();
        assert_eq!(said.whole(), answer);
        (said, captured.out(), captured.err())
    }

    #[test]
    fn a_pipe_gets_what_the_model_wrote() {
        let answer = format!("<think>hm\x07</think>\n\n42 {CALL}.");
        let (_, out, err) = show(&answer, wishes(), Io::captured());
        assert_eq!((out, err), (answer.clone(), String::new()));
        let (_, out, _) = show(&answer, Wishes { silent: true, ..wishes() }, Io::captured());
        assert_eq!(out, "");
    }

    #[test]
    fn a_terminal_gets_thinking_that_is_faint() {
        let (_, out, _) = show("<think>a</think> b\x1b[2J", wishes(), Io::captured_terminal(true));
        let shown = out.replace("\x1b[2m", "(").replace("\x1b[0m", ")").replace(")(", "");
        assert_eq!(shown, "(<think>a</think>) b[2J");
        let (_, out, _) = show("<think>a</think> b\x1b[2J", wishes(), Io::captured_terminal(false));
        assert_eq!(out, "<think>a</think> b[2J");
        let (_, out, _) = show("<|tool_call|>[]", wishes(), Io::captured_terminal(true));
        assert!(out.starts_with("\x1b[36m<|tool_call|>"), "{out:?}");
    }

    #[test]
    fn hidden_thinking_leaves_a_hint() {
        let hide = Wishes { hide_thinking: true, ..wishes() };
        for (answer, thinking, want) in [
            ("<think>a\nb</think>\n\n42 ", false, "42 "),
            ("hm</think>42", true, "42"),
            ("<think>never closed", false, ""),
        ] {
            let (said, out, err) = show(answer, Wishes { thinking, ..hide }, Io::captured());
            assert_eq!((out.as_str(), err.as_str()), (want, "thinking …\n"), "{answer}");
            assert_eq!(said.is_all_thinking(), want.is_empty());
        }
        // Nothing to hide, no hint; and none for thoughts of less than a second.
        let (said, out, err) = show(" 42", hide, Io::captured());
        assert_eq!((out.as_str(), err.as_str(), said.is_all_thinking()), ("42", "", false));
        let (mut io, captured) = Io::captured();
        let mut patient = Shown::new(hide);
        patient.piece(&mut io, "<think>a").unwrap();
        assert_eq!(captured.err(), "");
    }

    #[test]
    fn raw_text_has_no_parts() {
        let raw = Wishes { parts: false, ..wishes() };
        let (said, out, _) = show("<think>a</think>b", raw, Io::captured());
        assert_eq!(out, "<think>a</think>b");
        assert_eq!(said.fields(false), [("text", json!("<think>a</think>b"))]);
    }

    #[test]
    fn machines_get_the_parts_apart() {
        let fields = |answer: &str, hide| show(answer, wishes(), Io::captured()).0.fields(hide);
        let calls = json!([{"type": "function", "function": {"name": "f", "arguments": "{\"a\": [1.50]}"}}]);
        let answer = format!("<think> hm </think>\n42 {CALL}");
        let all = [("text", json!("42 ")), ("thinking", json!("hm")), ("tool_calls", calls)];
        assert_eq!(fields(&answer, false), all);
        assert_eq!(fields(&answer, true), [all[0].clone(), all[2].clone()]);
        assert_eq!(fields(" 42", false), [("text", json!(" 42"))]);
        // What cannot be read is text.
        assert_eq!(fields("a<|tool_call|>[{", false), [("text", json!("a<|tool_call|>[{"))]);
        let (mut io, captured) = Io::captured();
        show("<|tool_call|>[{", wishes(), Io::captured()).0.tell_calls("", &mut io);
        show(CALL, wishes(), Io::captured()).0.tell_calls("`/tool`", &mut io);
        let want = "warning: tool call at byte 13: cut off\ncalls f {\"a\": [1.50]}\n`/tool`\n";
        assert_eq!(captured.err(), want);
    }
}

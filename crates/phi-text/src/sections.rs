//! The parts of an answer, told apart while it is written.
//!
//! ```text
//! answer = [white space "<think>" … "</think>"] { text | "<|tool_call|>" … "<|/tool_call|>" }
//! ```
//!
//! Thinking comes first or not at all: further on, `<think>` is what somebody writes *about*. A template may have opened
//! it in the prompt. Models that were told so in words call tools by `functools[…]` instead, as the first of what they
//! say; the list's own bracket ends it.

/// What a stretch of an answer is. The marks around a part belong to it, so that all stretches are the whole answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Section {
    /// What is meant for the reader.
    Text,
    /// How the model came to it.
    Thinking,
    /// A call of tools: see [`tool_calls`](crate::tool_calls).
    ToolCall,
}

/// Cuts an answer into its sections as it comes, wherever its pieces end. Never holds back more than a mark could be, but
/// for white space at the beginning.
///
/// ```
/// use phi_text::{Section, Sections};
///
/// let mut sections = Sections::new(false);
/// assert!(sections.push("<thi").is_empty());
/// assert_eq!(sections.push("nk>Hm"), [(Section::Thinking, "<think>Hm".to_string())]);
/// let rest = sections.push(".</think>42");
/// assert_eq!(rest, [(Section::Thinking, ".</think>".to_string()), (Section::Text, "42".to_string())]);
/// assert!(sections.finish().is_empty());
/// ```
#[derive(Clone, Debug)]
pub struct Sections {
    state: State,
    /// What may still turn out to begin a mark.
    held: String,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Before the first word.
    Start {
        may_think: bool,
    },
    Text,
    Thinking,
    ToolCall,
    /// In a list that ends with its own bracket.
    List(Brackets),
}

/// How deep in brackets, outside of strings, a JSON text is.
#[derive(Clone, Copy, Default, Debug)]
struct Brackets {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Sections {
    /// The beginning of an answer.
    ///
    /// * `thinking`: whether the prompt already opened the model's thinking, see
    ///   [`Rendered::opens_thinking`](crate::Rendered::opens_thinking)
    pub fn new(thinking: bool) -> Sections {
        let state = if thinking { State::Thinking } else { State::Start { may_think: true } };
        Sections { state, held: String::new() }
    }

    /// Adds text, and returns what is known of it by now.
    pub fn push(&mut self, text: &str) -> Vec<(Section, String)> {
        self.held += text;
        let mut out = Vec::new();
        while self.step(&mut out) {}
        out
    }

    /// The end of the answer: what was held back is what it looks like.
    pub fn finish(mut self) -> Vec<(Section, String)> {
        let section = self.section();
        let mut out = Vec::new();
        self.take(self.held.len(), section, &mut out);
        out
    }

    /// What the next character will be, as far as is known.
    pub fn section(&self) -> Section {
        match self.state {
            State::Start { .. } | State::Text => Section::Text,
            State::Thinking => Section::Thinking,
            State::ToolCall | State::List(_) => Section::ToolCall,
        }
    }

    /// Whether there may be more to know.
    fn step(&mut self, out: &mut Vec<(Section, String)>) -> bool {
        match self.state {
            State::Start { may_think } => self.start(may_think, out),
            State::Text => match self.held.find(CALL[0]) {
                Some(at) => {
                    self.take(at, Section::Text, out);
                    self.take(CALL[0].len(), Section::ToolCall, out);
                    self.state = State::ToolCall;
                    true
                }
                None => self.release(CALL[0], Section::Text, out),
            },
            State::Thinking => self.until(THINK[1], State::Start { may_think: false }, out),
            State::ToolCall => self.until(CALL[1], State::Text, out),
            State::List(brackets) => self.list(brackets, out),
        }
    }

    fn start(&mut self, may_think: bool, out: &mut Vec<(Section, String)>) -> bool {
        let said = self.held.trim_start();
        let blank = self.held.len() - said.len();
        let think = (THINK[0], Section::Thinking, State::Thinking);
        let list = (LIST, Section::ToolCall, State::List(Brackets { depth: 1, ..Brackets::default() }));
        let marks = || may_think.then_some(think).into_iter().chain([list]);
        if let Some((mark, section, state)) = marks().find(|(mark, ..)| said.starts_with(mark)) {
            self.take(blank + mark.len(), section, out);
            self.state = state;
            return true;
        }
        if marks().any(|(mark, ..)| mark.starts_with(said)) {
            return false;
        }
        self.state = State::Text;
        true
    }

    /// Up to a mark and with it, if it is there.
    fn until(&mut self, mark: &str, then: State, out: &mut Vec<(Section, String)>) -> bool {
        let section = self.section();
        match self.held.find(mark) {
            Some(at) => {
                self.take(at + mark.len(), section, out);
                self.state = then;
                true
            }
            None => self.release(mark, section, out),
        }
    }

    fn list(&mut self, mut brackets: Brackets, out: &mut Vec<(Section, String)>) -> bool {
        let end = self.held.char_indices().find(|&(_, c)| brackets.close(c)).map(|(at, c)| at + c.len_utf8());
        self.take(end.unwrap_or(self.held.len()), Section::ToolCall, out);
        self.state = if end.is_some() { State::Text } else { State::List(brackets) };
        end.is_some()
    }

    /// Hands out all but what may become `mark`.
    fn release(&mut self, mark: &str, section: Section, out: &mut Vec<(Section, String)>) -> bool {
        let from = self.held.len().saturating_sub(mark.len() - 1);
        let may_become = |&at: &usize| self.held.is_char_boundary(at) && mark.starts_with(&self.held[at..]);
        let keep = (from..self.held.len()).find(may_become).unwrap_or(self.held.len());
        self.take(keep, section, out);
        false
    }

    fn take(&mut self, end: usize, section: Section, out: &mut Vec<(Section, String)>) {
        let rest = self.held.split_off(end);
        let text = std::mem::replace(&mut self.held, rest);
        if text.is_empty() {
            return;
        }
        match out.last_mut() {
            Some((last, so_far)) if *last == section => so_far.push_str(&text),
            _ => out.push((section, text)),
        }
    }
}

impl Brackets {
    /// Whether this character is the bracket that ends the outermost list.
    fn close(&mut self, c: char) -> bool {
        match c {
            _ if self.escaped => self.escaped = false,
            '\\' if self.in_string => self.escaped = true,
            '"' => self.in_string = !self.in_string,
            _ if self.in_string => {}
            '[' | '{' => self.depth += 1,
            ']' | '}' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.depth == 0
    }
}

/// An answer without its thinking, and without the blank that follows it.
pub(crate) fn without_thinking(answer: &str) -> String {
    let mut sections = Sections::new(false);
    let pieces = sections.push(answer);
    let mut said = String::with_capacity(answer.len());
    let mut thought = false;
    for (section, text) in pieces.into_iter().chain(sections.finish()) {
        match section {
            Section::Thinking => thought = true,
            _ if thought && said.is_empty() => said.push_str(text.trim_start()),
            _ => said.push_str(&text),
        }
    }
    said
}

/// Around thinking.
pub(crate) const THINK: [&str; 2] = ["<think>", "</think>"];
/// Around calls of tools.
pub(crate) const CALL: [&str; 2] = ["<|tool_call|>", "<|/tool_call|>"];
/// Before a list of calls, bracket included.
pub(crate) const LIST: &str = "functools[";

/// The marks that may be tokens of their own. They are shown whatever the file says they are, since they say what
/// follows; and in what a model said they are the tokens again when it reads it.
pub(crate) fn marks() -> impl Iterator<Item = &'static str> {
    THINK.into_iter().chain(CALL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Section::{Text, Thinking, ToolCall};

    /// Sections of a text that comes in these pieces, neighbours joined.
    fn sections<'t>(pieces: impl IntoIterator<Item = &'t str>, thinking: bool) -> Vec<(Section, String)> {
        let mut sections = Sections::new(thinking);
        let mut all: Vec<(Section, String)> = Vec::new();
        let mut each = |(section, text): (Section, String)| match all.last_mut() {
            Some((last, so_far)) if *last == section => so_far.push_str(&text),
            _ => all.push((section, text)),
        };
        for piece in pieces {
            sections.push(piece).into_iter().for_each(&mut each);
            assert!(sections.held.trim_start().len() < CALL[1].len(), "{:?} is held back", sections.held);
        }
        sections.finish().into_iter().for_each(&mut each);
        all
    }

    #[test]
    fn every_cut_gives_the_same_sections() {
        /// An answer, whether the prompt opened its thinking, and its sections.
        type Case = (&'static str, bool, &'static [(Section, &'static str)]);
        let cases: &[Case] = &[
            ("", false, &[]),
            ("plain", false, &[(Text, "plain")]),
            (
                "<think>a < b, </thin</think>\n\nöne <think>",
                false,
                &[(Thinking, "<think>a < b, </thin</think>"), (Text, "\n\nöne <think>")],
            ),
            (" \n<think>é", false, &[(Thinking, " \n<think>é")]),
            ("x <think>y</think>", false, &[(Text, "x <think>y</think>")]),
            ("<think>a</think><think>b</think>", false, &[(Thinking, "<think>a</think>"), (Text, "<think>b</think>")]),
            ("</think>x", false, &[(Text, "</think>x")]),
            ("</think>x", true, &[(Thinking, "</think>"), (Text, "x")]),
            ("ä<think></think> 1 ", true, &[(Thinking, "ä<think></think>"), (Text, " 1 ")]),
            ("never closed </think", true, &[(Thinking, "never closed </think")]),
            ("<thin", false, &[(Text, "<thin")]),
            (
                "a<|tool_call|>[{\"é\": 1}]<|/tool_call|> b<|tool_call|>",
                false,
                &[
                    (Text, "a"),
                    (ToolCall, "<|tool_call|>[{\"é\": 1}]<|/tool_call|>"),
                    (Text, " b"),
                    (ToolCall, "<|tool_call|>"),
                ],
            ),
            (
                "<|tool_call|>a<|/tool_call|><|tool_call|>b<|/tool_call|",
                false,
                &[(ToolCall, "<|tool_call|>a<|/tool_call|><|tool_call|>b<|/tool_call|")],
            ),
            (
                "<think><|tool_call|></think><|tool_call|></think><|/tool_call|>",
                false,
                &[(Thinking, "<think><|tool_call|></think>"), (ToolCall, "<|tool_call|></think><|/tool_call|>")],
            ),
            (
                "functools[{\"a\": \"]\\\"]\", \"b\": [1]}] so",
                false,
                &[(ToolCall, "functools[{\"a\": \"]\\\"]\", \"b\": [1]}]"), (Text, " so")],
            ),
            (
                "</think> functools[1] functools[2]",
                true,
                &[(Thinking, "</think>"), (ToolCall, " functools[1]"), (Text, " functools[2]")],
            ),
            ("functools [1]", false, &[(Text, "functools [1]")]),
            ("functools[\"[", false, &[(ToolCall, "functools[\"[")]),
        ];
        for &(text, thinking, want) in cases {
            let want: Vec<_> = want.iter().map(|&(section, text)| (section, text.to_string())).collect();
            let places: Vec<usize> = (0..=text.len()).filter(|&at| text.is_char_boundary(at)).collect();
            assert_eq!(sections([text], thinking), want, "{text:?}");
            assert_eq!(sections(text.split_inclusive(|_: char| true), thinking), want, "{text:?} by characters");
            for &a in &places {
                for &b in places.iter().filter(|&&b| b >= a) {
                    let pieces = [&text[..a], &text[a..b], &text[b..]];
                    assert_eq!(sections(pieces, thinking), want, "{pieces:?}");
                }
            }
        }
    }

    /// All short texts of marks, broken marks, brackets and blanks: nothing is lost, and pieces do not matter.
    #[test]
    fn no_text_is_too_odd() {
        let parts = [
            "<think>",
            "</think>",
            "<|tool_call|>",
            "<|/tool_call|>",
            "functools[",
            "]",
            "[\"",
            "\\",
            "<",
            "</",
            " ",
            "é",
        ];
        for n in 0..parts.len().pow(4) {
            let digit = |place: u32| parts[n / parts.len().pow(place) % parts.len()];
            let text: String = (0..4).map(digit).collect();
            for thinking in [false, true] {
                let whole = sections([text.as_str()], thinking);
                assert_eq!(whole.iter().map(|(_, text)| text.as_str()).collect::<String>(), text);
                assert_eq!(sections(text.split_inclusive(|_: char| true), thinking), whole, "{text:?}");
                let _ = crate::tool_calls(&text, thinking);
            }
        }
    }

    #[test]
    fn thinking_can_be_left_out() {
        for (answer, want) in [
            ("<think>hm</think>\n\n42 ", "42 "),
            (" 42", " 42"),
            ("<think>hm", ""),
            ("<think>hm</think>\n<|tool_call|>[]<|/tool_call|>", "<|tool_call|>[]<|/tool_call|>"),
            ("a <think>b</think>", "a <think>b</think>"),
        ] {
            assert_eq!(without_thinking(answer), want);
        }
    }
}

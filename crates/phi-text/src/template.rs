use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use minijinja::Value;
use phi_gguf::Metadata;

use crate::error::TextError;
use crate::sandbox;
use crate::tokenizer::{Span, Special};

/// One turn of a conversation.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`, `tool`. A plain word, since templates make tokens of it.
    pub role: String,
    /// What is said.
    pub content: String,
    /// A JSON list of tools, which Phi-4-mini's system message may carry.
    pub tools: Option<String>,
}

impl Message {
    /// A message without tools.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Message { role: role.into(), content: content.into(), tools: None }
    }
}

/// A chat template: a Jinja program from a model's file, run as one from a stranger.
///
/// Limits: source 1 MiB; brackets, blocks and macro calls 64 deep; 10⁶ steps and two seconds; one text, and the output,
/// 16 MiB; a list 10⁵ entries; everything made on the way 64 MiB. No files, no attributes of the interpreter, and a
/// clock (`strftime_now`) only for templates that ask.
///
/// What remains: the time of a single step, on texts of at most 16 MiB, is looked at only behind it; and constants in
/// the source may be a hundred times as large as the source.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    source: String,
}

/// Something to know about a rendering.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Note {
    /// The template has no place for a system message: it was put in front of the first user message.
    SystemFolded,
    /// The template writes a system message of its own, and the caller's was left out.
    SystemDropped,
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Note::SystemFolded => "the chat template has no system message: put in front of the first user message",
            Note::SystemDropped => "the chat template has a system message of its own: yours was left out",
        })
    }
}

/// A conversation as one text, in which the messages' own words are known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rendered {
    text: String,
    contents: Vec<Range<usize>>,
    notes: Vec<Note>,
}

impl Rendered {
    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text in stretches: the template's own, in which special tokens count, and the messages' contents, in which
    /// they do not. White space around a content may count to either.
    pub fn spans(&self) -> impl Iterator<Item = Span<'_>> {
        let plain = self.contents.iter().map(|range| (range.clone(), Special::Plain));
        let starts = std::iter::once(0).chain(self.contents.iter().map(|range| range.end));
        let ends = self.contents.iter().map(|range| range.start).chain([self.text.len()]);
        let own = starts.zip(ends).map(|(start, end)| (start..end, Special::Parse));
        let mut all: Vec<_> = plain.chain(own).filter(|(range, _)| !range.is_empty()).collect();
        all.sort_by_key(|(range, _)| range.start);
        all.into_iter().map(|(range, special)| Span { text: &self.text[range], special })
    }

    /// What to know about it.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }
}

impl ChatTemplate {
    /// Checks a template's source.
    pub fn parse(source: &str) -> Result<ChatTemplate, TextError> {
        sandbox::check(source)?;
        Ok(ChatTemplate { source: source.into() })
    }

    /// The template of a file, if it has one.
    pub fn from_metadata(meta: &Metadata) -> Result<Option<ChatTemplate>, TextError> {
        meta.find::<&str>("tokenizer.chat_template")?.map(ChatTemplate::parse).transpose()
    }

    /// The source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The conversation as the model was trained to read it.
    ///
    /// A system message that the template ignores is folded into the first user message, or dropped when the template
    /// writes a system message of its own: see [`Rendered::notes`].
    ///
    /// * `add_generation_prompt`: end with what comes before an answer
    /// * `bos`, `eos`: texts of the beginning and the end, which some templates write
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        bos: &str,
        eos: &str,
    ) -> Result<Rendered, TextError> {
        let plain_word =
            |role: &str| !role.is_empty() && role.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if let Some((index, message)) = messages.iter().enumerate().find(|(_, message)| !plain_word(&message.role)) {
            return Err(TextError::Role { index, role: phi_gguf::printable(message.role.as_bytes()) });
        }
        let rest = Rest { add_generation_prompt, bos, eos };
        let first = self.marked(messages, &rest)?;
        let system = messages.first().filter(|first| first.role == "system");
        let Some(system) = system.filter(|system| !system.content.trim().is_empty()) else { return Ok(first) };
        let says = |rendered: &Rendered, message: &Message| rendered.text.contains(message.content.trim());
        let users_there = |rendered: &Rendered| {
            messages.iter().filter(|message| message.role == "user").all(|message| says(rendered, message))
        };
        if says(&first, system) && users_there(&first) {
            return Ok(first);
        }
        let without = self.marked(&messages[1..], &rest)?;
        let own_system = without.spans().any(|span| span.special == Special::Parse && span.text.contains("system"));
        if own_system {
            return Ok(Rendered { notes: vec![Note::SystemDropped], ..without });
        }
        let mut folded = messages[1..].to_vec();
        match folded.iter_mut().find(|message| message.role == "user") {
            Some(user) => user.content = format!("{}\n{}", system.content, user.content),
            None => return Ok(Rendered { notes: vec![Note::SystemDropped], ..without }),
        }
        Ok(Rendered { notes: vec![Note::SystemFolded], ..self.marked(&folded, &rest)? })
    }

    /// Renders, and finds the contents again: each is put between two characters that occur nowhere else, inside its
    /// outer white space so that `trim` still trims. That must not have changed anything else, so the conversation is
    /// rendered without marks as well.
    fn marked(&self, messages: &[Message], rest: &Rest<'_>) -> Result<Rendered, TextError> {
        let text = sandbox::render(&self.source, &rest.variables(messages, |content| content.into()))?;
        let everything = [&self.source, rest.bos, rest.eos].into_iter().chain(messages.iter().flat_map(texts));
        let mark = |content: &str, [open, close]: [char; 2]| {
            let core = content.trim();
            let start = content.len() - content.trim_start().len();
            let (before, after) = (&content[..start], &content[start + core.len()..]);
            if core.is_empty() { content.into() } else { format!("{before}{open}{core}{close}{after}") }
        };
        // A template may stumble over marks where it does not over words.
        let found = unused(everything).and_then(|marks| {
            let variables = rest.variables(messages, |content| mark(content, marks));
            unmark(&sandbox::render(&self.source, &variables).ok()?, marks)
        });
        if let Some((text, contents)) = found.filter(|(unmarked, _)| *unmarked == text) {
            return Ok(Rendered { text, contents, notes: Vec::new() });
        }
        // The template looks into contents. That is safe as long as nothing in them can look like a token.
        for (index, message) in messages.iter().enumerate() {
            if let Some(found) = texts(message).flat_map(str::chars).find(|c| MARKUP.contains(c)) {
                return Err(TextError::TemplateContent { index, found });
            }
        }
        Ok(Rendered { text, contents: Vec::new(), notes: Vec::new() })
    }
}

/// What a template is given beside the messages.
struct Rest<'a> {
    add_generation_prompt: bool,
    bos: &'a str,
    eos: &'a str,
}

impl Rest<'_> {
    fn variables(&self, messages: &[Message], content: impl Fn(&str) -> String) -> Value {
        let message = |message: &Message| {
            let fields = [("role", message.role.clone()), ("content", content(&message.content))];
            let tools = message.tools.iter().map(|tools| ("tools", content(tools)));
            Value::from(fields.into_iter().chain(tools).collect::<BTreeMap<_, _>>())
        };
        Value::from(BTreeMap::from([
            ("messages", messages.iter().map(message).collect::<Value>()),
            ("add_generation_prompt", self.add_generation_prompt.into()),
            ("bos_token", self.bos.into()),
            ("eos_token", self.eos.into()),
            // Hugging Face passes these, and templates ask whether they are `none`.
            ("tools", ().into()),
            ("documents", ().into()),
        ]))
    }
}

fn texts(message: &Message) -> impl Iterator<Item = &str> {
    [message.content.as_str()].into_iter().chain(message.tools.as_deref())
}

/// Two private-use characters that occur in none of the texts, unless somebody used them up.
fn unused<'t>(texts: impl Iterator<Item = &'t str>) -> Option<[char; 2]> {
    const MARKS: std::ops::RangeInclusive<char> = '\u{f0000}'..='\u{ffffd}';
    let used: BTreeSet<char> = texts.flat_map(str::chars).filter(|c| MARKS.contains(c)).collect();
    let mut free = MARKS.filter(|c| !used.contains(c));
    Some([free.next()?, free.next()?])
}

/// The text without its marks, and the stretches between them, if each is opened and closed in turn.
fn unmark(marked: &str, [open, close]: [char; 2]) -> Option<(String, Vec<Range<usize>>)> {
    let mut text = String::with_capacity(marked.len());
    let mut contents = Vec::new();
    let mut opened = None;
    for c in marked.chars() {
        match (c == open, c == close, opened) {
            (true, _, None) => opened = Some(text.len()),
            (_, true, Some(start)) => {
                contents.push(start..text.len());
                opened = None;
            }
            (false, false, _) => text.push(c),
            _ => return None,
        }
    }
    opened.is_none().then_some((text, contents))
}

/// Characters without which no text is a control token of any Phi.
const MARKUP: [char; 2] = ['<', '['];

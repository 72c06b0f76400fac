use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use minijinja::Value;
use phi_gguf::Metadata;

use crate::error::TextError;
use crate::sandbox;
use crate::sections::{THINK, marks, without_thinking};
use crate::tokenizer::{Span, Special};

/// One turn of a conversation.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`, `tool`. A plain word, since templates make tokens of it.
    pub role: String,
    /// What is said.
    pub content: String,
    /// A JSON list of tools, which Phi-4-mini's system message may carry: see [`Tools::json`](crate::Tools::json).
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
    contents: Vec<Content>,
    notes: Vec<Note>,
}

/// Where a message's own words stand.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Content {
    range: Range<usize>,
    author: Author,
}

/// Who wrote them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Author {
    /// The model, which may have thought and called tools.
    Model,
    /// Anybody else.
    Other,
}

impl Rendered {
    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text in stretches: the template's own, in which special tokens count, and the messages' contents, in which
    /// they do not. White space around a content may count to either. What the model said keeps the marks of its thinking
    /// and of its calls as the tokens they were, and no others.
    pub fn spans(&self) -> impl Iterator<Item = Span<'_>> {
        let starts = std::iter::once(0).chain(self.contents.iter().map(|content| content.range.end));
        let ends = self.contents.iter().map(|content| content.range.start).chain([self.text.len()]);
        let own = starts.zip(ends).map(|(start, end)| (start..end, Special::Parse));
        let contents = self.contents.iter().flat_map(|content| match content.author {
            Author::Model => self.said(content.range.clone()),
            Author::Other => vec![(content.range.clone(), Special::Plain)],
        });
        let mut all: Vec<_> = contents.chain(own).filter(|(range, _)| !range.is_empty()).collect();
        all.sort_by_key(|(range, _)| range.start);
        all.into_iter().map(|(range, special)| Span { text: &self.text[range], special })
    }

    /// What the model said, cut at its marks.
    fn said(&self, range: Range<usize>) -> Vec<(Range<usize>, Special)> {
        let mut spans = Vec::new();
        let mut at = range.start;
        for (place, _) in self.text[range.clone()].match_indices('<') {
            let place = range.start + place;
            if let Some(mark) = marks().find(|mark| self.text[place..range.end].starts_with(mark)) {
                let end = place + mark.len();
                spans.extend([(at..place, Special::Plain), (place..end, Special::Parse)]);
                at = end;
            }
        }
        spans.push((at..range.end, Special::Plain));
        spans
    }

    /// Whether this is one of the contents; where they could not be told apart, whether it occurs.
    fn says(&self, content: &str) -> bool {
        let core = content.trim();
        let is = |found: &Content| self.text[found.range.clone()] == *core;
        core.is_empty() || self.contents.iter().any(is) || (self.contents.is_empty() && self.text.contains(core))
    }

    /// Whether the template itself opens the model's thinking: an answer then begins inside of it.
    pub fn opens_thinking(&self) -> bool {
        let text = self.text.trim_end();
        let typed = self.contents.iter().any(|content| content.range.end == text.len());
        text.ends_with(THINK[0]) && !typed
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
    /// writes a system message of its own: see [`Rendered::notes`]. Tools that it ignores are an error.
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
        let rendered = self.with_system(messages, &rest)?;
        let mut tools = messages.iter().filter_map(|message| message.tools.as_deref());
        if tools.any(|tools| !rendered.text.contains(tools.trim())) {
            return Err(TextError::TemplateTools);
        }
        Ok(rendered)
    }

    /// Renders, and finds a place for the system message.
    fn with_system(&self, messages: &[Message], rest: &Rest<'_>) -> Result<Rendered, TextError> {
        let first = self.marked(messages, rest)?;
        let Some(system) = messages.first().filter(|first| first.role == "system") else { return Ok(first) };
        let silent = system.content.trim().is_empty();
        let users_there = |rendered: &Rendered| {
            messages.iter().filter(|message| message.role == "user").all(|message| rendered.says(&message.content))
        };
        if (silent || first.says(&system.content)) && users_there(&first) {
            return Ok(first);
        }
        let without = self.marked(&messages[1..], rest)?;
        if silent {
            return Ok(without);
        }
        let own_system = without.spans().any(|span| span.special == Special::Parse && span.text.contains("system"));
        if own_system {
            return Ok(Rendered { notes: vec![Note::SystemDropped], ..without });
        }
        let mut folded = messages[1..].to_vec();
        match folded.iter_mut().find(|message| message.role == "user") {
            Some(user) => user.content = format!("{}\n{}", system.content, user.content),
            None => return Ok(Rendered { notes: vec![Note::SystemDropped], ..without }),
        }
        Ok(Rendered { notes: vec![Note::SystemFolded], ..self.marked(&folded, rest)? })
    }

    /// Renders, and finds the contents again: each is put between two characters that occur nowhere else, inside its
    /// outer white space so that `trim` still trims. That must not have changed anything else, so the conversation is
    /// rendered without them as well.
    fn marked(&self, messages: &[Message], rest: &Rest<'_>) -> Result<Rendered, TextError> {
        let text = sandbox::render(&self.source, &rest.variables(messages, |_, content| content.into()))?;
        if let Some(rendered) = self.bracketed(messages, rest, &text) {
            return Ok(rendered);
        }
        // A template that leaves earlier thinking out makes the same of a conversation without it.
        let brief: Vec<Message> = messages.iter().map(spoken).collect();
        if let Some(rendered) = self.bracketed(&brief, rest, &text).filter(|_| brief != messages) {
            return Ok(rendered);
        }
        // The template looks into contents. That is safe as long as nothing in them can look like a token.
        for (index, message) in messages.iter().enumerate() {
            if let Some(found) = texts(message).flat_map(str::chars).find(|c| MARKUP.contains(c)) {
                return Err(TextError::TemplateContent { index, found });
            }
        }
        Ok(Rendered { text, contents: Vec::new(), notes: Vec::new() })
    }

    /// The conversation rendered with brackets around each content, if without them it is `text`.
    fn bracketed(&self, messages: &[Message], rest: &Rest<'_>, text: &str) -> Option<Rendered> {
        let everything = [&self.source, rest.bos, rest.eos].into_iter().chain(messages.iter().flat_map(texts));
        let brackets = unused(everything)?;
        let variables = rest.variables(messages, |message, content| brackets.around(content, author(message)));
        // A template may stumble over brackets where it does not over words.
        let (found, contents) = brackets.find(&sandbox::render(&self.source, &variables).ok()?)?;
        (found == text).then(|| Rendered { text: found, contents, notes: Vec::new() })
    }
}

/// What a template is given beside the messages.
struct Rest<'a> {
    add_generation_prompt: bool,
    bos: &'a str,
    eos: &'a str,
}

impl Rest<'_> {
    fn variables(&self, messages: &[Message], content: impl Fn(&Message, &str) -> String) -> Value {
        let message = |message: &Message| {
            let fields = [("role", message.role.clone()), ("content", content(message, &message.content))];
            let tools = message.tools.iter().map(|tools| ("tools", content(message, tools)));
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

fn author(message: &Message) -> Author {
    if message.role == "assistant" { Author::Model } else { Author::Other }
}

/// A message without the model's thinking.
fn spoken(message: &Message) -> Message {
    match author(message) {
        Author::Model => Message { content: without_thinking(&message.content), ..message.clone() },
        Author::Other => message.clone(),
    }
}

/// Private-use characters that occur in none of the texts, unless somebody used them up.
fn unused<'t>(texts: impl Iterator<Item = &'t str>) -> Option<Brackets> {
    const PRIVATE: std::ops::RangeInclusive<char> = '\u{f0000}'..='\u{ffffd}';
    let used: BTreeSet<char> = texts.flat_map(str::chars).filter(|c| PRIVATE.contains(c)).collect();
    let mut free = PRIVATE.filter(|c| !used.contains(c));
    let mut pair = || Some([free.next()?, free.next()?]);
    Some(Brackets { model: pair()?, other: pair()? })
}

/// What opens and closes a content, by its author.
struct Brackets {
    model: [char; 2],
    other: [char; 2],
}

impl Brackets {
    fn of(&self, author: Author) -> [char; 2] {
        match author {
            Author::Model => self.model,
            Author::Other => self.other,
        }
    }

    /// A content with its brackets, inside its outer white space.
    fn around(&self, content: &str, author: Author) -> String {
        let [open, close] = self.of(author);
        let core = content.trim();
        let start = content.len() - content.trim_start().len();
        let (before, after) = (&content[..start], &content[start + core.len()..]);
        if core.is_empty() { content.into() } else { format!("{before}{open}{core}{close}{after}") }
    }

    /// The text without brackets, and what stood in them, if each is opened and closed in turn.
    fn find(&self, bracketed: &str) -> Option<(String, Vec<Content>)> {
        let mut text = String::with_capacity(bracketed.len());
        let mut contents = Vec::new();
        let mut opened: Option<(usize, Author)> = None;
        for c in bracketed.chars() {
            let author = [Author::Model, Author::Other].into_iter().find(|&author| self.of(author).contains(&c));
            let Some(author) = author else {
                text.push(c);
                continue;
            };
            match (c == self.of(author)[0], opened) {
                (true, None) => opened = Some((text.len(), author)),
                (false, Some((start, by))) if by == author => {
                    contents.push(Content { range: start..text.len(), author });
                    opened = None;
                }
                _ => return None,
            }
        }
        opened.is_none().then_some((text, contents))
    }
}

/// Characters without which no text is a control token of any Phi.
const MARKUP: [char; 2] = ['<', '['];

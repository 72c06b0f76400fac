//! What a chat template's source must not do, found before the engine sees it: the engine parses, compiles and drops
//! nested things by recursion, and computes constants while it compiles.

use crate::error::{Position, TextError};

/// Refuses what could exhaust the stack or the memory before the first step.
pub(crate) fn check(source: &str) -> Result<(), TextError> {
    if source.len() > MAX_SOURCE {
        return Err(TextError::TemplateSize { got: source.len(), max: MAX_SOURCE });
    }
    let mut lint = Lint { source, at: 0, open: Vec::new() };
    while let Some(found) = source[lint.at..].find('{') {
        let start = lint.at + found;
        let rest = &source[start..];
        if rest.starts_with("{#") {
            let end = rest.find("#}").ok_or_else(|| lint.unclosed(start, "comment"))?;
            lint.at = start + end + 2;
        } else if rest.starts_with("{{") || rest.starts_with("{%") {
            lint.tag(start)?;
        } else {
            lint.at = start + 1;
        }
    }
    match lint.open.first() {
        Some(block) => Err(lint.unclosed(block.start, "block")),
        None => Ok(()),
    }
}

/// Where a byte of the source stands.
pub(crate) fn position(source: &str, offset: usize) -> Position {
    let before = source.get(..offset).unwrap_or(source);
    let line = before.rsplit('\n').next().unwrap_or_default();
    Position { line: before.matches('\n').count() + 1, column: line.chars().count() + 1 }
}

struct Lint<'s> {
    source: &'s str,
    at: usize,
    open: Vec<Block<'s>>,
}

/// A statement that waits for its end.
struct Block<'s> {
    name: &'s str,
    start: usize,
    /// The engine nests an `elif` inside the `if` before it.
    branches: usize,
}

/// What is inside one pair of tag brackets.
#[derive(Default)]
struct Tag<'s> {
    words: Vec<&'s str>,
    operators: usize,
    stars: usize,
    largest: u64,
    assigns: bool,
}

impl<'s> Lint<'s> {
    fn tag(&mut self, start: usize) -> Result<(), TextError> {
        let statement = self.source[start..].starts_with("{%");
        let tag = self.inside(start, if statement { "%}" } else { "}}" })?;
        let here = || position(self.source, start);
        if tag.operators > MAX_OPERATORS {
            return Err(TextError::TemplateExpression { at: here(), max: MAX_OPERATORS });
        }
        if tag.stars > 1 || (tag.stars == 1 && tag.largest > MAX_FACTOR) {
            return Err(TextError::TemplateRepetition { at: here(), max: MAX_FACTOR });
        }
        if statement && let Some(&name) = tag.words.first() { self.statement(start, name, tag.assigns) } else { Ok(()) }
    }

    fn statement(&mut self, start: usize, name: &'s str, assigns: bool) -> Result<(), TextError> {
        match name {
            "raw" => {
                let end = self.source[self.at..].find("endraw").ok_or_else(|| self.unclosed(start, "block"))?;
                self.at += end;
                let end = self.source[self.at..].find("%}").ok_or_else(|| self.unclosed(start, "block"))?;
                self.at += end + 2;
            }
            "include" | "import" | "from" | "extends" | "block" => {
                return Err(TextError::TemplateTag { at: position(self.source, start), name: name.into() });
            }
            "set" if assigns => {}
            "for" | "if" | "macro" | "call" | "filter" | "with" | "autoescape" | "set" => {
                self.open.push(Block { name, start, branches: 0 });
            }
            "elif" => self.open.last_mut().into_iter().for_each(|block| block.branches += 1),
            _ => {
                if let Some(ended) = name.strip_prefix("end")
                    && self.open.last().is_some_and(|block| block.name == ended)
                {
                    self.open.pop();
                }
            }
        }
        let depth: usize = self.open.iter().map(|block| 1 + block.branches).sum();
        if depth > MAX_DEPTH {
            return Err(self.nesting(start, "block"));
        }
        Ok(())
    }

    /// Reads up to the tag's end, which `self.at` then follows.
    fn inside(&mut self, start: usize, end: &str) -> Result<Tag<'s>, TextError> {
        let bytes = self.source.as_bytes();
        let mut tag = Tag::default();
        let mut depth = 0_usize;
        let mut at = start + 2;
        loop {
            let rest = &bytes[at.min(bytes.len())..];
            match rest {
                [] => return Err(self.unclosed(start, if end == "}}" { "expression" } else { "block" })),
                _ if depth == 0 && rest.starts_with(end.as_bytes()) => break,
                [quote @ (b'"' | b'\''), ..] => {
                    let length = string_length(rest, *quote).ok_or_else(|| self.unclosed(at, "string"))?;
                    self.dunder(at + 1, &self.source[at + 1..at + length - 1])?;
                    at += length;
                }
                [c, ..] if c.is_ascii_alphanumeric() || *c == b'_' => {
                    let length = rest.iter().take_while(|c| c.is_ascii_alphanumeric() || **c == b'_').count();
                    let word = &self.source[at..at + length];
                    self.dunder(at, word)?;
                    if c.is_ascii_digit() {
                        tag.largest = tag.largest.max(number(word));
                    } else {
                        let operator = ["and", "or", "not", "is", "in", "if", "else"].contains(&word);
                        tag.operators += usize::from(operator);
                        tag.words.push(word);
                    }
                    at += length;
                }
                [b'*', b'*', ..] => {
                    tag.operators += 1;
                    at += 2;
                }
                [c, next, ..] => {
                    match c {
                        b'(' | b'[' | b'{' => depth += 1,
                        b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                        _ => {}
                    }
                    if depth > MAX_DEPTH {
                        return Err(self.nesting(at, "expression"));
                    }
                    tag.operators += usize::from(b"+-*/%~|.<>=![(".contains(c));
                    tag.stars += usize::from(*c == b'*');
                    let comparison = *next == b'=' || (at > start && b"=!<>".contains(&bytes[at - 1]));
                    tag.assigns |= *c == b'=' && depth == 0 && !comparison;
                    at += 1;
                }
                [_] => at += 1,
            }
        }
        self.at = at + end.len();
        Ok(tag)
    }

    /// Names that begin with two underscores belong to Python, and to those who want to get out of it.
    fn dunder(&self, at: usize, word: &str) -> Result<(), TextError> {
        if !word.starts_with("__") {
            return Ok(());
        }
        let name = phi_gguf::printable(word.as_bytes());
        Err(TextError::TemplateAttribute { at: position(self.source, at), name })
    }

    fn unclosed(&self, start: usize, what: &'static str) -> TextError {
        TextError::TemplateUnclosed { at: position(self.source, start), what }
    }

    fn nesting(&self, at: usize, what: &'static str) -> TextError {
        TextError::TemplateNesting { at: position(self.source, at), what, max: MAX_DEPTH }
    }
}

/// Bytes of a string literal, quotes included.
fn string_length(bytes: &[u8], quote: u8) -> Option<usize> {
    let mut at = 1;
    loop {
        match *bytes.get(at)? {
            b'\\' => at += 2,
            byte if byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// A number as the engine reads it, or as large as can be.
fn number(word: &str) -> u64 {
    let digits = word.replace('_', "");
    let parsed = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => u64::from_str_radix(&digits[2..], 16),
        [b'0', b'o' | b'O', ..] => u64::from_str_radix(&digits[2..], 8),
        [b'0', b'b' | b'B', ..] => u64::from_str_radix(&digits[2..], 2),
        _ => digits.parse(),
    };
    parsed.unwrap_or(u64::MAX)
}

/// Bytes of a template. Real ones have at most some ten thousand.
pub(crate) const MAX_SOURCE: usize = 1 << 20;
/// Brackets in brackets, and blocks in blocks.
const MAX_DEPTH: usize = 64;
/// Operators of one expression: a chain of them is as deep as it is long.
const MAX_OPERATORS: usize = 512;
/// The largest number beside `*`: products of constants are computed while compiling.
const MAX_FACTOR: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_templates_pass() {
        for source in [
            "{# {{ #}{{ {'a': {'b': 1}}['a'] }} { x } }}",
            "{% raw %}{{ {% {% endraw %}{% set x = 'a}}' == \"b\\\"\" %}{% set y %}z{% endset %}",
            "{%- if a -%}{%- elif b -%}{%- else -%}{%- endif -%}{{ loop.index0 * 2 }}",
        ] {
            assert!(check(source).is_ok(), "{source}: {:?}", check(source));
        }
    }

    #[test]
    fn faults_are_named_with_their_place() {
        for (source, want) in [
            ("{% for x in y %}", "chat_template line 1 col 1: block not closed"),
            ("a\n {{ x", "chat_template line 2 col 2: expression not closed"),
            ("{# x", "chat_template line 1 col 1: comment not closed"),
            ("{{ 'x }}", "chat_template line 1 col 4: string not closed"),
            ("{% include 'x' %}", "chat_template line 1 col 1: `include` is not supported"),
            ("{{ 'a' * 1000 }}", "chat_template line 1 col 1: repetition by more than 100"),
            ("{{ ''['__class__'] }}", "chat_template line 1 col 8: no attribute __class__"),
        ] {
            assert_eq!(check(source).unwrap_err().to_string(), want, "{source}");
        }
        let deep = "{% if a %}".repeat(65);
        assert!(matches!(check(&deep), Err(TextError::TemplateNesting { what: "block", .. })));
        let chain = format!("{{{{ a{} }}}}", " ~ a".repeat(600));
        assert!(matches!(check(&chain), Err(TextError::TemplateExpression { .. })));
        let branches = format!("{{% if a %}}{}", "{% elif a %}".repeat(100));
        assert!(matches!(check(&branches), Err(TextError::TemplateNesting { .. })));
    }
}

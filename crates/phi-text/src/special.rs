//! Added tokens: texts that are tokens as they stand, found before anything else looks at the text.
//!
//! At each place the longest matches. Two things are decided by content, because the file has no field for them:
//!
//! * **Which swallow the white space behind them** (Hugging Face's `rstrip`). In a `llama` vocabulary with `<|system|>`,
//!   `<|end|>` and `<|user|>` at 32006, 32007 and 32010 (Phi-3): all but `<unk>`, `<s>` and `<|endoftext|>`. In a `gpt2`
//!   vocabulary for pre-tokenizer `gpt-4o` with `<|assistant|>` and `<|end|>` (Phi-4-mini): the ten of the chat format.
//!   Nowhere else.
//! * **Which a user must not be able to type.** Control tokens, and user-defined ones that look like markup (`<…>`):
//!   Hugging Face matches `<|tool|>` and `</s>` in anybody's text. Here such texts are special, and only text that
//!   parses special tokens finds them; other user-defined tokens, such as Phi-2's runs of spaces, are ordinary.

/// One added token.
#[derive(Clone, Debug)]
pub(crate) struct Added {
    pub(crate) text: String,
    pub(crate) id: u32,
    /// Found only where special tokens are parsed.
    pub(crate) special: bool,
    /// Swallows the white space behind it.
    pub(crate) rstrip: bool,
}

/// The added tokens of a vocabulary, by text.
#[derive(Debug)]
pub(crate) struct AddedTokens {
    sorted: Box<[Added]>,
    first_bytes: Box<[bool; 256]>,
}

impl AddedTokens {
    pub(crate) fn new(mut tokens: Vec<Added>) -> Self {
        tokens.retain(|token| !token.text.is_empty());
        tokens.sort_by(|a, b| a.text.cmp(&b.text));
        tokens.dedup_by(|b, a| a.text == b.text);
        let mut first_bytes = Box::new([false; 256]);
        tokens.iter().for_each(|token| first_bytes[usize::from(token.text.as_bytes()[0])] = true);
        AddedTokens { sorted: tokens.into(), first_bytes }
    }

    /// The longest token that the text begins with, among the ordinary ones and, up to `parse` bytes, the special ones.
    fn longest(&self, text: &str, parse: usize) -> Option<&Added> {
        let mut found = None;
        let mut range = &self.sorted[..];
        for (at, &byte) in text.as_bytes().iter().enumerate() {
            // Texts in `range` agree with the text up to `at`; one that ends there is the first of them.
            let next = |token: &Added| token.text.as_bytes().get(at).copied();
            let from = range.partition_point(|token| next(token) < Some(byte));
            let to = range.partition_point(|token| next(token) <= Some(byte));
            range = &range[from..to];
            let Some(shortest) = range.first() else { break };
            if shortest.text.len() == at + 1 && (!shortest.special || at < parse) {
                found = Some(shortest);
            }
        }
        found
    }

    /// Cuts a text at its added tokens.
    ///
    /// * `parse_until`: for a place in the text, the end of the stretch around it in which special tokens are parsed
    ///   (the place itself where they are not)
    /// * `plain`, `token`: what to do with ordinary text and with tokens, in order
    pub(crate) fn cut<'t>(&self, text: &'t str, parse_until: impl Fn(usize) -> usize, mut each: impl FnMut(Cut<'t>)) {
        let (mut start, mut at) = (0, 0);
        while at < text.len() {
            let candidate = self.first_bytes[usize::from(text.as_bytes()[at])];
            let parse = || parse_until(at).saturating_sub(at);
            let Some(token) = candidate.then(|| self.longest(&text[at..], parse())).flatten() else {
                // To the next character: tokens begin with whole ones.
                at += 1;
                while !text.is_char_boundary(at) {
                    at += 1;
                }
                continue;
            };
            if start < at {
                each(Cut::Text(&text[start..at]));
            }
            each(Cut::Token(token.id));
            at += token.text.len();
            if token.rstrip {
                at = text.len() - text[at..].trim_start().len();
            }
            start = at;
        }
        if start < text.len() {
            each(Cut::Text(&text[start..]));
        }
    }
}

/// A stretch of text between added tokens, or one of them.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Cut<'t> {
    Text(&'t str),
    Token(u32),
}

/// Whether a user-defined token looks like markup, which nobody may type.
pub(crate) fn looks_like_markup(text: &str) -> bool {
    text.len() > 2 && text.starts_with('<') && text.ends_with('>')
}

/// The Phi-3 vocabulary, by content.
pub(crate) const PHI3: [(u32, &str); 3] = [(32006, "<|system|>"), (32007, "<|end|>"), (32010, "<|user|>")];

/// The tokens of a Phi-3 vocabulary that swallow nothing.
pub(crate) const PHI3_KEEPS: [&str; 3] = ["<unk>", "<s>", "<|endoftext|>"];

/// The Phi-4-mini vocabulary, by content.
pub(crate) const PHI4_MINI: [&str; 2] = ["<|assistant|>", "<|end|>"];

/// The tokens of a Phi-4-mini vocabulary that swallow the white space behind them.
pub(crate) const PHI4_MINI_STRIPS: [&str; 10] = [
    "<|assistant|>",
    "<|end|>",
    "<|user|>",
    "<|system|>",
    "<|tool|>",
    "<|/tool|>",
    "<|tool_call|>",
    "<|/tool_call|>",
    "<|tool_response|>",
    "<|tag|>",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn added() -> AddedTokens {
        let token = |text: &str, id, special, rstrip| Added { text: text.into(), id, special, rstrip };
        AddedTokens::new(vec![
            token("  ", 2, false, false),
            token("   ", 3, false, false),
            token("<a>", 10, true, true),
            token("<a><b>", 11, true, false),
        ])
    }

    fn cuts(text: &str, parse: std::ops::Range<usize>) -> Vec<Cut<'_>> {
        let mut all = Vec::new();
        added().cut(text, |at| if parse.contains(&at) { parse.end } else { at }, |cut| all.push(cut));
        all
    }

    #[test]
    fn the_longest_is_found_first() {
        use Cut::{Text, Token};
        assert_eq!(cuts("x    y", 0..0), [Text("x"), Token(3), Text(" y")]);
        assert_eq!(cuts("<a><b><a>", 0..9), [Token(11), Token(10)]);
        assert_eq!(cuts("<a> \u{a0}\nñ", 0..8), [Token(10), Text("ñ")]);
    }

    #[test]
    fn special_tokens_lie_wholly_where_they_are_parsed() {
        use Cut::{Text, Token};
        assert_eq!(cuts("<a><b>", 0..0), [Text("<a><b>")]);
        assert_eq!(cuts("<a><b>", 0..4), [Token(10), Text("<b>")]);
        assert_eq!(cuts("<a>", 0..2), [Text("<a>")]);
        assert_eq!(cuts("<a>", 1..3), [Text("<a>")]);
    }
}

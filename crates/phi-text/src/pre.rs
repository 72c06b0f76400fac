//! How a text is cut into words before byte pairs are merged: one table, by the names that files use.
//!
//! `llama-bpe` cuts as `dbrx` does. Llama 3 itself also takes a word that is a token as it stands (`ignore_merges`); the
//! Phi files under that name hold cl100k, where merging gives the same.

use std::sync::LazyLock;

use regex::Regex;

/// One way of cutting.
#[derive(Debug)]
pub struct Pre {
    /// The name in `tokenizer.ggml.pre`, then other names for the same.
    pub names: &'static [&'static str],
    /// The regular expression, as Hugging Face files spell it, then other spellings with the same matches.
    pub spellings: &'static [&'static str],
    /// The expression without its end, `\s+(?!\S)|\s+`, which [`Pre::words`] does by hand: without look-ahead, matching
    /// takes linear time and cannot fail.
    compiled: LazyLock<Regex>,
    /// Whether an earlier alternative has already taken every run of white space that contains a line break.
    breaks_first: bool,
}

/// The way of this name.
pub fn named(name: &str) -> Option<&'static Pre> {
    ALL.iter().find(|pre| pre.names.contains(&name))
}

/// The way of this regular expression, as found in a `tokenizer.json`.
pub fn recognise(regex: &str) -> Option<&'static Pre> {
    ALL.iter().find(|pre| pre.spellings.contains(&regex))
}

/// All names, for a message.
pub(crate) fn names() -> String {
    ALL.iter().flat_map(|pre| pre.names).copied().collect::<Vec<_>>().join(", ")
}

impl Pre {
    /// The name to write into a file.
    pub fn name(&self) -> &'static str {
        self.names[0]
    }

    /// Calls `word` with each word of the text, in order. Joined, the words are the text.
    pub fn words<'t>(&self, text: &'t str, mut word: impl FnMut(&'t str)) {
        let mut at = 0;
        while let Some(found) = self.compiled.find_at(text, at) {
            if at < found.start() {
                word(&text[at..found.start()]);
            }
            let end = self.end(found.as_str(), &text[found.end()..]) + found.start();
            word(&text[found.start()..end]);
            at = end;
        }
        if at < text.len() {
            word(&text[at..]);
        }
    }

    /// `\s+(?!\S)|\s+`: a run of white space leaves its last character to the word behind it, if it has another.
    fn end(&self, found: &str, rest: &str) -> usize {
        let mut backwards = found.char_indices().rev();
        let Some((last, c)) = backwards.next() else { return found.len() };
        let whole = !c.is_whitespace()
            || rest.is_empty()
            || last == 0
            || (self.breaks_first && matches!(c, '\r' | '\n'))
            || found.chars().any(|c| !c.is_whitespace());
        if whole { found.len() } else { last }
    }
}

/// An expression whose end is `\s+(?!\S)|\s+`, ready for use.
fn compile(spelling: &str) -> Regex {
    let simple = spelling.strip_suffix(r"\s+(?!\S)|\s+").expect("the first spelling ends so");
    Regex::new(&format!(r"{simple}\s+")).expect("the table's expressions are valid")
}

/// Every way, each once.
pub static ALL: [Pre; 3] = [
    Pre {
        names: &["phi-2", "gpt-2", "default"],
        spellings: &[GPT2, GPT2_TIKTOKEN],
        compiled: LazyLock::new(|| compile(GPT2)),
        breaks_first: false,
    },
    Pre {
        names: &["dbrx", "llama-bpe"],
        spellings: &[CL100K, CL100K_SHORT],
        compiled: LazyLock::new(|| compile(CL100K)),
        breaks_first: true,
    },
    Pre {
        names: &["gpt-4o"],
        spellings: &[O200K, O200K_SHORT],
        compiled: LazyLock::new(|| compile(O200K)),
        breaks_first: true,
    },
];

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// As newer releases of tiktoken spell it.
const GPT2_TIKTOKEN: &str = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

const CL100K: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// With the same matches: what is left for the last alternative is one character.
const CL100K_SHORT: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s";
const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const O200K_SHORT: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s";

#[cfg(test)]
mod tests {
    use super::*;

    fn words<'t>(name: &str, text: &'t str) -> Vec<&'t str> {
        let mut all = Vec::new();
        named(name).unwrap().words(text, |word| all.push(word));
        assert_eq!(all.concat(), text);
        all
    }

    #[test]
    fn white_space_leaves_one_to_the_next_word() {
        for name in ["phi-2", "dbrx", "gpt-4o"] {
            assert_eq!(words(name, "a   b"), ["a", "  ", " b"], "{name}");
            assert_eq!(words(name, "a   "), ["a", "   "], "{name}");
            assert_eq!(words(name, "a b"), ["a", " b"], "{name}");
        }
        assert_eq!(words("phi-2", "a\n\nb"), ["a", "\n", "\n", "b"]);
        assert_eq!(words("dbrx", "a\n\nb"), ["a", "\n\n", "b"]);
        assert_eq!(words("dbrx", "a \n \u{3000}b"), ["a", " \n", " ", "\u{3000}b"]);
    }

    #[test]
    fn names_and_spellings_are_found() {
        assert_eq!(recognise(O200K).unwrap().name(), "gpt-4o");
        assert_eq!(recognise(CL100K_SHORT).unwrap().name(), "dbrx");
        assert_eq!(named("default").unwrap().name(), "phi-2");
        assert!(recognise(r"\p{L}+").is_none() && named("foo").is_none());
        let all = |field: fn(&Pre) -> &'static [&'static str]| ALL.iter().flat_map(field).collect::<Vec<_>>();
        for list in [all(|pre| pre.names), all(|pre| pre.spellings)] {
            assert_eq!(list.iter().collect::<std::collections::HashSet<_>>().len(), list.len());
        }
    }

    #[test]
    fn a_megabyte_of_blanks_is_one_word() {
        let text = " ".repeat(1 << 20) + "x";
        assert_eq!(words("gpt-4o", &text).len(), 2);
    }
}

//! How a text is cut into words before byte pairs are merged: one table, by the names that files use.

/// One way of cutting.
#[derive(Debug)]
pub struct Pre {
    /// The name in `tokenizer.ggml.pre`, then other names for the same.
    pub names: &'static [&'static str],
    /// The regular expression, as Hugging Face files spell it, then other spellings with the same matches.
    pub spellings: &'static [&'static str],
    /// A word that is a token is that token, even where the merges would make others of it.
    pub ignore_merges: bool,
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
}

/// Every way, each once. An expression stands for the first that has it.
pub static ALL: [Pre; 4] = [
    Pre { names: &["phi-2", "gpt-2", "default"], spellings: &[GPT2, GPT2_TIKTOKEN], ignore_merges: false },
    Pre { names: &["dbrx"], spellings: &[CL100K, CL100K_SHORT], ignore_merges: false },
    // Llama 3: cut as cl100k, but with words that its merges do not reach.
    Pre { names: &["llama-bpe"], spellings: &[CL100K], ignore_merges: true },
    Pre { names: &["gpt-4o"], spellings: &[O200K, O200K_SHORT], ignore_merges: false },
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

    #[test]
    fn names_and_spellings_are_found() {
        assert_eq!(recognise(O200K).unwrap().name(), "gpt-4o");
        assert_eq!(recognise(CL100K_SHORT).unwrap().name(), "dbrx");
        assert_eq!(named("default").unwrap().name(), "phi-2");
        assert!(recognise(r"\p{L}+").is_none() && named("foo").is_none());
        let names: Vec<_> = ALL.iter().flat_map(|pre| pre.names).collect();
        assert_eq!(names.iter().collect::<std::collections::HashSet<_>>().len(), names.len());
    }
}

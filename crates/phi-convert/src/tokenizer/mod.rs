//! The tokenizer's files as `tokenizer.*` keys. Which files exist decides, not what a class is called:
//!
//! 1. `tokenizer.model`: SentencePiece BPE, model `llama`;
//! 2. `tokenizer.json`: byte-level BPE is model `gpt2`, BPE with byte fallback is model `llama`;
//! 3. `vocab.json` and `merges.txt`: GPT-2's own files, model `gpt2`;
//! 4. a `.tiktoken` file: byte-level BPE, model `gpt2`;
//! 5. none: the file works with ids only.

pub(crate) mod bytes;
mod fast;
mod gpt2;
mod sentencepiece;
mod special;
mod tiktoken;

use std::collections::HashMap;
use std::path::Path;

use phi_gguf::{Strings, Value};
use phi_text::TokenKind as Kind;

use crate::config::Config;
use crate::error::{ConvertError, Problem, Result, Warning};
use crate::generation::Generation;

/// A whole `tokenizer.json` with 200 thousand tokens and their merges is 16 MiB.
const MAX_TOKENIZER_BYTES: u64 = 256 << 20;

#[derive(Clone, Debug)]
struct Token {
    text: String,
    score: f32,
    kind: Kind,
}

/// A vocabulary, with holes where no file names an id.
#[derive(Debug)]
struct Vocab {
    tokens: Vec<Option<Token>>,
    merges: Strings,
    family: Family,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Family {
    /// Pieces with scores; spaces are `▁`.
    SentencePiece { add_space_prefix: bool },
    /// Byte-level BPE, split by this pre-tokenizer first.
    Bytes { pre: String },
}

/// A token beside the vocabulary proper.
#[derive(Clone, Debug)]
struct Added {
    id: u32,
    text: String,
    special: bool,
}

/// llama.cpp's scores for added tokens and for holes in a SentencePiece vocabulary.
const ADDED_SCORE: f32 = -1000.0;
const HOLE_SCORE: f32 = -10_000.0;

/// The tokenizer's keys, in llama.cpp's order.
pub(crate) struct Keys {
    pub(crate) keys: Vec<(String, Value)>,
    pub(crate) warnings: Vec<Warning>,
}

/// Reads the tokenizer of a folder, for an embedding of `n_vocab` rows. `pre` names the pre-tokenizer in place of the
/// files' own.
pub(crate) fn keys(
    folder: &Path,
    config: &Config,
    generation: &Generation,
    arch: &str,
    n_vocab: u32,
    pre: Option<&str>,
) -> Result<Keys> {
    let mut warnings = Vec::new();
    let pre = pre.map(pre_named).transpose()?;
    let Some((vocab, added, post)) = read(folder, arch, pre, &mut warnings)? else {
        warnings.push(Warning::NoTokenizer);
        return Ok(Keys { warnings, ..none(arch, n_vocab) });
    };
    let special = special::Special::open(folder, post)?;
    let mut all = finish(vocab, &added, &special, Place { folder, config, generation, n_vocab })?;
    warnings.append(&mut all.warnings);
    Ok(Keys { warnings, ..all })
}

/// What a vocabulary is to fit.
#[derive(Clone, Copy)]
struct Place<'a> {
    folder: &'a Path,
    config: &'a Config,
    generation: &'a Generation,
    n_vocab: u32,
}

fn finish(mut vocab: Vocab, added: &[Added], special: &special::Special, place: Place<'_>) -> Result<Keys> {
    let Place { folder, config, generation, n_vocab } = place;
    let mut warnings = Vec::new();
    for token in added.iter().chain(&special.added) {
        vocab.add(token, folder)?;
    }
    vocab.fill(n_vocab as usize, folder, &mut warnings)?;

    let ids: HashMap<&str, u32> = vocab.present().map(|(id, token)| (token.text.as_str(), id)).collect();
    let mut keys = special.keys(&ids, config, generation, folder, &mut warnings)?;
    let mut all = vocab.keys();
    all.append(&mut keys);
    Ok(Keys { keys: all, warnings })
}

/// The keys of a file without words.
pub(crate) fn none(arch: &str, n_vocab: u32) -> Keys {
    let keys =
        vec![("tokenizer.ggml.model".to_string(), "no_vocab".into()), (format!("{arch}.vocab_size"), n_vocab.into())];
    Keys { keys, warnings: Vec::new() }
}

/// A vocabulary, the tokens beside it, and what is added around a text.
type Read = (Vocab, Vec<Added>, Option<special::Processor>);

fn read(folder: &Path, arch: &str, pre: Option<&'static str>, warnings: &mut Vec<Warning>) -> Result<Option<Read>> {
    let path = folder.join("tokenizer.json");
    let mut fast = fast::open(&path)?;
    let post = fast.as_mut().and_then(|fast| fast.post_processor.take());
    let added = fast.as_ref().map(fast::Fast::added).unwrap_or_default();
    let vocab = match (sentencepiece::open(&folder.join("tokenizer.model"))?, fast) {
        (Some(vocab), _) => Some(vocab),
        (None, Some(fast)) => Some(fast.vocab(&path, pre, warnings)?),
        (None, None) => gpt2::open(folder, pre)?,
    };
    match vocab {
        Some(vocab) => Ok(Some((vocab, added, post))),
        None => Ok(tiktoken::open(folder, arch, pre)?.map(|(vocab, added)| (vocab, added, None))),
    }
}

fn known_pres() -> Vec<&'static str> {
    phi_text::pre::ALL.iter().flat_map(|pre| pre.names).copied().collect()
}

/// The pre-tokenizer that a user named.
fn pre_named(name: &str) -> Result<&'static str> {
    let known = known_pres();
    known.iter().copied().find(|pre| *pre == name).ok_or_else(|| {
        ConvertError::new("--pre", None, Problem::NoSuchPre { name: phi_gguf::printable(name).into(), known })
    })
}

impl Vocab {
    fn new(family: Family) -> Vocab {
        Vocab { tokens: Vec::new(), merges: Strings::new(), family }
    }

    fn present(&self) -> impl Iterator<Item = (u32, &Token)> {
        self.tokens.iter().zip(0_u32..).filter_map(|(token, id)| Some((id, token.as_ref()?)))
    }

    /// Puts a token at an id. Ids come from a file, so the table grows no further than a vocabulary may.
    fn put(&mut self, id: u32, token: Token, file: &Path) -> Result<()> {
        let max = *crate::config::VOCABULARY.end();
        if u64::from(id) >= max {
            let field = format!("id of \"{}\"", phi_gguf::printable(&token.text));
            return Err(ConvertError::new(field, None, Problem::Limit { got: id.into(), max: max - 1 }).of(file));
        }
        let id = id as usize;
        if self.tokens.len() <= id {
            self.tokens.resize(id + 1, None);
        }
        self.tokens[id] = Some(token);
        Ok(())
    }

    /// Puts a token that stands beside the vocabulary over whatever has its id.
    fn add(&mut self, added: &Added, file: &Path) -> Result<()> {
        let kind = if added.special { Kind::Control } else { Kind::UserDefined };
        self.put(added.id, Token { text: added.text.clone(), score: ADDED_SCORE, kind }, file)
    }

    /// As many tokens as the embedding has rows: no more, and no id without a text of its own.
    fn fill(&mut self, n_vocab: usize, folder: &Path, warnings: &mut Vec<Warning>) -> Result<()> {
        if let Some(beyond) = self.present().map(|(id, _)| id).find(|&id| id as usize >= n_vocab) {
            let problem = Problem::Value {
                got: format!("token id {beyond}").into(),
                want: format!("ids below vocab_size = {n_vocab}").into(),
            };
            return Err(ConvertError::new("tokenizer", None, problem).of(folder));
        }
        self.tokens.resize(n_vocab, None);
        let mut seen = std::collections::HashSet::new();
        let mut same = Vec::new();
        for (token, id) in self.tokens.iter().zip(0_u32..) {
            if token.as_ref().is_some_and(|token| !seen.insert(token.text.as_str())) {
                same.push(id);
            }
        }
        let holes = self.tokens.iter().filter(|token| token.is_none()).count();
        if let Some(&first) = same.first() {
            warnings.push(Warning::SameText { count: same.len(), first });
        }
        if holes > 0 {
            warnings.push(Warning::Holes(holes));
        }
        for id in same {
            self.tokens[id as usize] = None;
        }
        for (id, token) in self.tokens.iter_mut().enumerate() {
            token.get_or_insert_with(|| Token { text: format!("[PAD{id}]"), score: HOLE_SCORE, kind: Kind::Unused });
        }
        Ok(())
    }

    fn keys(self) -> Vec<(String, Value)> {
        let (model, pre) = match &self.family {
            Family::SentencePiece { .. } => ("llama", "default"),
            Family::Bytes { pre } => ("gpt2", pre.as_str()),
        };
        let tokens = || self.tokens.iter().flatten();
        let mut keys: Vec<(&str, Value)> = vec![
            ("model", model.into()),
            ("pre", pre.into()),
            ("tokens", tokens().map(|t| &t.text).collect::<Strings>().into()),
        ];
        if model == "llama" {
            keys.push(("scores", tokens().map(|t| t.score).collect::<Vec<f32>>().into()));
        }
        keys.push(("token_type", tokens().map(|t| t.kind as i32).collect::<Vec<i32>>().into()));
        if !self.merges.is_empty() {
            keys.push(("merges", self.merges.clone().into()));
        }
        // llama.cpp adds the space unless told otherwise.
        if self.family == (Family::SentencePiece { add_space_prefix: false }) {
            keys.push(("add_space_prefix", false.into()));
        }
        keys.into_iter().map(|(key, value)| (format!("tokenizer.ggml.{key}"), value)).collect()
    }
}

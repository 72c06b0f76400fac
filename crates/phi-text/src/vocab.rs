//! A vocabulary, checked once: lists of one length, ids in range, nothing missing that encoding needs.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use phi_gguf::{Metadata, Strings, printable};
use phi_tensor::TokenId;

use crate::error::{Place, TextError, TextWarning};

/// What a token is, by the numbers of `tokenizer.ggml.token_type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub enum TokenKind {
    /// A piece of text.
    Normal = 1,
    /// What stands for text that no piece spells.
    Unknown = 2,
    /// Part of a format, not of a text.
    Control = 3,
    /// Text that is a token as it stands.
    UserDefined = 4,
    /// A hole in the ids.
    Unused = 5,
    /// A single byte.
    Byte = 6,
}

pub(crate) use TokenKind as Kind;

impl TokenKind {
    /// Every kind, in order of its number.
    pub const ALL: [TokenKind; 6] =
        [Kind::Normal, Kind::Unknown, Kind::Control, Kind::UserDefined, Kind::Unused, Kind::Byte];

    /// The kind of this number.
    pub fn from_number(number: i32) -> Option<TokenKind> {
        TokenKind::ALL.into_iter().find(|&kind| kind as i32 == number)
    }
}

/// The two kinds of vocabulary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Model {
    /// Byte-level pairs with a list of merges (`gpt2`).
    Bytes,
    /// SentencePiece pairs with scores (`llama`).
    Pieces,
}

/// The lists of a file, of one length.
pub(crate) struct Vocab<'m> {
    pub(crate) model: Model,
    pub(crate) texts: &'m Strings,
    pub(crate) kinds: Box<[Kind]>,
    /// The first id of each text.
    pub(crate) ids: HashMap<&'m [u8], u32>,
    pub(crate) ends: Ends,
    pub(crate) warnings: Vec<TextWarning>,
}

/// The tokens with a part to play.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ends {
    pub(crate) bos: Option<TokenId>,
    pub(crate) eos: Option<TokenId>,
    pub(crate) eot: Option<TokenId>,
    pub(crate) unknown: Option<TokenId>,
    pub(crate) add_bos: bool,
    /// Further tokens that end an answer, where the converter found more than there are keys for.
    pub(crate) stops: Vec<TokenId>,
}

impl<'m> Vocab<'m> {
    pub(crate) fn read(meta: &'m Metadata, embedding_rows: Option<usize>) -> Result<Self, TextError> {
        let model = match meta.get::<&str>(MODEL)? {
            "gpt2" => Model::Bytes,
            "llama" => Model::Pieces,
            "no_vocab" => return Err(no_vocabulary(meta, embedding_rows)?),
            other => return Err(TextError::Model { place: place(meta, MODEL), got: printable(other.as_bytes()) }),
        };
        let texts: &Strings = meta.get(TOKENS)?;
        let tokens = texts.len();
        if tokens > MAX_TOKENS {
            return Err(TextError::TooManyTokens { place: place(meta, TOKENS), got: tokens, max: MAX_TOKENS });
        }
        if let Some(rows) = embedding_rows.filter(|&rows| rows != tokens) {
            return Err(TextError::Rows { place: place(meta, TOKENS), tokens, rows });
        }
        let kinds = kinds(meta, tokens)?;
        let ends = Ends::read(meta, model, tokens)?;
        let mut warnings = Vec::new();
        let ids = index(texts, &mut warnings);
        Ok(Vocab { model, texts, kinds, ids, ends, warnings })
    }

    /// Ids, kinds and texts.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (u32, Kind, &'m [u8])> {
        (0..).zip(&self.kinds).zip(self.texts.iter()).map(|((id, &kind), text)| (id, kind, text))
    }

    /// The first id of a text.
    pub(crate) fn id_of(&self, text: &str) -> Option<u32> {
        self.ids.get(text.as_bytes()).copied()
    }

    /// The merges, as left, right and joined ids.
    pub(crate) fn merges(&mut self, meta: &Metadata) -> Result<Vec<(u32, u32, u32)>, TextError> {
        let list: &Strings = meta.get(MERGES)?;
        let mut merges = Vec::with_capacity(list.len());
        let mut unknown = Counter::default();
        let mut joined = Vec::new();
        for (i, text) in list.iter().enumerate() {
            if text.is_empty() {
                return Err(TextError::EmptyMerge { place: entry(meta, MERGES, i) });
            }
            // From the second byte on: a piece is not empty.
            let Some(space) = text.iter().skip(1).position(|&byte| byte == b' ').map(|at| at + 1) else {
                return Err(TextError::MergeSeparator { place: entry(meta, MERGES, i), got: printable(text) });
            };
            let (left, right) = (&text[..space], &text[space + 1..]);
            joined.clear();
            joined.extend([left, right].concat());
            // Control tokens are never spelled out of pieces, whatever the file says.
            let find = |text: &[u8]| {
                let id = self.ids.get(text).copied();
                id.filter(|&id| self.kinds[id as usize] != Kind::Control)
            };
            match (find(left), find(right), find(&joined)) {
                (Some(left), Some(right), Some(joined)) => merges.push((left, right, joined)),
                _ => unknown.count(i),
            }
        }
        if let Some(first) = unknown.first {
            self.warnings.push(TextWarning::UnknownMerges { first, count: unknown.count });
        }
        Ok(merges)
    }

    /// The scores, one for each token.
    pub(crate) fn scores(&self, meta: &'m Metadata) -> Result<&'m [f32], TextError> {
        let scores: &[f32] = meta.get(SCORES)?;
        let tokens = self.texts.len();
        if scores.len() != tokens {
            return Err(TextError::Length { place: place(meta, SCORES), got: scores.len(), tokens });
        }
        match scores.iter().position(|score| score.is_nan()) {
            Some(i) => Err(TextError::Score { place: entry(meta, SCORES, i), got: scores[i] }),
            None => Ok(scores),
        }
    }
}

impl Ends {
    fn read(meta: &Metadata, model: Model, n_vocab: usize) -> Result<Self, TextError> {
        let id = |name: &str| -> Result<Option<TokenId>, TextError> {
            let key = format!("tokenizer.ggml.{name}_token_id");
            let Some(got) = meta.find::<u64>(&key)? else { return Ok(None) };
            match u32::try_from(got) {
                Ok(id) if (id as usize) < n_vocab => Ok(Some(TokenId(id))),
                _ => Err(TextError::IdRange { place: place(meta, &key), got, n_vocab }),
            }
        };
        // Read for their range only.
        for name in ["padding", "seperator", "mask", "eom"] {
            id(name)?;
        }
        let bos = id("bos")?;
        let add_bos = meta.find::<bool>(ADD_BOS)?;
        if add_bos == Some(true) && bos.is_none() {
            return Err(TextError::NoBos { place: place(meta, ADD_BOS) });
        }
        // What other runtimes do with a file that does not say.
        let add_bos = add_bos.unwrap_or(model == Model::Pieces && bos.is_some());
        let stops = meta.find::<&[u32]>(STOPS)?.unwrap_or_default();
        if let Some((i, &got)) = stops.iter().enumerate().find(|&(_, &id)| id as usize >= n_vocab) {
            return Err(TextError::IdRange { place: entry(meta, STOPS, i), got: got.into(), n_vocab });
        }
        let stops = stops.iter().copied().map(TokenId).collect();
        Ok(Ends { bos, eos: id("eos")?, eot: id("eot")?, unknown: id("unknown")?, add_bos, stops })
    }
}

/// A key's path and offset.
pub(crate) fn place(meta: &Metadata, key: &str) -> Place {
    Place { field: key.into(), offset: meta.entry(key).map(|entry| entry.offset) }
}

/// The path of an array's entry, and the offset of its key.
pub(crate) fn entry(meta: &Metadata, key: &str, index: usize) -> Place {
    Place { field: format!("{key}[{index}]"), ..place(meta, key) }
}

/// How many of something there are, and which was first.
#[derive(Default)]
struct Counter {
    first: Option<usize>,
    count: usize,
}

impl Counter {
    fn count(&mut self, index: usize) {
        self.first.get_or_insert(index);
        self.count += 1;
    }
}

fn no_vocabulary(meta: &Metadata, embedding_rows: Option<usize>) -> Result<TextError, TextError> {
    if let Some(arch) = meta.find::<&str>("general.architecture")? {
        let key = format!("{arch}.vocab_size");
        let size: Option<u64> = meta.find(&key)?;
        if let (Some(got), Some(rows)) = (size, embedding_rows)
            && got != rows as u64
        {
            return Err(TextError::VocabularySize { place: place(meta, &key), got, rows });
        }
    }
    Ok(TextError::NoVocabulary)
}

fn kinds(meta: &Metadata, tokens: usize) -> Result<Box<[Kind]>, TextError> {
    let Some(types) = meta.find::<&[i32]>(TYPES)? else { return Ok(vec![Kind::Normal; tokens].into()) };
    if types.len() != tokens {
        return Err(TextError::Length { place: place(meta, TYPES), got: types.len(), tokens });
    }
    let kind = |(i, &got): (usize, &i32)| {
        Kind::from_number(got).ok_or_else(|| TextError::TokenType { place: entry(meta, TYPES, i), got })
    };
    types.iter().enumerate().map(kind).collect()
}

fn index<'m>(texts: &'m Strings, warnings: &mut Vec<TextWarning>) -> HashMap<&'m [u8], u32> {
    let mut ids = HashMap::with_capacity(texts.len());
    let (mut empty, mut odd, mut duplicates) = (Counter::default(), Counter::default(), Counter::default());
    let mut twin = TokenId(0);
    for (id, text) in (0..).zip(texts.iter()) {
        if text.is_empty() {
            empty.count(id as usize);
            continue;
        }
        if std::str::from_utf8(text).is_err() {
            odd.count(id as usize);
        }
        match ids.entry(text) {
            Entry::Vacant(free) => drop(free.insert(id)),
            Entry::Occupied(first) => {
                if duplicates.first.is_none() {
                    twin = TokenId(*first.get());
                }
                duplicates.count(id as usize);
            }
        }
    }
    let id = |index: usize| TokenId(index as u32);
    if let Some(second) = duplicates.first {
        let text = printable(texts.get(second).unwrap_or_default());
        let count = duplicates.count;
        warnings.push(TextWarning::DuplicateTokens { first: twin, second: id(second), text, count });
    }
    if let Some(first) = empty.first {
        warnings.push(TextWarning::EmptyTokens { first: id(first), count: empty.count });
    }
    if let Some(first) = odd.first {
        warnings.push(TextWarning::NotUtf8Tokens { first: id(first), count: odd.count });
    }
    ids
}

pub(crate) const TOKENS: &str = "tokenizer.ggml.tokens";
pub(crate) const PRE: &str = "tokenizer.ggml.pre";
const MODEL: &str = "tokenizer.ggml.model";
const TYPES: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";
const MERGES: &str = "tokenizer.ggml.merges";
const STOPS: &str = "phi.stop_token_ids";
const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";

/// The most tokens of a vocabulary: five times the largest known of any Phi.
const MAX_TOKENS: usize = 1 << 20;

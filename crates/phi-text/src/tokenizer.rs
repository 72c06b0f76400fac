use std::borrow::Cow;
use std::collections::HashMap;

use phi_gguf::{Metadata, Strings, printable};
use phi_tensor::TokenId;

use crate::error::{TextError, TextWarning};
use crate::special::{self, Added, AddedTokens, Cut};
use crate::vocab::{self, Ends, Kind, Vocab};
use crate::{alphabet, bpe, pre, sections, spm, stops};

/// Text to tokens and back, as the model was trained.
///
/// Built from a file's metadata alone. Encoding never adds a beginning or an end: [`Tokenizer::add_bos`] says whether
/// the file wants one.
#[derive(Debug)]
pub struct Tokenizer {
    /// What each token decodes to.
    bytes: Strings,
    kinds: Box<[Kind]>,
    model: Model,
    added: AddedTokens,
    ends: Ends,
    stops: Vec<TokenId>,
    /// The tokens of [`sections::marks`].
    marks: Vec<TokenId>,
    warnings: Vec<TextWarning>,
}

/// How ordinary text becomes tokens.
#[derive(Debug)]
enum Model {
    Bytes(tokenizers::Tokenizer),
    Pieces(tokenizers::Tokenizer),
}

/// Whether the texts of special tokens stand for these tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Special {
    /// `<|end|>` is the token.
    Parse,
    /// `<|end|>` is seven ordinary characters: the way for text that somebody typed. So is any user-defined token that
    /// looks like markup (`<…>`), which Hugging Face would find here too; other user-defined tokens, such as Phi-2's
    /// runs of spaces, are found in all text.
    Plain,
}

/// A stretch of text and how to read it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span<'t> {
    /// The text.
    pub text: &'t str,
    /// Whether it may hold special tokens.
    pub special: Special,
}

impl Tokenizer {
    /// From a file's metadata.
    ///
    /// * `embedding_rows`: rows of the token embedding, where the file has one: the vocabulary must have as many tokens
    ///
    /// # Errors
    /// [`TextError::NoVocabulary`] when the file says that it has none, and what is wrong with it otherwise. Oddities
    /// that can be lived with are [`Tokenizer::warnings`].
    pub fn from_metadata(meta: &Metadata, embedding_rows: Option<usize>) -> Result<Tokenizer, TextError> {
        let mut vocab = Vocab::read(meta, embedding_rows)?;
        let (model, flags) = match vocab.model {
            vocab::Model::Bytes => byte_model(&mut vocab, meta)?,
            vocab::Model::Pieces => piece_model(&mut vocab, meta)?,
        };
        let phi3 = flags == Flags::Phi3;
        let added = vocab.entries().filter_map(|(id, kind, text)| {
            let text = std::str::from_utf8(text).ok()?;
            let special = match kind {
                Kind::Control => true,
                Kind::UserDefined => special::looks_like_markup(text),
                _ => return None,
            };
            Some(Added { text: text.into(), id, special, rstrip: flags.rstrip(text) })
        });
        let added = AddedTokens::new(added.collect());
        let stops = stops::of(&vocab, phi3);
        let marks = sections::marks().filter_map(|mark| vocab.id_of(mark)).map(TokenId).collect();
        let bytes = vocab.entries().map(|(_, kind, text)| decoded(vocab.model, kind, text)).collect();
        let Vocab { kinds, ends, warnings, .. } = vocab;
        Ok(Tokenizer { bytes, kinds, model, added, ends, stops, marks, warnings })
    }

    /// The tokens of a text, and nothing else: no beginning, no end.
    pub fn encode(&self, text: &str, special: Special) -> Vec<TokenId> {
        self.encode_spans(&[Span { text, special }])
    }

    /// The tokens of spans read as one text: words and merges run across their borders, while special tokens are found
    /// only in stretches that parse them. A special token that swallows the white space behind it does so into the next
    /// span.
    pub fn encode_spans(&self, spans: &[Span<'_>]) -> Vec<TokenId> {
        let text = match spans {
            [only] => Cow::Borrowed(only.text),
            many => Cow::Owned(many.iter().map(|span| span.text).collect()),
        };
        let parsed = parsed_stretches(spans);
        let parse_until = |at: usize| {
            let i = parsed.partition_point(|&(_, end)| end <= at);
            parsed.get(i).filter(|&&(start, _)| start <= at).map_or(at, |&(_, end)| end)
        };
        let mut out = Vec::new();
        self.added.cut(&text, parse_until, |cut| match cut {
            Cut::Token(id) => out.push(TokenId(id)),
            Cut::Text(text) => self.model.encode(text, &mut out),
        });
        out
    }

    /// The text of tokens. Control tokens are left out unless `show_special`; bytes that are no characters become
    /// `U+FFFD`; SentencePiece text loses the one space that encoding put in front.
    pub fn decode(&self, ids: &[TokenId], show_special: bool) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.piece(id, show_special)).copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        match (&self.model, text.strip_prefix(' ')) {
            (Model::Pieces(_), Some(rest)) => rest.into(),
            _ => text.into_owned(),
        }
    }

    /// The bytes of one token, for streaming: often half a character, see [`Utf8Stream`](crate::Utf8Stream). Control,
    /// unknown and unused tokens have none, nor has an id outside the vocabulary; but those that say what the next part
    /// of an answer is (`<think>`, `<|tool_call|>` and their ends) have their names, see
    /// [`Sections`](crate::Sections).
    pub fn token_bytes(&self, id: TokenId) -> &[u8] {
        self.piece(id, false)
    }

    /// As [`Tokenizer::token_bytes`], with the names of control, unknown and unused tokens if `show_special`.
    pub fn piece(&self, id: TokenId, show_special: bool) -> &[u8] {
        let hidden = match self.kinds.get(id.index()) {
            Some(Kind::Normal | Kind::UserDefined | Kind::Byte) => false,
            Some(Kind::Unknown | Kind::Control | Kind::Unused) => true,
            None => return &[],
        };
        if hidden && !show_special && !self.marks.contains(&id) {
            &[]
        } else {
            self.bytes.get(id.index()).unwrap_or_default()
        }
    }

    /// Whether a token is of type control: part of a format, not of a text.
    pub fn is_control(&self, id: TokenId) -> bool {
        self.kinds.get(id.index()) == Some(&Kind::Control)
    }

    /// Whether encoding puts a space in front of a text, which decoding takes away again.
    pub fn adds_leading_space(&self) -> bool {
        matches!(self.model, Model::Pieces(_))
    }

    /// Tokens in the vocabulary.
    pub fn n_vocab(&self) -> usize {
        self.kinds.len()
    }

    /// The token a text begins with, if the file names one.
    pub fn bos(&self) -> Option<TokenId> {
        self.ends.bos
    }

    /// Whether the file wants [`Tokenizer::bos`] in front of every text.
    pub fn add_bos(&self) -> bool {
        self.ends.add_bos
    }

    /// The token a text ends with, if the file names one. It is not enough to stop at: see [`Tokenizer::stops`].
    pub fn eos(&self) -> Option<TokenId> {
        self.ends.eos
    }

    /// The tokens that end an answer, in order: those that the file names, and every `<|end|>`, `<|endoftext|>` and
    /// `<|im_end|>`; for Phi-3 also `<|assistant|>`, with which the model begins another turn.
    pub fn stops(&self) -> &[TokenId] {
        &self.stops
    }

    /// The token that the vocabulary spells so, such as `<|end|>` or `Ġthe`. Looks at every token.
    pub fn id_of(&self, text: &str) -> Option<TokenId> {
        let (normal, byte) = match &self.model {
            Model::Bytes(_) => (alphabet::bytes_of(text), alphabet::bytes_of(text)),
            Model::Pieces(_) => {
                let bytes = text.replace(spm::SPACE, " ").into_bytes();
                ((!text.contains(' ')).then_some(bytes), spm::byte_named(text.as_bytes()).map(|byte| vec![byte]))
            }
        };
        let index = self.kinds.iter().zip(self.bytes.iter()).position(|(kind, bytes)| match kind {
            Kind::Normal => normal.as_deref() == Some(bytes),
            Kind::Byte => byte.as_deref() == Some(bytes),
            _ => bytes == text.as_bytes(),
        })?;
        u32::try_from(index).ok().map(TokenId)
    }

    /// What is odd about the vocabulary.
    pub fn warnings(&self) -> &[TextWarning] {
        &self.warnings
    }
}

impl Model {
    /// Tokens of text that holds no added token.
    fn encode(&self, text: &str, out: &mut Vec<TokenId>) {
        let (Model::Bytes(pipeline) | Model::Pieces(pipeline)) = self;
        let encoding = pipeline.encode_fast(text, false).expect("no step of the pipeline can fail on text");
        out.extend(encoding.get_ids().iter().map(|&id| TokenId(id)));
    }
}

/// Which family's flags the added tokens have, by content.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flags {
    Phi3,
    Phi4Mini,
    None,
}

impl Flags {
    fn rstrip(self, text: &str) -> bool {
        match self {
            Flags::Phi3 => !special::PHI3_KEEPS.contains(&text),
            Flags::Phi4Mini => special::PHI4_MINI_STRIPS.contains(&text),
            Flags::None => false,
        }
    }
}

fn byte_model(vocab: &mut Vocab<'_>, meta: &Metadata) -> Result<(Model, Flags), TextError> {
    let pre = match meta.find::<&str>(vocab::PRE)? {
        Some(name) => pre::named(name)
            .ok_or_else(|| TextError::Pre { place: vocab::place(meta, vocab::PRE), got: printable(name.as_bytes()) })?,
        None => {
            vocab.warnings.push(TextWarning::NoPre);
            pre::named("default").expect("the table has a default")
        }
    };
    let pipeline = bpe::pipeline(vocab, meta, pre)?;
    let id = |byte: u8| vocab.id_of(alphabet::char_of(byte).encode_utf8(&mut [0; 4]));
    let bytes: Box<[_; 256]> = Box::new(std::array::from_fn(|byte| id(byte as u8)));
    warn_missing(&bytes, &mut vocab.warnings);
    let phi4_mini = pre.name() == "gpt-4o" && special::PHI4_MINI.iter().all(|text| vocab.id_of(text).is_some());
    let flags = if phi4_mini { Flags::Phi4Mini } else { Flags::None };
    Ok((Model::Bytes(pipeline), flags))
}

fn piece_model(vocab: &mut Vocab<'_>, meta: &Metadata) -> Result<(Model, Flags), TextError> {
    let mut bytes = Box::new([None; 256]);
    let mut unknown = vocab.ends.unknown.map(|id| id.0);
    let mut normal = HashMap::with_capacity(vocab.texts.len());
    for (id, kind, text) in vocab.entries() {
        match kind {
            Kind::Byte => {
                let byte = spm::byte_named(text).ok_or_else(|| TextError::ByteToken {
                    place: vocab::entry(meta, vocab::TOKENS, id as usize),
                    got: printable(text),
                })?;
                bytes[usize::from(byte)].get_or_insert(id);
            }
            Kind::Unknown => drop(unknown.get_or_insert(id)),
            Kind::Normal if text.len() <= MAX_PIECE_BYTES => {
                if let Ok(text) = std::str::from_utf8(text) {
                    normal.entry(text).or_insert(id);
                }
            }
            _ => {}
        }
    }
    if unknown.is_none() && bytes.iter().all(Option::is_none) {
        return Err(TextError::NoBytes { place: vocab::place(meta, vocab::TOKENS) });
    }
    let scores = vocab.scores(meta)?;
    if unknown.is_none() {
        warn_missing(&bytes, &mut vocab.warnings);
    }
    let phi3 = special::PHI3.iter().all(|&(id, text)| vocab.texts.get(id as usize) == Some(text.as_bytes()));
    let flags = if phi3 { Flags::Phi3 } else { Flags::None };
    Ok((Model::Pieces(spm::pipeline(&normal, scores, &bytes, unknown)), flags))
}

fn warn_missing(bytes: &[Option<u32>; 256], warnings: &mut Vec<TextWarning>) {
    let count = bytes.iter().filter(|id| id.is_none()).count();
    if count > 0 {
        warnings.push(TextWarning::MissingBytes { count });
    }
}

/// What a token decodes to.
fn decoded(model: vocab::Model, kind: Kind, text: &[u8]) -> Cow<'_, [u8]> {
    let as_text = std::str::from_utf8(text).ok();
    let bytes = match (model, kind) {
        (vocab::Model::Bytes, Kind::Normal | Kind::Byte) => as_text.and_then(alphabet::bytes_of),
        (vocab::Model::Pieces, Kind::Normal) => as_text.map(|text| text.replace(spm::SPACE, " ").into_bytes()),
        (vocab::Model::Pieces, Kind::Byte) => spm::byte_named(text).map(|byte| vec![byte]),
        _ => None,
    };
    bytes.map_or(Cow::Borrowed(text), Cow::Owned)
}

/// Where special tokens are parsed, in bytes of the joined text, with neighbours joined.
fn parsed_stretches(spans: &[Span<'_>]) -> Vec<(usize, usize)> {
    let mut stretches: Vec<(usize, usize)> = Vec::new();
    let mut at = 0;
    for span in spans.iter().filter(|span| !span.text.is_empty()) {
        let end = at + span.text.len();
        match (span.special, stretches.last_mut()) {
            (Special::Plain, _) => {}
            (Special::Parse, Some(last)) if last.1 == at => last.1 = end,
            (Special::Parse, _) => stretches.push((at, end)),
        }
        at = end;
    }
    stretches
}

/// The longest SentencePiece that takes part in merging. Real ones have at most 48 bytes; finding the merges of a piece
/// takes the square of its length.
const MAX_PIECE_BYTES: usize = 128;

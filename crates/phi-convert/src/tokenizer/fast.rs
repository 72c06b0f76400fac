//! `tokenizer.json`: only the fields that a GGUF has a place for.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use phi_gguf::{Strings, printable};
use serde::Deserialize;
use serde::de::{MapAccess, SeqAccess, Visitor};

use super::special::Processor;
use super::{Added, Family, Kind, MAX_TOKENIZER_BYTES, Token, Vocab, gpt2};
use crate::error::{ConvertError, Problem, Result, Warning};
use crate::file;

#[derive(Deserialize)]
pub(super) struct Fast {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    pre_tokenizer: Option<PreTokenizer>,
    decoder: Option<Decoder>,
    pub(super) post_processor: Option<Processor>,
    model: Model,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct PreTokenizer {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    pretokenizers: Vec<PreTokenizer>,
    pattern: Option<Pattern>,
    use_regex: Option<bool>,
}

#[derive(Deserialize)]
enum Pattern {
    Regex(String),
    String(String),
}

#[derive(Deserialize)]
struct Decoder {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    decoders: Vec<Decoder>,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    vocab: VocabMap,
    #[serde(default)]
    merges: Merges,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    unk_token: Option<String>,
}

pub(super) fn open(path: &Path) -> Result<Option<Fast>> {
    file::find_json(path, MAX_TOKENIZER_BYTES)
}

/// The name of the pre-tokenizer with this pattern.
pub(super) fn recognise(pattern: &str, path: &Path) -> Result<&'static str> {
    phi_text::pre::recognise(pattern).map(|pre| pre.name()).ok_or_else(|| {
        let problem = Problem::UnknownPre { pattern: printable(pattern).into(), known: super::known_pres() };
        ConvertError::new("pre_tokenizer", None, problem).of(path)
    })
}

impl Fast {
    pub(super) fn added(&self) -> Vec<Added> {
        let added = |t: &AddedToken| Added { id: t.id, text: t.content.clone(), special: t.special };
        self.added_tokens.iter().map(added).collect()
    }

    pub(super) fn vocab(self, path: &Path, pre: Option<&'static str>, warnings: &mut Vec<Warning>) -> Result<Vocab> {
        let fail = |field: &str, problem| Err(ConvertError::new(field, None, problem).of(path));
        // Old files have no type, and are BPE.
        if let Some(kind) = self.model.kind.as_ref().filter(|kind| *kind != "BPE") {
            return fail("model.type", Problem::Value { got: printable(kind).into(), want: "BPE".into() });
        }
        let bytes = self.decoder.as_ref().is_some_and(|d| d.has("ByteLevel"))
            || self.pre_tokenizer.as_ref().is_some_and(|p| p.has("ByteLevel"));
        if !bytes && !self.model.byte_fallback {
            let want = "byte-level, or with byte_fallback".into();
            return fail("model", Problem::Value { got: "BPE of characters".into(), want });
        }
        if self.model.ignore_merges {
            warnings.push(Warning::IgnoreMerges);
        }
        let family = if bytes {
            Family::Bytes { pre: self.pre(path, pre, warnings)?.into() }
        } else {
            Family::SentencePiece { add_space_prefix: true }
        };
        let scored = !bytes;
        let mut vocab = Vocab::new(family);
        let unknown = self.model.unk_token;
        self.model.vocab.put_into(&mut vocab, path)?;
        if scored {
            score(&mut vocab, &self.model.merges.0, unknown.as_deref());
        } else {
            vocab.merges = self.model.merges.0;
        }
        Ok(vocab)
    }

    fn pre(&self, path: &Path, asked: Option<&'static str>, warnings: &mut Vec<Warning>) -> Result<&'static str> {
        let mut patterns = Vec::new();
        if let Some(pre) = &self.pre_tokenizer {
            pre.patterns(&mut patterns);
        }
        // Several in a row are none of ours, and then all of them are in the message.
        let found = recognise(&patterns.join(" then "), path);
        match (asked, found) {
            (None, found) => found,
            (Some(asked), Ok(found)) if found != asked => {
                warnings.push(Warning::OtherPre { used: asked.into(), found });
                Ok(asked)
            }
            (Some(asked), _) => Ok(asked),
        }
    }
}

/// Turns merges into scores: a piece is worth more the earlier it is made, which is the order SentencePiece itself
/// merges in. Pieces that no merge makes come behind, in order of their ids; they are never the result of a merge.
fn score(vocab: &mut Vocab, merges: &Strings, unknown: Option<&str>) {
    let mut ranks: HashMap<String, usize> = HashMap::new();
    for merge in merges.iter() {
        let made: String = String::from_utf8_lossy(merge).split(' ').collect();
        let next = ranks.len();
        ranks.entry(made).or_insert(next);
    }
    let mut next = ranks.len();
    for token in vocab.tokens.iter_mut().flatten() {
        let byte = token.text.len() == 6 && token.text.starts_with("<0x") && token.text.ends_with('>');
        if byte {
            token.kind = Kind::Byte;
        } else if Some(token.text.as_str()) == unknown {
            token.kind = Kind::Unknown;
        } else {
            let rank = ranks.get(&token.text).copied().unwrap_or_else(|| {
                next += 1;
                next - 1
            });
            token.score = -(rank as f32);
        }
    }
}

impl PreTokenizer {
    fn has(&self, kind: &str) -> bool {
        self.kind == kind || self.pretokenizers.iter().any(|p| p.has(kind))
    }

    /// Everything that cuts, in order.
    fn patterns<'a>(&'a self, all: &mut Vec<&'a str>) {
        match (self.kind.as_str(), &self.pattern) {
            ("Sequence", _) => self.pretokenizers.iter().for_each(|pre| pre.patterns(all)),
            ("Split", Some(Pattern::Regex(text) | Pattern::String(text))) => all.push(text),
            // It brings a pattern of its own, unless told not to.
            ("ByteLevel", _) if self.use_regex == Some(false) => {}
            ("ByteLevel", _) => all.push(gpt2::PATTERN),
            (other, _) => all.push(other),
        }
    }
}

impl Decoder {
    fn has(&self, kind: &str) -> bool {
        self.kind == kind || self.decoders.iter().any(|d| d.has(kind))
    }
}

/// Text to id, in the order of the file.
pub(super) struct VocabMap(Vec<(String, u32)>);

impl VocabMap {
    pub(super) fn put_into(self, vocab: &mut Vocab, path: &Path) -> Result<()> {
        for (text, id) in self.0 {
            if vocab.tokens.get(id as usize).is_some_and(Option::is_some) {
                let field = format!("vocab[\"{}\"] = {id}", printable(&text));
                return Err(ConvertError::new(field, None, Problem::Duplicate).of(path));
            }
            vocab.put(id, Token { text, score: 0.0, kind: Kind::Normal }, path)?;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for VocabMap {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<VocabMap, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = VocabMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vocabulary that maps text to ids (BPE)")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<VocabMap, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(VocabMap(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// Pairs, as `"a b"` or (since 2024) as `["a", "b"]`; kept as the former.
#[derive(Default)]
struct Merges(Strings);

impl<'de> Deserialize<'de> for Merges {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Merges, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Merge {
            Text(String),
            Pair([String; 2]),
        }
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Merges;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of merges")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Merges, A::Error> {
                let mut all = Strings::new();
                while let Some(merge) = seq.next_element()? {
                    match merge {
                        Merge::Text(text) => all.push(text),
                        // A space inside a piece is written as llama.cpp writes it, since the space separates.
                        Merge::Pair([a, b]) => all.push(format!("{} {}", a.replace(' ', "Ġ"), b.replace(' ', "Ġ"))),
                    }
                }
                Ok(Merges(all))
            }
        }
        deserializer.deserialize_seq(List)
    }
}

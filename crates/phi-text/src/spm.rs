//! SentencePiece byte pair encoding: pieces with scores instead of merges, characters instead of bytes.
//!
//! The scores of such a vocabulary are ranks, so that its merges can be told from it: a piece is made by joining any two
//! pieces that spell it, and of two joins that of the piece with the higher score comes first.

use std::collections::HashMap;

use phi_tensor::TokenId;

use crate::bpe::{Merges, Word};

/// From characters to the pieces a word begins with.
#[derive(Debug)]
pub(crate) struct Pieces {
    merges: Merges,
    chars: HashMap<char, u32>,
    bytes: Box<[Option<u32>; 256]>,
    unknown: Option<u32>,
}

/// What SentencePiece writes for a space.
pub(crate) const SPACE: char = '▁';

impl Pieces {
    /// * `normal`: ids and texts of the ordinary pieces, each text once
    /// * `scores`: by id
    /// * `bytes`: the ids of the byte pieces
    /// * `unknown`: what stands for a character that has neither
    pub(crate) fn new(
        n_vocab: usize,
        normal: &HashMap<&str, u32>,
        scores: &[f32],
        bytes: Box<[Option<u32>; 256]>,
        unknown: Option<u32>,
    ) -> Self {
        let mut joins = Vec::new();
        for (text, &joined) in normal {
            for (at, _) in text.char_indices().skip(1) {
                let (left, right) = text.split_at(at);
                if let (Some(&left), Some(&right)) = (normal.get(left), normal.get(right)) {
                    joins.push((left, right, joined));
                }
            }
        }
        // By score, highest first; the joins of one piece by left, then right.
        joins.sort_unstable_by(|a, b| {
            scores[b.2 as usize].total_cmp(&scores[a.2 as usize]).then((a.2, a.0, a.1).cmp(&(b.2, b.0, b.1)))
        });
        let chars = normal.iter().filter_map(|(text, &id)| {
            let mut chars = text.chars();
            chars.next().filter(|_| chars.next().is_none()).map(|c| (c, id))
        });
        Pieces { merges: Merges::new(n_vocab, joins.into_iter()), chars: chars.collect(), bytes, unknown }
    }

    /// Tokens of text between two special tokens: it gets a space in front, and is one word.
    pub(crate) fn encode(&self, text: &str, word: &mut Word, out: &mut Vec<TokenId>) {
        if text.is_empty() {
            return;
        }
        let mut was_unknown = false;
        for c in std::iter::once(SPACE).chain(text.chars().map(|c| if c == ' ' { SPACE } else { c })) {
            let known = self.push(c, word);
            // A run of unknown characters is one unknown token.
            if !known
                && !was_unknown
                && let Some(unknown) = self.unknown
            {
                word.push(unknown);
            }
            was_unknown = !known;
        }
        word.merge(&self.merges, out);
    }

    fn push(&self, c: char, word: &mut Word) -> bool {
        if let Some(&id) = self.chars.get(&c) {
            word.push(id);
            return true;
        }
        let mut buffer = [0; 4];
        let bytes = c.encode_utf8(&mut buffer).as_bytes();
        let ids = || bytes.iter().map(|&byte| self.bytes[usize::from(byte)]);
        if !ids().all(|id| id.is_some()) {
            return false;
        }
        ids().flatten().for_each(|id| word.push(id));
        true
    }
}

/// The byte that a piece such as `<0x0A>` names.
pub(crate) fn byte_named(text: &[u8]) -> Option<u8> {
    let hex = text.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    if hex.len() != 2 || !hex.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
}

//! SentencePiece byte pair encoding, as the `tokenizers` crate does it: a space in front, `▁` for spaces, and merges told
//! from the scores.
//!
//! The scores of such a vocabulary are ranks, so that its merges can be told from it: a piece is made by joining any two
//! pieces that spell it, and of two joins that of the piece with the higher score comes first.

use std::collections::HashMap;

use tokenizers::Tokenizer;
use tokenizers::models::bpe::{BPE, Vocab as Ids};
use tokenizers::normalizers::{Prepend, Replace, Sequence};

/// What SentencePiece writes for a space.
pub(crate) const SPACE: char = '▁';

/// The pipeline for ordinary text. Added tokens are found before it, by `special`, so that each stretch between two of
/// them gets its own space in front.
///
/// * `normal`: ids and texts of the ordinary pieces, each text once
/// * `scores`: by id
/// * `bytes`: the ids of the byte pieces
/// * `unknown`: what stands for a character that has neither
pub(crate) fn pipeline(
    normal: &HashMap<&str, u32>,
    scores: &[f32],
    bytes: &[Option<u32>; 256],
    unknown: Option<u32>,
) -> Tokenizer {
    let mut joins = Vec::new();
    for (text, &joined) in normal {
        for (at, _) in text.char_indices().skip(1) {
            let (left, right) = text.split_at(at);
            if let (Some(&left_id), Some(&right_id)) = (normal.get(left), normal.get(right)) {
                joins.push(((joined, left_id, right_id), (left, right)));
            }
        }
    }
    // By score, highest first; the joins of one piece by left, then right.
    let score = |join: &((u32, u32, u32), _)| scores[join.0.0 as usize];
    joins.sort_unstable_by(|a, b| score(b).total_cmp(&score(a)).then(a.0.cmp(&b.0)));
    let merges = joins.into_iter().map(|(_, (left, right))| (left.to_string(), right.to_string()));

    let of_bytes = (0..=u8::MAX).zip(bytes).filter_map(|(byte, id)| Some((byte_name(byte), (*id)?)));
    let of_normal = normal.iter().map(|(text, &id)| (text.to_string(), id));
    // A name longer than any piece that takes part, so that no merge can end in it.
    let unknown_name = "<unknown>".repeat(32);
    let of_unknown = unknown.map(|id| (unknown_name.clone(), id));
    let ids: Ids = of_normal.chain(of_bytes).chain(of_unknown).collect();
    // Bytes where there are pieces for them; a run of characters without is one unknown token.
    let mut model = BPE::builder().byte_fallback(true).fuse_unk(true);
    if unknown.is_some() {
        model = model.unk_token(unknown_name);
    }
    let model = model.vocab_and_merges(ids, merges.collect()).build();
    let space = Replace::new(" ", SPACE).expect("a space is a pattern");
    let mut tokenizer = Tokenizer::new(model.expect("both halves of every merge are pieces"));
    let normalizer = Sequence::new(vec![Prepend::new(SPACE.into()).into(), space.into()]);
    tokenizer.with_normalizer(Some(normalizer)).expect("a vocabulary without added tokens needs no second look");
    tokenizer
}

/// The byte that a piece such as `<0x0A>` names.
pub(crate) fn byte_named(text: &[u8]) -> Option<u8> {
    let hex = text.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    if hex.len() != 2 || !hex.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
}

fn byte_name(byte: u8) -> String {
    format!("<0x{byte:02X}>")
}

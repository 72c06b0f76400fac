//! Byte-level byte pair encoding (GPT-2 and its successors), as the `tokenizers` crate does it: cut into words by the
//! pre-tokenizer's expression, spell each byte as a printable character, join by the file's merges.

use phi_gguf::Metadata;
use tokenizers::models::bpe::{BPE, Vocab as Ids};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{SplitDelimiterBehavior, Tokenizer};

use crate::error::TextError;
use crate::pre::Pre;
use crate::vocab::{Kind, Vocab};

/// The pipeline for ordinary text. Added tokens are found before it, by `special`.
pub(crate) fn pipeline(vocab: &mut Vocab<'_>, meta: &Metadata, pre: &Pre) -> Result<Tokenizer, TextError> {
    let merges = vocab.merges(meta)?;
    let text = |id: u32| vocab.texts.get(id as usize).and_then(|text| std::str::from_utf8(text).ok());
    let merges = merges.iter().filter_map(|&(left, right, joined)| {
        text(joined)?;
        Some((text(left)?.to_string(), text(right)?.to_string()))
    });
    let mut model = BPE::builder().ignore_merges(pre.ignore_merges);
    let unknown = vocab.ends.unknown.and_then(|id| text(id.0));
    if let Some(unknown) = unknown {
        model = model.unk_token(unknown.into());
    }
    // Control tokens are never spelled out of pieces; of equal texts the first counts.
    let ids: Ids = vocab
        .entries()
        .filter_map(|(id, kind, text)| Some((id, kind, std::str::from_utf8(text).ok()?)))
        .filter(|&(id, kind, text)| (kind != Kind::Control || unknown == Some(text)) && vocab.id_of(text) == Some(id))
        .map(|(id, _, text)| (text.to_string(), id))
        .collect();
    let model = model.vocab_and_merges(ids, merges.collect()).build();
    let model = model.expect("every merge was found in the vocabulary");
    let words = SplitPattern::Regex(pre.spellings[0].into());
    let words = Split::new(words, SplitDelimiterBehavior::Isolated, false).expect("the table's expressions are valid");
    let (no_space_in_front, offsets_as_they_are, words_are_cut) = (false, true, false);
    let letters = ByteLevel::new(no_space_in_front, offsets_as_they_are, words_are_cut);
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![words.into(), letters.into()])));
    Ok(tokenizer)
}

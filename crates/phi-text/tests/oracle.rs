//! Two independent implementations agree with ours: OpenAI's algorithm by ranks (tiktoken-rs) on plain text, and
//! Hugging Face's `tokenizers` on added tokens, stripping and SentencePiece.

mod support;

use std::collections::HashMap;
use std::thread;

use phi_gguf::{Header, Strings};
use phi_text::{Special, Tokenizer, pre};
use support::{Random, numbers, phi2, phi3, phi4, phi4_mini, random_text};
use tiktoken_rs::CoreBPE;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::{Prepend, Replace, Sequence};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreSequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior};

/// Compares on `n` random texts, on all processors, and reports the first differences.
fn compare(
    name: &str,
    n: u64,
    text: impl Fn(&mut Random) -> String + Sync,
    check: impl Fn(&str) -> Option<String> + Sync,
) {
    let threads = thread::available_parallelism().map_or(2, |n| n.get() as u64);
    let (text, check) = (&text, &check);
    let differences: Vec<String> = thread::scope(|scope| {
        let part = |part: u64| {
            scope.spawn(move || {
                let mine = (part..n).step_by(threads as usize);
                let found = mine.filter_map(|i| check(&text(&mut Random::new(i + 1))));
                found.take(3).collect::<Vec<_>>()
            })
        };
        let parts: Vec<_> = (0..threads).map(part).collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    });
    assert!(differences.is_empty(), "{name}:\n{}", differences.join("\n"));
}

fn against_ranks(name: &str, ours: &Tokenizer, ranks: &CoreBPE) {
    let check = |text: &str| {
        let (got, want) = (numbers(&ours.encode(text, Special::Plain)), ranks.encode_ordinary(text));
        (got != want).then(|| format!("{text:?}\n  want {want:?}\n  got  {got:?}"))
    };
    let real: Vec<String> = support::SENTENCES.iter().filter_map(|text| check(text)).collect();
    assert!(real.is_empty(), "{name}:\n{}", real.join("\n"));
    compare(name, TEXTS, random_text, check);
}

#[test]
fn cl100k_agrees_with_tiktoken() {
    against_ranks("cl100k", &phi4().1, tiktoken_rs::cl100k_base_singleton());
}

#[test]
fn o200k_agrees_with_tiktoken() {
    against_ranks("o200k", &phi4_mini().1, tiktoken_rs::o200k_base_singleton());
}

#[test]
fn every_piece_is_its_own_encoding() {
    for (ours, n) in [(&phi4().1, 100_256), (&phi4_mini().1, 199_998)] {
        let wrong = (0..n).map(phi_tensor::TokenId).find(|&id| {
            let Ok(text) = std::str::from_utf8(ours.token_bytes(id)) else { return false };
            ours.decode(&ours.encode(text, Special::Plain), false) != text
        });
        assert_eq!(wrong, None);
    }
}

/// Hugging Face's tokenizer of a file, as phi-family 4.1 and 4.5 build it.
fn hugging_face(header: &Header, rstrip: impl Fn(&str) -> bool) -> tokenizers::Tokenizer {
    let meta = &header.metadata;
    let texts: &Strings = meta.get("tokenizer.ggml.tokens").unwrap();
    let texts: Vec<String> = texts.iter().map(|text| String::from_utf8(text.to_vec()).unwrap()).collect();
    let kinds: &[i32] = meta.get("tokenizer.ggml.token_type").unwrap();
    let vocab = texts.iter().cloned().zip(0..);
    let bytes = meta.get::<&str>("tokenizer.ggml.model").unwrap() == "gpt2";
    let merges = if bytes {
        listed(meta.get("tokenizer.ggml.merges").unwrap())
    } else {
        told(&texts, kinds, meta.get("tokenizer.ggml.scores").unwrap())
    };
    let mut model = BPE::builder().vocab_and_merges(vocab.collect::<ahash::AHashMap<_, _>>(), merges).cache_capacity(0);
    if !bytes {
        model = model.unk_token("<unk>".into()).fuse_unk(true).byte_fallback(true);
    }
    let mut hf = tokenizers::Tokenizer::new(model.build().unwrap());
    if bytes {
        let spelling = pre::named(meta.get("tokenizer.ggml.pre").unwrap()).unwrap().spellings[0];
        let split = Split::new(SplitPattern::Regex(spelling.into()), SplitDelimiterBehavior::Isolated, false).unwrap();
        let level = ByteLevel::new(false, false, false);
        hf.with_pre_tokenizer(Some(PreSequence::new(vec![split.into(), level.into()])));
    } else {
        let space = Replace::new(" ", "▁").unwrap();
        hf.with_normalizer(Some(Sequence::new(vec![Prepend::new("▁".into()).into(), space.into()]))).unwrap();
    }
    let added = texts.iter().zip(kinds).filter(|(_, kind)| matches!(kind, 3 | 4));
    let added =
        added.map(|(text, kind)| AddedToken::from(text.clone(), *kind == 3).normalized(false).rstrip(rstrip(text)));
    hf.add_tokens(added).unwrap();
    hf
}

fn listed(merges: &Strings) -> Vec<(String, String)> {
    let text = |merge: &[u8]| String::from_utf8(merge.to_vec()).unwrap();
    merges.iter().map(|merge| text(merge).split_once(' ').map(|(a, b)| (a.into(), b.into())).unwrap()).collect()
}

/// The merges of a SentencePiece vocabulary: 61,249 for Phi-3.
fn told(texts: &[String], kinds: &[i32], scores: &[f32]) -> Vec<(String, String)> {
    let normal = texts.iter().zip(0..).filter(|(_, id)| kinds[*id] == 1);
    let ids: HashMap<&str, usize> = normal.map(|(text, id)| (text.as_str(), id)).collect();
    let mut merges = Vec::new();
    for (text, &id) in &ids {
        for (at, _) in text.char_indices().skip(1) {
            if let (Some(&left), Some(&right)) = (ids.get(&text[..at]), ids.get(&text[at..])) {
                merges.push((id, left, right));
            }
        }
    }
    merges.sort_by(|a, b| scores[b.0].total_cmp(&scores[a.0]).then(a.cmp(b)));
    assert_eq!(merges.len(), 61_249);
    merges.iter().map(|&(_, left, right)| (texts[left].clone(), texts[right].clone())).collect()
}

/// A random text with special tokens, whole and broken, between its parts.
fn chat_text(r: &mut Random, specials: &[&str]) -> String {
    let mut text = String::new();
    for _ in 0..=r.below(5) {
        text.push_str(r.pick::<&str>(specials));
        text.push_str(["", "", " ", "\n", "\u{a0} \t", "  "][r.below(6)]);
        let mut words = random_text(r);
        words.truncate(words.char_indices().nth(40).map_or(words.len(), |(at, _)| at));
        text.push_str(&words);
    }
    text
}

fn against_hugging_face(
    name: &str,
    header: &Header,
    ours: &Tokenizer,
    specials: &[&str],
    strips: impl Fn(&str) -> bool,
) {
    let hf = hugging_face(header, strips);
    let check = |text: &str| {
        let want = hf.encode_fast(text, false).unwrap().get_ids().to_vec();
        let got = numbers(&ours.encode(text, Special::Parse));
        (got != want).then(|| format!("{text:?}\n  want {want:?}\n  got  {got:?}"))
    };
    compare(name, CHATS, |r| chat_text(r, specials), check);
}

#[test]
fn phi3_agrees_with_hugging_face() {
    let (header, ours) = phi3();
    let specials = [
        "<|user|>",
        "<|end|>",
        "<|assistant|>",
        "<|system|>",
        "<|endoftext|>",
        "<s>",
        "</s>",
        "<|end",
        "<|placeholder1|>",
    ];
    against_hugging_face("phi-3", header, ours, &specials, |text| !["<unk>", "<s>", "<|endoftext|>"].contains(&text));
}

#[test]
fn phi4_mini_agrees_with_hugging_face() {
    let (file, ours) = phi4_mini();
    let specials =
        ["<|user|>", "<|end|>", "<|assistant|>", "<|tool|>", "<|/tool_call|>", "<|endoftext|>", "<|tag|>", "|end|>"];
    let header = support::header(file);
    against_hugging_face("phi-4-mini", &header, ours, &specials, |text| {
        !["<|endoftext|>", "<|endofprompt|>"].contains(&text)
    });
}

#[test]
fn phi2_agrees_with_hugging_face() {
    let (file, ours) = phi2();
    let specials = ["<|endoftext|>", "  ", "     ", "\t\t", "\t \t", "   \n    "];
    against_hugging_face("phi-2", &support::header(file), ours, &specials, |_| false);
}

#[test]
fn phi4_agrees_with_hugging_face() {
    let (file, ours) = phi4();
    let specials =
        ["<|im_start|>", "<|im_end|>", "<|im_sep|>", "<|endoftext|>", "<|dummy_1|>", "<|dummy_10|>", "<|im_"];
    against_hugging_face("phi-4", &support::header(file), ours, &specials, |_| false);
}

/// Random texts for each rank file.
const TEXTS: u64 = 100_000;
/// Random chats for each vocabulary.
const CHATS: u64 = 4_000;

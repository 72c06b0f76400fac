//! Rows 86 to 112 of the table of bad inputs: each message names the field, and what can be lived with loads.

mod support;

use phi_gguf::{Blueprint, Header, Strings, Value};
use phi_tensor::TokenId;
use phi_text::{Special, TextError, Tokenizer};

/// 262 tokens: `<unk>`, `<s>`, `</s>`, 256 bytes and three pieces, readable as either kind of vocabulary.
fn llama() -> Blueprint {
    let mut texts: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).into();
    texts.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    texts.extend(["▁", "h", "▁h"].map(String::from));
    let mut kinds = vec![6; 262];
    kinds[..3].copy_from_slice(&[2, 3, 3]);
    kinds[259..].fill(1);
    let mut file = Blueprint::new();
    file.set("general.architecture", "phi3");
    file.set("tokenizer.ggml.model", "llama");
    file.set("tokenizer.ggml.tokens", texts.iter().collect::<Strings>());
    file.set("tokenizer.ggml.token_type", kinds);
    file.set("tokenizer.ggml.scores", (0..262).map(|id| -(id as f32)).collect::<Vec<_>>());
    file.set("tokenizer.ggml.bos_token_id", 1_u32);
    file.set("tokenizer.ggml.eos_token_id", 2_u32);
    file
}

fn gpt2() -> Blueprint {
    let mut texts: Vec<String> = (0..=255).map(|byte| phi_text::alphabet::char_of(byte).into()).collect();
    texts.extend(["he", "ll", "hell", "<s>", "</s>", "lo"].map(String::from));
    let mut kinds = vec![1; 262];
    kinds[259..261].fill(3);
    let mut file = llama();
    file.remove("tokenizer.ggml.scores");
    file.set("tokenizer.ggml.model", "gpt2");
    file.set("tokenizer.ggml.pre", "gpt-2");
    file.set("tokenizer.ggml.tokens", texts.iter().collect::<Strings>());
    file.set("tokenizer.ggml.token_type", kinds);
    file.set("tokenizer.ggml.merges", ["h e", "l l", "he ll"].iter().collect::<Strings>());
    file
}

fn changed(file: Blueprint, key: &str, value: impl Into<Value>) -> Blueprint {
    let mut file = file;
    file.set(&format!("tokenizer.ggml.{key}"), value);
    file
}

fn without(file: Blueprint, key: &str) -> Blueprint {
    let mut file = file;
    file.remove(&format!("tokenizer.ggml.{key}"));
    file
}

/// The vocabulary with some texts changed.
fn texts(file: Blueprint, changes: &[(usize, &[u8])]) -> Blueprint {
    let header = support::header(&file);
    let old: &Strings = header.metadata.get("tokenizer.ggml.tokens").unwrap();
    let change = |i: usize| changes.iter().find(|change| change.0 == i).map(|change| change.1);
    let new = old.iter().enumerate().map(|(i, text)| change(i).unwrap_or(text));
    changed(file, "tokens", new.collect::<Strings>())
}

fn load(file: &Blueprint) -> Result<Tokenizer, TextError> {
    Tokenizer::from_metadata(&support::header(file).metadata, Some(262))
}

#[test]
fn the_valid_files_load() {
    for file in [llama(), gpt2()] {
        assert_eq!(load(&file).unwrap().warnings(), []);
    }
    assert_eq!(support::numbers(&load(&gpt2()).unwrap().encode("hello", Special::Plain)), [258, u32::from(b'o')]);
    assert_eq!(support::numbers(&load(&llama()).unwrap().encode("hi", Special::Plain)), [261, 3 + u32::from(b'i')]);
}

#[test]
fn every_fault_is_named() {
    let n = |n: usize| (0..n).map(|i| format!("t{i}")).collect::<Strings>();
    let rows: Vec<(u32, Blueprint, &str)> = vec![
        (86, without(llama(), "tokens"), "tokenizer.ggml.tokens: missing"),
        (87, changed(llama(), "tokens", vec![1_u8]), "tokenizer.ggml.tokens at @: type array<u8>, expected array<str>"),
        (88, changed(llama(), "tokens", "x"), "tokenizer.ggml.tokens at @: type str, expected array<str>"),
        (90, changed(llama(), "tokens", n(100)), "tokenizer.ggml.tokens at @: tokens 100, embedding rows 262"),
        (91, changed(llama(), "tokens", n(300)), "tokenizer.ggml.tokens at @: tokens 300, embedding rows 262"),
        (94, changed(llama(), "token_type", vec![1_i32; 10]), "tokenizer.ggml.token_type at @: 10 entries, tokens 262"),
        (
            95,
            changed(llama(), "token_type", vec![1_u8; 262]),
            "tokenizer.ggml.token_type at @: type array<u8>, expected array<i32>",
        ),
        (
            96,
            changed(llama(), "token_type", vec![99_i32; 262]),
            "tokenizer.ggml.token_type[0] at @ = 99, expected 1..=6",
        ),
        (97, changed(llama(), "scores", vec![0_f32; 5]), "tokenizer.ggml.scores at @: 5 entries, tokens 262"),
        (98, changed(llama(), "scores", vec![f32::NAN; 262]), "tokenizer.ggml.scores[0] at @: NaN"),
        (99, without(gpt2(), "merges"), "tokenizer.ggml.merges: missing"),
        (
            100,
            changed(gpt2(), "merges", ["he"].iter().collect::<Strings>()),
            "tokenizer.ggml.merges[0] at @ \"he\": no separator",
        ),
        (101, changed(gpt2(), "merges", [""].iter().collect::<Strings>()), "tokenizer.ggml.merges[0] at @: empty"),
        (
            103,
            changed(gpt2(), "merges", vec![1_i32]),
            "tokenizer.ggml.merges at @: type array<i32>, expected array<str>",
        ),
        (104, changed(llama(), "bos_token_id", 999_999_u32), "tokenizer.ggml.bos_token_id at @: 999999 ≥ 262"),
        (105, changed(llama(), "eos_token_id", u32::MAX), "tokenizer.ggml.eos_token_id at @: 4294967295 ≥ 262"),
        (
            106,
            changed(without(llama(), "bos_token_id"), "add_bos_token", true),
            "tokenizer.ggml.add_bos_token at @ = true but no bos_token_id",
        ),
        (
            107,
            changed(llama(), "model", "foo"),
            "tokenizer.ggml.model at @: \"foo\" is not supported (supported: gpt2, llama, no_vocab)",
        ),
        (
            108,
            changed(gpt2(), "pre", "foo"),
            "tokenizer.ggml.pre at @: \"foo\" is not supported (supported: phi-2, gpt-2, default, dbrx, llama-bpe, gpt-4o)",
        ),
        (
            109,
            changed(gpt2(), "model", "llama"),
            "tokenizer.ggml.tokens at @: model llama: no byte tokens and no unknown token",
        ),
        (110, texts(llama(), &[(258, b"<0x-1>")]), "tokenizer.ggml.tokens[258] at @ \"<0x-1>\": not a byte token"),
    ];
    let mut wrong = Vec::new();
    for (row, file, want) in &rows {
        let got = load(file).map_or_else(|e| e.to_string(), |_| "loads".into());
        let key = want.split([' ', '[', ':']).next().unwrap();
        let offset = support::header(file).metadata.entry(key).map_or(String::new(), |entry| entry.offset.to_string());
        if got != want.replace('@', &offset) {
            wrong.push(format!("row {row}\n  want {want}\n  got  {got}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn oddities_load_with_a_warning() {
    let rows: Vec<(u32, Blueprint, &str)> = vec![
        (89, texts(llama(), &[(261, "▁".as_bytes())]), "tokenizer.ggml.tokens: 259 and 261 are both \"▁\""),
        (92, texts(llama(), &[(260, b"")]), "tokenizer.ggml.tokens[260]: empty"),
        (93, texts(llama(), &[(260, b"\xff\xfe")]), "tokenizer.ggml.tokens[260]: not UTF-8"),
        (93, texts(gpt2(), &[(261, b"\xff\xfe")]), "tokenizer.ggml.tokens[261]: not UTF-8"),
        (
            102,
            changed(gpt2(), "merges", ["x yz", "h e", "no pe"].iter().collect::<Strings>()),
            "tokenizer.ggml.merges[0]: unknown pieces, 1 more like it",
        ),
        (0, without(gpt2(), "pre"), "tokenizer.ggml.pre: missing, taken to be \"default\""),
        (0, texts(gpt2(), &[(65, b"<none>")]), "tokenizer.ggml.tokens: 1 bytes have no token"),
    ];
    let mut wrong = Vec::new();
    for (row, file, want) in &rows {
        let got = match load(file) {
            Ok(tokenizer) => tokenizer.warnings().iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            Err(e) => format!("error {e}"),
        };
        if !got.split("; ").any(|warning| warning == *want) {
            wrong.push(format!("row {row}\n  want {want}\n  got  {got}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    let twins = load(&texts(llama(), &[(261, "▁".as_bytes())])).unwrap();
    assert_eq!(twins.id_of("▁"), Some(TokenId(259)));
    assert_eq!(twins.token_bytes(TokenId(261)), b" ");
    let raw = load(&texts(llama(), &[(260, b"\xff\xfe")])).unwrap();
    assert_eq!(raw.token_bytes(TokenId(260)), b"\xff\xfe");
    assert_eq!(raw.decode(&[TokenId(260)], false), "\u{fffd}\u{fffd}");
    let empty = load(&texts(llama(), &[(260, b"")])).unwrap();
    assert_eq!(empty.token_bytes(TokenId(260)), b"");
}

#[test]
fn a_file_may_say_that_it_has_no_vocabulary() {
    let mut file = Blueprint::new();
    file.set("general.architecture", "phi3");
    file.set("tokenizer.ggml.model", "no_vocab");
    file.set("phi3.vocab_size", 262_u32);
    assert!(matches!(load(&file), Err(TextError::NoVocabulary)));
    file.set("phi3.vocab_size", u32::MAX);
    let message = load(&file).unwrap_err().to_string();
    assert!(message.starts_with("phi3.vocab_size at "), "{message}");
    assert!(message.ends_with(": 4294967295 ≠ embedding rows 262"), "{message}");
}

#[test]
fn a_text_longer_than_the_file_is_found_before_it_is_read() {
    let mut bytes = llama().header_bytes();
    let first = bytes.windows(5).position(|window| window == b"<unk>").unwrap();
    bytes[first - 8..first].copy_from_slice(&(300_u64 << 20).to_le_bytes());
    let message = Header::parse(&bytes).unwrap_err().to_string();
    assert!(message.contains("tokenizer.ggml.tokens[0]"), "{message}");
}

#[test]
fn control_tokens_are_not_spelled_by_merges() {
    let file = changed(gpt2(), "merges", ["< s", "<s >", "h e"].iter().collect::<Strings>());
    let file = texts(file, &[(258, b"<s")]);
    let file = changed(file, "merges", ["< s", "<s >", "h e"].iter().collect::<Strings>());
    let tokenizer = load(&file).unwrap();
    assert!(!tokenizer.encode("<s>", Special::Plain).contains(&TokenId(259)));
    assert_eq!(tokenizer.encode("<s>", Special::Parse), [TokenId(259)]);
}

/// Llama 3 has words that its merges do not reach.
#[test]
fn llama_bpe_takes_whole_words() {
    let file = texts(gpt2(), &[(258, b"xyz")]);
    for (pre, tokens) in [("llama-bpe", 1), ("dbrx", 3)] {
        let tokenizer = load(&changed(file.clone(), "pre", pre)).unwrap();
        assert_eq!(tokenizer.encode("xyz", Special::Plain).len(), tokens, "{pre}");
    }
}

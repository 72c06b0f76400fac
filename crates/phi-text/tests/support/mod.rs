//! Real vocabularies, from the rank files that tiktoken-rs carries and the Phi-3 vocabulary among the fixtures.
#![allow(dead_code, reason = "each test uses its part")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use phi_gguf::{Blueprint, Header, Strings};
use phi_tensor::TokenId;
use phi_text::{Tokenizer, alphabet};
use tiktoken_rs::CoreBPE;

/// Ids as numbers.
pub(crate) fn numbers(ids: &[TokenId]) -> Vec<u32> {
    ids.iter().map(|id| id.0).collect()
}

/// A file's header, as if read.
pub(crate) fn header(file: &Blueprint) -> Header {
    Header::parse(&file.header_bytes()).expect("a valid file")
}

/// The tokenizer of a file.
pub(crate) fn tokenizer(file: &Blueprint) -> Tokenizer {
    Tokenizer::from_metadata(&header(file).metadata, None).expect("a valid vocabulary")
}

/// Phi-4: cl100k with its special tokens.
pub(crate) fn phi4() -> &'static (Blueprint, Tokenizer) {
    static FILE: OnceLock<(Blueprint, Tokenizer)> = OnceLock::new();
    FILE.get_or_init(|| {
        let named = [
            (100257, "<|endoftext|>"),
            (100258, "<|fim_prefix|>"),
            (100259, "<|fim_middle|>"),
            (100260, "<|fim_suffix|>"),
            (100264, "<|im_start|>"),
            (100265, "<|im_end|>"),
            (100266, "<|im_sep|>"),
            (100276, "<|endofprompt|>"),
        ];
        let mut dummies = 0..;
        let added = (100_256..100_352).map(|id| {
            let name = named.iter().find(|named| named.0 == id).map(|named| named.1.to_string());
            (name.unwrap_or_else(|| format!("<|dummy_{}|>", dummies.next().unwrap())), 3)
        });
        let mut file = from_ranks(tiktoken_rs::cl100k_base_singleton(), 100_256, "dbrx", added);
        file.set("tokenizer.ggml.eos_token_id", 100_265_u32);
        let tokenizer = tokenizer(&file);
        (file, tokenizer)
    })
}

/// Phi-3-small: the same ranks, other special tokens.
pub(crate) fn phi3_small() -> &'static (Blueprint, Tokenizer) {
    static FILE: OnceLock<(Blueprint, Tokenizer)> = OnceLock::new();
    FILE.get_or_init(|| {
        let named = [
            (100_256, "<|dummy_id_2|>"),
            (100_257, "<|endoftext|>"),
            (100_258, "<|fim_prefix|>"),
            (100_259, "<|fim_middle|>"),
            (100_260, "<|fim_suffix|>"),
            (100_261, "<|system|>"),
            (100_262, "<|user|>"),
            (100_263, "<|assistant|>"),
            (100_264, "<|dummy_id_0|>"),
            (100_265, "<|dummy_id_1|>"),
            (100_266, "<|end|>"),
            (100_276, "<|endofprompt|>"),
        ];
        let mut dummies = 3..;
        let added = (100_256..100_352).map(|id| {
            let name = named.iter().find(|named| named.0 == id).map(|named| named.1.to_string());
            (name.unwrap_or_else(|| format!("<|dummy_id_{}|>", dummies.next().unwrap())), 3)
        });
        let mut file = from_ranks(tiktoken_rs::cl100k_base_singleton(), 100_256, "dbrx", added);
        file.set("tokenizer.ggml.bos_token_id", 100_257_u32);
        file.set("tokenizer.ggml.eos_token_id", 100_257_u32);
        let tokenizer = tokenizer(&file);
        (file, tokenizer)
    })
}

/// GPT-2: r50k and nothing else.
pub(crate) fn gpt2() -> Tokenizer {
    let end = std::iter::once(("<|endoftext|>".to_string(), 3));
    tokenizer(&from_ranks(tiktoken_rs::r50k_base_singleton(), 50_256, "gpt-2", end))
}

/// Phi-4-mini: o200k with its special tokens.
pub(crate) fn phi4_mini() -> &'static (Blueprint, Tokenizer) {
    static FILE: OnceLock<(Blueprint, Tokenizer)> = OnceLock::new();
    FILE.get_or_init(|| {
        let named = HashMap::from([
            (199_999, ("<|endoftext|>", 3)),
            (200_018, ("<|endofprompt|>", 3)),
            (200_019, ("<|assistant|>", 3)),
            (200_020, ("<|end|>", 3)),
            (200_021, ("<|user|>", 3)),
            (200_022, ("<|system|>", 3)),
            (200_023, ("<|tool|>", 4)),
            (200_024, ("<|/tool|>", 4)),
            (200_025, ("<|tool_call|>", 4)),
            (200_026, ("<|/tool_call|>", 4)),
            (200_027, ("<|tool_response|>", 4)),
            (200_028, ("<|tag|>", 3)),
        ]);
        let added = (199_998..200_064_u32).map(|id| match named.get(&id) {
            Some(&(name, kind)) => (name.to_string(), kind),
            None => (format!("[PAD{id}]"), 5),
        });
        let mut file = from_ranks(tiktoken_rs::o200k_base_singleton(), 199_998, "gpt-4o", added);
        file.set("tokenizer.ggml.eos_token_id", 199_999_u32);
        file.set("tokenizer.ggml.add_bos_token", false);
        let tokenizer = tokenizer(&file);
        (file, tokenizer)
    })
}

/// Phi-2: r50k with runs of spaces and tabs.
pub(crate) fn phi2() -> &'static (Blueprint, Tokenizer) {
    static FILE: OnceLock<(Blueprint, Tokenizer)> = OnceLock::new();
    FILE.get_or_init(|| {
        let spaces = (2..=31).rev().map(|n| (" ".repeat(n), 4));
        let tabs = (2..=9).rev().map(|n| ("\t".repeat(n), 4));
        let rest = (50_295..51_200).map(|id| (format!("[PAD{id}]"), 5));
        let added = std::iter::once(("<|endoftext|>".to_string(), 3)).chain(spaces).chain(tabs).chain(rest);
        let mut file = from_ranks(tiktoken_rs::r50k_base_singleton(), 50_256, "phi-2", added);
        file.set("tokenizer.ggml.bos_token_id", 50_256_u32);
        file.set("tokenizer.ggml.eos_token_id", 50_256_u32);
        let tokenizer = tokenizer(&file);
        (file, tokenizer)
    })
}

/// What llama.cpp tests its vocabularies with.
pub(crate) fn vocab_path(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/vocab")).join(name)
}

/// Phi-3, read from the file.
pub(crate) fn phi3() -> &'static (Header, Tokenizer) {
    static FILE: OnceLock<(Header, Tokenizer)> = OnceLock::new();
    FILE.get_or_init(|| {
        let bytes = std::fs::read(vocab_path("ggml-vocab-phi-3.gguf")).expect("the fixture is there");
        let header = Header::parse(&bytes).expect("the fixture is valid");
        let tokenizer = Tokenizer::from_metadata(&header.metadata, None).expect("the fixture is valid");
        (header, tokenizer)
    })
}

/// A `gpt2` vocabulary from ranks, with merges told from them: byte pair encoding of a token's bytes with the ranks
/// below its own ends with two parts.
fn from_ranks(ranks: &CoreBPE, n: u32, pre: &str, added: impl Iterator<Item = (String, i32)>) -> Blueprint {
    let tokens: Vec<Vec<u8>> = (0..n).map(|rank| ranks.decode_bytes(&[rank]).expect("ranks are dense")).collect();
    let rank_of: HashMap<&[u8], usize> = tokens.iter().enumerate().map(|(rank, token)| (&token[..], rank)).collect();
    let mut merges = Strings::new();
    for (own, token) in tokens.iter().enumerate().filter(|(_, token)| token.len() > 1) {
        let mut cuts: Vec<usize> = (0..=token.len()).collect();
        while cuts.len() > 3 {
            let rank = |i: usize| rank_of.get(&token[cuts[i - 1]..cuts[i + 1]]).filter(|&&rank| rank < own);
            let (_, i) = (1..cuts.len() - 1).filter_map(|i| Some((rank(i)?, i))).min().expect("two parts remain");
            cuts.remove(i);
        }
        let [left, right] = [&token[..cuts[1]], &token[cuts[1]..]].map(alphabet::text_of);
        merges.push(format!("{left} {right}"));
    }
    let mut texts: Strings = tokens.iter().map(|token| alphabet::text_of(token)).collect();
    let mut kinds = vec![1_i32; tokens.len()];
    for (text, kind) in added {
        texts.push(text);
        kinds.push(kind);
    }
    let mut file = Blueprint::new();
    file.set("general.architecture", "phi3");
    file.set("tokenizer.ggml.model", "gpt2");
    file.set("tokenizer.ggml.pre", pre);
    file.set("tokenizer.ggml.tokens", texts);
    file.set("tokenizer.ggml.token_type", kinds);
    file.set("tokenizer.ggml.merges", merges);
    file
}

/// Numbers that are the same every time (xorshift*).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }

    pub(crate) fn pick<'t, T>(&mut self, list: &'t [T]) -> &'t T {
        &list[self.below(list.len())]
    }
}

/// A text of a few random parts: words and letters of many scripts, digits, punctuation, white space, oddities.
pub(crate) fn random_text(r: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..=r.below(4) {
        match r.below(14) {
            0..=3 => text.push_str(r.pick::<&str>(&WORDS)),
            4 => {
                let (first, last) = *r.pick(&SCRIPTS);
                for _ in 0..=r.below(8) {
                    let c = first + r.below((last - first + 1) as usize) as u32;
                    text.extend(char::from_u32(c));
                }
            }
            5 => (0..=r.below(6)).for_each(|_| text.push(char::from(b'0' + r.below(10) as u8))),
            6 => (0..=r.below(4)).for_each(|_| text.push(*r.pick(&PUNCTUATION))),
            7 | 8 => (0..=r.below(5)).for_each(|_| text.push(*r.pick(&BLANKS))),
            9 => text.push_str(&" ".repeat(r.below(20))),
            10 => text.push_str(r.pick::<&str>(&ENDINGS)),
            11 => text.push_str(r.pick::<&str>(&SENTENCES)),
            12 => (0..=r.below(3)).for_each(|_| text.push(*r.pick(&ODD))),
            _ => text.push(' '),
        }
    }
    text
}

const WORDS: [&str; 40] = [
    "the",
    "Hello",
    "WORLD",
    "iPhone",
    "camelCase",
    "snake_case",
    "naïve",
    "Straße",
    "ĳsland",
    "fi",
    "ﬁn",
    "привет",
    "МОСКВА",
    "Ελλάδα",
    "ΣΊΣΥΦΟΣ",
    "שלום",
    "مرحبا",
    "नमस्ते",
    "दुनिया",
    "สวัสดี",
    "ชาวโลก",
    "你好世界",
    "東京都",
    "ひらがな",
    "カタカナ",
    "안녕하세요",
    "Tiếng",
    "Việt",
    "İstanbul",
    "ǅungla",
    "tamil: தமிழ்",
    "ကမ္ဘာ",
    "ሰላም",
    "გამარჯობა",
    "Բարեւ",
    "👩‍💻",
    "🏳️‍🌈",
    "👍🏽",
    "e\u{301}a\u{308}",
    "🇫🇷🇩🇪",
];

const SCRIPTS: [(u32, u32); 24] = [
    (0x41, 0x7a),
    (0xc0, 0x24f),
    (0x250, 0x2ff),
    (0x300, 0x36f),
    (0x370, 0x3ff),
    (0x400, 0x4ff),
    (0x590, 0x5ff),
    (0x600, 0x6ff),
    (0x900, 0x97f),
    (0xb80, 0xbff),
    (0xe00, 0xe7f),
    (0x10a0, 0x10ff),
    (0x1e00, 0x1fff),
    (0x2000, 0x206f),
    (0x2070, 0x24ff),
    (0x3000, 0x30ff),
    (0x4e00, 0x9fff),
    (0xac00, 0xd7a3),
    (0xd7b0, 0xd7ff),
    (0xe000, 0xe0ff),
    (0xfe00, 0xffff),
    (0x1_0400, 0x1_04ff),
    (0x1_f300, 0x1_faff),
    (0xe_0000, 0xe_01ef),
];

const PUNCTUATION: [char; 40] = [
    '.', ',', '!', '?', ';', ':', '\'', '"', '(', ')', '[', ']', '{', '}', '<', '>', '/', '\\', '|', '@', '#', '$',
    '%', '^', '&', '*', '-', '_', '=', '+', '~', '`', '’', '“', '”', '–', '…', '€', '。', '、',
];

const BLANKS: [char; 16] = [
    ' ', ' ', ' ', '\n', '\n', '\r', '\t', '\u{b}', '\u{c}', '\u{85}', '\u{a0}', '\u{1680}', '\u{2003}', '\u{2028}',
    '\u{202f}', '\u{3000}',
];

const ODD: [char; 16] = [
    '\0',
    '\u{1}',
    '\u{7f}',
    '\u{ad}',
    '\u{200b}',
    '\u{200d}',
    '\u{378}',
    '\u{d7ff}',
    '\u{e000}',
    '\u{feff}',
    '\u{fffd}',
    '\u{ffff}',
    '\u{1_0000}',
    '\u{2_fa1d}',
    '\u{3_fffe}',
    '\u{10_ffff}',
];

const ENDINGS: [&str; 24] = [
    "'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'T", "'RE", "'Ve", "'M", "'lL", "'D", "’s", "'ſ", "don't",
    "I'LL", "we're", "''s", "'x", "'", "n't", "'sd",
];

/// Short sentences in many languages, and a little code.
pub(crate) const SENTENCES: [&str; 40] = [
    "The quick brown fox jumps over the lazy dog. It didn't even look back!",
    "In 1969, Apollo 11 travelled about 384,400 km; the crew's return took 8 days.",
    "Le renard brun saute par-dessus le chien paresseux, n'est-ce pas ?",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.",
    "El pingüino Wenceslao hizo kilómetros bajo exhaustiva lluvia y frío.",
    "À noite, vovô Kowalsky vê o ímã cair no pé do pinguim queixoso.",
    "Pranzo d'acqua fa volti sghembi: perché no?",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "Щастям б'єш жук їх глицю в фон й ґедзь пріч.",
    "Pchnąć w tę łódź jeża lub ośm skrzyń fig.",
    "Příliš žluťoučký kůň úpěl ďábelské ódy.",
    "Árvíztűrő tükörfúrógép, kérem szépen.",
    "Pijamalı hasta yağız şoföre çabucak güvendi.",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία.",
    "דג סקרן שט בים מאוכזב ולפתע מצא לו חברה.",
    "نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر.",
    "الطقس جميل اليوم، أليس كذلك؟",
    "هوا امروز خیلی خوب است و ما می‌رویم بیرون.",
    "ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण का सर्वनाश।",
    "আমি বাংলায় গান গাই, আমি বাংলার গান গাই।",
    "நீர் இன்றி அமையாது உலகு.",
    "తెలుగు చాలా అందమైన భాష.",
    "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า กว่าบรรดาฝูงสัตว์เดรัจฉาน",
    "Con sói nâu nhảy qua con chó lười biếng mỗi ngày.",
    "いろはにほへと ちりぬるを わかよたれそ つねならむ。",
    "天地玄黃，宇宙洪荒。日月盈昃，辰宿列張。",
    "我能吞下玻璃而不伤身体。价格是￥128.50元！",
    "키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다.",
    "Қазақстан — Орталық Азиядағы мемлекет.",
    "ჩემი სახელია გიორგი და მე ვცხოვრობ თბილისში.",
    "Հայերենը հնդեվրոպական լեզու է։",
    "ሰው ሁሉ ነፃ ሆኖ ይወለዳል።",
    "ខ្ញុំចូលចិត្តអានសៀវភៅ។",
    "မြန်မာစာသည် လှပသည်။",
    "fn main() {\n    let x: Vec<u32> = (0..10).map(|i| i * 2).collect();\n    println!(\"{x:?}\");\n}\n",
    "for (int i = 0; i < n; ++i) {\r\n\tsum += a[i] * b[i]; // dot\r\n}\r\n",
    "def f(x):\n    if x > 0:\n        return f(x-1)  # don't\n    return None\n\n\n",
    "SELECT * FROM t WHERE name LIKE '%O''Reilly%' AND id IN (1,22,333,4444);",
    "https://example.org/a/b?q=1&r=%20#frag  user@example.com  C:\\Temp\\x.txt",
    "∀ε>0 ∃δ: |x−a|<δ ⇒ |f(x)−L|<ε; ½ + ⅓ ≈ 0.8333… x² ≠ x₂",
];

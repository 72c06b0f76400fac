//! Where the answers of every published model end, whichever of its ends the file names.

use std::collections::HashMap;

use phi_gguf::{Blueprint, Header, Strings};
use phi_tensor::TokenId;
use phi_text::Tokenizer;

/// The special tokens of a family at their places: kind of vocabulary, pre-tokenizer, tokens, and the control tokens.
struct Words {
    model: &'static str,
    pre: &'static str,
    n_vocab: u32,
    control: &'static [(u32, &'static str)],
}

const PHI2: Words = Words { model: "gpt2", pre: "phi-2", n_vocab: 51_200, control: &[(50_256, "<|endoftext|>")] };
const PHI3: Words = Words {
    model: "llama",
    pre: "default",
    n_vocab: 32_064,
    control: &[
        (1, "<s>"),
        (2, "</s>"),
        (32_000, "<|endoftext|>"),
        (32_001, "<|assistant|>"),
        (32_006, "<|system|>"),
        (32_007, "<|end|>"),
        (32_010, "<|user|>"),
    ],
};
const PHI3_SMALL: Words = Words {
    model: "gpt2",
    pre: "dbrx",
    n_vocab: 100_352,
    control: &[
        (100_257, "<|endoftext|>"),
        (100_261, "<|system|>"),
        (100_262, "<|user|>"),
        (100_263, "<|assistant|>"),
        (100_266, "<|end|>"),
        (100_276, "<|endofprompt|>"),
    ],
};
const PHI4: Words = Words {
    model: "gpt2",
    pre: "dbrx",
    n_vocab: 100_352,
    control: &[
        (100_257, "<|endoftext|>"),
        (100_264, "<|im_start|>"),
        (100_265, "<|im_end|>"),
        (100_266, "<|im_sep|>"),
        (100_349, "<|dummy_85|>"),
        (100_350, "<think>"),
        (100_351, "</think>"),
    ],
};
const PHI4_MINI: Words = Words {
    model: "gpt2",
    pre: "gpt-4o",
    n_vocab: 200_064,
    control: &[
        (199_999, "<|endoftext|>"),
        (200_018, "<|endofprompt|>"),
        (200_019, "<|assistant|>"),
        (200_020, "<|end|>"),
        (200_021, "<|user|>"),
        (200_022, "<|system|>"),
        (200_023, "<|tool|>"),
        (200_025, "<|tool_call|>"),
        (200_026, "<|/tool_call|>"),
    ],
};

/// Model, its words, the ends that files of it have named, and where it stops.
type Line = (&'static str, &'static Words, &'static [Option<u32>], &'static [u32]);

const MODELS: &[Line] = &[
    ("phi-1", &PHI2, &[Some(50_256), None], &[50_256]),
    ("phi-1.5", &PHI2, &[Some(50_256), None], &[50_256]),
    ("phi-2", &PHI2, &[Some(50_256), None], &[50_256]),
    ("phi-3-mini-4k", &PHI3, &[Some(32_000), Some(32_007), None], &[32_000, 32_001, 32_007]),
    ("phi-3-mini-128k", &PHI3, &[Some(32_000)], &[32_000, 32_001, 32_007]),
    ("phi-3.5-mini", &PHI3, &[Some(32_000)], &[32_000, 32_001, 32_007]),
    ("phi-3-medium-4k", &PHI3, &[Some(32_000)], &[32_000, 32_001, 32_007]),
    ("phi-3-medium-128k", &PHI3, &[Some(32_000)], &[32_000, 32_001, 32_007]),
    ("phi-3.5-moe", &PHI3, &[Some(32_000)], &[32_000, 32_001, 32_007]),
    ("phi-3, tuned by others", &PHI3, &[Some(2)], &[2, 32_000, 32_001, 32_007]),
    ("phi-3-small-8k", &PHI3_SMALL, &[Some(100_257), Some(100_266), None], &[100_257, 100_266]),
    ("phi-3-small-128k", &PHI3_SMALL, &[Some(100_257)], &[100_257, 100_266]),
    ("phi-4", &PHI4, &[Some(100_257), Some(100_265), None], &[100_257, 100_265]),
    ("phi-4-reasoning", &PHI4, &[Some(100_265)], &[100_257, 100_265]),
    ("phi-4-reasoning-plus", &PHI4, &[Some(100_265)], &[100_257, 100_265]),
    ("phi-4 as llama", &PHI4, &[Some(100_265)], &[100_257, 100_265]),
    ("phi-4-mini", &PHI4_MINI, &[Some(199_999), Some(200_020), None], &[199_999, 200_020]),
    ("phi-4-mini-reasoning", &PHI4_MINI, &[Some(199_999)], &[199_999, 200_020]),
    ("phi-4-multimodal", &PHI4_MINI, &[Some(199_999)], &[199_999, 200_020]),
    ("phi-4-mini-flash-reasoning", &PHI4_MINI, &[Some(199_999)], &[199_999, 200_020]),
];

impl Words {
    /// A vocabulary of these tokens and holes: where an answer ends does not depend on the others.
    fn file(&self) -> Blueprint {
        let named = |id: u32| self.control.iter().find(|(at, _)| *at == id).map(|(_, text)| *text);
        let texts: Strings =
            (0..self.n_vocab).map(|id| named(id).map_or_else(|| format!("[PAD{id}]"), str::to_string)).collect();
        let mut kinds: Vec<i32> = (0..self.n_vocab).map(|id| if named(id).is_some() { 3 } else { 5 }).collect();
        let mut file = Blueprint::new();
        file.set("tokenizer.ggml.model", self.model);
        file.set("tokenizer.ggml.pre", self.pre);
        file.set("tokenizer.ggml.tokens", texts);
        if self.model == "llama" {
            kinds[0] = 2;
            file.set("tokenizer.ggml.scores", vec![0.0_f32; self.n_vocab as usize]);
        } else {
            file.set("tokenizer.ggml.merges", Strings::new());
        }
        file.set("tokenizer.ggml.token_type", kinds);
        file
    }
}

fn tokenizer(file: &Blueprint) -> Tokenizer {
    let header = Header::parse(&file.header_bytes()).expect("a valid file");
    Tokenizer::from_metadata(&header.metadata, None).expect("a valid vocabulary")
}

fn stops(file: &Blueprint) -> Vec<u32> {
    tokenizer(file).stops().iter().map(|id| id.0).collect()
}

#[test]
fn every_model_stops_at_each_of_its_ends() {
    // Most models share their words with others, and vocabularies are large.
    let mut seen = HashMap::new();
    for (model, words, ends, want) in MODELS {
        for end in *ends {
            let found = seen.entry((words.control, end)).or_insert_with(|| {
                let mut file = words.file();
                if let Some(end) = end {
                    file.set("tokenizer.ggml.eos_token_id", *end);
                }
                stops(&file)
            });
            assert_eq!(found, want, "{model}, eos {end:?}");
        }
    }
}

/// What a file names beyond that is heeded, too.
#[test]
fn files_may_name_more_ends() {
    let mut file = PHI4.file();
    file.set("tokenizer.ggml.eos_token_id", 100_257_u32);
    file.set("tokenizer.ggml.eot_token_id", 100_266_u32);
    file.set("phi.stop_token_ids", vec![100_265_u32, 100_349]);
    assert_eq!(stops(&file), [100_257, 100_265, 100_266, 100_349]);
}

/// `<|assistant|>` begins another turn in Phi-3 alone, and is known there by its place.
#[test]
fn a_token_of_the_same_name_is_no_end_elsewhere() {
    let texts = PHI3.control.iter().map(|&(id, text)| if id == 32_010 { (32_011, text) } else { (id, text) });
    let moved = Words { control: texts.collect::<Vec<_>>().leak(), ..PHI3 };
    assert_eq!(stops(&moved.file()), [32_000, 32_007]);
}

/// Marks of thinking and of calls are seen even where the file calls them control tokens; ends and headers are not.
#[test]
fn marks_are_seen_and_headers_are_not() {
    for (words, seen) in [(PHI4, &[100_350, 100_351][..]), (PHI4_MINI, &[200_025, 200_026][..]), (PHI3, &[][..])] {
        let tokenizer = tokenizer(&words.file());
        for &(id, text) in words.control {
            let shown = if seen.contains(&id) { text } else { "" };
            assert_eq!(tokenizer.token_bytes(TokenId(id)), shown.as_bytes(), "{text}");
        }
    }
}

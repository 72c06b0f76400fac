use crate::{RawGguf, RawValue, Rng};

/// A valid `phi3` model of random weights, all in F32, small enough to be made anew for each test (0.4 MB as it stands).
///
/// Every projection keeps the size of what it is given, so that logits stay within a few units.
#[derive(Clone, Debug)]
pub struct TinyPhi3 {
    /// Rows of the embedding. With a vocabulary, 262.
    pub n_vocab: usize,
    /// Width of the residual stream.
    pub n_embd: usize,
    /// Layers.
    pub n_layer: usize,
    /// Query heads.
    pub n_head: usize,
    /// Key and value heads.
    pub n_head_kv: usize,
    /// Width of the feed-forward.
    pub n_ff: usize,
    /// Positions it claims to be trained on.
    pub n_ctx: usize,
    /// Its words.
    pub vocabulary: Vocabulary,
    /// Seed of the weights.
    pub seed: u64,
}

/// The words of a tiny model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vocabulary {
    /// None: the file says `no_vocab`.
    None,
    /// As Phi-3 has it: `<unk>`, `<s>`, `</s>`, 256 bytes, and the pieces `▁`, `a`, `▁a`.
    SentencePiece,
    /// As Phi-4 has it: 256 letters that stand for bytes, the merges `he`, `ll`, `hell`, and the tokens
    /// `<|endoftext|>`, `<|user|>`, `<|end|>`.
    ByteLevel,
}

impl Default for TinyPhi3 {
    fn default() -> Self {
        TinyPhi3 {
            n_vocab: 262,
            n_embd: 64,
            n_layer: 2,
            n_head: 2,
            n_head_kv: 2,
            n_ff: 128,
            n_ctx: 128,
            vocabulary: Vocabulary::SentencePiece,
            seed: 1,
        }
    }
}

impl TinyPhi3 {
    /// The smallest model there is, without words: for tests that read it thousands of times.
    pub fn smallest() -> Self {
        TinyPhi3 {
            n_vocab: 8,
            n_embd: 8,
            n_layer: 1,
            n_head: 2,
            n_head_kv: 1,
            n_ff: 8,
            vocabulary: Vocabulary::None,
            ..TinyPhi3::default()
        }
    }

    /// The model as a file. Its first key is the architecture, its second the alignment; its first tensor is the
    /// embedding, its last the output norm.
    ///
    /// # Panics
    /// When the vocabulary is not of `n_vocab` words.
    pub fn gguf(&self) -> RawGguf {
        let &TinyPhi3 { n_vocab, n_embd, n_layer, n_head, n_head_kv, n_ff, n_ctx, .. } = self;
        let head_dim = n_embd / n_head;
        let mut file = RawGguf::new();
        file.set("general.architecture", "phi3");
        file.set("general.alignment", file.alignment as u32);
        file.set("general.name", "tiny");
        file.set("phi3.context_length", n_ctx as u32);
        file.set("phi3.embedding_length", n_embd as u32);
        file.set("phi3.block_count", n_layer as u32);
        file.set("phi3.feed_forward_length", n_ff as u32);
        file.set("phi3.attention.head_count", n_head as u32);
        file.set("phi3.attention.head_count_kv", n_head_kv as u32);
        file.set("phi3.attention.layer_norm_rms_epsilon", 1e-5_f32);
        file.set("phi3.rope.dimension_count", head_dim as u32);
        file.set("phi3.rope.freq_base", 10_000.0_f32);
        match self.vocabulary {
            Vocabulary::None => file.set("tokenizer.ggml.model", "no_vocab"),
            Vocabulary::SentencePiece => sentence_piece(&mut file, n_vocab),
            Vocabulary::ByteLevel => byte_level(&mut file, n_vocab),
        }

        let mut rng = Rng::new(self.seed);
        let mut matrix = |file: &mut RawGguf, name: &str, rows: usize, cols: usize, scale: f32| {
            file.tensor(name, &[rows, cols], &rng.normals(rows * cols, scale));
        };
        let unit = |cols: usize| 1.0 / (cols as f32).sqrt();
        let norm = |i: usize| 1.0 + 0.125 * (i % 5) as f32 - 0.25;
        let norm: Vec<f32> = (0..n_embd).map(norm).collect();
        matrix(&mut file, "token_embd.weight", n_vocab, n_embd, 1.0);
        matrix(&mut file, "output.weight", n_vocab, n_embd, unit(n_embd));
        for i in 0..n_layer {
            let name = |part: &str| format!("blk.{i}.{part}.weight");
            file.tensor(&name("attn_norm"), &[n_embd], &norm);
            matrix(&mut file, &name("attn_qkv"), (n_head + 2 * n_head_kv) * head_dim, n_embd, unit(n_embd));
            matrix(&mut file, &name("attn_output"), n_embd, n_head * head_dim, unit(n_head * head_dim));
            file.tensor(&name("ffn_norm"), &[n_embd], &norm);
            matrix(&mut file, &name("ffn_up"), 2 * n_ff, n_embd, unit(n_embd));
            matrix(&mut file, &name("ffn_down"), n_embd, n_ff, unit(n_ff));
        }
        file.tensor("output_norm.weight", &[n_embd], &norm);
        file
    }
}

/// Types of tokens, as files number them.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const BYTE: i32 = 6;

fn sentence_piece(file: &mut RawGguf, n_vocab: usize) {
    let mut tokens: Vec<(String, f32, i32)> =
        vec![("<unk>".into(), 0.0, UNKNOWN), ("<s>".into(), 0.0, CONTROL), ("</s>".into(), 0.0, CONTROL)];
    tokens.extend((0..=255_u8).map(|byte| (format!("<0x{byte:02X}>"), 0.0, BYTE)));
    tokens.extend([("▁", -3.0), ("a", -2.0), ("▁a", -1.0)].map(|(piece, score)| (piece.into(), score, NORMAL)));
    assert_eq!(tokens.len(), n_vocab, "words and rows of the embedding");
    file.set("tokenizer.ggml.model", "llama");
    file.set("tokenizer.ggml.pre", "default");
    file.set("tokenizer.ggml.tokens", RawValue::strings(tokens.iter().map(|(text, ..)| text)));
    file.set("tokenizer.ggml.scores", tokens.iter().map(|&(_, score, _)| score).collect::<Vec<_>>());
    file.set("tokenizer.ggml.token_type", tokens.iter().map(|&(_, _, ty)| ty).collect::<Vec<_>>());
    file.set("tokenizer.ggml.bos_token_id", 1_u32);
    file.set("tokenizer.ggml.eos_token_id", 2_u32);
    file.set("tokenizer.ggml.unknown_token_id", 0_u32);
    file.set("tokenizer.ggml.add_bos_token", true);
}

fn byte_level(file: &mut RawGguf, n_vocab: usize) {
    let mut tokens: Vec<String> = letters().map(String::from).collect();
    tokens.extend(["he", "ll", "hell", "<|endoftext|>", "<|user|>", "<|end|>"].map(String::from));
    assert_eq!(tokens.len(), n_vocab, "words and rows of the embedding");
    let types = (0..n_vocab).map(|id| if id < 259 { NORMAL } else { CONTROL }).collect::<Vec<_>>();
    file.set("tokenizer.ggml.model", "gpt2");
    file.set("tokenizer.ggml.pre", "gpt-4o");
    file.set("tokenizer.ggml.tokens", RawValue::strings(&tokens));
    file.set("tokenizer.ggml.token_type", types);
    file.set("tokenizer.ggml.merges", RawValue::strings(["h e", "l l", "he ll"]));
    file.set("tokenizer.ggml.bos_token_id", 259_u32);
    file.set("tokenizer.ggml.eos_token_id", 261_u32);
    file.set("tokenizer.ggml.add_bos_token", false);
}

/// The letters that byte-level vocabularies write for the bytes 0 to 255: printable ones stand for themselves, the
/// others for letters from 256 on, in order.
fn letters() -> impl Iterator<Item = char> {
    let mut next = 256;
    (0..=255_u32).map(move |byte| {
        let printable = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let letter = if printable { byte } else { next };
        next += u32::from(!printable);
        char::from_u32(letter).expect("below the surrogates")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_letters_are_the_usual_ones() {
        let letters: Vec<char> = letters().collect();
        assert_eq!((letters[usize::from(b' ')], letters[usize::from(b'\n')], letters[0xad]), ('Ġ', 'Ċ', 'Ń'));
    }

    #[test]
    fn the_size_is_small_and_the_seed_counts() {
        let bytes = TinyPhi3::default().gguf().bytes();
        assert!(bytes.len() < 500_000, "{}", bytes.len());
        assert_eq!(bytes, TinyPhi3::default().gguf().bytes());
        assert_ne!(bytes, TinyPhi3 { seed: 2, ..TinyPhi3::default() }.gguf().bytes());
        assert!(TinyPhi3::smallest().gguf().bytes().len() < 5000);
        TinyPhi3 { vocabulary: Vocabulary::ByteLevel, ..TinyPhi3::default() }.gguf();
    }
}

//! The least that text needs: a token per byte, one pair, and the tokens of a chat. For models that were never trained.

use std::path::Path;

use phi_text::alphabet;
use serde_json::{Map, json};

use super::fast::VocabMap;
use super::special::Special;
use super::{Family, Keys, Place, Vocab};
use crate::config::Config;
use crate::error::Result;
use crate::file;
use crate::generation::Generation;

/// The pair `Ġt`: GPT-2's readers want at least one.
const MERGES: &str = "#version: 0.2\nĠ t\n";
const FIRST_CHAT_ID: u32 = 257;
const CHAT: [&str; 5] = ["<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"];
/// As Phi-4-mini has it.
const TEMPLATE: &str = "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}\
                        {% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";

/// The files that say so in a folder: names and texts.
pub(crate) fn files() -> [(&'static str, String); 3] {
    let mut vocab: Map<_, _> = (0..=255).map(|byte| (alphabet::char_of(byte).to_string(), json!(byte))).collect();
    vocab.insert(alphabet::text_of(b" t"), json!(256));
    let added: Map<_, _> = CHAT
        .iter()
        .zip(FIRST_CHAT_ID..)
        .map(|(text, id)| (id.to_string(), json!({"content": text, "special": true})))
        .collect();
    let config = json!({
        "added_tokens_decoder": added,
        "add_bos_token": false,
        "bos_token": CHAT[0],
        "eos_token": CHAT[0],
        "pad_token": CHAT[0],
        "chat_template": TEMPLATE,
    });
    let text = |value: &serde_json::Value| serde_json::to_string_pretty(value).expect("maps of strings are JSON");
    [("vocab.json", text(&vocab.into())), ("merges.txt", MERGES.into()), ("tokenizer_config.json", text(&config))]
}

/// The same as keys: what a folder with [`files`] becomes.
pub(crate) fn keys(config: &Config, generation: &Generation, n_vocab: u32) -> Result<Keys> {
    let here = Path::new("vocabulary of bytes");
    let [(_, map), (_, merges), (_, special)] = files();
    let mut vocab = Vocab::new(Family::Bytes { pre: super::fast::recognise(super::gpt2::PATTERN, here)?.into() });
    file::json::<VocabMap>(map.as_bytes())?.put_into(&mut vocab, here)?;
    vocab.merges = super::gpt2::merges(&merges, here)?;
    let special = Special::parse(special.as_bytes(), here)?;
    // Holes are meant.
    let keys = super::finish(vocab, &[], &special, Place { folder: here, config, generation, n_vocab })?;
    Ok(Keys { warnings: Vec::new(), ..keys })
}

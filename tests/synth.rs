//! Models of random weights are models: what `phi-quantize synth` makes, `phi-run` runs.

use std::path::Path;

use phi_tests::programs::{phi_quantize, phi_run};
use phi_tests::{fixture, text};
use serde_json::Value;

/// The sizes of a fixture, as a GGUF; an embedding of 256 rows grows to have room for all bytes.
fn synth(folder: &Path, name: &str, vocab: &str) -> String {
    let json = std::fs::read_to_string(fixture(name).join("config.json")).expect("the fixture is there");
    let config = folder.join("config.json");
    std::fs::write(&config, json.replace("\"vocab_size\": 256", "\"vocab_size\": 320")).expect("a place to write");
    let out = folder.join("model.gguf");
    let [config, out] = [config, out].map(|path| text(&path).to_string());
    phi_quantize(["synth", &config, "F16", &out, "--vocab", vocab, "--force"]).done();
    out
}

#[test]
fn the_vocabulary_of_bytes_is_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = synth(folder.path(), "phi3-longrope", "bytes");
    let text = "Grüße, the €\n\t\u{1f600}";
    let ids: Vec<u32> = serde_json::from_str(&phi_run(["tokenize", &model, "-p", text]).done()).expect("a list of ids");
    assert!(ids.contains(&256), "` t` is one token: {ids:?}");
    let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
    assert_eq!(phi_run(["tokenize", &model, "--ids", &ids.join(",")]).done(), format!("{text}\n"));
    let chat: Vec<u32> =
        serde_json::from_str(&phi_run(["tokenize", &model, "--chat", "-p", "A"]).done()).expect("a list of ids");
    assert_eq!(chat, [259, u32::from(b'A'), 261, 260]);

    let answer = phi_run([&model, "-p", "Hello", "-n", "8", "--temp", "0", "--json"]).done();
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    assert!(answer["prompt_tokens"].as_u64().is_some_and(|n| n >= 8), "{answer}");
}

#[test]
fn a_model_without_words_has_logits() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, n_vocab, masked) in [
        ("phi3-longrope", 320, 0),
        ("phi2", 160, 0),
        ("phi3small-8k", 96, 3),
        ("phi3small-128k", 96, 3),
        ("phimoe", 96, 0),
    ] {
        let model = synth(folder.path(), name, "none");
        let tokens = format!("1,2,{}", n_vocab - 1);
        let logits: Vec<f32> =
            serde_json::from_str(&phi_run(["logits", &model, "--tokens", &tokens]).done()).expect("a list");
        assert_eq!(logits.len(), n_vocab, "{name}");
        let (never, others): (Vec<f32>, Vec<f32>) = logits.into_iter().partition(|&x| x == f32::MIN);
        assert_eq!(never.len(), masked, "{name}");
        let largest = others.iter().fold(0.0_f32, |a, x| a.max(x.abs()));
        assert!(largest > 0.0 && largest < 10.0, "{name}: {largest}");
    }
}

//! The model inside the program: its bytes are what phi-quantize makes of the checkpoint in the repository, and it says
//! what transformers says.

use phi_runtime::{Bytes, Engine, Isa, Message, RunOptions, Sampler, Sampling};
use phi_tests::models::{Converted, exact, session};
use phi_tests::{fixture, workspace};
use serde::Deserialize;

#[derive(Deserialize)]
struct Conversation {
    messages: Vec<Turn>,
    prompt_ids: Vec<u32>,
    output_ids: Vec<u32>,
    text: String,
}

#[derive(Deserialize)]
struct Turn {
    role: String,
    content: String,
}

fn checkpoint() -> std::path::PathBuf {
    workspace().join("tools/phi-tiny/phi-tiny")
}

#[test]
fn the_embedded_bytes_are_what_phi_quantize_writes() {
    let written = std::fs::read(Converted::from(&checkpoint(), "Q8_0").path()).unwrap();
    assert!(written == phi_run::PHI_TINY, "convert tools/phi-tiny/phi-tiny again: tools/phi-tiny/README.md");
}

/// Token for token, over prompts of every kind, with the weights as they were trained (BF16 is exact in F32).
#[test]
fn greedy_text_equals_transformers() {
    let text = std::fs::read_to_string(fixture("phi-tiny-greedy.json")).unwrap();
    let conversations: Vec<Conversation> = serde_json::from_str(&text).unwrap();
    assert_eq!(conversations.len(), 50);
    let engine = Converted::from(&checkpoint(), "F32").engine();
    let words = engine.text().unwrap();
    assert_eq!(engine.sampling().unwrap().temp, 0.0, "its greedy sampling is in its metadata");
    let mut failures = Vec::new();
    for (i, conversation) in conversations.iter().enumerate() {
        let messages: Vec<_> =
            conversation.messages.iter().map(|turn| Message::new(&turn.role, &turn.content)).collect();
        let prompt = words.chat(&messages).unwrap().tokens;
        let prompt_ids: Vec<u32> = prompt.iter().map(|id| id.0).collect();
        if prompt_ids != conversation.prompt_ids {
            failures.push(format!("{i}: prompt {prompt_ids:?}, expected {:?}", conversation.prompt_ids));
            continue;
        }
        let mut session = session(&engine, &RunOptions { all_logits: false, ..exact(1024) });
        session.prefill(&prompt).unwrap();
        let sampler = Sampler::new(Sampling::greedy(), engine.decoder().n_vocab);
        let output: Vec<_> = session.generate(sampler, 160).map(Result::unwrap).collect();
        // Theirs includes the token that ended the answer.
        let stops = words.tokenizer().stops();
        let expected: Vec<u32> =
            conversation.output_ids.iter().copied().take_while(|id| !stops.iter().any(|stop| stop.0 == *id)).collect();
        let output_ids: Vec<u32> = output.iter().map(|id| id.0).collect();
        if output_ids != expected {
            failures.push(format!("{i}: output {output_ids:?}, expected {expected:?}"));
        } else if words.tokenizer().decode(&output, false) != conversation.text {
            failures.push(format!("{i}: text {:?}", conversation.text));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The embedded model, as it is: the text is that of plain code, on every instruction set and number of threads.
#[test]
fn every_instruction_set_says_the_same() {
    let engine = Engine::from_bytes(Bytes::new(phi_run::PHI_TINY)).unwrap();
    let words = engine.text().unwrap();
    for question in ["What is 17 + 25?", "Spell cat.", "What is the capital of France?", "Count from 3 to 12."] {
        let prompt = words.chat(&[Message::new("user", question)]).unwrap().tokens;
        let texts =
            Isa::available().into_iter().flat_map(|isa| [(isa, 1), (isa, 2), (isa, 3)]).map(|(isa, threads)| {
                let plan = engine.plan(&RunOptions { isa, threads, ..RunOptions::default() }).unwrap();
                let mut session = engine.session(&plan).unwrap();
                session.prefill(&prompt).unwrap();
                let sampler = Sampler::new(Sampling::greedy(), engine.decoder().n_vocab);
                let tokens: Vec<_> = session.generate(sampler, 64).map(Result::unwrap).collect();
                (isa, threads, words.tokenizer().decode(&tokens, false))
            });
        let texts: Vec<_> = texts.collect();
        assert!(!texts[0].2.is_empty() && texts.iter().all(|text| text.2 == texts[0].2), "{texts:?}");
    }
}

/// A reader can stop between any two tokens, also while nothing can be shown: here, control tokens and held-back text.
#[test]
fn every_token_is_a_piece() {
    let engine = Engine::from_bytes(Bytes::new(phi_run::PHI_TINY)).unwrap();
    let words = engine.text().unwrap();
    let mut session = session(&engine, &exact(64));
    session.prefill(&words.chat(&[Message::new("user", "Spell cat.")]).unwrap().tokens).unwrap();
    let mut generation = session.generate(Sampler::new(Sampling::greedy(), 2048), 20).ignore_stops();
    let pieces: Vec<String> = generation.text(words.tokenizer(), &["never said".into()]).map(Result::unwrap).collect();
    assert!(pieces.len() >= 20 && pieces.iter().any(String::is_empty), "{pieces:?}");
}

/// The promise of the README's first command.
#[test]
fn seventeen_and_twenty_five_is_forty_two() {
    let engine = Engine::from_bytes(Bytes::new(phi_run::PHI_TINY)).unwrap();
    let words = engine.text().unwrap();
    let prompt = words.chat(&[Message::new("user", "What is 17 + 25?")]).unwrap().tokens;
    let plan = engine.plan(&RunOptions::default()).unwrap();
    let mut session = engine.session(&plan).unwrap();
    session.prefill(&prompt).unwrap();
    let sampler = Sampler::new(engine.sampling().unwrap(), engine.decoder().n_vocab);
    let mut generation = session.generate(sampler, 32);
    let answer: String = generation.text(words.tokenizer(), &[]).map(Result::unwrap).collect();
    assert!(answer.contains("42"), "{answer}");
}

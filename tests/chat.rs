//! A conversation from its messages to the tokens of a prompt, and from the tokens of an answer to its text.

use std::path::Path;

use phi_gguf::{Array, Blueprint, Gguf, Header, Strings, Value};
use phi_runtime::{Engine, Finish, Message, RunOptions, Sampler, Sampling, Text, Tools};
use phi_tests::fixture;
use phi_tests::models::{exact, ids, session};
use phi_tests::programs::phi_quantize;

/// The words of Phi-3, with a chat template of the family and other keys.
fn phi3(template: &str, keys: &[(&str, Value)]) -> Text {
    let bytes = std::fs::read(fixture("vocab/ggml-vocab-phi-3.gguf")).expect("the fixture is there");
    let mut file = Blueprint::of(&Header::parse(&bytes).expect("the fixture is valid"));
    let source =
        std::fs::read_to_string(fixture(&format!("templates/{template}.jinja"))).expect("the fixture is there");
    file.set("tokenizer.chat_template", source.as_str());
    keys.iter().for_each(|(key, value)| file.set(key, value.clone()));
    let header = Header::parse(&file.header_bytes()).expect("a valid file");
    Text::from_metadata(&header.metadata, None).expect("a valid vocabulary").expect("it has one")
}

fn prompt(text: &Text, messages: &[(&str, &str)]) -> Vec<u32> {
    let messages: Vec<_> = messages.iter().map(|&(role, content)| Message::new(role, content)).collect();
    text.chat(&messages).expect("the template renders").tokens.iter().map(|id| id.0).collect()
}

#[test]
fn a_conversation_has_the_golden_ids() {
    let text = phi3("phi-3.5", &[("tokenizer.ggml.add_bos_token", false.into())]);
    let talk = [
        ("system", "You are a helpful assistant"),
        ("user", "Hello"),
        ("assistant", "Hi there"),
        ("user", "Who are you"),
    ];
    let want = [
        32006, 887, 526, 263, 8444, 20255, 32007, 32010, 15043, 32007, 32001, 6324, 727, 32007, 32010, 11644, 526, 366,
        32007, 32001,
    ];
    assert_eq!(prompt(&text, &talk), want);
    // What is swallowed is swallowed in a message, too.
    assert_eq!(prompt(&text, &[("user", " \n Hello")]), [32010, 15043, 32007, 32001]);
}

/// The first release of Phi-3-mini begins its template with BOS, and its file asks for one.
#[test]
fn a_prompt_has_one_beginning() {
    let hello = [("user", "Hello")];
    for (template, add_bos, bos) in
        [("phi-3-mini-first", true, 1), ("phi-3-mini-first", false, 1), ("phi-3.5", true, 1), ("phi-3.5", false, 0)]
    {
        let text = phi3(template, &[("tokenizer.ggml.add_bos_token", add_bos.into())]);
        let want = [vec![1; bos], vec![32010, 15043, 32007, 32001]].concat();
        assert_eq!(prompt(&text, &hello), want, "{template}, {add_bos}");
    }
}

#[test]
fn tools_go_where_the_template_wants_them() {
    let tools = Tools::parse(r#"[{"type": "function", "function": {"name": "f"}}]"#).expect("a list");
    let system = Message { tools: Some(tools.json().into()), ..Message::new("system", "") };
    let messages = [system, Message::new("user", "x")];
    let rendered = phi3("phi-4-mini", &[]).chat(&messages).expect("it has a place").rendered.expect("of a template");
    assert_eq!(rendered.text(), r#"<|system|><|tool|>[{"name": "f"}]<|/tool|><|end|><|user|>x<|end|><|assistant|>"#);
    let error = phi3("phi-3.5", &[]).chat(&messages).err().expect("it has none");
    assert_eq!(error.to_string(), "chat_template: has no place for tools");
}

/// A model that says the same token again and again, with a vocabulary of bytes and a chat's tokens, and `<think>` as a
/// control token at 262.
fn saying(folder: &Path, token: u32) -> Engine {
    let text = std::fs::read_to_string(fixture("phi2/config.json")).expect("the fixture is there");
    let [config, out] = ["config.json", "model.gguf"].map(|name| folder.join(name));
    std::fs::write(&config, text.replace("\"vocab_size\": 160", "\"vocab_size\": 320")).expect("a place to write");
    let [config, out] = [config, out].map(|path| phi_tests::text(&path).to_string());
    phi_quantize(["synth", &config, "F32", &out, "--vocab", "bytes", "--force"]).done();

    let gguf = Gguf::open(out.as_ref()).expect("our own file opens");
    let mut file = Blueprint::of(gguf.header());
    let texts: &Strings = gguf.metadata().get("tokenizer.ggml.tokens").expect("it has a vocabulary");
    let renamed = texts.iter().enumerate().map(|(id, text)| if id == 262 { b"<think>".as_slice() } else { text });
    file.set("tokenizer.ggml.tokens", renamed.collect::<Strings>());
    let mut kinds: Vec<i32> = gguf.metadata().get::<&[i32]>("tokenizer.ggml.token_type").expect("and kinds").to_vec();
    kinds[262] = 3;
    file.set("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)));
    let mut bytes = file.header_bytes();
    for info in gguf.tensors() {
        let mut tensor = gguf.tensor(info).bytes().to_vec();
        if info.name == "output.bias" {
            tensor[4 * token as usize..][..4].copy_from_slice(&1e6_f32.to_le_bytes());
        }
        bytes.extend(tensor);
        bytes.resize(bytes.len().next_multiple_of(32), 0);
    }
    Engine::from_bytes(bytes.into()).expect("the keys are right")
}

#[test]
fn answers_end_at_their_ends_and_show_their_marks() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (token, ends, want) in [
        (257, true, ""),  // <|endoftext|>, which the file names
        (261, true, ""),  // <|end|>, which it does not
        (260, false, ""), // <|assistant|>, an end in Phi-3 alone
        (262, false, "<think><think><think>"),
        (u32::from(b'A'), false, "AAA"),
    ] {
        let engine = saying(folder.path(), token);
        let mut session = session(&engine, &RunOptions { all_logits: false, ..exact(64) });
        session.prefill(&ids(&[259, 66, 261, 260])).expect("four tokens");
        let mut generation = session.generate(Sampler::new(Sampling::greedy(), 320), 3);
        let words = engine.text().expect("it has a vocabulary");
        let text: String = generation.text(words.tokenizer(), &[]).map(|piece| piece.expect("numbers")).collect();
        assert_eq!(text, want, "{token}");
        let finish = generation.finish().expect("it has ended");
        assert_eq!(matches!(finish, Finish::Stop(id) if id.0 == token), ends, "{token}: {finish:?}");
    }
}

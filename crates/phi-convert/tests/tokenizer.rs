//! Tokenizer files become keys that say the same.

use std::fs;
use std::path::{Path, PathBuf};

use phi_convert::{Model, Options, Warning};
use phi_gguf::{Array, Blueprint, Header, Value};
use phi_text::{Special, Tokenizer};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

/// A model of no layers to speak of, with `n_vocab` rows, and the tokenizer of a fixture.
fn folder(tokenizer: &str, n_vocab: usize) -> TempDir {
    let folder = TempDir::new().unwrap();
    let mut config: Json = serde_json::from_slice(&fs::read(fixture("phi3-base/config.json")).unwrap()).unwrap();
    for (key, value) in
        [("num_hidden_layers", 1), ("hidden_size", 8), ("intermediate_size", 8), ("vocab_size", n_vocab)]
    {
        config[key] = json!(value);
    }
    config["tie_word_embeddings"] = json!(true);
    for id in ["bos_token_id", "eos_token_id", "pad_token_id"] {
        config[id] = Json::Null;
    }
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let tensors = [
        ("model.embed_tokens", vec![n_vocab, 8]),
        ("model.norm", vec![8]),
        ("model.layers.0.input_layernorm", vec![8]),
        ("model.layers.0.self_attn.qkv_proj", vec![16, 8]),
        ("model.layers.0.self_attn.o_proj", vec![8, 8]),
        ("model.layers.0.post_attention_layernorm", vec![8]),
        ("model.layers.0.mlp.gate_up_proj", vec![16, 8]),
        ("model.layers.0.mlp.down_proj", vec![8, 8]),
    ];
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (name, shape) in tensors {
        let begin = end;
        end += 2 * shape.iter().product::<usize>();
        header.insert(format!("{name}.weight"), json!({"dtype": "F16", "shape": shape, "data_offsets": [begin, end]}));
    }
    let header = Json::Object(header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    bytes.resize(bytes.len() + end, 0);
    fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    if !tokenizer.is_empty() {
        for entry in fs::read_dir(fixture("tokenizers").join(tokenizer)).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    folder
}

fn open(folder: &TempDir) -> Model {
    Model::open(folder.path(), &Options::default()).unwrap()
}

fn key(model: &Model, key: &str) -> Option<Value> {
    model.keys().iter().find(|(k, _)| k == key).map(|(_, value)| value.clone())
}

fn texts(model: &Model, name: &str) -> Vec<String> {
    match key(model, name) {
        Some(Value::Array(Array::String(all))) => all.iter().map(|t| String::from_utf8(t.to_vec()).unwrap()).collect(),
        other => panic!("{name}: {other:?}"),
    }
}

fn kinds(model: &Model) -> Vec<i32> {
    match key(model, "tokenizer.ggml.token_type") {
        Some(Value::Array(Array::I32(all))) => all,
        other => panic!("{other:?}"),
    }
}

fn edit(folder: &TempDir, file: &str, change: impl FnOnce(&mut Json)) {
    let path = folder.path().join(file);
    let mut json: Json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut json);
    fs::write(path, json.to_string()).unwrap();
}

#[test]
fn byte_level_bpe() {
    let folder = folder("gpt-4o", 620);
    let model = open(&folder);
    assert_eq!(key(&model, "tokenizer.ggml.model"), Some("gpt2".into()));
    assert_eq!(key(&model, "tokenizer.ggml.pre"), Some("gpt-4o".into()));
    let (tokens, kinds) = (texts(&model, "tokenizer.ggml.tokens"), kinds(&model));
    assert_eq!((tokens.len(), kinds.len()), (620, 620));
    assert_eq!((tokens[603].as_str(), kinds[603]), ("<|end|>", 3));
    // Tool tokens are not special: they are read as text.
    assert_eq!((tokens[606].as_str(), kinds[606]), ("<|tool|>", 4));
    // x10
    assert_eq!((tokens[610].as_str(), kinds[610]), ("[PAD610]", 5));
    assert!(model.warnings().contains(&Warning::Holes(10)), "{:?}", model.warnings());
    assert_eq!(key(&model, "tokenizer.ggml.eos_token_id"), Some(Value::U32(600)));
    assert_eq!(key(&model, "tokenizer.ggml.scores"), None);

    // Merges as pairs and as text are the same.
    let pairs = texts(&model, "tokenizer.ggml.merges");
    fs::rename(folder.path().join("tokenizer.string-merges.json"), folder.path().join("tokenizer.json")).unwrap();
    assert_eq!(texts(&open(&folder), "tokenizer.ggml.merges"), pairs);
}

#[test]
fn sentencepiece() {
    let folder = folder("sentencepiece", 700);
    let model = open(&folder);
    assert_eq!(key(&model, "tokenizer.ggml.model"), Some("llama".into()));
    assert_eq!(key(&model, "tokenizer.ggml.pre"), Some("default".into()));
    let Some(Value::Array(Array::F32(scores))) = key(&model, "tokenizer.ggml.scores") else { panic!() };
    assert_eq!(scores.len(), 700);
    assert_eq!((scores[699], kinds(&model)[699]), (-10_000.0, 5));

    // From tokenizer.json alone: the same texts and kinds, and scores in the same order.
    let with_model = (texts(&model, "tokenizer.ggml.tokens"), kinds(&model));
    fs::remove_file(folder.path().join("tokenizer.model")).unwrap();
    let model = open(&folder);
    assert_eq!((texts(&model, "tokenizer.ggml.tokens"), kinds(&model)), with_model);
    let Some(Value::Array(Array::F32(from_merges))) = key(&model, "tokenizer.ggml.scores") else { panic!() };
    let order = |scores: &[f32]| {
        let mut ids: Vec<usize> =
            (0..scores.len()).filter(|&id| with_model.1[id] == 1 && with_model.0[id].chars().count() > 1).collect();
        ids.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        ids
    };
    assert_eq!(order(&from_merges), order(&scores));
}

#[test]
fn gpt2_files() {
    let n = 1000;
    let folder = folder("gpt-2", n);
    let model = open(&folder);
    assert_eq!(key(&model, "tokenizer.ggml.model"), Some("gpt2".into()));
    assert_eq!(key(&model, "tokenizer.ggml.pre"), Some("phi-2".into()));
    let added: std::collections::HashMap<String, usize> =
        serde_json::from_slice(&fs::read(folder.path().join("added_tokens.json")).unwrap()).unwrap();
    let tokens = texts(&model, "tokenizer.ggml.tokens");
    assert!(!added.is_empty() && added.iter().all(|(text, &id)| tokens[id] == *text));
    assert!(!texts(&model, "tokenizer.ggml.merges").is_empty());
}

#[test]
fn the_keys_tokenize_as_the_files_do() {
    for (name, n_vocab) in [("gpt-4o", 610), ("gpt-2", 1000), ("sentencepiece", 700)] {
        let model = open(&folder(name, n_vocab));
        let mut file = Blueprint::new();
        model.keys().iter().for_each(|(key, value)| file.set(key, value.clone()));
        let header = Header::parse(&file.header_bytes()).unwrap();
        let tokenizer = Tokenizer::from_metadata(&header.metadata, Some(n_vocab)).unwrap();

        let cases: Json =
            serde_json::from_slice(&fs::read(fixture("tokenizers").join(name).join("cases.json")).unwrap()).unwrap();
        let mut wrong = Vec::new();
        for case in cases["cases"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            // Which tokens swallow white space behind them is known by the ids of the published models, not of these.
            let swallows = text.split('>').skip(1).any(|rest| rest.starts_with(char::is_whitespace));
            let ids: Vec<u32> = tokenizer.encode(text, Special::Parse).iter().map(|id| id.0).collect();
            if !swallows && json!(ids) != case["ids"] {
                wrong.push(format!("{name}: {text:?}: {ids:?}, expected {}", case["ids"]));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

#[test]
fn no_tokenizer_is_a_warning() {
    let model = open(&folder("", 32));
    assert_eq!(key(&model, "tokenizer.ggml.model"), Some("no_vocab".into()));
    assert_eq!(key(&model, "phi3.vocab_size"), Some(Value::U32(32)));
    assert!(model.warnings().contains(&Warning::NoTokenizer));
}

#[test]
fn an_unknown_pattern_is_named_and_can_be_overruled() {
    let folder = folder("gpt-4o", 610);
    let text = fs::read_to_string(folder.path().join("tokenizer.json")).unwrap();
    fs::write(folder.path().join("tokenizer.json"), text.replace("\\\\p{N}{1,3}", "\\\\p{N}{1,4}")).unwrap();
    let error = Model::open(folder.path(), &Options::default()).unwrap_err();
    let said = error.to_string();
    assert!(said.contains("tokenizer.json: pre_tokenizer: pattern ") && said.contains("gpt-4o"), "{said}");
    assert!(error.hint().unwrap().contains("--pre"));

    let options = Options { pre: Some("dbrx".into()) };
    let model = Model::open(folder.path(), &options).unwrap();
    assert_eq!(key(&model, "tokenizer.ggml.pre"), Some("dbrx".into()));
    let said = Model::open(folder.path(), &Options { pre: Some("x".into()) }).unwrap_err().to_string();
    assert!(said.contains("there is no pre-tokenizer \"x\", only"), "{said}");
}

#[test]
fn ends_of_a_turn_and_sampling() {
    let folder = folder("gpt-4o", 610);
    let generation = |text: &str| {
        fs::write(folder.path().join("generation_config.json"), text).unwrap();
        open(&folder)
    };
    let model = generation(
        r#"{"eos_token_id": [603, 600], "do_sample": true, "temperature": 0.8, "top_p": 0.95, "top_k": 50}"#,
    );
    assert_eq!(key(&model, "tokenizer.ggml.eos_token_id"), Some(Value::U32(600)));
    assert_eq!(key(&model, "tokenizer.ggml.eot_token_id"), Some(Value::U32(603)));
    assert_eq!(key(&model, "phi.stop_token_ids"), None);
    assert_eq!(key(&model, "general.sampling.temp"), Some(Value::F32(0.8)));
    assert_eq!(key(&model, "general.sampling.top_p"), Some(Value::F32(0.95)));
    assert_eq!(key(&model, "general.sampling.top_k"), Some(Value::I32(50)));
    let model = generation(r#"{"eos_token_id": [600, 602, 603], "do_sample": false, "temperature": 0.7}"#);
    assert_eq!(key(&model, "phi.stop_token_ids"), Some(vec![600_u32, 602, 603].into()));
    assert_eq!(key(&model, "general.sampling.temp"), Some(Value::F32(0.0)));

    fs::write(folder.path().join("generation_config.json"), r#"{"eos_token_id": 99999}"#).unwrap();
    let said = Model::open(folder.path(), &Options::default()).unwrap_err().to_string();
    assert!(said.contains("generation_config.json: eos_token_id: 99999, expected ids below 610"), "{said}");
}

/// Every template of the family goes into the file as it is, byte for byte.
#[test]
fn chat_templates_of_the_family_are_kept() {
    let folder = folder("gpt-4o", 620);
    let mut n = 0;
    for entry in fs::read_dir(fixture("templates")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "jinja") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let want = Some(text.as_str().into());
        edit(&folder, "tokenizer_config.json", |config| config["chat_template"] = json!(text));
        assert_eq!(key(&open(&folder), "tokenizer.chat_template"), want, "{}", path.display());
        edit(&folder, "tokenizer_config.json", |config| config["chat_template"] = Json::Null);
        fs::copy(&path, folder.path().join("chat_template.jinja")).unwrap();
        assert_eq!(key(&open(&folder), "tokenizer.chat_template"), want, "{}", path.display());
        fs::remove_file(folder.path().join("chat_template.jinja")).unwrap();
        n += 1;
    }
    assert_eq!(n, 10);
}

#[test]
fn chat_templates_come_from_either_place() {
    let folder = folder("gpt-4o", 610);
    edit(&folder, "tokenizer_config.json", |config| {
        config["chat_template"] = json!([{"name": "tool use", "template": "T"}, {"name": "default", "template": "D"}]);
    });
    let model = open(&folder);
    assert_eq!(key(&model, "tokenizer.chat_template"), Some("D".into()));
    assert_eq!(key(&model, "tokenizer.chat_template.tool_use"), Some("T".into()));
    assert_eq!(texts(&model, "tokenizer.chat_templates"), ["tool_use"]);

    edit(&folder, "tokenizer_config.json", |config| config["chat_template"] = Json::Null);
    fs::write(folder.path().join("chat_template.jinja"), "J").unwrap();
    assert_eq!(key(&open(&folder), "tokenizer.chat_template"), Some("J".into()));
}

#[test]
fn ids_and_texts_are_one_to_one() {
    let folder = folder("gpt-4o", 610);
    edit(&folder, "tokenizer.json", |json| json["model"]["vocab"]["twice"] = json!(5));
    let said = Model::open(folder.path(), &Options::default()).unwrap_err().to_string();
    assert!(said.contains("vocab[\"") && said.contains("] = 5: duplicate name"), "{said}");

    edit(&folder, "tokenizer.json", |json| json["model"]["vocab"]["twice"] = json!(4_000_000_000_u32));
    let said = Model::open(folder.path(), &Options::default()).unwrap_err().to_string();
    assert!(said.contains("id of \"twice\": 4000000000 exceeds 1048575"), "{said}");

    edit(&folder, "tokenizer.json", |json| json["model"]["vocab"]["twice"] = json!(700));
    let said = Model::open(folder.path(), &Options::default()).unwrap_err().to_string();
    assert!(said.contains("token id 700, expected ids below vocab_size = 610"), "{said}");

    // A text that has an id already keeps it.
    edit(&folder, "tokenizer.json", |json| {
        json["model"]["vocab"].as_object_mut().unwrap().remove("twice");
        json["added_tokens"].as_array_mut().unwrap().push(json!({"id": 609, "content": "!", "special": true}));
    });
    edit(&folder, "tokenizer_config.json", |json| json["added_tokens_decoder"] = json!({}));
    let model = open(&folder);
    assert!(model.warnings().contains(&Warning::SameText { count: 1, first: 609 }), "{:?}", model.warnings());
    assert_eq!(texts(&model, "tokenizer.ggml.tokens")[609], "[PAD609]");
}

#[test]
fn what_the_model_is_called() {
    let folder = folder("", 32);
    edit(&folder, "config.json", |config| config["_name_or_path"] = json!("microsoft/Phi-3.5-mini-instruct"));
    fs::write(folder.path().join("README.md"), "---\nlicense: mit\nlanguage:\n- multilingual\n---\n").unwrap();
    let model = open(&folder);
    assert_eq!(key(&model, "general.name"), Some("Phi 3.5 Mini Instruct".into()));
    assert_eq!(key(&model, "general.organization"), Some("Microsoft".into()));
    assert_eq!(key(&model, "general.license"), Some("mit".into()));
    assert_eq!(texts(&model, "general.languages"), ["multilingual"]);
}

//! Every lie a safetensors file, an index or a config can tell, and what we say to it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use phi_convert::safetensors::Safetensors;
use phi_convert::{ConvertError, Model, Options, Warning};
use tempfile::TempDir;

/// A file of this header text and so many bytes of data.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

/// A header of one tensor `w`.
fn w(fields: &str) -> String {
    format!(r#"{{"w":{{{fields}}}}}"#)
}

const GOOD: &str = r#""dtype":"F32","shape":[2,2],"data_offsets":[0,16]"#;

/// id, bytes, and what the message must contain, in order; none if the file is good.
fn rows() -> Vec<(&'static str, Vec<u8>, &'static [&'static str])> {
    let length = |n: u64| n.to_le_bytes().to_vec();
    let past = {
        let mut bytes = file(&w(GOOD), 0);
        bytes[0] += 1;
        bytes
    };
    let not_utf8 = {
        let mut bytes = file(&w(GOOD), 16);
        bytes[10] = 0xff;
        bytes
    };
    let two = |a: &str, b: &str| format!(r#"{{{a},{b}}}"#);
    let t = |name: &str, begin: u64, end: u64| {
        format!(r#""{name}":{{"dtype":"U8","shape":[{}],"data_offsets":[{begin},{end}]}}"#, end - begin)
    };
    let with = |from: &str, to: &str| w(&GOOD.replace(from, to));
    let deep = format!(r#"{{"w":{}{}}}"#, "[".repeat(200_000), "]".repeat(200_000));
    let rank = with("[2,2]", &format!("[{}1]", "1,".repeat(99_999)));
    let many = (0..200_000).fold(String::from("{"), |mut text, i| {
        let _ = write!(
            text,
            r#"{}"t{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#,
            if i == 0 { "" } else { "," }
        );
        text
    }) + "}";
    let long = "n".repeat(70_000);
    let nan = {
        let mut bytes = file(&with("F32", "BF16").replace("[0,16]", "[0,8]"), 8);
        let end = bytes.len();
        bytes[end - 2..].copy_from_slice(&0x7fc0_u16.to_le_bytes());
        bytes
    };
    vec![
        ("s00", file(&w(GOOD), 16), &[]),
        ("s01", vec![], &["header length", "file has 0 bytes, need 8"]),
        ("s02", vec![0; 7], &["header length", "file has 7 bytes, need 8"]),
        ("s03", length(u64::MAX), &["header length", "18446744073709551615 exceeds 100000000"]),
        ("s04", length(100_000_001), &["header length", "100000001 exceeds 100000000"]),
        ("s05", past, &["header: ", "needs bytes 8..", "file ends at"]),
        ("s06", length(0), &["header: ", "empty"]),
        ("s07", not_utf8, &["header: ", "not UTF-8 at byte 2"]),
        ("s08", file("{", 0), &["header: ", "line 1 column 1"]),
        ("s09", file("[]", 0), &["header: ", "expected an object"]),
        ("s10", file("null", 0), &["header: ", "expected an object"]),
        ("s11", file(&(w(GOOD) + "\0\0"), 16), &["header: ", "padding must be spaces"]),
        ("s12", file(&two(&t("w", 0, 8), &t("w", 8, 16)), 16), &["w: ", "duplicate name"]),
        ("s13", file(&two(&t("w", 0, 8), &t("w", 0, 8)), 8), &["w: ", "duplicate name"]),
        ("s14", file(&two(&t("a", 0, 8), &t("b", 0, 8)), 8), &["b: ", "overlaps a"]),
        ("s15", file(&two(&t("a", 0, 8), &t("b", 12, 16)), 16), &["b: ", "starts at 12, expected 8"]),
        ("s16", file(&w(GOOD), 20), &["file: ", "4 trailing bytes"]),
        ("s17", file(&w(GOOD), 15), &["w: ", "needs bytes", "file ends at"]),
        ("s18", file(&with("[0,16]", "[16, 8]"), 16), &["w.data_offsets: ", "[16, 8]"]),
        ("s19", file(&with("[0,16]", "[-16,0]"), 16), &["w.data_offsets: ", "[-16,0]"]),
        ("s20", file(&with("[0,16]", "[0,16.0]"), 16), &["w.data_offsets: ", "[0,16.0]"]),
        ("s21", file(&with("[0,16]", "[0,18446744073709551615]"), 16), &["w: ", "shape needs 16 bytes"]),
        ("s22", file(&with("[0,16]", "[0,18446744073709551616]"), 16), &["w.data_offsets: ", "18446744073709551616"]),
        (
            "s23",
            file(&with("[2,2]", "[18446744073709551615,18446744073709551615]"), 16),
            &["w.shape: ", "element count overflows"],
        ),
        ("s24", file(&with("[2,2]", "[4294967296,4294967296]"), 16), &["w.shape: ", "element count overflows"]),
        ("s25", file(&with("[2,2]", "[4611686018427387904]"), 16), &["w: ", "byte size overflows"]),
        ("s26", file(&with("[0,16]", "[0,12]"), 12), &["w: ", "shape needs 16 bytes, data_offsets give 12"]),
        ("s27", file(&with("F32", "F33"), 16), &["w.dtype: ", "F33", "F32, F16 and BF16"]),
        ("s28", file(&w(r#""dtype":"F32","shape":[2,0],"data_offsets":[0,0]"#), 0), &[]),
        ("s29", file(&w(r#""dtype":"F32","shape":[],"data_offsets":[0,4]"#), 4), &[]),
        ("s30", file(&w(r#""shape":[2,2],"data_offsets":[0,16]"#), 16), &["w.dtype: ", "missing"]),
        ("s31", file(&w(&format!(r#"{GOOD},"more":[1,{{"a":2}}]"#)), 16), &[]),
        ("s32", file(r#"{"__metadata__":{"a":1}}"#, 0), &["__metadata__: ", "object of strings"]),
        ("s33", file(&deep, 0), &["w: ", "expected an object"]),
        ("s34", file(&rank, 16), &["w.shape: ", "rank 100000 exceeds 8"]),
        ("s35", file(&many, 0), &["header: ", "200000 tensors exceeds 65536"]),
        ("s36", file(&w(GOOD).replace("\"w\"", "\"../../x\""), 16), &[]),
        ("s37", file(&w(GOOD).replace("\"w\"", "\"a\\u0000b\""), 16), &[]),
        ("s38", file(&w(GOOD).replace("\"w\"", &format!("\"{long}\"")), 16), &[]),
        ("s39", nan, &[]),
    ]
}

#[test]
fn every_row_of_the_table_is_answered() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.safetensors");
    let mut wrong = Vec::new();
    for (id, bytes, parts) in rows() {
        fs::write(&path, bytes).unwrap();
        let said = Safetensors::open(&path).err().map(|e| e.to_string()).unwrap_or_default();
        let mut rest = said.as_str();
        let all = parts.iter().all(|part| match rest.split_once(part) {
            Some((_, after)) => {
                rest = after;
                true
            }
            None => false,
        });
        if !all || said.is_empty() != parts.is_empty() {
            wrong.push(format!("{id}: {said:?}, expected {parts:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_short_file_says_how_short() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.safetensors");
    let header =
        r#"{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[8],"data_offsets":[8,16]}}"#;
    fs::write(&path, file(header, 5)).unwrap();
    let error = Safetensors::open(&path).unwrap_err();
    let (start, whole) = (8 + header.len() as u64, 24 + header.len());
    assert_eq!((error.field.as_str(), error.offset), ("a", Some(start)));
    assert_eq!(
        error.hint().unwrap(),
        format!("11 bytes are missing, expected {whole}; the download may be incomplete")
    );
}

#[test]
fn cut_and_flipped_headers_never_panic() {
    let whole = file(&format!(r#"{{"__metadata__":{{"a":"b"}},"w":{{{GOOD}}}}}  "#), 16);
    for at in 0..whole.len() - 16 {
        let _ = phi_convert::safetensors::parse(&whole[8..at.max(8)], whole.len() as u64);
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << bit;
            let _ = phi_convert::safetensors::parse(&flipped[8..flipped.len() - 16], whole.len() as u64);
        }
    }
}

/// A copy of a fixture, to be spoiled.
fn copy(name: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "json" || e == "safetensors") {
            fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    folder
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

fn open(folder: &TempDir) -> Result<Model, ConvertError> {
    Model::open(folder.path(), &Options::default())
}

fn edit(folder: &TempDir, file: &str, from: &str, to: &str) {
    let path = folder.path().join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "`{from}` is in {file}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

const INDEX: &str = "model.safetensors.index.json";

#[test]
fn an_index_cannot_lead_elsewhere() {
    // x1
    for name in ["../../x.safetensors", "/etc/passwd", "a/b", "C:x", "\\\\\\\\host\\\\x", "..", "", "a\\u0000"] {
        let folder = copy("phi3-sharded");
        edit(&folder, INDEX, "model-00002-of-00003.safetensors", name);
        let error = open(&folder).unwrap_err();
        assert!(error.field.starts_with("weight_map[\""), "{name}: {error}");
        assert!(error.to_string().ends_with("not a plain file name"), "{name}: {error}");
    }
}

#[test]
fn an_index_and_its_shards_agree() {
    // x2
    let folder = copy("phi3-sharded");
    fs::remove_file(folder.path().join("model-00003-of-00003.safetensors")).unwrap();
    let error = open(&folder).unwrap_err().to_string();
    assert!(error.contains("model-00003-of-00003.safetensors: missing; \"lm_head.weight\" should be in it"), "{error}");

    // x3
    let folder = copy("phi3-sharded");
    edit(&folder, INDEX, "\"weight_map\": {", "\"weight_map\": {\"extra\": \"model-00001-of-00003.safetensors\",");
    let error = open(&folder).unwrap_err().to_string();
    assert!(error.contains("weight_map[\"extra\"]: not in model-00001-of-00003.safetensors"), "{error}");

    // x4
    let folder = copy("phi3-sharded");
    let extra = file(
        r#"{"model.norm.weight":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"more":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#,
        2,
    );
    fs::write(folder.path().join("extra.safetensors"), extra).unwrap();
    edit(&folder, INDEX, "\"weight_map\": {", "\"weight_map\": {\"more\": \"extra.safetensors\",");
    let error = open(&folder).unwrap_err().to_string();
    assert!(
        error.contains("weight_map[\"model.norm.weight\"]: in two shards, extra.safetensors and model-0000"),
        "{error}"
    );

    // x5
    let folder = copy("phi3-sharded");
    edit(&folder, INDEX, "\"total_size\": ", "\"total_size\": 1");
    let warnings = open(&folder).unwrap().warnings().to_vec();
    assert!(warnings.iter().any(|w| matches!(w, Warning::TotalSize { found: 250_752, .. })), "{warnings:?}");
}

#[test]
fn a_config_is_judged_by_field() {
    // x6
    let folder = copy("phi3-base");
    let cases = [
        ("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 1e9", "num_hidden_layers: 1000000000 exceeds 1024"),
        ("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 0", "num_hidden_layers: 0, expected at least 1"),
        (
            "\"num_hidden_layers\": 3",
            "\"num_hidden_layers\": \"3\"",
            "num_hidden_layers: \"3\", expected a whole number",
        ),
        ("\"hidden_size\": 64,", "", "hidden_size: missing"),
        (
            "\"hidden_size\": 64",
            "\"hidden_size\": 66",
            "num_attention_heads: 4, expected a divisor of hidden_size = 66",
        ),
        ("\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": 0", "rms_norm_eps: 0, expected"),
        ("\"rope_theta\": 10000.0", "\"rope_theta\": 0.0", "rope_parameters.rope_theta: 0.0, expected 1 to"),
        (
            "\"rope_type\": \"default\"",
            "\"rope_type\": \"linear\"",
            "rope_parameters.rope_type: \"linear\", expected default",
        ),
        (
            "\"Phi3ForCausalLM\"",
            "\"GPT5\"",
            "architectures[0]: \"GPT5\" is not supported, only PhiForCausalLM, Phi3ForCausalLM, Phi4MMForCausalLM",
        ),
        ("\"hidden_act\": \"silu\"", "\"hidden_act\": \"gelu\"", "hidden_act: gelu, expected silu"),
        (
            "\"intermediate_size\": 96",
            "\"intermediate_size\": 95",
            "gate_up_proj.weight.shape: shape [192, 64], config.json asks for [190, 64]",
        ),
        (
            "\"vocab_size\": 256",
            "\"vocab_size\": 256, \"quantization_config\": {\"quant_method\": \"gptq\"}",
            "already quantized (gptq)",
        ),
        ("{", "[{", "config.json: EOF while parsing a list at line 34"),
    ];
    let good = fs::read_to_string(folder.path().join("config.json")).unwrap();
    let mut wrong = Vec::new();
    for (from, to, expected) in cases {
        fs::write(folder.path().join("config.json"), &good).unwrap();
        edit(&folder, "config.json", from, to);
        let said = open(&folder).map(|_| String::new()).unwrap_or_else(|e| e.to_string());
        if !said.contains(expected) {
            wrong.push(format!("{to}: {said:?}, expected {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    fs::write(folder.path().join("config.json"), "[]").unwrap();
    assert!(open(&folder).unwrap_err().to_string().ends_with("config.json: expected an object"));
    fs::File::create(folder.path().join("config.json")).unwrap().set_len(100_000_000).unwrap();
    assert!(open(&folder).unwrap_err().to_string().contains("file size: 100000000 exceeds 4194304"));
    fs::remove_file(folder.path().join("config.json")).unwrap();
    assert!(open(&folder).unwrap_err().to_string().contains("config.json: "));
}

#[test]
fn both_spellings_of_the_config_say_the_same() {
    let keys = |config: &str| {
        let folder = copy("phi3-longrope");
        fs::copy(fixture("phi3-longrope").join(config), folder.path().join("config.json")).unwrap();
        let model = open(&folder).unwrap();
        let about_model = |key: &str| key.starts_with("phi3.");
        let keys: Vec<_> = model.keys().iter().filter(|(key, _)| about_model(key)).cloned().collect();
        let mut factors = [0; 24];
        let long = model.tensors().iter().find(|t| t.name == "rope_factors_long.weight").unwrap();
        model.read(long, 0, &mut factors).unwrap();
        (keys, factors)
    };
    let five = keys("config.json");
    assert_eq!(five.0.len(), 13);
    assert_eq!(five, keys("config.v4.json"));
    assert_eq!(five, keys("config.v4-su.json"));
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_folders_are_not_files() {
    // x8
    let folder = TempDir::new().unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::os::unix::fs::symlink(fixture("phi3-base").join(name), folder.path().join(name)).unwrap();
    }
    assert_eq!(open(&folder).unwrap().tensors().len(), 21);

    // x7
    let folder = copy("phi3-sharded");
    let shard = folder.path().join("model-00001-of-00003.safetensors");
    fs::remove_file(&shard).unwrap();
    fs::create_dir(&shard).unwrap();
    assert!(open(&folder).unwrap_err().to_string().ends_with("00001-of-00003.safetensors: not a regular file"));
    fs::remove_dir(&shard).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &shard).unwrap();
    assert!(open(&folder).unwrap_err().to_string().ends_with("not a regular file"));
}

#[test]
fn a_head_beside_a_tied_embedding_is_compared() {
    // x9: the base model has a head of its own.
    let folder = copy("phi3-base");
    edit(&folder, "config.json", "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true");
    let model = open(&folder).unwrap();
    assert!(!model.is_tied() && model.warnings().contains(&Warning::UntiedHead));

    let path = folder.path().join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let file = Safetensors::open(&path).unwrap();
    let [head, embedding] =
        ["lm_head.weight", "model.embed_tokens.weight"].map(|name| file.find(name).unwrap().clone());
    let (from, to) = (embedding.start as usize, head.start as usize);
    bytes.copy_within(from..from + embedding.bytes as usize, to);
    fs::write(&path, bytes).unwrap();
    let model = open(&folder).unwrap();
    assert!(model.is_tied() && !model.warnings().contains(&Warning::UntiedHead));
    assert_eq!(model.tensors().len(), 20);
}

/// What is for images and speech is left out and counted; anything else that nobody asks for is named.
#[test]
fn other_inputs_are_left_out_and_said() {
    let folder = copy("phi4mm");
    assert_eq!(open(&folder).unwrap().warnings(), [Warning::TextOnly { count: 36 }, Warning::NoTokenizer]);

    // As transformers saves the model: the linears have no branches, and names without them.
    edit(&folder, "config.json", "Phi4MMForCausalLM", "Phi4MultimodalForCausalLM");
    let error = open(&folder).unwrap_err().to_string();
    assert!(error.contains("\"model.layers.0.self_attn.qkv_proj.weight\": missing"), "{error}");

    // A branch that somebody trained for something else.
    edit(&folder, "config.json", "Phi4MultimodalForCausalLM", "Phi4MMForCausalLM");
    let path = folder.path().join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(13).position(|window| window == b"lora_A.vision").unwrap();
    bytes[at + 7..at + 13].copy_from_slice(b"script");
    fs::write(&path, bytes).unwrap();
    let model = open(&folder).unwrap();
    let named = |w: &Warning| matches!(w, Warning::Unused { count: 1, first } if first.contains("lora_A.script"));
    assert!(model.warnings().contains(&Warning::TextOnly { count: 35 }) && model.warnings().iter().any(named));
}

#[test]
fn needed_tensors_are_there_in_a_type_we_convert() {
    let folder = copy("phi3-partial-tied");
    edit(&folder, "config.json", "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false");
    assert!(open(&folder).unwrap_err().to_string().contains("\"lm_head.weight\": missing"));

    let folder = copy("phi3-base");
    let path = folder.path().join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(5).position(|w| w == b"\"F32\"").unwrap();
    bytes[at..at + 5].copy_from_slice(b"\"I32\"");
    fs::write(&path, bytes).unwrap();
    let error = open(&folder).unwrap_err().to_string();
    assert!(error.contains(".dtype: type I32 is not converted"), "{error}");

    fs::remove_file(&path).unwrap();
    fs::write(folder.path().join("pytorch_model.bin"), "").unwrap();
    let error = open(&folder).unwrap_err();
    assert!(error.hint().unwrap().contains("`pytorch_model.bin`"), "{error}");
}

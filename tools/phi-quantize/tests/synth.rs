//! `synth`: models of random weights, as GGUF and as folders.

mod common;

use std::fs;
use std::path::Path;

use phi_cli::{Exit, Io};
use phi_gguf::Gguf;
use phi_tensor::DType;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use common::{Ran, run};

/// A place with the config of a model that a test can afford.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(TempDir::new().unwrap());
        fs::create_dir(place.path("tiny")).unwrap();
        let factors = [1.0; 12];
        let config = json!({
            "architectures": ["Phi3ForCausalLM"],
            "hidden_act": "silu",
            "hidden_size": 256,
            "intermediate_size": 512,
            "max_position_embeddings": 4096,
            "num_attention_heads": 8,
            "num_hidden_layers": 3,
            "num_key_value_heads": 2,
            "original_max_position_embeddings": 256,
            "partial_rotary_factor": 0.75,
            "rms_norm_eps": 1e-5,
            "rope_scaling": {"type": "longrope", "short_factor": factors, "long_factor": factors},
            "rope_theta": 10000.0,
            "sliding_window": null,
            "tie_word_embeddings": true,
            "vocab_size": 300,
        });
        fs::write(place.path("tiny/config.json"), config.to_string()).unwrap();
        place
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().into()
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.0.path().join(folder)).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Makes `out` of the tiny model, with these further arguments.
    fn synth(&self, dtype: &str, out: &str, more: &[&str]) -> Ran {
        let (tiny, out) = (self.path("tiny"), self.path(out));
        let ran = run(&[&["synth", &tiny, dtype, &out], more].concat());
        assert_eq!((ran.exit, ran.err.contains("warning")), (Exit::Done, false), "{}", ran.err);
        ran
    }
}

fn bytes(path: &str) -> Vec<u8> {
    fs::read(path).unwrap()
}

#[test]
fn bytes_depend_on_the_seed_and_on_nothing_else() {
    let place = Place::new();
    for dtype in ["BF16", "Q8_0", "Q4_0"] {
        let [one, three] = ["1", "3"].map(|threads| {
            let out = format!("{dtype}-{threads}.gguf");
            place.synth(dtype, &out, &["-t", threads, "--seed", "7"]);
            bytes(&place.path(&out))
        });
        assert!(one == three, "{dtype}");
        place.synth(dtype, &format!("{dtype}-other.gguf"), &["--seed", "8"]);
        assert!(one != bytes(&place.path(&format!("{dtype}-other.gguf"))));
    }
    let gguf = Gguf::open(Path::new(&place.path("Q4_0-1.gguf"))).unwrap();
    assert_eq!(gguf.metadata().get::<&str>("tokenizer.ggml.model").unwrap(), "no_vocab");
    assert_eq!(gguf.metadata().get::<u32>("phi3.vocab_size").unwrap(), 300);
    assert_eq!(gguf.metadata().get::<&str>("general.name").unwrap(), "Tiny Random");
    assert_eq!(gguf.find("blk.2.ffn_up.weight").unwrap().dtype, DType::Q4_0);
    assert!(gguf.find("output.weight").is_none());
}

#[test]
fn a_folder_becomes_the_same_file() {
    let place = Place::new();
    for vocab in ["none", "bytes"] {
        let at = |name: &str| format!("{vocab}-{name}");
        place.synth("BF16", &at("direct.gguf"), &["--vocab", vocab]);
        // A shard is never smaller than its largest tensor.
        for (dtype, size, n) in [("BF16", "300kB", 13), ("F16", "5GB", 1), ("F32", "2MB", 5)] {
            let folder = at(dtype);
            place.synth(dtype, &folder, &["--safetensors", "--shard-size", size, "--vocab", vocab]);
            let names = place.names(&folder);
            let shards = names.iter().filter(|name| name.ends_with(".safetensors")).count();
            assert_eq!(shards, n, "{names:?}");
            assert_eq!(names.contains(&"model.safetensors.index.json".to_string()), n > 1, "{names:?}");
            let out = place.path(&at("converted.gguf"));
            let ran = run(&["--force", &place.path(&folder), &out, "BF16"]);
            assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
            let (direct, converted) = (bytes(&place.path(&at("direct.gguf"))), bytes(&out));
            assert!(direct == converted, "{vocab} {dtype}: the whole file is the same");
        }
    }
    let config: Json = serde_json::from_slice(&bytes(&place.path("none-F16/config.json"))).unwrap();
    assert_eq!((&config["torch_dtype"], &config["_name_or_path"]), (&json!("float16"), &json!("tiny-random")));
}

#[test]
fn fewer_layers_are_the_first_ones() {
    let place = Place::new();
    place.synth("F16", "all.gguf", &[]);
    let ran = place.synth("F16", "one.gguf", &["--layers", "1", "--json"]);
    let json: Json = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&json["layers"], &json["tensors"]), (&json!(1), &json!(8)));
    assert_eq!(json["bytes"], fs::metadata(place.path("one.gguf")).unwrap().len());
    let [all, one] = ["all.gguf", "one.gguf"].map(|name| Gguf::open(Path::new(&place.path(name))).unwrap());
    assert_eq!(one.metadata().get::<u32>("phi3.block_count").unwrap(), 1);
    for info in one.tensors() {
        assert_eq!(**one.tensor(info).bytes(), **all.tensor(all.find(&info.name).unwrap()).bytes(), "{}", info.name);
    }
}

#[test]
fn refusals_name_what_is_wrong_and_leave_nothing() {
    let place = Place::new();
    let (tiny, out) = (place.path("tiny"), place.path("out"));
    let cases: &[(&[&str], Exit, &[&str])] = &[
        (&["phi-9", "Q8_0"], Exit::Misused, &["`phi-9` is neither a known model nor a file", "hint: known are phi-1,"]),
        (
            &["phi-4-mini-flash", "Q8_0"],
            Exit::Failed,
            &["phi-4-mini-flash: architectures[0]", "Phi4FlashForCausalLM", "hint: ", "phi-4-mini"],
        ),
        (&[&tiny, "Q9_9"], Exit::Misused, &["`Q9_9` is not a type", "hint: types are"]),
        (&[&tiny, "Q8_0", "--safetensors"], Exit::Misused, &["safetensors cannot hold Q8_0", "F32, F16 or BF16"]),
        (&[&tiny, "F16", "--shard-size", "1GB"], Exit::Misused, &["--safetensors"]),
        (&[&tiny, "F16", "--layers", "0"], Exit::Failed, &["num_hidden_layers"]),
        (&[&tiny, "F16", "--layers", "4000000"], Exit::Failed, &["num_hidden_layers", "exceeds 1024"]),
        (&[&tiny, "F16", "-t", "0"], Exit::Misused, &["0 threads"]),
        (
            &[&tiny, "F16", "--layers", "1024", "--safetensors", "--shard-size", "1"],
            Exit::Misused,
            &["6146 files, more than 1024", "--shard-size"],
        ),
    ];
    for (args, exit, parts) in cases {
        let ran = run(&[&["synth"], &args[..2], &[&out], &args[2..]].concat());
        assert_eq!((ran.exit, ran.out.as_str()), (*exit, ""), "{args:?}: {}", ran.err);
        assert!(parts.iter().all(|part| ran.err.contains(part)), "{args:?}: {}", ran.err);
    }
    assert_eq!(place.names(""), ["tiny"]);

    // Too small an embedding for the bytes.
    let config = fs::read_to_string(place.path("tiny/config.json")).unwrap();
    fs::write(place.path("tiny/config.json"), config.replace(":300", ":200")).unwrap();
    let ran = run(&["synth", &tiny, "F16", &out, "--vocab", "bytes"]);
    assert!(ran.exit == Exit::Failed && ran.err.contains("ids below vocab_size = 200"), "{}", ran.err);
    assert_eq!(place.names(""), ["tiny"]);

    fs::create_dir(&out).unwrap();
    fs::write(place.path("out/mine"), "").unwrap();
    let ran = run(&["synth", &tiny, "F16", &out, "--safetensors"]);
    assert!(ran.exit == Exit::Failed && ran.err.contains("exists already\n\nhint: "), "{}", ran.err);
    assert_eq!(place.names("out"), ["mine"]);
}

#[test]
fn an_interrupt_leaves_nothing_behind() {
    let place = Place::new();
    for more in [&[][..], &["--safetensors"]] {
        let (mut io, captured) = Io::captured();
        io.interrupt().set();
        let (tiny, out) = (place.path("tiny"), place.path("out"));
        let args = [&["phi-quantize", "synth", &tiny, "F16", &out], more].concat();
        let exit = phi_quantize::main(args, &mut io);
        assert_eq!((exit.code(), captured.out().as_str()), (130, ""), "{}", captured.err());
        assert_eq!(place.names(""), ["tiny"]);
    }
}

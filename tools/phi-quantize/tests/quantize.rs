//! What `phi-quantize` writes, says and returns, run in-process.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use phi_cli::{Exit, Io};
use phi_gguf::{Gguf, Value};
use phi_tensor::DType;
use serde_json::Value as Json;
use tempfile::TempDir;

use common::Ran;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

fn run<const N: usize>(args: [&str; N]) -> Ran {
    common::run(&args)
}

/// A place to write to.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().into()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(&self.0).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// A copy of a fixture, in a folder of this name.
    fn copy(&self, fixture_name: &str, name: &str) -> String {
        let folder = self.0.path().join(name);
        fs::create_dir(&folder).unwrap();
        for entry in fs::read_dir(fixture(fixture_name)).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
        }
        folder.to_str().unwrap().into()
    }
}

fn source(name: &str) -> String {
    fixture(name).to_str().unwrap().into()
}

fn numbers(gguf: &Gguf, name: &str) -> Vec<f32> {
    let tensor = gguf.tensor(gguf.find(name).unwrap());
    let mut x = vec![0.0; tensor.shape().len() as usize];
    (phi_quant::codec(tensor.dtype()).unwrap().decode)(tensor.bytes(), &mut x);
    x
}

/// Position of the first byte of a tensor in a safetensors file.
fn start_of(file: &str, name: &str) -> usize {
    phi_convert::safetensors::Safetensors::open(Path::new(file)).unwrap().find(name).unwrap().start as usize
}

fn set_f32(file: &str, tensor: &str, index: usize, value: f32) {
    let at = start_of(file, tensor) + 4 * index;
    let mut bytes = fs::read(file).unwrap();
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    fs::write(file, bytes).unwrap();
}

#[test]
fn every_fixture_converts_exactly() {
    let place = Place::new();
    for name in ["phi3-base", "phi3-longrope", "phi3-partial-tied", "phi3-sharded", "phi3-window"] {
        let out = place.path(&format!("{name}.gguf"));
        let ran = run([&source(name), &out, "f32"]);
        assert_eq!((ran.exit, ran.out.trim_end()), (Exit::Done, out.as_str()), "{}", ran.err);
        let gguf = Gguf::open(Path::new(&out)).unwrap();
        assert_eq!(gguf.metadata().get::<u32>("general.file_type").unwrap(), 0);
        assert!(gguf.tensors().iter().all(|t| t.dtype == DType::F32));

        // The same numbers as in the folder.
        if name != "phi3-sharded" {
            let file = phi_convert::safetensors::Safetensors::open(&fixture(name).join("model.safetensors")).unwrap();
            let stored = file.find("model.layers.1.mlp.gate_up_proj.weight").unwrap();
            let mut bytes = vec![0; stored.bytes as usize];
            file.read(stored, 0, &mut bytes).unwrap();
            assert_eq!(**gguf.tensor(gguf.find("blk.1.ffn_up.weight").unwrap()).bytes(), bytes);
        }
    }
    let window = Gguf::open(Path::new(&place.path("phi3-window.gguf"))).unwrap();
    assert_eq!(window.metadata().get::<u32>("phi3.attention.sliding_window").unwrap(), 8);
    let longrope = Gguf::open(Path::new(&place.path("phi3-longrope.gguf"))).unwrap();
    assert_eq!(longrope.metadata().get::<f32>("phi3.rope.scaling.attn_factor").unwrap(), 1.5_f32.sqrt());
    assert_eq!(numbers(&longrope, "rope_factors_long.weight"), [1.5, 2.25, 3.5, 6.0, 11.0, 24.0]);
}

#[test]
fn types_are_placed_as_llama_quantize_does() {
    let place = Place::new();
    let exact = {
        let out = place.path("f32.gguf");
        run([&source("phi3-base"), &out, "F32"]);
        numbers(&Gguf::open(Path::new(&out)).unwrap(), "blk.0.ffn_up.weight")
    };
    for (name, base, head, worst) in [
        ("F16", DType::F16, DType::F16, 1e-3),
        ("bf16", DType::BF16, DType::BF16, 4e-3),
        ("7", DType::Q8_0, DType::Q8_0, 1e-2),
        ("q4_0", DType::Q4_0, DType::Q8_0, 0.2),
    ] {
        let out = place.path(&format!("{name}.gguf"));
        let ran = run([&source("phi3-base"), &out, name, "2"]);
        assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
        let gguf = Gguf::open(Path::new(&out)).unwrap();
        let dtype = |name: &str| gguf.find(name).unwrap().dtype;
        assert_eq!(dtype("blk.0.ffn_up.weight"), base);
        assert_eq!(dtype("output.weight"), head);
        assert_eq!(dtype("blk.0.attn_norm.weight"), DType::F32);
        let got = numbers(&gguf, "blk.0.ffn_up.weight");
        let largest = exact.iter().fold(0.0_f32, |a, x| a.max(x.abs()));
        let error = exact.iter().zip(&got).fold(0.0_f32, |a, (x, y)| a.max((x - y).abs()));
        assert!(error < worst * largest, "{name}: {error} of {largest}");
    }
    let out = place.path("tied.gguf");
    run([&source("phi3-partial-tied"), &out, "Q4_0"]);
    assert_eq!(Gguf::open(Path::new(&out)).unwrap().find("token_embd.weight").unwrap().dtype, DType::Q8_0);
}

#[test]
fn bytes_depend_on_nothing_but_the_weights() {
    let place = Place::new();
    // One file or three shards: the same numbers in BF16, under one folder name.
    let one = place.copy("phi3-sharded", "one");
    let base = place.path("x.gguf");
    run([&one, &base, "Q8_0", "-t", "1"]);
    let outs = [("1", "1.gguf"), ("2", "2.gguf"), ("5", "5.gguf")].map(|(threads, out)| {
        let out = place.path(out);
        assert_eq!(run([&one, &out, "Q8_0", threads]).exit, Exit::Done);
        fs::read(out).unwrap()
    });
    assert!(outs.iter().all(|bytes| *bytes == fs::read(&base).unwrap()));

    // The shards joined into one file.
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for shard in 1..=3 {
        let path = Path::new(&one).join(format!("model-0000{shard}-of-00003.safetensors"));
        let file = phi_convert::safetensors::Safetensors::open(&path).unwrap();
        for t in file.tensors() {
            let begin = data.len();
            data.resize(begin + t.bytes as usize, 0);
            file.read(t, 0, &mut data[begin..]).unwrap();
            let about =
                serde_json::json!({"dtype": t.dtype.name(), "shape": t.shape, "data_offsets": [begin, data.len()]});
            header.insert(t.name.clone(), about);
        }
    }
    let header = Json::Object(header).to_string();
    let bytes = [(header.len() as u64).to_le_bytes().as_slice(), header.as_bytes(), &data].concat();
    fs::write(Path::new(&one).join("model.safetensors"), bytes).unwrap();
    let joined = place.path("joined.gguf");
    assert_eq!(run([&one, &joined, "Q8_0"]).exit, Exit::Done);
    assert_eq!(fs::read(&joined).unwrap(), outs[0]);
}

#[test]
fn a_gguf_is_a_source_too() {
    let place = Place::new();
    let (f32, direct, twice) = (place.path("f32.gguf"), place.path("direct.gguf"), place.path("twice.gguf"));
    run([&source("phi3-base"), &f32, "F32"]);
    run([&source("phi3-base"), &direct, "Q4_0"]);
    assert_eq!(run([&f32, &twice, "Q4_0"]).exit, Exit::Done);
    assert_eq!(fs::read(&direct).unwrap(), fs::read(&twice).unwrap());

    let ran = run([&twice, "Q8_0"]);
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.err.contains("twice.gguf: tensor[") && ran.err.contains("quantized a second time"), "{}", ran.err);
    let ran = run(["--force", &f32, &f32, "Q8_0"]);
    assert!(ran.err.contains("output and input are the same file\n\nhint: "), "{}", ran.err);
}

#[test]
fn values_that_are_no_numbers_stop_it() {
    let place = Place::new();
    let folder = place.copy("phi3-base", "model");
    let file = format!("{folder}/model.safetensors");
    let tensor = "model.layers.2.self_attn.o_proj.weight";
    set_f32(&file, tensor, 64 * 3 + 5, f32::NAN);
    set_f32(&file, tensor, 64 * 7, f32::INFINITY);
    for (recipe, threads) in [("F32", "1"), ("Q8_0", "2"), ("Q4_0", "1")] {
        let ran = run([&folder, &place.path("out.gguf"), recipe, threads]);
        assert_eq!(ran.exit, Exit::Failed);
        let expected = "error: blk.2.attn_output.weight: row 3, column 5: NaN is not a finite number (and 1 more)\n\nhint: `--nan zero`";
        assert!(ran.err.contains(expected), "{}", ran.err);
    }
    assert_eq!(place.names(), ["model"]);

    let ran = run([&folder, &place.path("out.gguf"), "F32", "--nan", "zero"]);
    assert_eq!(ran.exit, Exit::Done);
    assert!(
        ran.err.contains("warning: blk.2.attn_output.weight: 2 values that were no numbers are 0 now"),
        "{}",
        ran.err
    );
    let x = numbers(&Gguf::open(Path::new(&place.path("out.gguf"))).unwrap(), "blk.2.attn_output.weight");
    assert_eq!((x[64 * 3 + 5], x[64 * 7]), (0.0, 0.0));
    assert!(x[64 * 7 + 1] != 0.0);
}

#[test]
fn values_that_a_type_cannot_hold_stop_it() {
    let place = Place::new();
    let folder = place.copy("phi3-base", "model");
    let file = format!("{folder}/model.safetensors");
    for (value, refused, accepted) in [(70_000.0, "F16", "BF16"), (-600_000.0, "Q4_0", "Q8_0"), (1e7, "Q8_0", "F32")] {
        set_f32(&file, "model.layers.0.mlp.down_proj.weight", 96, value);
        let ran = run([&folder, &place.path("out.gguf"), refused]);
        let expected =
            format!("blk.0.ffn_down.weight: row 1, column 0: {value} is too large for {refused}\n\nhint: BF16");
        assert!(ran.exit == Exit::Failed && ran.err.contains(&expected), "{}", ran.err);
        assert_eq!(run(["--force", &folder, &place.path("ok.gguf"), accepted]).exit, Exit::Done);
    }
    assert_eq!(place.names(), ["model", "ok.gguf"]);
}

#[test]
fn nothing_is_replaced_unasked() {
    let place = Place::new();
    let folder = place.copy("phi3-base", "model");
    // The default name, in the folder.
    let ran = run([&folder, "q8_0"]);
    assert_eq!(ran.out, format!("{folder}/ggml-model-Q8_0.gguf\n"));
    let ran = run([&folder, "q8_0"]);
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.err.ends_with("ggml-model-Q8_0.gguf: exists already\n\nhint: `--force` replaces it\n"), "{}", ran.err);
    assert_eq!(run([&folder, "q8_0", "--force"]).exit, Exit::Done);

    let input = format!("{folder}/model.safetensors");
    let ran = run(["--force", &folder, &input, "q8_0"]);
    assert!(ran.err.contains("output and input are the same file"), "{}", ran.err);
    fs::write(place.path("a.gguf.partial"), "").unwrap();
    let ran = run([&folder, &place.path("a.gguf"), "q8_0"]);
    assert!(ran.err.contains("an unfinished file is there"), "{}", ran.err);
    let ran = run([&folder, &place.path("no/such/folder.gguf"), "q8_0"]);
    assert_eq!(ran.exit, Exit::Failed);
}

#[test]
fn an_interrupt_leaves_nothing_behind() {
    let place = Place::new();
    let (mut io, captured) = Io::captured();
    io.interrupt().set();
    let out = place.path("out.gguf");
    let exit = phi_quantize::main(["phi-quantize", &source("phi3-base"), &out, "F16"], &mut io);
    assert_eq!((exit, exit.code()), (Exit::Interrupted, 130));
    assert!(captured.err().ends_with("interrupted\n") && !captured.err().contains("error:"), "{}", captured.err());
    assert!(place.names().is_empty());
}

#[test]
fn a_dry_run_knows_the_size() {
    let place = Place::new();
    let out = place.path("out.gguf");
    let dry = run([&source("phi3-base"), &out, "Q4_0", "--dry-run"]);
    assert!(place.names().is_empty());
    let json = run([&source("phi3-base"), &out, "Q4_0", "--json"]);
    let json: Json = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["bytes"], fs::metadata(&out).unwrap().len());
    assert_eq!(dry.out, format!("{}\n", json["bytes"]));
    assert_eq!(json["types"][0], serde_json::json!({"type": "F32", "tensors": 7, "bytes": 1792}));
}

#[test]
fn rows_that_blocks_do_not_divide_fall_back() {
    let place = Place::new();
    let folder = place.copy("phi3-base", "model");
    // Feed-forward of 88: rows of `ffn_down` are no multiple of 32.
    let config = fs::read_to_string(format!("{folder}/config.json")).unwrap();
    fs::write(
        format!("{folder}/config.json"),
        config.replace("\"intermediate_size\": 96", "\"intermediate_size\": 88"),
    )
    .unwrap();
    let path = format!("{folder}/model.safetensors");
    let file = phi_convert::safetensors::Safetensors::open(Path::new(&path)).unwrap();
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for t in file.tensors() {
        let mut shape = t.shape.clone();
        shape.iter_mut().for_each(|d| {
            *d = match *d {
                96 => 88,
                192 => 176,
                d => d,
            }
        });
        let begin = data.len();
        data.resize(begin + 4 * shape.iter().product::<u64>() as usize, 0_u8);
        header.insert(
            t.name.clone(),
            serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()]}),
        );
    }
    let header = Json::Object(header).to_string();
    fs::write(&path, [(header.len() as u64).to_le_bytes().as_slice(), header.as_bytes(), &data].concat()).unwrap();

    let out = place.path("out.gguf");
    let ran = run([&folder, &out, "Q8_0"]);
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
    assert!(
        ran.err.contains("warning: blk.0.ffn_down.weight: rows of 88 are not a multiple of 32: F16 instead of Q8_0"),
        "{}",
        ran.err
    );
    assert_eq!(Gguf::open(Path::new(&out)).unwrap().find("blk.0.ffn_down.weight").unwrap().dtype, DType::F16);
}

#[test]
fn misuse_is_told_apart_from_failure() {
    let folder = source("phi3-base");
    for (args, part) in [
        (vec![], "Usage: phi-quantize"),
        (vec![folder.as_str()], "error: no type is given\n\nhint: types are F32"),
        (vec![&folder, "out.gguf", "Q9_9"], "error: `Q9_9` is not a type\n\nhint: types are F32, F16"),
        (vec![&folder, "Q8_0", "many"], "error: `many` is not a number of threads"),
        (vec![&folder, "Q8_0", "4", "5"], "error: `5` is one word too many"),
        (vec![&folder, "Q8_0", "--nan", "maybe"], "possible values: error, zero"),
    ] {
        let (mut io, captured) = Io::captured();
        let exit = phi_quantize::main(["phi-quantize"].into_iter().chain(args.iter().copied()), &mut io);
        assert_eq!((exit, captured.out().as_str()), (Exit::Misused, ""), "{args:?}: {}", captured.err());
        assert!(captured.err().contains(part), "{args:?}: {}", captured.err());
    }
    let ran = run(["/no/such/folder", "Q8_0"]);
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.err.starts_with("error: /no/such/folder: "), "{}", ran.err);
    let ran = run([&folder, "Q8_0", "--pre", "x", "--dry-run"]);
    assert!(ran.exit == Exit::Failed && ran.err.contains("there is no pre-tokenizer \"x\""), "{}", ran.err);
}

#[test]
fn help_teaches() {
    for flag in ["-h", "--help"] {
        let ran = run([flag]);
        assert_eq!((ran.exit, ran.err.as_str()), (Exit::Done, ""));
        assert!(ran.out.contains("phi-quantize models/phi-4-mini Q8_0") && ran.out.contains("inspect"), "{}", ran.out);
    }
    assert!(run(["--version"]).out.starts_with("phi-quantize 0."));
    assert!(run(["completions", "bash"]).out.contains("complete -F "));
}

#[test]
fn inspect_shows_both_formats() {
    let place = Place::new();
    let out = place.path("out.gguf");
    run([&source("phi3-longrope"), &out, "Q4_0"]);
    let text = run(["inspect", &out]);
    assert_eq!((text.exit, text.err.as_str()), (Exit::Done, ""));
    assert!(text.out.contains("gguf version 3") && text.out.contains("23 tensors"), "{}", text.out);
    assert!(text.out.contains("phi3.context_length") && !text.out.contains("blk.0.attn_norm"), "{}", text.out);
    assert!(run(["inspect", &out, "--tensors"]).out.contains("blk.0.ffn_down.weight"));

    let json: Json = serde_json::from_str(&run(["inspect", &out, "--tensors", "--json"]).out).unwrap();
    assert_eq!(json["tensors"].as_array().unwrap().len(), 23);
    let window = json["metadata"].as_array().unwrap().iter().find(|k| k["key"] == "phi3.attention.sliding_window");
    assert_eq!(window.unwrap()["value"], 0);

    let file = fixture("phi3-base/model.safetensors");
    let ran = run(["inspect", file.to_str().unwrap(), "--tensors"]);
    assert!(ran.out.contains("safetensors") && ran.out.contains("model.norm.weight"), "{}", ran.out);

    // A container is shown whatever it holds: warnings, not errors.
    let mut bytes = fs::read(&out).unwrap();
    bytes.extend([0; 64]);
    fs::write(&out, &bytes).unwrap();
    let ran = run(["inspect", &out]);
    assert_eq!((ran.exit, ran.err.as_str()), (Exit::Done, "warning: 64 trailing bytes after the tensor data\n"));
    bytes.truncate(5000);
    fs::write(&out, &bytes).unwrap();
    let ran = run(["inspect", &out]);
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.err.contains("at byte ") && ran.err.contains("hint: the file is"), "{}", ran.err);
}

#[test]
fn verbose_says_a_line_per_tensor() {
    let place = Place::new();
    let ran = run([&source("phi3-base"), &place.path("out.gguf"), "Q8_0", "-v"]);
    assert!(ran.err.contains("[  21/  21]"), "{}", ran.err);
    assert!(ran.err.contains("converting to Q8_0, size = 64.00 KiB -> 17.00 KiB"), "{}", ran.err);
    assert_eq!(
        run(["-q", &source("phi3-base"), &place.path("b.gguf"), "Q8_0"]).err,
        "warning: the folder has no tokenizer: the file will work with token ids only\n"
    );
    let gguf = Gguf::open(Path::new(&place.path("out.gguf"))).unwrap();
    assert_eq!(gguf.metadata().entry("general.name").map(|e| e.value.clone()), Some(Value::from("Phi3 Base")));
}

#[test]
fn what_is_lost_is_measured() {
    let place = Place::new();
    let config = fixture("reference/plain/config.json");
    let (model, out) = (place.path("model.gguf"), place.path("out.gguf"));
    assert_eq!(run(["synth", config.to_str().unwrap(), "BF16", &model]).exit, Exit::Done);
    let ran = run(["--stats", "--verify", "--json", &model, &out, "Q4_K_M"]);
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
    let json: Json = serde_json::from_str(&ran.out).unwrap();
    let relative = |value: &Json| value["relative"].as_f64().unwrap();
    let of = |name: &str| relative(json["types"].as_array().unwrap().iter().find(|t| t["type"] == name).unwrap());
    // Of numbers without order: a Q4_K step is about a tenth of their spread, one of Q6_K a quarter of that.
    assert!((0.05..0.1).contains(&of("Q4_K")) && (0.01..0.03).contains(&of("Q6_K")) && of("F32") == 0.0, "{json}");
    assert!(of("Q6_K") < relative(&json) && relative(&json) < of("Q4_K"));
    // The same that `compare` finds, which reads both files.
    let compared: Json = serde_json::from_str(&run(["compare", &model, &out, "--json"]).out).unwrap();
    assert!((relative(&compared["total"]) / relative(&json) - 1.0).abs() < 1e-9, "{compared}");
    assert_eq!(json["files"][0]["bytes"], fs::metadata(&out).unwrap().len());
    let worst = run(["--stats", "--force", &model, &out, "Q4_K_M"]).err;
    assert!(worst.contains("rmse") && worst.contains("worst: ") && worst.contains("sha256 "), "{worst}");
}

#[test]
fn parts_stay_parts() {
    let place = Place::new();
    let whole = place.path("whole.gguf");
    run([&source("phi3-base"), &whole, "F32"]);
    let parts = run(["split", "--split-max-tensors", "8", &whole, &place.path("in")]).out;
    let first = parts.lines().next().unwrap();
    let ran = run(["--keep-split", first, &place.path("out.gguf"), "Q8_0"]);
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
    let names: Vec<_> = place.names().into_iter().filter(|name| name.starts_with("out")).collect();
    assert_eq!(names, ["out-00001-of-00003.gguf", "out-00002-of-00003.gguf", "out-00003-of-00003.gguf"]);
    let (kept, direct) = (Gguf::open(Path::new(&place.path(&names[1]))).unwrap(), place.path("direct.gguf"));
    run([&whole, &direct, "Q8_0"]);
    let direct = Gguf::open(Path::new(&direct)).unwrap();
    assert_eq!(kept.tensors().len(), direct.tensors().len());
    for info in kept.tensors() {
        let other = direct.tensor(direct.find(&info.name).unwrap());
        assert_eq!(kept.tensor(info).bytes()[..], other.bytes()[..], "{}", info.name);
    }
}

#[test]
fn importance_is_refused_where_it_does_not_fit() {
    let place = Place::new();
    let (model, out) = (place.path("model.gguf"), place.path("out.gguf"));
    run([&source("phi3-base"), &model, "F32"]);
    let matrix = fixture("reference/plain/imatrix.gguf");
    for (matrix, error) in [
        (matrix.to_str().unwrap(), "256 values for 64 columns and 1 experts"),
        (model.as_str(), "no `NAME.in_sum2` in it: not an importance matrix"),
        (&source("phi3-base/config.json"), "entry[0].name"),
    ] {
        let ran = run(["--imatrix", matrix, &model, &out, "Q4_0"]);
        assert!(ran.exit == Exit::Failed && ran.err.contains(error), "{}", ran.err);
        assert!(!Path::new(&out).exists());
    }
    assert_eq!(run([&model, "-", "Q4_0"]).exit, Exit::Misused);
    for words in [["--tensor-type", "=q8_0"], ["--tensor-type", "a=q9"], ["--override-kv", "a=int:x"]] {
        let ran = run([words[0], words[1], &model, &out, "Q4_0"]);
        assert!(ran.exit == Exit::Misused && ran.err.contains(words[1].trim_start_matches("a=")), "{}", ran.err);
    }
}

//! `check` and `compare`: what is said of numbers, right and wrong ones.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use phi_cli::{Exit, Io};
use phi_gguf::{Blueprint, Gguf};
use phi_tensor::{DType, Shape};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use common::{Ran, run};

fn fixture(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name);
    path.to_str().unwrap().into()
}

struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().into()
    }

    /// A fixture as a GGUF of this type.
    fn converted(&self, name: &str, dtype: &str) -> String {
        let out = self.path(&format!("{name}-{dtype}.gguf"));
        let ran = run(&[&fixture(name), &out, dtype]);
        assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
        out
    }

    /// A file of these tensors of one row, given as bytes.
    fn gguf(&self, name: &str, key: f32, tensors: &[(&str, DType, &[u8])]) -> String {
        let mut file = Blueprint::new();
        file.set("general.architecture", "none");
        file.set("none.number", key);
        for (name, dtype, bytes) in tensors {
            let len = bytes.len() / dtype.block_bytes() * dtype.block_len();
            file.tensor(*name, *dtype, Shape::vector(len));
        }
        let mut bytes = file.header_bytes();
        for (.., data) in tensors {
            bytes.extend(*data);
            bytes.resize(bytes.len().next_multiple_of(32), 0);
        }
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

fn floats(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn parse(ran: &Ran) -> Json {
    serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {}{}", ran.out, ran.err))
}

#[test]
fn good_files_have_no_fault() {
    let place = Place::new();
    let gguf = place.converted("phi3-longrope", "Q8_0");
    let folder = fixture("phi3-sharded");
    for (path, format, tensors) in
        [(&gguf, "gguf", 23), (&folder, "folder", 21), (&fixture("phi3-base/model.safetensors"), "safetensors", 21)]
    {
        let ran = run(&["check", path]);
        assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
        let start = format!("{path}: {format}, {tensors} tensors, ");
        assert!(ran.out.starts_with(&start) && ran.out.ends_with(": no fault\n"), "{}", ran.out);
        let json = parse(&run(&["check", path, "--json", "-t", "1"]));
        assert_eq!((&json["ok"], &json["faults"], &json["tensors"]), (&json!(true), &json!([]), &json!(tensors)));
    }
}

#[test]
fn every_number_is_looked_at() {
    let place = Place::new();
    let path = place.converted("phi3-base", "F16");
    let gguf = Gguf::open(Path::new(&path)).unwrap();
    let info = gguf.find("blk.1.ffn_down.weight").unwrap();
    let mut bytes = fs::read(&path).unwrap();
    // Infinity in row 2, column 7; NaN and another one behind it, and one in a later tensor.
    let later = gguf.find("blk.2.attn_qkv.weight").unwrap().start as usize;
    for (at, bits) in [(2 * 96 + 7, 0xfc00_u16), (63 * 96 + 95, 0x7e00), (30 * 96, 0x7c00)] {
        bytes[info.start as usize + 2 * at..][..2].copy_from_slice(&bits.to_le_bytes());
    }
    bytes[later..later + 2].copy_from_slice(&0x7e00_u16.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    for threads in ["1", "3"] {
        let ran = run(&["check", &path, "-t", threads]);
        assert_eq!((ran.exit, ran.out.as_str()), (Exit::Failed, ""));
        let expected = format!(
            "error: {path}: blk.1.ffn_down.weight: row 2, column 7: -inf is not a finite number (and 2 more here, 1 more \
             tensors or keys)\n\nhint: "
        );
        assert!(ran.err.starts_with(&expected), "{}", ran.err);
    }
    let ran = run(&["check", &path, "--json"]);
    assert_eq!(ran.exit, Exit::Failed);
    let first =
        json!({"name": "blk.1.ffn_down.weight", "type": "F16", "row": 2, "column": 7, "value": "-inf", "count": 3});
    assert_eq!(parse(&ran)["faults"][0], first);
}

#[test]
fn every_scale_is_looked_at() {
    let place = Place::new();
    let inf = [0x00, 0x7c];
    // 40 blocks of Q8_0 with zeros in them, the 33rd of infinite scale: infinity times nothing is no number.
    let mut q8 = vec![0_u8; 40 * 34];
    q8[33 * 34..][..2].copy_from_slice(&inf);
    let mut q4 = vec![0_u8; 3 * 18];
    q4[36..38].copy_from_slice(&inf);
    for (dtype, bytes, block, column) in [(DType::Q8_0, &q8, 33, 1056), (DType::Q4_0, &q4, 2, 64)] {
        let path = place.gguf("scale.gguf", 1.0, &[("good", DType::F32, &[0; 8]), ("bad", dtype, bytes)]);
        let ran = run(&["check", &path]);
        let expected = format!("bad: row 0, block {block}, column {column}: ");
        assert!(ran.exit == Exit::Failed && ran.err.contains(&expected), "{dtype}: {}", ran.err);
        assert!(ran.err.contains("(and 31 more here)"), "{}", ran.err);
    }
}

#[test]
fn keys_and_types_are_judged() {
    let place = Place::new();
    let path = place.gguf("key.gguf", f32::NAN, &[("w", DType::F32, &floats(&[1.0]))]);
    let ran = run(&["check", &path]);
    assert!(ran.exit == Exit::Failed && ran.err.contains("none.number: NaN is not a finite number\n"), "{}", ran.err);

    // Whole numbers are numbers, too.
    let path = place.gguf("type.gguf", 1.0, &[("ids", DType::I32, &[0; 8]), ("w", DType::TQ1_0, &[0; 54])]);
    let ran = run(&["check", &path]);
    assert_eq!((ran.exit, ran.err.as_str()), (Exit::Done, ""));

    for bytes in [&b""[..], b"GGUF", &fs::read(&path).unwrap()[..200]] {
        let cut = place.path("cut.gguf");
        fs::write(&cut, bytes).unwrap();
        let ran = run(&["check", &cut]);
        assert!(ran.exit == Exit::Failed && ran.err.starts_with(&format!("error: {cut}: ")), "{}", ran.err);
    }
    assert_eq!(run(&["check", &place.path("none.gguf")]).exit, Exit::Failed);
    assert_eq!(run(&["check", &path, "-t", "0"]).exit, Exit::Misused);
}

#[test]
fn equal_numbers_have_no_error() {
    let place = Place::new();
    let gguf = place.converted("phi3-base", "F32");
    for (a, b) in [(fixture("phi3-base"), gguf.clone()), (gguf.clone(), fixture("phi3-base")), (gguf.clone(), gguf)] {
        let ran = run(&["compare", &a, &b, "--json"]);
        assert_eq!((ran.exit, ran.err.as_str()), (Exit::Done, ""), "{a} {b}");
        let json = parse(&ran);
        assert_eq!(json["tensors"].as_array().unwrap().len(), 21);
        assert_eq!(json["total"]["relative"], 0.0);
        assert_eq!((&json["total"]["max"], &json["worst"]), (&json!(0.0), &Json::Null));
    }
}

#[test]
fn errors_are_what_their_names_say() {
    let place = Place::new();
    let a =
        place.gguf("a.gguf", 1.0, &[("v", DType::F32, &floats(&[3.0, 4.0, 0.0])), ("w", DType::F32, &floats(&[2.0]))]);
    let b =
        place.gguf("b.gguf", 1.0, &[("w", DType::F32, &floats(&[1.0])), ("v", DType::F32, &floats(&[3.0, 2.0, 1.0]))]);
    let json = parse(&run(&["compare", &a, &b, "--json"]));
    let v = &json["tensors"][0];
    assert_eq!((&v["name"], &v["values"], &v["max"]), (&json!("v"), &json!(3), &json!(2.0)));
    assert_eq!((&v["rmse"], &v["relative"]), (&json!((5.0_f64 / 3.0).sqrt()), &json!((5.0_f64 / 25.0).sqrt())));
    assert_eq!((&json["worst"], &json["total"]["values"]), (&json!("w"), &json!(4)));
    assert_eq!(json["total"]["relative"], (6.0_f64 / 29.0).sqrt());

    let table = run(&["compare", &a, &b]);
    assert_eq!(table.exit, Exit::Done);
    assert!(table.out.contains("44.7214 %") && table.out.contains("total") && table.out.ends_with("worst: w\n"));

    // Quantization of ordinary weights, the same for any number of threads.
    let (exact, packed) = (place.converted("phi3-base", "F32"), place.converted("phi3-base", "Q8_0"));
    let [one, three] = ["1", "3"].map(|t| run(&["compare", &exact, &packed, "-t", t, "--json"]).out);
    assert_eq!(one, three);
    let relative = serde_json::from_str::<Json>(&one).unwrap()["total"]["relative"].as_f64().unwrap();
    assert!((0.002..0.01).contains(&relative), "{relative}");
}

#[test]
fn what_cannot_be_compared_is_listed() {
    let place = Place::new();
    let nan = floats(&[1.0, f32::NAN, 2.0]);
    let (two, one) = (floats(&[1.0, 2.0]), floats(&[1.0]));
    let f32 = DType::F32;
    let a = [("only a", f32, &one[..]), ("shape", f32, &one), ("x", f32, &nan), ("y", f32, &one)];
    let b = [("only b", f32, &one[..]), ("shape", f32, &two), ("x", f32, &nan), ("y", f32, &one)];
    let (a, b) = (place.gguf("a.gguf", 1.0, &a), place.gguf("b.gguf", 1.0, &b));
    let ran = run(&["compare", &a, &b, "--json"]);
    assert_eq!(ran.exit, Exit::Failed);
    let json = parse(&ran);
    let problems = json!([
        format!("only a: missing in {b}"),
        "shape: shape [1] in A, [2] in B",
        format!("only b: missing in {a}"),
        "x: row 0, column 1: not a finite number",
    ]);
    assert_eq!((&json["ok"], &json["problems"]), (&json!(false), &problems));
    assert_eq!(json["tensors"][0]["values"], 2);
    assert!(ran.err.contains(&format!("error: {b}: only a: missing in {b} (and 3 more, above)")), "{}", ran.err);
    assert_eq!(run(&["compare", &a, &place.path("none")]).exit, Exit::Failed);
}

#[test]
fn an_interrupt_is_no_verdict() {
    let place = Place::new();
    let gguf = place.converted("phi3-base", "F32");
    for args in [&["check", &gguf][..], &["compare", &gguf, &gguf]] {
        let (mut io, captured) = Io::captured();
        io.interrupt().set();
        let exit = phi_quantize::main(["phi-quantize"].iter().chain(args), &mut io);
        assert_eq!((exit.code(), captured.out().as_str()), (130, ""), "{}", captured.err());
    }
}

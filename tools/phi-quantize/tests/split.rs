//! `split` and `merge`: parts, their names and keys, and the way back.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use phi_cli::{Exit, Io};
use phi_gguf::{Blueprint, Gguf, Header, Value};
use phi_tensor::{DType, Shape};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use common::run;

/// A place with a whole file of 21 tensors in it, `model.gguf`.
struct Place {
    dir: TempDir,
    model: String,
}

impl Place {
    fn new() -> Place {
        let dir = TempDir::new().unwrap();
        let model = dir.path().join("model.gguf").to_str().unwrap().to_string();
        let fixture: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/phi3-base");
        let ran = run(&[fixture.to_str().unwrap(), &model, "Q8_0"]);
        assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
        Place { dir, model }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().into()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.dir).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Splits the model into `part-…`, and says into which files.
    fn split(&self, more: &[&str]) -> Vec<String> {
        let ran = run(&[&["split", &self.model, &self.path("part")], more].concat());
        assert_eq!((ran.exit, ran.err.as_str()), (Exit::Done, ""), "{more:?}");
        ran.out.lines().map(String::from).collect()
    }
}

fn header(path: &str) -> Header {
    Header::parse(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn what_is_split_comes_back_byte_for_byte() {
    for (more, counts) in [
        (&[][..], &[21][..]),
        (&["--split-max-tensors", "8"], &[8, 8, 5]),
        (&["--split-max-tensors", "7", "--no-tensor-first-split"], &[0, 7, 7, 7]),
        (&["--split-max-size", "30K"], &[]),
        // Smaller than any: every tensor in its own.
        (&["--split-max-size", "1"], &[1; 21]),
        (&["--split-max-size", "10G"], &[21]),
    ] {
        let place = Place::new();
        let parts = place.split(more);
        let found: Vec<_> = parts.iter().map(|part| header(part).tensors.len()).collect();
        assert_eq!(found.iter().sum::<usize>(), 21);
        if counts.is_empty() {
            let of = |part: &String| header(part).tensors.iter().map(|t| t.bytes.next_multiple_of(32)).sum::<u64>();
            assert!(parts.len() > 3 && parts.iter().all(|part| of(part) <= 30_000), "{found:?}");
        } else {
            assert_eq!(found, counts, "{more:?}");
        }
        let whole = Gguf::open(Path::new(&place.model)).unwrap();
        let read = Gguf::open(Path::new(parts.last().unwrap())).unwrap();
        let names = |file: &Gguf| file.tensors().iter().map(|t| t.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&read), names(&whole));

        let back = place.path("back.gguf");
        let ran = run(&["merge", &parts[0], &back]);
        assert_eq!((ran.exit, ran.out.trim_end(), ran.err.as_str()), (Exit::Done, back.as_str(), ""));
        assert!(fs::read(&back).unwrap() == fs::read(&place.model).unwrap(), "{more:?}");
    }
}

#[test]
fn an_alignment_of_its_own_comes_back() {
    let place = Place::new();
    let mut file = Blueprint::new();
    file.set("general.alignment", 256_u32);
    file.set("split.note", "not one of the three");
    let mut data = Vec::new();
    for (name, len) in [("a", 5_usize), ("b", 70), ("c", 1)] {
        file.tensor(name, DType::F32, Shape::vector(len));
        data.extend((0..len).flat_map(|i| (i as f32).to_le_bytes()));
        data.resize(data.len().next_multiple_of(256), 0);
    }
    fs::write(&place.model, [file.header_bytes(), data].concat()).unwrap();
    let parts = place.split(&["--split-max-tensors", "1"]);
    assert_eq!((header(&parts[0]).alignment, header(&parts[1]).alignment), (256, 32));
    let back = place.path("back.gguf");
    assert_eq!(run(&["merge", &parts[2], &back]).exit, Exit::Done);
    assert!(fs::read(&back).unwrap() == fs::read(&place.model).unwrap());
}

#[test]
fn names_and_keys_are_the_usual_ones() {
    let place = Place::new();
    let parts = place.split(&["--split-max-tensors", "10"]);
    assert_eq!(parts, [1, 2, 3].map(|k| place.path(&format!("part-0000{k}-of-00003.gguf"))));
    let keys = |path: &str| {
        let entries = header(path).metadata.entries().to_vec();
        entries.into_iter().map(|entry| (entry.key, entry.value)).collect::<Vec<_>>()
    };
    let of_split = |number| {
        let values = [Value::U16(number), Value::I32(21), Value::U16(3)];
        ["split.no", "split.tensors.count", "split.count"].map(String::from).into_iter().zip(values).collect::<Vec<_>>()
    };
    assert_eq!(keys(&parts[0]), [keys(&place.model), of_split(0)].concat());
    assert_eq!((keys(&parts[1]), keys(&parts[2])), (of_split(1), of_split(2)));

    // A file that is split already is split anew.
    let ran = run(&["split", &parts[2], &place.path("again"), "--split-max-tensors", "11", "--json"]);
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
    let json: Json = serde_json::from_str(&ran.out).unwrap();
    let again = place.path("again-00002-of-00002.gguf");
    assert_eq!(json[1], json!({"file": again, "tensors": 10, "bytes": fs::metadata(&again).unwrap().len()}));
    assert_eq!(run(&["merge", &again, &place.path("whole.gguf")]).exit, Exit::Done);
    assert!(fs::read(place.path("whole.gguf")).unwrap() == fs::read(&place.model).unwrap());
}

#[test]
fn a_dry_run_writes_nothing_and_knows_the_sizes() {
    let place = Place::new();
    let arguments = ["--split-max-tensors", "12", "--json"];
    let prefix = place.path("part");
    let args = [&["split", &place.model, &prefix], &arguments[..]].concat();
    let dry = run(&[&args[..], &["--dry-run"]].concat());
    assert_eq!(place.names(), ["model.gguf"]);
    assert_eq!((dry.exit, dry.out), (Exit::Done, run(&args).out));
    let table = run(&["split", &place.model, &place.path("x"), "--dry-run"]);
    assert!(table.out.contains("x-00001-of-00001.gguf") && table.out.contains("21"), "{}", table.out);
}

#[test]
fn all_parts_or_none() {
    let place = Place::new();
    let (prefix, out) = (place.path("part"), place.path("out.gguf"));
    let args = ["split", &place.model, &prefix, "--split-max-tensors", "5"];
    // The last of five names is taken.
    let taken = place.path("part-00005-of-00005.gguf");
    fs::write(&taken, "mine").unwrap();
    let ran = run(&args);
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Failed, ""));
    assert!(ran.err.ends_with("00005.gguf: exists already\n\nhint: `--force` replaces it\n"), "{}", ran.err);
    assert_eq!(place.names(), ["model.gguf", "part-00005-of-00005.gguf"]);
    assert_eq!(run(&[&args[..], &["--force"]].concat()).exit, Exit::Done);
    assert_eq!(place.names().len(), 6);

    for args in [&args[..], &["merge", &taken, &out]] {
        let (mut io, captured) = Io::captured();
        io.interrupt().set();
        let exit = phi_quantize::main([&["phi-quantize"], args, &["--force"]].concat(), &mut io);
        assert_eq!((exit.code(), captured.out().as_str()), (130, ""), "{}", captured.err());
        assert_eq!(place.names().len(), 6);
    }
}

#[test]
fn refusals_name_what_is_wrong() {
    let place = Place::new();
    let parts = place.split(&["--split-max-tensors", "8"]);
    let (model, out) = (place.model.clone(), place.path("out.gguf"));
    fs::copy(&parts[0], place.path("lone.gguf")).unwrap();
    let lone = place.path("lone.gguf");
    let cases: &[(&[&str], Exit, &[&str])] = &[
        (
            &["merge", &model, &out],
            Exit::Failed,
            &["split.count: not a part of a split file", "hint: parts are called"],
        ),
        (&["merge", &lone, &out], Exit::Failed, &["lone.gguf: split.count"]),
        (&["merge", &parts[1], &parts[0]], Exit::Failed, &["output and input are the same file"]),
        (&["merge", &parts[1], &model], Exit::Failed, &["exists already"]),
        (&["merge", "/no/such.gguf", &out], Exit::Failed, &["/no/such.gguf"]),
        (&["split", &model, ".."], Exit::Misused, &["the prefix does not end in a name"]),
        (&["split", &model, &out, "--split-max-tensors", "0"], Exit::Misused, &["--split-max-tensors"]),
        (&["split", &model, &out, "--split-max-size", "2X"], Exit::Misused, &["2X"]),
        (
            &["split", &model, &out, "--split-max-size", "2G", "--split-max-tensors", "3"],
            Exit::Misused,
            &["cannot be used with"],
        ),
    ];
    for (args, exit, parts) in cases {
        let ran = run(args);
        assert_eq!((ran.exit, ran.out.as_str()), (*exit, ""), "{args:?}: {}", ran.err);
        assert!(parts.iter().all(|part| ran.err.contains(part)), "{args:?}: {}", ran.err);
    }
    // A part that is cut, one that is another, one that is not there.
    let second = fs::read(&parts[1]).unwrap();
    for (bytes, says) in
        [(second[..second.len() - 64].to_vec(), "file ends at"), (fs::read(&parts[2]).unwrap(), "split.no")]
    {
        fs::write(&parts[1], bytes).unwrap();
        let ran = run(&["merge", &parts[0], &out]);
        assert!(ran.exit == Exit::Failed && ran.err.contains(says) && ran.err.contains("00002-of"), "{}", ran.err);
    }
    fs::remove_file(&parts[1]).unwrap();
    assert_eq!(run(&["merge", &parts[0], &out]).exit, Exit::Failed);
    assert!(!Path::new(&out).exists());
}

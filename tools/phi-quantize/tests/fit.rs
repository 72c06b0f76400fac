//! `--fit`: the types that lose least of all that fit.

mod common;

use std::path::Path;

use phi_cli::Exit;
use phi_gguf::Gguf;
use phi_plan::{Asked, Quant, Subject};
use phi_tensor::DType;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/phi3-partial-tied");

/// What a run of the file takes with a context of 64.
fn need(path: &Path) -> u64 {
    let subject = Subject::gguf(path).unwrap();
    let asked = Asked::new(Quant::File).with_ctx(64);
    subject.need(&asked).unwrap().total()
}

fn types(path: &Path) -> Vec<(String, DType)> {
    Gguf::open(path).unwrap().tensors().iter().map(|t| (t.name.clone(), t.dtype)).collect()
}

#[test]
fn the_whole_run_fits_and_more_memory_loses_less() {
    let place = tempfile::tempdir().unwrap();
    let out = |name: &str| place.path().join(name);
    let fit = |size: u64, name: &str| {
        let (size, path) = (size.to_string(), out(name).display().to_string());
        common::run(&["--fit", &size, "-c", "64", FOLDER, &path])
    };
    // All in halves, to know what there is to save.
    let plain = common::run(&[FOLDER, &out("f16.gguf").display().to_string(), "F16"]);
    assert_eq!(plain.exit, Exit::Done, "{}", plain.err);
    let most = need(&out("f16.gguf"));
    let mut last = 0;
    let mut distinct = 0;
    for (i, saved) in [70_000, 50_000, 30_000, 10_000, 0].into_iter().enumerate() {
        let name = format!("{i}.gguf");
        let ran = fit(most - saved, &name);
        assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
        let takes = need(&out(&name));
        assert!(takes <= most - saved && takes >= last, "{takes} of {}, after {last}", most - saved);
        distinct += usize::from(takes > last);
        last = takes;
        // What is printed makes the same file.
        let list = out("types.txt");
        std::fs::write(&list, &ran.out).unwrap();
        let again = out(&format!("{i}-again.gguf")).display().to_string();
        let list = list.display().to_string();
        let ran = common::run(&["--tensor-type-file", &list, FOLDER, &again, "Q4_K_M"]);
        assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
        assert_eq!(types(&out(&name)), types(Path::new(&again)));
    }
    assert!(distinct > 2, "more memory is of use");
    let none = fit(1000, "none.gguf");
    assert_eq!(none.exit, Exit::DoesNotFit);
    assert!(none.err.contains("even with the fewest bits") && !out("none.gguf").exists(), "{}", none.err);
}

#[test]
fn what_contradicts_it_is_said() {
    let ran = common::run(&["--fit", "1GB", FOLDER, "out.gguf", "Q4_0"]);
    assert_eq!(ran.exit, Exit::Misused, "{}", ran.err);
    let ran = common::run(&["--fit", "1GB", FOLDER, "Q4_0"]);
    assert!(ran.exit == Exit::Misused && ran.err.contains("chooses the types itself"), "{}", ran.err);
    let ran = common::run(&["--fit", "1GB", "--kv", "q2_k", FOLDER]);
    assert!(ran.exit == Exit::Misused && ran.err.contains("not a cache's type"), "{}", ran.err);
    let ran = common::run(&["-c", "64", FOLDER, "Q4_0"]);
    assert_eq!(ran.exit, Exit::Misused, "{}", ran.err);
}

//! Files equal llama-quantize's to the byte: mixtures, fallbacks, overrides and importance matrices, on two small models of
//! eight layers. How the checksums were made is in `oracle/reference.py`.

use std::path::{Path, PathBuf};

use phi_cli::Exit;
use phi_gguf::Gguf;
use phi_testkit::run_cases;
use phi_tests::programs::phi_quantize;
use phi_tests::{fixture, text};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// One case in so many is run a second time.
const AGAIN: usize = 5;

fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn files_are_those_of_llama_quantize() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let expected = std::fs::read(fixture("reference").join("expected.json")).expect("the fixture is there");
    let expected: Value = serde_json::from_slice(&expected).expect("the fixture is JSON");
    for (model, want) in expected["models"].as_object().expect("models by name") {
        let (config, out) = (fixture("reference").join(model).join("config.json"), made(folder.path(), model));
        phi_quantize(["synth", text(&config), "BF16", text(&out)]).done();
        let got = sum(&std::fs::read(out).expect("the model is there"));
        assert_eq!(Some(got.as_str()), want.as_str(), "`synth` changed: run oracle/reference.py again");
    }
    let cases = expected["cases"].as_array().expect("a list of cases").iter().enumerate().flat_map(|(number, case)| {
        let words = case["args"].as_array().expect("a list").iter();
        let words: Vec<String> = words.map(|word| word.as_str().expect("a word").into()).collect();
        let name = format!("{} {}", case["model"].as_str().expect("a name"), words.join(" "));
        // The matrix of before says the same, and the bytes are the same for any number of threads: of a few.
        let again = words.iter().map(|word| word.replace("imatrix.gguf", "imatrix.dat")).collect();
        let again = (number % AGAIN == 0).then(|| (format!("{name}, again"), (case, again, "1")));
        std::iter::once((name, (case, words, "2"))).chain(again)
    });
    let n = run_cases(cases, |(case, words, threads)| {
        let model = case["model"].as_str().expect("a name");
        let out = folder.path().join("out.gguf");
        let matrix = fixture("reference").join("plain").join(words.last().expect("a type at least"));
        let options = words[1..].iter().map(|word| if word.starts_with("imatrix.") { text(&matrix) } else { word });
        let source = made(folder.path(), model);
        let mut args = vec!["--force", "--reference", "--max-buffer-size", "1"];
        args.extend(options);
        args.extend([text(&source), text(&out), &words[0], threads]);
        let ran = phi_quantize(&args);
        if ran.exit != Exit::Done {
            return Err(ran.err);
        }
        let bytes = std::fs::read(&out).map_err(|e| e.to_string())?;
        let start = match case["whole"].as_bool() {
            Some(true) => 0,
            _ => Gguf::open(&out).map_err(|e| e.to_string())?.tensors()[0].start as usize,
        };
        let (got, want) = (sum(&bytes[start..]), case["sha256"].as_str().expect("a checksum"));
        if got == want { Ok(()) } else { Err(format!("sha256 {got}, llama-quantize's is {want}")) }
    });
    assert_eq!(n, 58 + 12, "18 types of each model, 6 with options, 16 with an importance matrix; every fifth twice");
}

fn made(folder: &Path, model: &str) -> PathBuf {
    folder.join(format!("{model}.gguf"))
}

//! Perplexity and KL divergence: against the logits themselves, against llama-perplexity, and on bases that lie.

use std::ffi::OsString;
use std::io::Cursor;
use std::path::PathBuf;

use phi_cli::Exit;
use phi_runtime::TokenId;
use phi_runtime::perplexity::{BaseError, BaseProblem, BaseReader};
use phi_testkit::{TinyPhi3, npy, run_cases};
use phi_tests::models::Converted;
use phi_tests::programs::{Ran, phi_run, phi_run_interrupted};
use phi_tests::workspace;
use serde_json::Value;
use tempfile::TempDir;

/// A tiny model and a text, in a folder that vanishes with them.
struct Bench {
    dir: TempDir,
}

/// The chunks of the tiny model's tests.
const N_CTX: usize = 16;

/// Its vocabulary.
const N_VOCAB: usize = 262;

impl Bench {
    fn new() -> Bench {
        let bench = Bench { dir: tempfile::tempdir().unwrap() };
        std::fs::write(bench.path("model.gguf"), TinyPhi3::default().gguf().bytes()).unwrap();
        std::fs::write(bench.path("other.gguf"), TinyPhi3 { seed: 2, ..TinyPhi3::default() }.gguf().bytes()).unwrap();
        let text = "All that a small model knows is how often one letter follows another. ".repeat(4);
        std::fs::write(bench.path("text.txt"), text + "\n").unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `phi-run perplexity` in the folder: words that begin with `@` are files of it.
    fn run(&self, line: &str) -> Ran {
        phi_run(self.args(line))
    }

    fn args(&self, line: &str) -> Vec<OsString> {
        let word = |word: &str| match word.strip_prefix('@') {
            Some(name) => self.path(name).into(),
            None => word.into(),
        };
        std::iter::once("perplexity".into()).chain(line.split_whitespace().map(word)).collect()
    }

    /// The same, of which JSON is expected.
    fn json(&self, line: &str) -> Value {
        let run = self.run(&format!("{line} --json"));
        assert_eq!(run.exit, Exit::Done, "{line}: {}", run.err);
        serde_json::from_str(&run.out).unwrap()
    }

    /// A base of two chunks, and its bytes.
    fn base(&self) -> Vec<u8> {
        let saved = self.run("@model.gguf -f @text.txt -c 16 --chunks 2 --kl-divergence-base @base");
        assert_eq!(saved.exit, Exit::Done, "{}", saved.err);
        std::fs::read(self.path("base")).unwrap()
    }
}

fn figure(json: &Value, name: &str) -> f64 {
    json[name].as_f64().unwrap_or_else(|| panic!("no {name} in {json}"))
}

/// From the values of `phi-run logits --all`, by the definition.
#[test]
fn perplexity_is_what_the_logits_say() {
    let bench = Bench::new();
    let model = bench.path("model.gguf");
    let call = |args: &[&str]| phi_run(args).done();
    let (model, text, logits) = (model.to_str().unwrap(), bench.path("text.txt"), bench.path("logits.npy"));
    // The last line end is not part of the text.
    let words = std::fs::read_to_string(text).unwrap();
    let ids: Vec<u32> =
        serde_json::from_str(&call(&["tokenize", model, "--bos", "-p", words.trim_end_matches('\n')])).unwrap();
    let (mut nlls, n_chunks) = (Vec::new(), ids.len() / N_CTX);
    assert!(n_chunks > 5 && ids[0] == 1, "{ids:?}");
    for chunk in ids.chunks_exact(N_CTX) {
        let mut chunk = chunk.to_vec();
        chunk[0] = 1; // BOS
        let list = chunk.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        call(&["logits", model, "--tokens", &list, "--all", "-o", logits.to_str().unwrap()]);
        let values = npy::read(&logits).unwrap().values;
        let rows: Vec<&[f32]> = values.chunks_exact(N_VOCAB).collect();
        for i in N_CTX / 2..N_CTX - 1 {
            let sum: f64 = rows[i].iter().map(|&x| f64::from(x).exp()).sum();
            nlls.push(sum.ln() - f64::from(rows[i][chunk[i + 1] as usize]));
        }
    }
    let n = nlls.len() as f64;
    let mean = nlls.iter().sum::<f64>() / n;
    let variance = nlls.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    let json = bench.json("@model.gguf -f @text.txt -c 16");
    assert_eq!((json["chunks"].as_u64(), json["tokens"].as_u64()), (Some(n_chunks as u64), Some(nlls.len() as u64)));
    let close = |name: &str, expected: f64| {
        let got = figure(&json, name);
        // The one program computes a chunk with its last logits only, the other with all: other sums are taken together,
        // in another order, and the activations' 8 bits turn an ulp now and then into a step.
        assert!((got / expected - 1.0).abs() < 1e-4, "{name}: {got}, expected {expected}");
    };
    close("ppl", mean.exp());
    close("nll", mean);
    close("ppl_error", mean.exp() * (variance / (n - 1.0)).sqrt());
}

#[test]
fn figures_do_not_depend_on_threads() {
    let bench = Bench::new();
    for batch in ["", "-ub 5", "-ub 1"] {
        let outs = ["-t 1", "-t 3", "-t 2"]
            .map(|threads| bench.run(&format!("@model.gguf -f @text.txt -c 16 --json {threads} {batch}")).out);
        assert!(outs[0].contains("ppl"), "{outs:?}");
        assert!(outs.iter().all(|out| *out == outs[0]), "{outs:?}");
    }
    let base = bench.base();
    for options in ["-t 1", "-t 3"] {
        bench.run(&format!("@model.gguf -f @text.txt -c 16 --chunks 2 --kl-divergence-base @again {options}"));
        assert!(std::fs::read(bench.path("again")).unwrap() == base, "{options}");
    }
}

#[test]
fn a_model_does_not_diverge_from_itself() {
    let bench = Bench::new();
    assert_eq!(
        bench.run("@model.gguf -f @text.txt -c 16 --kl-divergence-base @base").out,
        bench.run("@model.gguf -f @text.txt -c 16").out
    );
    let own = bench.json("@model.gguf --kl-divergence-base @base --kl-divergence");
    assert!(figure(&own["kld"], "mean").abs() < 1e-5 && figure(&own["kld"], "max") < 1e-4, "{own}");
    assert_eq!(figure(&own, "same_top"), 1.0, "{own}");
    assert!((figure(&own, "ppl_ratio") - 1.0).abs() < 1e-5 && figure(&own, "p_diff_rms") < 1e-4, "{own}");

    let other = bench.json("@other.gguf --kl-divergence-base @base --kl-divergence -f @text.txt");
    assert!(figure(&other["kld"], "mean") > 0.1 && figure(&other["kld"], "min") > 0.0, "{other}");
    assert!(figure(&other, "same_top") < 0.5, "{other}");
    let fewer = bench.json("@other.gguf --kl-divergence-base @base --kl-divergence --chunks 2");
    assert_eq!(fewer["chunks"], 2);
}

#[test]
fn quantization_is_a_divergence() {
    let bench = Bench::new();
    let checkpoint = workspace().join("tools/phi-tiny/phi-tiny");
    let text = workspace().join("tools/phi-tiny/heldout.txt");
    let f32 = Converted::from(&checkpoint, "F32");
    let common = format!("--special -c 128 --chunks 4 --kl-divergence-base @base -f {}", text.display());
    let saved = bench.json(&format!("{} {common}", f32.path().display()));
    assert!((1.5..2.5).contains(&figure(&saved, "ppl")), "{saved}");
    // The embedded model is Q8_0.
    let q8_0 = bench.json(&format!("--kl-divergence {common}"));
    let kld = figure(&q8_0["kld"], "mean");
    assert!((1e-6..1e-3).contains(&kld), "{q8_0}");
    assert!(figure(&q8_0, "same_top") > 0.95 && figure(&q8_0, "correlation") > 0.999, "{q8_0}");
    assert!((figure(&q8_0, "ppl_base") / figure(&saved, "ppl") - 1.0).abs() < 1e-3, "{q8_0}");
}

/// The figures of llama-perplexity (llama.cpp as in llama-cpp-python 0.3.36) for phi-tiny as phi-quantize converts it.
///
/// It reads special tokens of a text as plain text, which this model never saw: the first figure is large. The other two
/// are of a base that holds the special tokens. For Q8_0 it also rounds activations to 8 bits.
///
/// ```text
/// phi-run perplexity F32.gguf -f tools/phi-tiny/heldout.txt -c 256 --chunks 6 --kv f32 --special --kl-divergence-base base
/// llama-perplexity -m F16.gguf -f tools/phi-tiny/heldout.txt -c 256 -b 256 --chunks 6 -fa off -ctk f32 -ctv f32 --no-repack
/// llama-perplexity -m TYPE.gguf --kl-divergence-base base --kl-divergence -c 256 -b 256 -fa off -ctk f32 -ctv f32 --no-repack
/// ```
#[test]
fn figures_are_those_of_llama_perplexity() {
    let bench = Bench::new();
    let checkpoint = workspace().join("tools/phi-tiny/phi-tiny");
    let text = workspace().join("tools/phi-tiny/heldout.txt");
    let golden =
        [("F16", "", 24530.7027, 0.001), ("F16", "--special", 1.978522, 0.001), ("Q8_0", "--special", 1.978379, 0.003)];
    run_cases(golden.map(|case| (format!("{} {}", case.0, case.1), case)), |(dtype, option, expected, tolerance)| {
        let model = Converted::from(&checkpoint, dtype);
        let (model, text) = (model.path(), text.display());
        let line = format!("{} -f {text} -c 256 --chunks 6 --kv f32 -t 2 {option}", model.display());
        let ppl = figure(&bench.json(&line), "ppl");
        let off = (ppl / expected - 1.0).abs();
        if off < tolerance { Ok(()) } else { Err(format!("{ppl}, expected {expected} within {tolerance}")) }
    });
}

#[test]
fn the_output_has_its_form() {
    let bench = Bench::new();
    let shown = bench.run("@model.gguf -f @text.txt -c 32 --chunks 3");
    assert_eq!(shown.exit, Exit::Done);
    let lines: Vec<_> = shown.out.lines().collect();
    assert_eq!(shape(lines[0]), "[0]0.0000,[0]0.0000,[0]0.0000,");
    assert_eq!(shape(lines[1]), "Final estimate: PPL = 0.0000 +/- 0.00000");
    assert_eq!(lines.len(), 2);
    let [plan, first] = [0, 1].map(|line| shown.err.lines().nth(line).unwrap());
    assert!(plan.starts_with("plan: weights "), "{plan}");
    assert_eq!(first, "chunks: 3 of 32 tokens, 15 of each are scored");
    assert!(shown.err.contains("seconds per chunk") && shown.err.contains("minutes left"), "{}", shown.err);

    bench.run("@model.gguf -f @text.txt -c 64 --kl-divergence-base @base");
    let shown = bench.run("@other.gguf --kl-divergence-base @base --kl-divergence --chunks 3");
    // 93 tokens are too few for a table.
    assert_eq!(shown.exit, Exit::Done, "{}", shown.err);
    let lines: Vec<_> = shown.out.lines().map(shape).collect();
    assert_eq!(
        lines,
        [
            "chunk PPL ln(PPL(Q)/PPL(base)) KL Divergence Δp RMS Same top p",
            "0 0.0000 ± 0.0000 0.00000 ± 0.00000 0.00000 ± 0.00000 0.000 ± 0.000 % 0.000 ± 0.000 %",
            "0 0.0000 ± 0.0000 0.00000 ± 0.00000 0.00000 ± 0.00000 0.000 ± 0.000 % 0.000 ± 0.000 %",
            "0 0.0000 ± 0.0000 0.00000 ± 0.00000 0.00000 ± 0.00000 0.000 ± 0.000 % 0.000 ± 0.000 %",
            "",
        ]
    );
    assert!(shown.err.contains("93 tokens are too few for a table"), "{}", shown.err);

    bench.run("@model.gguf -f @text.txt -c 16 --kl-divergence-base @base");
    let shown = bench.run("@other.gguf --kl-divergence-base @base --kl-divergence");
    let table = shown.out.split_once("\n\n").expect("chunks, an empty line, a table").1;
    let figures = "0.000000 ± 0.000000";
    let kld =
        ["Maximum KLD", "99.9% KLD", "99.0% KLD", "95.0% KLD", "90.0% KLD", "Median KLD", "10.0% KLD", "5.0% KLD"];
    let mut expected: Vec<String> = vec!["====== Perplexity statistics ======".into()];
    expected.extend(["Mean PPL(Q)", "Mean PPL(base)"].map(|name| format!("{name}: {figures}")));
    expected.push("Cor(ln(PPL(Q)), ln(PPL(base))): 0.00%".into());
    expected.extend(
        ["ln(PPL(Q)/PPL(base))", "PPL(Q)/PPL(base)", "PPL(Q)-PPL(base)"].map(|n| format!("Mean {n}: {figures}")),
    );
    expected.extend(["".into(), "====== KL divergence statistics ======".into(), format!("Mean KLD: {figures}")]);
    expected.extend(kld.iter().chain(&["1.0% KLD", "0.1% KLD", "Minimum KLD"]).map(|name| format!("{name}: 0.000000")));
    expected.extend([
        "".into(),
        "====== Token probability statistics ======".into(),
        "Mean Δp: 0.000 ± 0.000 %".into(),
    ]);
    let p_diff = ["Maximum", "99.9%", "99.0%", "95.0%", "90.0%", "75.0%", "Median", "25.0%", "10.0%", "5.0%", "1.0%"];
    expected.extend(p_diff.iter().chain(&["0.1%", "Minimum"]).map(|name| format!("{name} Δp: 0.000%")));
    expected.extend(["RMS Δp: 0.000 ± 0.000 %".into(), "Same top p: 0.000 ± 0.000 %".into()]);
    assert_eq!(table.lines().map(shape_with_name).collect::<Vec<_>>(), expected);
}

/// A line with single spaces, whose numbers are positive zeros with as many decimals.
fn shape(line: &str) -> String {
    let mut shape = String::new();
    let mut decimals = false;
    for word in line.split_whitespace() {
        let word = match word.strip_prefix('-') {
            Some(number) if number.starts_with(|c: char| c.is_ascii_digit()) => number,
            _ => word,
        };
        shape += if shape.is_empty() { "" } else { " " };
        for c in word.chars() {
            match c {
                '0'..='9' if decimals || !shape.ends_with('0') => shape.push('0'),
                '0'..='9' => {}
                _ => shape.push(c),
            }
            decimals = c == '.' || decimals && c.is_ascii_digit();
        }
    }
    shape
}

/// The same of a line with a name, which stays as it is.
fn shape_with_name(line: &str) -> String {
    match line.rsplit_once(": ") {
        Some((name, figures)) => {
            format!("{}: {}", name.split_whitespace().collect::<Vec<_>>().join(" "), shape(figures))
        }
        None => line.into(),
    }
}

#[test]
fn a_stopped_measurement_leaves_nothing_behind() {
    let bench = Bench::new();
    let line = "@model.gguf -f @text.txt -c 16 --kl-divergence-base @base";
    let stopped = phi_run_interrupted(bench.args(line));
    assert_eq!(stopped.exit, Exit::Interrupted, "{}", stopped.err);
    assert!(!bench.path("base").exists() && !bench.path("base.partial").exists());
    assert!(!stopped.out.contains("Final"), "{}", stopped.out);
}

#[test]
fn a_base_is_replaced_as_a_whole_or_not_at_all() {
    let bench = Bench::new();
    let first = bench.base();
    let other = bench.run("@other.gguf -f @text.txt -c 16 --chunks 2 --kl-divergence-base @base -v");
    assert_eq!(other.exit, Exit::Done, "{}", other.err);
    assert!(
        other.err.contains("base: will be replaced at the end") && other.err.contains("plan: records"),
        "{}",
        other.err
    );
    let second = std::fs::read(bench.path("base")).unwrap();
    assert!(second.len() == first.len() && second != first && !bench.path("base.partial").exists());
    std::fs::write(bench.path("base.partial"), "").unwrap();
    let busy = bench.run("@model.gguf -f @text.txt -c 16 --chunks 2 --kl-divergence-base @base");
    assert!(
        busy.exit == Exit::Failed && busy.err.contains("base.partial: an unfinished base is there"),
        "{}",
        busy.err
    );
    assert!(std::fs::read(bench.path("base")).unwrap() == second && bench.path("base.partial").exists());
}

#[test]
fn misuse_is_told_with_what_helps() {
    let bench = Bench::new();
    let short = bench.path("short.txt");
    std::fs::write(&short, "too short a text").unwrap();
    std::fs::write(bench.path("other.txt"), "Another text, of which the base was not made. ".repeat(9)).unwrap();
    let no_vocabulary = TinyPhi3 { vocabulary: phi_testkit::Vocabulary::None, ..TinyPhi3::default() };
    std::fs::write(bench.path("wordless.gguf"), no_vocabulary.gguf().bytes()).unwrap();
    let byte_level = TinyPhi3 { n_vocab: 263, vocabulary: phi_testkit::Vocabulary::None, ..TinyPhi3::default() };
    std::fs::write(bench.path("larger.gguf"), byte_level.gguf().bytes()).unwrap();
    bench.base();
    let saved = bench.run("@model.gguf -f @text.txt -c 16 --chunks 3 --kl-divergence-base @long");
    assert_eq!(saved.exit, Exit::Done, "{}", saved.err);
    std::fs::write(bench.path("cut"), &std::fs::read(bench.path("long")).unwrap()[..9000]).unwrap();
    let cases: &[(&str, Exit, &[&str])] = &[
        ("@wordless.gguf -f @text.txt", Exit::Failed, &["wordless.gguf", "no_vocab", "no vocabulary"]),
        ("@model.gguf -f @short.txt -c 16", Exit::Failed, &["the text has 1", "at least 32", "hint: `-c "]),
        ("@model.gguf -f @text.txt -c 2", Exit::Misused, &["chunks of 2 tokens are too short", "at least 3"]),
        ("@model.gguf -f @missing.txt", Exit::Failed, &["missing.txt: cannot read the text"]),
        ("@model.gguf -f @text.txt --chunks 0", Exit::Misused, &["--chunks"]),
        ("@model.gguf -f @text.txt --ppl-stride 64", Exit::Misused, &["--ppl-stride", "hint: "]),
        ("@model.gguf -f @text.txt --kl-divergence", Exit::Misused, &["--kl-divergence-base"]),
        ("@model.gguf --kl-divergence --kl-divergence-base @none", Exit::Failed, &["none: open: "]),
        (
            "@model.gguf --kl-divergence --kl-divergence-base @text.txt",
            Exit::Failed,
            &["text.txt: magic: \"All that\"", "at byte 0", "without `--kl-divergence` writes one"],
        ),
        (
            "@model.gguf -f @text.txt -c 16 --kl-divergence-base @model.gguf",
            Exit::Failed,
            &["exists, and is not a base", "another name"],
        ),
        (
            "@model.gguf -f @other.txt --kl-divergence --kl-divergence-base @base",
            Exit::Failed,
            &["base: tokens[", "at byte ", "made of another text", "without `-f`"],
        ),
        (
            "@larger.gguf --kl-divergence --kl-divergence-base @base",
            Exit::Failed,
            &["base: n_vocab: 262, the model has 263", "at byte 12", "the same vocabulary"],
        ),
        (
            "@model.gguf --kl-divergence --kl-divergence-base @cut",
            Exit::Failed,
            &["cut: records: needs bytes 212..", "file ends at 9000", "interrupted", "`--chunks 2`"],
        ),
    ];
    run_cases(cases.iter().map(|case| (case.0, case)), |&(line, exit, parts)| {
        let got = bench.run(line);
        let missing: Vec<_> = parts.iter().filter(|part| !got.err.contains(**part)).collect();
        if got.exit == exit && missing.is_empty() {
            Ok(())
        } else {
            Err(format!("{:?}, missing {missing:?} in {:?}", got.exit, got.err))
        }
    });
    let long = bench.run("@model.gguf -f @text.txt -c 100 --chunks 1");
    assert!(!long.err.contains("trained"), "{}", long.err);
    std::fs::write(bench.path("long.txt"), "It goes on and on. ".repeat(30)).unwrap();
    let long = bench.run("@model.gguf -f @long.txt -c 200 --chunks 1");
    assert!(long.err.contains("warning: ") && long.err.contains("`-c 128`"), "{}", long.err);
    assert_eq!(long.exit, Exit::Done);
}

fn read(bytes: &[u8]) -> Result<BaseReader<Cursor<&[u8]>>, BaseError> {
    BaseReader::new(Cursor::new(bytes), N_VOCAB, None)
}

#[test]
fn a_base_that_is_cut_is_refused() {
    let bench = Bench::new();
    let bytes = bench.base();
    assert_eq!(bytes.len(), 20 + 4 * 2 * N_CTX + 2 * 7 * (8 + 2 * N_VOCAB));
    assert_eq!(read(&bytes).unwrap().tokens().len(), 2 * N_CTX);
    for len in (0..400).chain((400..bytes.len()).step_by(53)).chain([bytes.len() - 1]) {
        let error = read(&bytes[..len]).err().unwrap_or_else(|| panic!("{len} bytes were enough"));
        let magic = matches!(error.problem, BaseProblem::Magic(_));
        let cut_off = matches!(error.problem, BaseProblem::CutOff { file_end, .. } if file_end == len as u64);
        assert!(if len < 8 { magic } else { cut_off }, "{len}: {error}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(read(&longer).unwrap_err().problem, BaseProblem::Trailing(1)));
}

#[test]
fn every_lie_of_a_base_has_its_error() {
    let bench = Bench::new();
    let bytes = bench.base();
    let with = |at: usize, value: [u8; 4]| {
        let mut bytes = bytes.clone();
        bytes[at..at + 4].copy_from_slice(&value);
        bytes
    };
    let int = |at, value: i32| with(at, value.to_le_bytes());
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("magic", with(0, *b"GGUF"), "magic at 0: \"GGUFits_\", expected \"_logits_\""),
        ("n_ctx negative", int(8, -1), "n_ctx at 8: -1, expected at least 3"),
        ("n_ctx nothing to score", int(8, 2), "n_ctx at 8: 2, expected at least 3"),
        ("n_ctx huge", int(8, i32::MAX), "tokens at 20: needs bytes 20..17179869196, file ends at"),
        ("n_ctx larger", int(8, 17), "records at 156: needs bytes 156.."),
        ("n_vocab other", int(12, 263), "n_vocab at 12: 263, the model has 262"),
        ("n_vocab zero", int(12, 0), "n_vocab at 12: 0, expected at least 1"),
        ("n_chunk zero", int(16, 0), "n_chunk at 16: 0, expected at least 1"),
        ("n_chunk huge", int(16, i32::MAX), "tokens at 20: needs bytes"),
        ("n_chunk fewer", int(16, 1), "end at 3808: expected the end of the file"),
        ("token negative", int(20 + 4 * 5, -7), "tokens[5] at 40: -7 is not in the vocabulary of 262"),
        ("token too large", int(20 + 4 * 31, 262), "tokens[31] at 144: 262 is not in the vocabulary of 262"),
    ];
    run_cases(cases.into_iter().map(|(name, bytes, want)| (name, (bytes, want))), |(bytes, want)| {
        let error = read(&bytes).err().ok_or("was read")?.to_string();
        if error.starts_with(want) { Ok(()) } else { Err(format!("{error}, expected {want}")) }
    });
    // Records are looked at when their turn comes.
    let record = 148 + 9 * (8 + 2 * N_VOCAB);
    for (at, value, field) in
        [(record, f32::NAN, "scale"), (record, -1.0, "scale"), (record + 4, f32::INFINITY, "floor")]
    {
        std::fs::write(bench.path("bad"), with(at, value.to_le_bytes())).unwrap();
        let run = bench.run("@model.gguf --kl-divergence --kl-divergence-base @bad");
        let field = format!("bad: chunk[1].row[2].{field}: ");
        assert!(run.exit == Exit::Failed && run.err.contains(&field), "{field} in {}", run.err);
    }
    // Whatever the records say, nothing breaks.
    for seed in 1..40_u8 {
        let mut bytes = bytes.clone();
        for (i, byte) in bytes[148..].iter_mut().enumerate() {
            *byte ^= (i as u8).wrapping_mul(seed).wrapping_add(i.wrapping_mul(i) as u8);
        }
        std::fs::write(bench.path("bad"), bytes).unwrap();
        let exit = bench.run("@model.gguf --kl-divergence --kl-divergence-base @bad").exit;
        assert!(matches!(exit, Exit::Done | Exit::Failed), "{exit:?}");
    }
}

#[test]
fn a_text_that_differs_is_noticed() {
    let bytes = Bench::new().base();
    let base = read(&bytes).unwrap();
    let mut tokens = base.tokens().to_vec();
    assert!(base.check_text(&tokens).is_ok());
    tokens.push(TokenId(5));
    assert!(base.check_text(&tokens).is_ok(), "a base may be of the text's beginning");
    tokens[20] = TokenId(3);
    assert_eq!(base.check_text(&tokens).unwrap_err().field, "tokens[20]");
    let short = base.check_text(&base.tokens()[..30]).unwrap_err();
    assert!(matches!(short.problem, BaseProblem::OtherText { text: None, .. }) && short.field == "tokens[30]");
}

#[test]
fn help_has_examples() {
    let bench = Bench::new();
    let help = bench.run("--help");
    assert_eq!(help.exit, Exit::Done);
    for part in ["phi-run perplexity", "--kl-divergence-base", "--chunks", "wiki.test.raw"] {
        assert!(help.out.contains(part), "{part}");
    }
}

//! `phi-run bench`: its rows, in every format. What the figures are is the machine's business.

use std::path::Path;

use phi_cli::Exit;
use phi_testkit::run_cases;
use phi_tests::fixture;
use phi_tests::programs::{Ran, phi_run, phi_run_interrupted};
use serde_json::Value;

/// Peaks take a second and half a gigabyte, so that only one test measures them.
fn bench(args: &[&str]) -> Ran {
    with_peaks(&[args, &["--no-peaks"]].concat())
}

fn with_peaks(args: &[&str]) -> Ran {
    phi_run([&["bench"], args].concat())
}

/// Rows as JSON, of a run that has to succeed.
fn rows(args: &[&str]) -> Vec<Value> {
    let run = bench(&[args, &["-o", "json"]].concat());
    assert_eq!(run.exit, Exit::Done, "{}", run.err);
    serde_json::from_str(&run.out).unwrap_or_else(|e| panic!("{e}: {}", run.out))
}

fn names(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["test"].as_str().expect("every row has a name")).collect()
}

const TINY: [&str; 8] = ["-p", "8", "-n", "4", "-r", "2", "-t", "1"];

/// Lines of CSV; no field of ours has a line end in it.
fn csv(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => fields.last_mut().unwrap().extend(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields.last_mut().unwrap().push(c),
        }
    }
    fields
}

#[test]
fn json_rows_have_llama_benchs_fields_and_samples() {
    let rows = rows(&TINY);
    assert_eq!(names(&rows), ["pp8", "tg4"]);
    for row in &rows {
        let text = ["build_commit", "cpu_info", "model_filename", "model_type", "backends", "type_k", "type_v", "isa"];
        assert!(text.iter().all(|name| row[name].is_string()), "{row}");
        let number = ["model_size", "model_n_params", "n_batch", "n_ubatch", "n_threads", "avg_ns", "stddev_ns"];
        assert!(number.iter().all(|name| row[name].is_u64()), "{row}");
        assert!(["avg_ts", "stddev_ts"].iter().all(|name| row[name].is_f64()), "{row}");
        assert_eq!(
            row["n_prompt"].as_u64().unwrap() + row["n_gen"].as_u64().unwrap(),
            if row["n_gen"] == 0 { 8 } else { 4 }
        );
        let time = row["test_time"].as_str().unwrap();
        assert!(time.len() == 20 && time.starts_with("20") && time.ends_with('Z'), "{time}");
        let list = |name: &str| row[name].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect::<Vec<_>>();
        let (ns, ts) = (list("samples_ns"), list("samples_ts"));
        assert_eq!((ns.len(), ts.len()), (2, 2));
        let tokens = if row["n_gen"] == 0 { 8.0 } else { 4.0 };
        assert!((ts[0] * ns[0] / 1e9 - tokens).abs() < 1e-3, "{row}");
        assert!(((ts[0] + ts[1]) / 2.0 - row["avg_ts"].as_f64().unwrap()).abs() < 1e-5, "{row}");
    }
    // The embedded model, as llama-bench counts it.
    assert_eq!((&rows[0]["model_size"], &rows[0]["model_n_params"]), (&3_908_608.into(), &3_672_320.into()));
    assert_eq!(rows[0]["model_filename"], "phi-tiny");
    assert!(rows[0]["model_type"].as_str().unwrap().starts_with("phi3 "), "{}", rows[0]);
    // A prompt multiplies, generation reads.
    assert!(rows[0]["gmac_per_s"].is_f64() && rows[0]["gb_per_s"].is_null(), "{}", rows[0]);
    assert!(rows[1]["gmac_per_s"].is_null() && rows[1]["gb_per_s"].is_f64(), "{}", rows[1]);
}

#[test]
fn every_format_says_the_same() {
    let fields: Vec<String> = {
        let out = bench(&[&TINY[..], &["-o", "csv"]].concat()).out;
        let lines: Vec<_> = out.lines().map(csv).collect();
        let [header, pp, tg] = &lines[..] else { panic!("{out}") };
        assert!(pp.len() == header.len() && tg.len() == header.len(), "{out}");
        let at = |name: &str| header.iter().position(|field| field == name).unwrap();
        assert_eq!([&pp[at("test")], &pp[at("n_prompt")], &tg[at("n_gen")]], ["pp8", "8", "4"]);
        assert!(pp[at("avg_ts")].parse::<f64>().is_ok() && pp[at("gb_per_s")].is_empty(), "{out}");
        header.clone()
    };
    let jsonl = bench(&[&TINY[..], &["-o", "jsonl"]].concat()).out;
    let lines: Vec<Value> = jsonl.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(names(&lines), ["pp8", "tg4"]);
    for line in &lines {
        let object = line.as_object().unwrap();
        assert_eq!(object.len(), fields.len() + 2, "the fields of CSV, and two lists of samples");
        assert!(fields.iter().all(|field| object.contains_key(field)), "{line}");
    }
    let sql = bench(&[&TINY[..], &["-o", "sql"]].concat()).out;
    assert!(sql.starts_with("CREATE TABLE IF NOT EXISTS phi_bench (\n  build_commit TEXT,\n"), "{sql}");
    let table = sql.split_once(");").unwrap().0;
    assert_eq!(table.lines().skip(1).count(), fields.len());
    let inserts: Vec<_> =
        sql.lines().filter(|line| line.starts_with("INSERT INTO phi_bench (build_commit, ")).collect();
    assert_eq!(inserts.len(), 2);
    for insert in inserts {
        let (_, values) = insert.split_once(") VALUES (").unwrap();
        // No value of ours has this in it.
        assert_eq!(values.trim_end_matches(");").split(", ").count(), fields.len(), "{insert}");
        assert!(values.contains("'phi-tiny'") && values.contains(", NULL, "), "{insert}");
    }
    let md = bench(&TINY).out;
    let table: Vec<Vec<_>> =
        md.lines().filter(|line| line.starts_with('|')).map(|line| line.split('|').collect()).collect();
    assert_eq!(table.len(), 4, "{md}");
    assert!(table.iter().all(|row| row.len() == table[0].len()), "{md}");
    let at = |name: &str| table[0].iter().position(|cell| cell.trim() == name).unwrap();
    assert_eq!([table[2][at("test")].trim(), table[3][at("test")].trim()], ["pp8", "tg4"]);
    assert!(table[2][at("t/s")].contains(" ± ") && md.contains("\nbuild: "), "{md}");
}

#[test]
fn lists_and_repeated_options_make_a_grid() {
    let grid = rows(&["-p", "4,8", "-n", "0", "-n", "2", "-d", "0,16", "-r", "1", "-t", "1"]);
    assert_eq!(names(&grid), ["pp4", "pp8", "tg2", "pp4 @ d16", "pp8 @ d16", "tg2 @ d16"]);
    let ranges = rows(&["-p", "2-8*2", "-n", "1-3", "-pg", "4,2", "-r", "1", "-t", "1", "--no-warmup"]);
    assert_eq!(names(&ranges), ["pp2", "pp4", "pp8", "tg1", "tg2", "tg3", "pp4+tg2"]);
    assert!(ranges[6]["gb_per_s"].is_null() && ranges[6]["gmac_per_s"].is_null(), "{}", ranges[6]);
    let grid = rows(&["-p", "4", "-n", "0", "-ub", "2,4", "-ctk", "f16,q8_0", "-ctv", "f32", "-t", "1,2", "-r", "1"]);
    let of = |row: &Value| format!("{} {} {} {}", row["n_ubatch"], row["type_k"], row["type_v"], row["n_threads"]);
    let shown: Vec<_> = grid.iter().map(of).collect();
    let want = [2, 4].map(|ub| ["f16", "q8_0"].map(|k| [1, 2].map(|t| format!("{ub} \"{k}\" \"f32\" {t}"))));
    assert_eq!(shown, want.as_flattened().as_flattened());
    let kv = rows(&["-p", "0", "-n", "2", "--kv", "f16,q4_0", "-r", "1", "-t", "1", "--isa", "scalar"]);
    let types: Vec<_> = kv.iter().flat_map(|row| [&row["type_k"], &row["type_v"]]).collect();
    assert_eq!(types, ["f16", "f16", "q4_0", "q4_0"]);
    assert!(kv.iter().all(|row| row["isa"] == "scalar"));
}

#[test]
fn random_weights_need_no_file() {
    let config = fixture("phi3-longrope").join("config.json");
    let config = config.to_str().expect("the workspace has a plain path");
    let folder = Path::new(config).parent().unwrap().to_str().unwrap();
    let models = [format!("{config}:F16"), format!("{folder}:f32")];
    for model in &models {
        let rows = rows(&[model, "-p", "4", "-n", "2", "-r", "1", "-t", "1"]);
        assert_eq!(names(&rows), ["pp4", "tg2"]);
        assert!(rows[0]["model_filename"].as_str().unwrap().ends_with(", random weights"), "{}", rows[0]);
    }
    // All rows of the embedding are there, but of the layers one.
    let known = rows(&["phi-3-mini:Q4_0", "--layers", "1", "-p", "2", "-n", "0", "-r", "1", "--no-warmup"]);
    assert_eq!(known[0]["model_filename"], "phi-3-mini-4k:Q4_0, random weights");
    assert_eq!(known[0]["model_n_params"], 2 * 32_064 * 3072 + 4 * 3072 * 3072 + 3 * 3072 * 8192 + 3 * 3072);
}

#[test]
fn a_context_beyond_the_original_one_is_no_surprise() {
    // The original context of this one has 256 positions.
    let config = fixture("phi3-longrope").join("config.json");
    let model = format!("{}:F32", config.to_str().expect("the workspace has a plain path"));
    let rows = rows(&[&model, "-p", "8", "-n", "4", "-d", "250", "-r", "1", "-t", "1", "--no-warmup"]);
    assert_eq!(names(&rows), ["pp8 @ d250", "tg4 @ d250"]);
}

#[test]
fn the_machine_is_measured_unless_not_wanted() {
    let run = with_peaks(&["-p", "0", "-n", "2", "-r", "1", "-t", "1", "-o", "jsonl"]);
    let row: Value = serde_json::from_str(&run.out).expect("one row");
    assert!(row["peak_gb_per_s"].as_f64().is_some_and(|x| x > 0.0), "{row}");
    assert!(row["percent_of_peak"].as_f64().is_some_and(|x| x > 0.0), "{row}");
    let without = &rows(&["-p", "0", "-n", "2", "-r", "1", "-t", "1"])[0];
    assert!(without["peak_gb_per_s"].is_null() && without["percent_of_peak"].is_null(), "{without}");
}

#[test]
fn what_is_wrong_is_said_before_anything_is_measured() {
    let cases: &[(&[&str], Exit, &[&str])] = &[
        (&["-p", "0", "-n", "0"], Exit::Misused, &["nothing to measure", "hint: "]),
        (&["-p", "x"], Exit::Misused, &["`x` is not a whole number"]),
        (&["-p", "8-4"], Exit::Misused, &["`8-4` leads nowhere"]),
        (&["-t", "1,0"], Exit::Misused, &["-t: must not be 0"]),
        (&["-r", "0"], Exit::Misused, &["--repetitions"]),
        (&["-pg", "4"], Exit::Misused, &["such as `512,128`"]),
        (&["-o", "xml"], Exit::Misused, &["jsonl"]),
        (&["-ctk", "q5_0"], Exit::Misused, &["f32, f16, q8_0 or q4_0"]),
        (&["--kv", "f16", "-ctk", "f16"], Exit::Misused, &["cannot be used with"]),
        (&["--isa", "auto,avx1024"], Exit::Misused, &["--isa: `avx1024` is not available here"]),
        (&["--layers", "2"], Exit::Misused, &["`--layers` is for random weights"]),
        (&["phi-9"], Exit::Misused, &["`phi-9` is neither a file nor a known model", "hint: known are ", "phi-4-mini"]),
        (&["phi-4:Q9"], Exit::Misused, &["`Q9` is not a type", "Q4_K_M"]),
        (&["phi-4:IQ2_XS", "--layers", "1"], Exit::Misused, &["cannot be written yet", "hint: "]),
        (&["phi-4-mini-flash:Q4_0", "--layers", "6"], Exit::Failed, &["num_hidden_layers", "a multiple of 4"]),
        (&["/no/such/model.gguf"], Exit::Failed, &["error: /no/such/model.gguf: open"]),
    ];
    run_cases(cases.iter().map(|case| (format!("{:?}", case.0), case)), |(args, exit, parts)| {
        let run = bench(args);
        let missing: Vec<_> = parts.iter().filter(|part| !run.err.contains(**part)).collect();
        match run.exit == *exit && missing.is_empty() && run.out.is_empty() {
            true => Ok(()),
            false => Err(format!("{:?}, missing {missing:?} in {:?}, stdout {:?}", run.exit, run.err, run.out)),
        }
    });
}

#[test]
fn what_was_measured_stays_readable_when_it_ends_early() {
    let ran = phi_run_interrupted(["bench", "-p", "8", "-o", "json", "--no-peaks"]);
    assert_eq!(ran.exit, Exit::Interrupted);
    let rows: Vec<Value> = serde_json::from_str(&ran.out).expect("an empty list is a list");
    assert_eq!((rows.len(), ran.err.as_str()), (0, "interrupted\n"));
}

#[test]
fn llama_benchs_own_flags_are_accepted_with_a_note() {
    let pasted = ["-ngl", "-1", "-fa", "1", "-nkvo", "0", "-mmp", "0", "-m"];
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("model.gguf");
    std::fs::write(&file, phi_run::PHI_TINY).expect("a place to write");
    let file = file.to_str().expect("temporary folders have plain names");
    let run = bench(&[&pasted[..], &[file, "-p", "4", "-n", "0", "-r", "1", "-b", "2", "-o", "jsonl"]].concat());
    assert_eq!(run.exit, Exit::Done, "{}", run.err);
    assert!(run.err.contains("note: `-ngl`, `-nkvo`, `-fa`, `-mmp`"), "{}", run.err);
    let row: Value = serde_json::from_str(&run.out).expect("one row");
    assert_eq!((row["model_filename"].as_str(), &row["n_batch"]), (Some(file), &2.into()));
}

#[test]
fn help_teaches() {
    let help = bench(&["--help"]);
    assert_eq!(help.exit, Exit::Done);
    for part in ["phi-run bench phi-4-mini:Q4_K_M", "-pg", "[default: 512]", "mean ± standard deviation", "GMAC/s"] {
        assert!(help.out.contains(part), "{part} is not in {}", help.out);
    }
    assert!(!help.out.contains("--n-gpu-layers"), "{}", help.out);
}

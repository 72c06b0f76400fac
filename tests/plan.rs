//! `phi-run plan`: the answer, the tables, what machines read; and that runs keep to it.

use std::path::PathBuf;

use phi_cli::Exit;
use phi_testkit::run_cases;
use phi_tests::models::Converted;
use phi_tests::programs::{Ran, phi_run};
use phi_tests::{fixture, workspace};
use serde_json::Value;

fn plan(args: &[&str]) -> Ran {
    phi_run([&["plan"], args].concat())
}

fn json(args: &[&str]) -> Value {
    let run = plan(&[args, &["--json"]].concat());
    serde_json::from_str(&run.out).unwrap_or_else(|e| panic!("{e}: {} {}", run.out, run.err))
}

#[test]
fn the_answer_comes_first() {
    let small = plan(&["phi-4-mini:Q6_K", "-c", "32k", "--ram", "6580MiB"]);
    assert_eq!(small.exit, Exit::Done, "slow is not no: {}", small.err);
    let lines: Vec<&str> = small.out.lines().collect();
    assert_eq!(lines[0], "phi-4-mini");
    assert!(lines[1].starts_with("Available: 6 580 MiB (6.90 GB), from --ram"), "{}", small.out);
    let line = |name: &str| {
        *lines.iter().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {}", small.out))
    };
    assert!(line("Asked").contains("Q6_K, context 32 768, KV f16") && line("Asked").contains("slow"), "{}", small.out);
    assert!(line("Remedy").contains("--kv q8_0") && line("Remedy").contains("fits"), "{}", small.out);
    assert!(line("Best").contains("fits"), "{}", small.out);
    assert!(line("Longest").contains("fits"), "{}", small.out);
    assert!(lines.iter().any(|line| line.trim_start().starts_with("--ubatch 128")), "{}", small.out);
    assert!(line("weights").contains("3001.6  file-backed"), "{}", small.out);

    let fits = plan(&["phi-4-mini", "--device", "laptop-16gb"]);
    assert!(
        fits.out.contains("fits") && fits.out.contains("at most 1") && !fits.out.contains("Remedy"),
        "{}",
        fits.out
    );
    assert_eq!(fits.exit, Exit::Done);
}

#[test]
fn no_is_an_exit_status_with_a_remedy() {
    let no = plan(&["phi-4:Q4_K_M", "-c", "16k", "--ram", "3GB"]);
    assert_eq!(no.exit, Exit::DoesNotFit, "{}", no.out);
    assert!(no.out.contains("Remedy") && no.err.contains("hint: "), "{}{}", no.out, no.err);
    let nothing = plan(&["phi-4-mini", "--ram", "1MB"]);
    assert_eq!(nothing.exit, Exit::DoesNotFit);
    assert!(nothing.out.contains("the least of the family is "), "{}", nothing.out);
    // Documentation is no question.
    assert_eq!(plan(&["phi-4", "--ram", "1GB", "--table", "md"]).exit, Exit::Done);
}

#[test]
fn json_has_the_keys_of_its_schema() {
    let text = std::fs::read_to_string(fixture("plan.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&text).unwrap();
    let (mini, tiny) = (json(&["phi-4-mini:Q6_K", "-c", "16384", "--kv", "q8_0", "--ram", "6.9GB"]), json(&[]));
    let on_device = json(&["phi-4", "--device", "pi5-16gb", "-ctk", "q8_0"]);
    let n =
        run_cases([("mini", &mini), ("tiny", &tiny), ("device", &on_device)], |object| follows(&schema, object, "$"));
    assert_eq!(n, 3);
    assert_eq!(mini["bytes"]["weights"], 3_147_371_904_u64);
    assert_eq!(mini["bytes"]["kv"], 1_140_850_688_u64);
    assert_eq!(mini["quant"], "Q6_K");
    let bytes = &mini["bytes"];
    let sum: u64 =
        ["weights", "repack", "kv", "compute", "base"].iter().map(|part| bytes[part].as_u64().unwrap()).sum();
    assert_eq!(bytes["total"], sum);
    assert_eq!((&tiny["source"], &tiny["rule"]), (&Value::from("gguf"), &Value::from("file")));
    assert!(on_device["tokens_per_s_bound"].as_f64().unwrap() > 0.5 && mini["tokens_per_s_bound"].is_null());
    // Several models are several objects.
    assert_eq!(json(&["phi-4", "phi-4-mini", "--ram", "64GB"]).as_array().unwrap().len(), 2);
}

/// As much of JSON Schema as the schema uses: `type`, `enum`, `properties`, all of which are required, and no others.
fn follows(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let is = |name: &&str| match *name {
        "object" => value.is_object(),
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("the schema has the type {other}"),
    };
    if !types.iter().any(is) {
        return Err(format!("{at}: {value} is none of {types:?}"));
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        return Err(format!("{at}: {value} is none of {allowed:?}"));
    }
    let (Some(properties), Some(object)) = (schema["properties"].as_object(), value.as_object()) else { return Ok(()) };
    if let Some(extra) = object.keys().find(|key| !properties.contains_key(*key)) {
        return Err(format!("{at}: `{extra}` is not in the schema"));
    }
    for (key, schema) in properties {
        let value = object.get(key).ok_or_else(|| format!("{at}: `{key}` is missing"))?;
        follows(schema, value, &format!("{at}.{key}"))?;
    }
    Ok(())
}

#[test]
fn files_folders_configs_and_names_are_planned_alike() {
    let folder = fixture("phi3-base");
    let config = folder.join("config.json");
    let converted = Converted::from(&folder, "F16");
    let of = |path: &PathBuf, tag: &str| json(&[&format!("{}{tag}", path.display()), "-c", "128", "--ram", "1GB"]);
    let file = of(&converted.path(), "");
    for (path, source) in [(&folder, "config"), (&config, "config")] {
        let planned = of(path, ":F16");
        assert_eq!(
            (&planned["bytes"]["kv"], &planned["bytes"]["compute"]),
            (&file["bytes"]["kv"], &file["bytes"]["compute"])
        );
        assert_eq!(planned["bytes"]["weights"], file["bytes"]["weights"]);
        assert_eq!(planned["source"], source);
    }
    assert_eq!((&file["source"], &file["quant"], &file["rule"]), (&"gguf".into(), &"F16".into(), &"file".into()));
    let unknown = plan(&["phi-5"]);
    assert_eq!(unknown.exit, Exit::Misused);
    assert!(
        unknown.err.contains("neither a file nor a known model") && unknown.err.contains("phi-4-mini"),
        "{}",
        unknown.err
    );
    let misspelt = plan(&["phi-4:Q4_X"]);
    assert!(misspelt.exit == Exit::Misused && misspelt.err.contains("Q4_K_M"), "{}", misspelt.err);
}

#[test]
fn tables_and_pictures_are_those_of_the_readme() {
    // Made anew by the same commands with `UPDATE=1` before this test's command.
    let folder = workspace().join("crates/phi-plan");
    let page = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let mut generated = page.clone();
    for name in ["phi-4", "phi-4-mini", "phi-3-small"] {
        let table = plan(&[name, "--table", "md"]).out;
        let (begin, end) = (format!("<!-- phi-run plan {name} --table md -->\n"), "<!-- end -->".to_string());
        let first = generated.find(&begin).unwrap_or_else(|| panic!("no place for the table of {name}")) + begin.len();
        let last = first + generated[first..].find(&end).unwrap();
        generated.replace_range(first..last, &table);

        let picture = folder.join(format!("pictures/{name}.svg"));
        let drawn = tempfile::NamedTempFile::new().unwrap();
        let run = plan(&[name, "--device", "laptop-16gb", "--svg", drawn.path().to_str().unwrap()]);
        assert_eq!(run.exit, Exit::Done, "{}", run.err);
        let drawn = std::fs::read_to_string(drawn.path()).unwrap();
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&picture, &drawn).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&picture).unwrap(), drawn, "{name}");
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(folder.join("README.md"), &generated).unwrap();
    }
    assert_eq!(std::fs::read_to_string(folder.join("README.md")).unwrap(), generated);
}

#[test]
fn csv_and_json_tables_say_the_same() {
    let csv = plan(&["phi-4-mini", "--table", "csv"]).out;
    let json: Value = serde_json::from_str(&plan(&["phi-4-mini", "--table", "json"]).out).unwrap();
    let rows: Vec<Vec<&str>> = csv.lines().skip(1).map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 8 * 7 * 3);
    for (row, object) in rows.iter().zip(json.as_array().unwrap()) {
        assert_eq!(row[1], object["quant"]);
        assert_eq!(row[8].parse::<u64>().unwrap(), object["bytes"]["total"]);
    }
}

#[test]
fn a_run_stays_within_what_it_may_take() {
    let ask = |args: &[&str]| phi_run([&["-p", "What is 17 + 25?", "--temp", "0"], args].concat());
    let free = ask(&[]);
    assert!(free.err.starts_with("plan: weights 3."), "{}", free.err);
    // First smaller batches; the answer is the same but for rounding.
    let less = ask(&["--max-ram", "20MB"]);
    assert_eq!(less.exit, Exit::Done, "{}", less.err);
    assert!(less.err.contains("to stay within 19") && less.err.contains("batches of"), "{}", less.err);
    assert!(less.out.contains("42"));
    let none = ask(&["--max-ram", "5MB"]);
    assert_eq!(none.exit, Exit::DoesNotFit);
    assert!(none.err.contains("--max-ram") && none.err.contains("--shrink-kv"), "{}", none.err);
    // Nothing is asked of the system for a context that it cannot have.
    let huge = ask(&["-c", "1000000000"]);
    assert_eq!(huge.exit, Exit::DoesNotFit, "{}", huge.err);
    assert!(huge.err.contains("available") && huge.err.contains("hint: "), "{}", huge.err);
}

#[test]
fn devices_are_listed() {
    let list = plan(&["--device", "list"]);
    assert!(list.out.contains("pi5-8gb") && list.out.contains("rtx3060-12gb"), "{}", list.out);
    let unknown = plan(&["phi-4", "--device", "pi9"]);
    assert!(unknown.exit == Exit::Misused && unknown.err.contains("pi5-8gb"), "{}", unknown.err);
    let card = plan(&["phi-4:Q4_K_M", "--device", "rtx3060-12gb"]);
    assert!(
        card.out.contains("Card    12 GiB") && card.out.contains("everything, with a context up to"),
        "{}",
        card.out
    );
    let eight = plan(&["phi-4:Q8_0", "--vram", "8GiB", "--ram", "32GB"]);
    assert!(eight.out.contains("of 40 layers and the head"), "{}", eight.out);
}

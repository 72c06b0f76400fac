//! The diagram in `crates/README.md` is a test: which crate may depend on which, and where `unsafe` may stand.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use phi_testkit::run_cases;
use phi_tests::workspace;
use serde_json::Value;

/// Crate, level, what it may depend on, where it may be unsafe. Names without their `phi-`, in the order of the page.
type Line = (&'static str, u32, &'static [&'static str], &'static str);

const ARROWS: &[Line] = &[
    ("tensor", 0, &[], "forbid"),
    ("memory", 0, &[], "forbid"),
    ("cli", 0, &[], "forbid"),
    ("gguf", 1, &["tensor"], "one map"),
    ("quant", 1, &["tensor"], "forbid"),
    ("testkit", 1, &["tensor"], "forbid"),
    (
        "kernels",
        2,
        &["tensor", "quant"],
        "`arch/`, `pool.rs`, `activations.rs`, `attention.rs`, `matmul.rs`, `recurrence.rs`",
    ),
    ("text", 2, &["tensor", "gguf"], "forbid"),
    ("model", 3, &["tensor", "memory", "gguf", "quant", "kernels"], "forbid"),
    ("convert", 3, &["tensor", "gguf", "quant", "text"], "forbid"),
    ("runtime", 4, &["tensor", "memory", "gguf", "quant", "kernels", "text", "model"], "forbid"),
    ("plan", 5, &["tensor", "gguf", "model", "convert", "runtime"], "forbid"),
    ("run", 6, &["quant", "convert", "runtime", "plan", "cli"], "forbid"),
    ("quantize", 6, &["tensor", "gguf", "quant", "convert", "plan", "cli"], "forbid"),
];

/// Packages that use the crates as a stranger would.
const OUTSIDE: [&str; 3] = ["tests", "benches", "examples"];

#[test]
fn every_arrow_is_in_the_table() {
    let packages = packages();
    let n = run_cases(packages.iter().map(|package| (&package.name, package)), |package| {
        if OUTSIDE.contains(&package.name.as_str()) {
            return Ok(());
        }
        let line = ARROWS.iter().find(|(name, ..)| *name == package.name);
        let &(_, _, allowed, _) = line.ok_or("is not in the table")?;
        for (name, kind) in &package.dependencies {
            let of_tests = kind == "dev" && name == "testkit";
            if !of_tests && !allowed.contains(&name.as_str()) {
                return Err(format!("must not depend on phi-{name} ({kind})"));
            }
        }
        Ok(())
    });
    assert_eq!(n, ARROWS.len() + OUTSIDE.len(), "every package is in the table, and the table names no other");
}

#[test]
fn arrows_point_down() {
    let level = |name: &str| ARROWS.iter().find(|(n, ..)| *n == name).map(|(_, level, ..)| *level);
    run_cases(ARROWS.iter().map(|line| (line.0, line)), |&(_, own, allowed, _)| {
        let up = allowed.iter().find(|name| level(name).is_none_or(|other| other >= own));
        up.map_or(Ok(()), |name| Err(format!("phi-{name} is not below level {own}")))
    });
}

#[test]
fn the_page_says_the_same() {
    let page = std::fs::read_to_string(workspace().join("crates/README.md")).expect("crates/README.md is there");
    let (_, section) = page.split_once("## The only allowed arrows").expect("the section is there");
    let lines = section.lines().filter(|line| line.starts_with("| `"));
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_string()).collect::<Vec<_>>();
    let said: Vec<_> = lines.map(cells).collect();
    let want: Vec<_> = ARROWS
        .iter()
        .map(|&(name, level, allowed, unsafe_code)| {
            let allowed = if allowed.is_empty() { "nothing".into() } else { allowed.join(", ") };
            vec![format!("`phi-{name}`"), level.to_string(), allowed, unsafe_code.to_string()]
        })
        .collect();
    assert_eq!(said, want);
}

#[test]
fn unsafe_code_is_where_the_table_says() {
    let packages = packages();
    let inside = packages.iter().filter(|package| !OUTSIDE.contains(&package.name.as_str()));
    run_cases(inside.map(|package| (&package.name, package)), |package| {
        let place = ARROWS.iter().find(|line| line.0 == package.name).map_or("forbid", |line| line.3);
        let src = Path::new(&package.folder).join("src");
        if place == "forbid" {
            let lib = std::fs::read_to_string(src.join("lib.rs")).map_err(|e| e.to_string())?;
            let forbids = lib.contains("#![forbid(unsafe_code)]");
            return if forbids { Ok(()) } else { Err("lib.rs does not forbid unsafe code".into()) };
        }
        let mut found = Vec::new();
        unsafe_files(&src, &mut found);
        let inside =
            |path: &str| place.split(", ").any(|place| path.contains(&format!("/src/{}", place.trim_matches('`'))));
        let outside = |path: &String| if place == "one map" { found.len() > 1 } else { !inside(path) };
        let outside = found.iter().find(|path| outside(path));
        outside.map_or(Ok(()), |path| Err(format!("allows unsafe code in {path}, the table says {place}")))
    });
}

/// Files below `folder` that lift the workspace's ban.
fn unsafe_files(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            unsafe_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source file is text");
            if ["expect(unsafe_code", "allow(unsafe_code"].iter().any(|lift| text.contains(lift)) {
                found.push(path.to_string_lossy().replace('\\', "/"));
            }
        }
    }
}

struct Package {
    /// Without `phi-`.
    name: String,
    folder: String,
    /// Crates of ours, with the kind of the dependency: `normal`, `dev` or `build`.
    dependencies: Vec<(String, String)>,
}

/// What cargo knows about the workspace.
fn packages() -> Vec<Package> {
    let arguments = ["metadata", "--format-version", "1", "--no-deps", "--offline"];
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(workspace()).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo speaks JSON");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let ours = |name: &Value| name.as_str().and_then(|name| name.strip_prefix("phi-")).map(String::from);
    let packages: Vec<Package> = list(&metadata["packages"])
        .iter()
        .map(|package| Package {
            name: ours(&package["name"]).expect("every package here is called phi-something"),
            folder: text(&package["manifest_path"]).trim_end_matches("Cargo.toml").into(),
            dependencies: list(&package["dependencies"])
                .iter()
                .filter_map(|d| Some((ours(&d["name"])?, d["kind"].as_str().unwrap_or("normal").to_string())))
                .collect(),
        })
        .collect();
    let names: BTreeMap<_, _> = packages.iter().map(|package| (&package.name, ())).collect();
    assert_eq!(names.len(), packages.len());
    packages
}

//! The README's table of the family: one line for each published model, made from what is known and what the fixtures show.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use phi_convert::{Config, Known, Layout};
use phi_gguf::Gguf;
use phi_plan::{Asked, Quant, Source, Subject};
use phi_tests::models::{Converted, Oracle, all_logits, exact, ids, max_difference};
use phi_tests::{fixture, workspace};
use serde_json::{Value, json};

/// A published model.
struct Published {
    title: &'static str,
    /// What it is called here; none where only GGUF files of it are published.
    name: Option<&'static str>,
    /// The class that its `config.json` names.
    class: &'static str,
    /// Its chat template among the fixtures.
    template: Option<&'static str>,
}

const fn published(title: &'static str, class: &'static str, name: &'static str, template: &'static str) -> Published {
    Published { title, name: Some(name), class, template: Some(template) }
}

const fn without_template(title: &'static str, class: &'static str, name: &'static str) -> Published {
    Published { title, name: Some(name), class, template: None }
}

const PHI: &str = "PhiForCausalLM";
const PHI3: &str = "Phi3ForCausalLM";
const SMALL: &str = "Phi3SmallForCausalLM";
const MOE: &str = "PhiMoEForCausalLM";
const MULTIMODAL: &str = "Phi4MMForCausalLM";

const FAMILY: &[Published] = &[
    without_template("Phi-1", PHI, "phi-1"),
    without_template("Phi-1.5", PHI, "phi-1.5"),
    without_template("Phi-2", PHI, "phi-2"),
    published("Phi-3-mini-4k", PHI3, "phi-3-mini-4k", "phi-3.5"),
    published("Phi-3-mini-128k", PHI3, "phi-3-mini-128k", "phi-3.5"),
    published("Phi-3-small-8k", SMALL, "phi-3-small-8k", "phi-3-small"),
    published("Phi-3-small-128k", SMALL, "phi-3-small-128k", "phi-3-small"),
    published("Phi-3-medium-4k", PHI3, "phi-3-medium-4k", "phi-3-medium"),
    published("Phi-3-medium-128k", PHI3, "phi-3-medium-128k", "phi-3-medium"),
    published("Phi-3.5-mini", PHI3, "phi-3.5-mini", "phi-3.5"),
    published("Phi-3.5-MoE", MOE, "phi-3.5-moe", "phi-3.5"),
    published("Phi-mini-MoE", MOE, "phi-mini-moe", "phi-3.5"),
    published("Phi-tiny-MoE", MOE, "phi-tiny-moe", "phi-3.5"),
    published("Phi-4", PHI3, "phi-4", "phi-4"),
    published("Phi-4-reasoning", PHI3, "phi-4-reasoning", "phi-4-reasoning"),
    published("Phi-4-reasoning-plus", PHI3, "phi-4-reasoning-plus", "phi-4-reasoning"),
    published("Phi-4-mini", PHI3, "phi-4-mini", "phi-4-mini"),
    published("Phi-4-mini-reasoning", PHI3, "phi-4-mini-reasoning", "phi-4-mini-reasoning"),
    published("Phi-4-multimodal, its text decoder", MULTIMODAL, "phi-4-multimodal", "phi-4-mini"),
    published("Phi-4-mini-flash-reasoning", "Phi4FlashForCausalLM", "phi-4-mini-flash-reasoning", "phi-4-mini"),
    Published { title: "Phi-4 as `llama` (Unsloth)", name: None, class: "llama", template: Some("phi-4") },
];

/// Who computed the logits of an architecture's fixtures.
fn oracle(arch: &str) -> &'static str {
    match arch {
        "llama" | "phi2" | "phi3" | "phimoe" => "transformers",
        "phi3small" | "phi4flash" => "its equations in f64",
        other => panic!("who computed the logits of `{other}`?"),
    }
}

/// As in `generation.rs`: logits are below 6 in magnitude.
const TOLERANCE: f32 = 1e-4;

/// A fixture that was converted and computed what its oracle did.
struct Shown {
    name: String,
    traits: BTreeSet<&'static str>,
}

/// Branches beside each linear: a folder of another layout, of which only a fixture of that layout says something.
const BRANCHES: &str = "LoRA branches";

/// What sets one model of an architecture apart from another, beside its sizes.
fn traits(config: &Value) -> BTreeSet<&'static str> {
    let ropes = ["rope_parameters", "rope_scaling"].map(|name| &config[name]);
    let kind = |rope: &&Value| rope["rope_type"].as_str().or(rope["type"].as_str()).unwrap_or("default").to_string();
    let partial = [config, ropes[0], ropes[1]].iter().find_map(|at| at["partial_rotary_factor"].as_f64());
    let window = config["sliding_window"].as_u64().zip(config["max_position_embeddings"].as_u64());
    let all = [
        (BRANCHES, config["architectures"][0] == MULTIMODAL),
        ("longrope", ropes.iter().any(|rope| kind(rope) != "default")),
        ("partial rotation", partial.is_some_and(|partial| partial < 1.0)),
        ("tied", config["tie_word_embeddings"] == true),
        ("window", window.is_some_and(|(window, context)| window < context)),
    ];
    all.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
}

/// Converts a fixture, runs it, and compares; `None` where the folder is none of ours.
fn show(folder: &Path) -> Option<(String, Shown)> {
    let name = folder.file_name()?.to_str()?.to_string();
    let config = folder.join("config.json");
    if !folder.join("expected.json").exists() || !(config.exists() || folder.join("model.gguf").exists()) {
        return None;
    }
    let oracle = Oracle::load(&name);
    let converted = Converted::from(&oracle.source(), "F32");
    let gguf = Gguf::open(&converted.path()).expect("our own file opens");
    let arch: &str = gguf.metadata().get("general.architecture").expect("it says what it is");
    let engine = converted.engine();
    for case in &oracle.cases {
        let got = all_logits(&engine, &ids(&case.tokens), &exact(case.tokens.len().max(512)));
        let want = oracle.logits(case);
        let difference = max_difference(&got[got.len() - want.len()..], &want);
        assert!(difference <= TOLERANCE, "{name}, {}: {difference:e}", case.name);
    }
    assert!(!oracle.cases.is_empty(), "{name}");
    let config = std::fs::read(config).map_or(Value::Null, |text| serde_json::from_slice(&text).expect("JSON"));
    Some((arch.into(), Shown { name, traits: traits(&config) }))
}

/// One line of the table.
fn line(model: &Published, shown: &BTreeMap<String, Vec<Shown>>) -> String {
    // A config with the class that is published: what it is called here may stand for less than the whole folder.
    let known = model.name.map(|name| Known::find(name).expect("every published model is known by name"));
    let config = known.map(|known| {
        let config = known.config().expect("its text is a config");
        let mut json: Value = serde_json::from_str(&config.text()).expect("JSON");
        json["architectures"] = json!([model.class]);
        (config, json)
    });
    let arch = match &config {
        Some((_, json)) => {
            let published = Config::parse("config.json".as_ref(), json.to_string().as_bytes());
            published.and_then(|config| Layout::of(&config)).ok().map(|layout| layout.arch.to_string())
        }
        None => Some(model.class.to_string()),
    };
    let plans = config.as_ref().map(|(config, _)| {
        let subject = Subject::config(config.clone(), model.title, Source::Known);
        subject.is_ok_and(|subject| subject.need(&Asked::new(Quant::of(phi_convert::FileType::Q4_K_M))).is_ok())
    });
    let wanted = config.as_ref().map(|(_, json)| traits(json)).unwrap_or_default();
    let of_arch = arch.as_ref().and_then(|arch| shown.get(arch)).map(Vec::as_slice).unwrap_or_default();
    let layout = |traits: &BTreeSet<&str>| traits.contains(BRANCHES);
    let related = |f: &&Shown| f.traits.is_empty() || !f.traits.is_disjoint(&wanted);
    let ours = |f: &&Shown| layout(&f.traits) == layout(&wanted) && related(f);
    let fixtures: Vec<&Shown> = of_arch.iter().filter(ours).collect();
    let missing: Vec<_> = wanted.iter().filter(|has| !fixtures.iter().any(|f| f.traits.contains(*has))).collect();

    let word = |yes| if yes { "yes" } else { "no" };
    let runs = arch.is_some() && !fixtures.is_empty() && plans != Some(false);
    assert!(!runs || missing.is_empty(), "{}: no fixture has {missing:?}", model.title);
    let converts = if model.name.is_some() { word(arch.is_some() && !fixtures.is_empty()) } else { "is a GGUF" };
    let names: Vec<_> = fixtures.iter().map(|f| format!("`{}`", f.name)).collect();
    let [by, within] = match &arch {
        Some(arch) if runs => [format!("{}: {}", oracle(arch), names.join(", ")), "1e-4".into()],
        _ => ["–".into(), "–".into()],
    };
    if let Some(template) = model.template {
        assert!(fixture("templates").join(format!("{template}.jinja")).exists(), "{template}");
    }
    let template = model.template.map_or("none".into(), |name| format!("`{name}`"));
    let plans = plans.map_or("from its header", word);
    format!("| {} | {converts} | {plans} | {} | {by} | {within} | {template} |\n", model.title, word(runs))
}

#[test]
fn the_family_is_what_the_readme_says() {
    let mut shown: BTreeMap<String, Vec<Shown>> = BTreeMap::new();
    for entry in std::fs::read_dir(fixture("")).expect("the fixtures are there") {
        if let Some((arch, fixture)) = show(&entry.expect("a folder can be read").path()) {
            shown.entry(arch).or_default().push(fixture);
        }
    }
    shown.values_mut().for_each(|all| all.sort_by(|a, b| a.name.cmp(&b.name)));

    let mut table = String::from(
        "| model | converts | plans | runs | logits as those of | within, at F32 | chat template |\n\
         |---|---|---|---|---|---|---|\n",
    );
    FAMILY.iter().for_each(|model| table += &line(model, &shown));
    let path = workspace().join("README.md");
    let page = std::fs::read_to_string(&path).expect("the README is there");
    let (begin, end) = ("<!-- the family: UPDATE=1 cargo test -p phi-tests --test overview -->\n", "<!-- end -->");
    let (before, rest) = page.split_once(begin).expect("a place for the table");
    let (_, after) = rest.split_once(end).expect("its end");
    let generated = format!("{before}{begin}{table}{end}{after}");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &generated).expect("the README can be written");
    }
    assert!(page == generated || std::env::var_os("UPDATE").is_some(), "the table is now:\n{table}");
}

/// Every known name stands for a published model, or for one of its sizes.
#[test]
fn every_known_model_has_a_line() {
    let lines: BTreeSet<_> =
        FAMILY.iter().filter_map(|model| Some(Known::find(model.name?).expect("it is known").name)).collect();
    let known: BTreeSet<_> = Known::all().iter().map(|known| known.name).collect();
    assert_eq!(lines, known);
}

//! Models with experts: what the converter stacks, what a token uses, and what that costs.

use std::path::Path;

use phi_cli::Exit;
use phi_convert::safetensors::{Safetensors, header};
use phi_gguf::Gguf;
use phi_runtime::{Engine, Error};
use phi_testkit::run_cases;
use phi_tests::models::{Converted, Oracle, all_logits, exact, ids, max_difference, session};
use phi_tests::programs::{phi_quantize, phi_run};
use phi_tests::{fixture, text};
use serde_json::Value;

/// Experts, layers, widths of `phimoe`.
const N_EXPERT: usize = 8;
const N_LAYER: usize = 2;
const N_EMBD: usize = 64;
const N_FF: usize = 32;
const N_VOCAB: usize = 96;

/// The parts of an expert: how a GGUF and how the folder calls them, and their rows.
const PARTS: [(&str, &str, usize); 3] = [("gate", "w1", N_FF), ("up", "w3", N_FF), ("down", "w2", N_EMBD)];

fn whole(file: &Safetensors, name: &str) -> Vec<u8> {
    let entry = file.find(name).unwrap_or_else(|| panic!("{name} is in the folder"));
    let mut bytes = vec![0; entry.bytes as usize];
    file.read(entry, 0, &mut bytes).expect("the fixture is whole");
    bytes
}

fn source(layer: usize, expert: usize, part: &str) -> String {
    format!("model.layers.{layer}.block_sparse_moe.experts.{expert}.{part}.weight")
}

#[test]
fn a_stack_has_the_experts_in_order() {
    let folder = fixture("phimoe");
    let converted = Converted::from(&folder, "F32");
    let gguf = Gguf::open(&converted.path()).expect("our own file opens");
    let published = Safetensors::open(&folder.join("model.safetensors")).expect("the fixture is there");
    for layer in 0..N_LAYER {
        for (name, part, rows) in PARTS {
            let name = format!("blk.{layer}.ffn_{name}_exps.weight");
            let info = gguf.find(&name).unwrap_or_else(|| panic!("{name} is in the file"));
            let cols = N_EMBD + N_FF - rows;
            assert_eq!(info.shape.dims(), [N_EXPERT as u64, rows as u64, cols as u64], "{name}");
            let want: Vec<u8> = (0..N_EXPERT).flat_map(|e| whole(&published, &source(layer, e, part))).collect();
            assert!(**gguf.tensor(info).bytes() == want, "{name}");
        }
    }
    // Whatever the type of the others, a router stays as it is; and what nobody else writes is there.
    let coarse = Converted::from(&folder, "Q4_0");
    let coarse = Gguf::open(&coarse.path()).expect("our own file opens");
    assert_eq!(coarse.find("blk.1.ffn_gate_inp.weight").map(|t| t.dtype.name()), Some("F32"));
    assert_eq!(coarse.find("blk.1.ffn_down_exps.weight").map(|t| t.dtype.name()), Some("Q4_0"));
    assert_eq!(coarse.metadata().get::<f32>("phimoe.router_jitter_noise").ok(), Some(0.01));
    assert_eq!(coarse.metadata().get::<f32>("phimoe.rope.scaling.attn_factor").ok(), Some(1.2));
    assert_eq!(coarse.metadata().get::<&str>("general.size_label").ok(), Some("8x51K"));
}

/// Scores so far apart that weights of eight bits pick the same experts. Then rounding does what it does in dense models,
/// whose fixtures are off by 0.1 to 0.3; with softmax in sparsemixer's place the logits are off by more than 0.5, as
/// `phimoe.py` makes sure.
#[test]
fn eight_bits_are_near() {
    let oracle = Oracle::load("phimoe-slim");
    let engine = Converted::from(&oracle.source(), "Q8_0").engine();
    for case in &oracle.cases {
        let difference = max_difference(&all_logits(&engine, &ids(&case.tokens), &exact(64)), &oracle.logits(case));
        assert!(difference <= 0.2, "{}: {difference:e}", case.name);
    }
}

/// Experts are only looked at when a token uses them: of those it does not, numbers that are none do no harm.
#[test]
fn a_token_uses_two_experts() {
    let oracle = Oracle::load("phimoe");
    let converted = Converted::from(&oracle.source(), "F32");
    let gguf = Gguf::open(&converted.path()).expect("our own file opens");
    let file = std::fs::read(converted.path()).expect("it was just written");
    let tokens = ids(&oracle.cases[0].tokens);
    for layer in 0..N_LAYER {
        for (name, _, rows) in PARTS {
            let info = gguf.find(&format!("blk.{layer}.ffn_{name}_exps.weight")).expect("a stack");
            let row_bytes = (info.bytes / (N_EXPERT * rows) as u64) as usize;
            let uses = |expert: usize, tokens: &[phi_runtime::TokenId]| {
                let mut bytes = file.clone();
                // The second row of an expert, which no check at load looks at.
                let at = info.start as usize + (expert * rows + 1) * row_bytes;
                bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
                let engine = Engine::from_bytes(bytes.into()).expect("no check looks at it");
                match session(&engine, &exact(32)).logits_of(tokens, |_| ()) {
                    Ok(()) => false,
                    Err(Error::NonFinite { .. }) => true,
                    Err(error) => panic!("{error}"),
                }
            };
            let used: Vec<usize> = (0..N_EXPERT).filter(|&expert| uses(expert, &tokens[..1])).collect();
            assert_eq!(used.len(), 2, "layer {layer}, {name}: {used:?}");
            // More tokens use more experts, and one that is used by any is used.
            let by_all: Vec<usize> = (0..N_EXPERT).filter(|&expert| uses(expert, &tokens)).collect();
            assert!(by_all.len() > 2 && used.iter().all(|e| by_all.contains(e)), "{used:?}, {by_all:?}");
        }
    }
}

#[test]
fn costs_are_those_of_two_experts() {
    let oracle = Oracle::load("phimoe");
    let engine = Converted::from(&oracle.source(), "F32").engine();
    let expert = 3 * N_FF * N_EMBD;
    let attention = 2 * N_EMBD * N_EMBD + 2 * N_EMBD * N_EMBD / 2;
    let layers = N_LAYER * (attention + N_EXPERT * N_EMBD + 2 * expert);
    let head = N_VOCAB * N_EMBD;
    assert_eq!(engine.prompt_macs(1), (layers + head) as u64);
    assert_eq!(engine.prompt_macs(10), (10 * layers + head) as u64);
    let plan = engine.plan(&exact(64)).expect("the options fit");
    let idle = N_LAYER * (N_EXPERT - 2) * expert;
    let unread = idle + (N_VOCAB - 1) * N_EMBD;
    // Keys and values of two heads of 16, in each layer.
    let cached = N_LAYER * 2 * 2 * 16;
    assert_eq!(engine.token_bytes(&plan, 0), plan.weight_bytes() + 4 * cached as u64 - 4 * unread as u64);
}

/// Stacks pass through every tool as matrices do.
#[test]
fn tools_take_stacks() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| dir.path().join(name);
    let folder = fixture("phimoe");
    let done = |args: &[&str]| phi_quantize(args).done();
    let (f32, q8, again) = (path("f32.gguf"), path("q8.gguf"), path("again.gguf"));
    done(&[text(&folder), text(&f32), "F32"]);
    done(&[text(&folder), text(&q8), "Q8_0"]);
    // From the folder and from a GGUF: the same file, but for how it says where it is from.
    done(&[text(&f32), text(&again), "Q8_0"]);
    let [one, two] = [&q8, &again].map(|path| Gguf::open(path).expect("our own file opens"));
    assert_eq!(one.tensors().len(), two.tensors().len());
    for info in one.tensors() {
        let other = two.find(&info.name).expect("both have it");
        assert!(**one.tensor(info).bytes() == **two.tensor(other).bytes(), "{}", info.name);
    }

    let listed: Value = serde_json::from_str(&done(&["inspect", text(&q8), "--tensors", "--json"])).expect("JSON");
    let tensors = listed["tensors"].as_array().expect("a list");
    let stack = tensors.iter().find(|t| t["name"] == "blk.1.ffn_up_exps.weight").expect("a stack");
    assert_eq!((&stack["shape"], &stack["type"]), (&serde_json::json!([8, 32, 64]), &"Q8_0".into()));
    assert_eq!(stack["bytes"], (N_EXPERT * N_FF * N_EMBD / 32 * 34) as u64);

    done(&["check", text(&q8)]);
    done(&["check", text(&folder)]);
    let same: Value = serde_json::from_str(&done(&["compare", text(&folder), text(&f32), "--json"])).expect("JSON");
    assert_eq!((&same["ok"], &same["total"]["max"]), (&true.into(), &0.0.into()), "{same}");

    let parts = done(&["split", text(&q8), text(&path("part")), "--split-max-tensors", "9"]);
    let parts: Vec<&str> = parts.lines().collect();
    assert!(parts.len() > 3, "{parts:?}");
    let tokens = ids(&Oracle::load("phimoe").cases[0].tokens);
    let [whole, split] = [text(&q8), parts[0]].map(|path| {
        let engine = Engine::open(Path::new(path)).expect("it is a model");
        all_logits(&engine, &tokens, &exact(64))
    });
    assert!(whole == split);
    done(&["merge", parts[0], text(&path("merged.gguf"))]);
    assert!(std::fs::read(path("merged.gguf")).expect("it was written") == std::fs::read(&q8).expect("it is there"));
}

#[test]
fn folders_with_other_experts_are_refused() {
    let folder = fixture("phimoe");
    let published = Safetensors::open(&folder.join("model.safetensors")).expect("the fixture is there");
    let config = std::fs::read_to_string(folder.join("config.json")).expect("the fixture is there");
    // The folder without one tensor, with another in F16, and with another config.
    let converted = |without: &str, half: &str, from: &str, to: &str| {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let kept: Vec<_> = published.tensors().iter().filter(|t| t.name != without).collect();
        let f16 = phi_convert::safetensors::Number::of(phi_tensor::DType::F16).expect("a number");
        let dtype = |name: &str, as_is| if name == half { f16 } else { as_is };
        let about = kept.iter().map(|t| (t.name.as_str(), dtype(&t.name, t.dtype), t.shape.as_slice()));
        let mut bytes = header(about).expect("a small file");
        for t in &kept {
            let values = whole(&published, &t.name);
            bytes.extend(if t.name == half { vec![0; values.len() / 2] } else { values });
        }
        std::fs::write(dir.path().join("model.safetensors"), bytes).expect("a place to write");
        assert!(config.contains(from), "{from}");
        std::fs::write(dir.path().join("config.json"), config.replace(from, to)).expect("a place to write");
        let out = dir.path().join("out.gguf");
        let ran = phi_quantize([text(dir.path()), text(&out), "F32"]);
        assert_eq!((ran.exit, out.exists()), (Exit::Failed, false), "{}", ran.err);
        ran.err
    };
    let (lost, half) = (source(1, 6, "w2"), source(0, 3, "w3"));
    let experts = |n: u32| format!("\"num_local_experts\": {n}");
    let same = experts(8);
    let rows = [
        ("an expert is lost", lost.as_str(), "", same.clone(), same.clone(), format!("\"{lost}\": missing")),
        ("another type", "", half.as_str(), same.clone(), same.clone(), format!("{half}.dtype: F16, expected F32")),
        ("an expert more", "", "", same.clone(), experts(9), "block_sparse_moe.gate.weight.shape".into()),
        ("a single expert", "", "", same.clone(), experts(1), "num_local_experts: 1, expected at least 2".into()),
        (
            "three at a time",
            "",
            "",
            "\"num_experts_per_tok\": 2".into(),
            "\"num_experts_per_tok\": 3".into(),
            "num_experts_per_tok: 3, expected 2".into(),
        ),
        (
            "narrower experts",
            "",
            "",
            "\"intermediate_size\": 32".into(),
            "\"intermediate_size\": 31".into(),
            "experts.0.w1.weight.shape: shape [32, 64], config.json asks for [31, 64]".into(),
        ),
        (
            "two factors",
            "",
            "",
            "\"long_mscale\": 1.2".into(),
            "\"long_mscale\": 1.3".into(),
            "short_mscale: 1.2, expected that of long_mscale, 1.3".into(),
        ),
    ];
    let n = run_cases(rows.iter().map(|row| (row.0, row)), |(_, without, half, from, to, want)| {
        let said = converted(without, half, from, to);
        if said.contains(want) { Ok(()) } else { Err(said) }
    });
    assert_eq!(n, rows.len());
}

/// All weights are mapped, and what a token reads of them is what its experts are.
#[test]
fn a_plan_says_what_a_token_reads() {
    let out = phi_run(["plan", "phi-3.5-moe:Q8_0", "-c", "4096", "--ram", "64GB"]).done();
    let line = |name: &str| out.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {out}"));
    // 34 bytes for 32 values, but F32 for norms, biases and routers; 14 of 16 experts are idle.
    let vectors = 32 * (4 * 4096 + 2 * 4096 + 2 * 1024) + 2 * 4096 + 32_064 + 32 * 16 * 4096 + 2 * 64;
    let matrices = 41_873_153_344_u64 + 2 * 64 - vectors;
    let all = matrices / 32 * 34 + vectors * 4;
    let idle = 32 * 14 * 3 * 4096 * 6400 / 32 * 34;
    let mib = |bytes: u64| format!(" {:.1} ", bytes as f64 / f64::from(1 << 20));
    assert!(line("weights").contains(&mib(all)) && line("weights").contains("file-backed"), "{out}");
    let read = line("read for a token");
    assert!(read.contains(&mib(all - idle)) && read.contains("2 of 16 experts"), "{out}");
}

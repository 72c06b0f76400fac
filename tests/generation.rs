//! The model computes what others compute, however the work is cut.

use phi_gguf::{Blueprint, Gguf};
use phi_runtime::{DType, Engine, Error, FactorChoice, Factors, Finish, RunOptions, Sampler, Sampling, TokenId};
use phi_tensor::Shape;
use phi_tests::models::{Converted, Oracle, all_logits, exact, ids, max_difference, session};

/// Logits are below 6 in magnitude; two orders of summing f32 differ by some 1e-5 (tests/fixtures/README.md).
const TOLERANCE: f32 = 1e-4;

const FIXTURES: [&str; 14] = [
    "llama",
    "llama-factors",
    "phi2",
    "phi3-base",
    "phi3-partial-tied",
    "phi3-window",
    "phi3-longrope",
    "phi3-sharded",
    "phi3small-8k",
    "phi3small-128k",
    "phi4flash",
    "phi4mm",
    "phimoe",
    "phimoe-slim",
];

/// Those of transformers, and of Phi-3-small and Phi-4-mini-flash those that their equations give.
#[test]
fn logits_equal_the_oracles() {
    for name in FIXTURES {
        let oracle = Oracle::load(name);
        let engine = Converted::from(&oracle.source(), "F32").engine();
        assert!(!oracle.cases.is_empty());
        for case in &oracle.cases {
            let got = all_logits(&engine, &ids(&case.tokens), &exact(512));
            let want = oracle.logits(case);
            let difference = max_difference(&got[got.len() - want.len()..], &want);
            assert!(difference <= TOLERANCE, "{name}, {}: {difference:e}", case.name);
        }
    }
}

/// Any number of threads: the same bits, whatever the size of batches.
#[test]
fn threads_do_not_show() {
    for name in FIXTURES {
        let oracle = Oracle::load(name);
        let engine = Converted::from(&oracle.source(), "Q8_0").engine();
        let tokens = ids(&oracle.cases.last().unwrap().tokens);
        // Where longrope's choice depends on the length, one-by-one steps must know it from the start.
        let factors = FactorChoice::Always(engine.decoder().rope.factors_for(tokens.len()));
        for (kv, n_batch) in [(DType::F32, 512), (DType::F16, 7), (DType::F16, 1)] {
            let one = RunOptions { k_type: kv, v_type: kv, factors, n_batch, ..exact(512) };
            let want = all_logits(&engine, &tokens, &one);
            for threads in [2, 3] {
                let got = all_logits(&engine, &tokens, &RunOptions { threads, ..one.clone() });
                assert!(got == want, "{name}: batches of {n_batch}, {threads} threads, {kv}");
            }
        }
    }
}

/// Batches of any size, one token at a time: the same but for rounding. Few tokens and many are multiplied by different
/// kernels, whose sums are taken in different orders.
#[test]
fn batches_do_not_show() {
    for name in FIXTURES {
        let oracle = Oracle::load(name);
        let engine = Converted::from(&oracle.source(), "F32").engine();
        let tokens = ids(&oracle.cases.last().unwrap().tokens);
        let factors = FactorChoice::Always(engine.decoder().rope.factors_for(tokens.len()));
        let whole = RunOptions { factors, n_batch: 512, ..exact(512) };
        let want = all_logits(&engine, &tokens, &whole);
        for n_batch in [1, 7, 32] {
            let got = all_logits(&engine, &tokens, &RunOptions { n_batch, ..whole.clone() });
            let difference = max_difference(&got, &want);
            assert!(difference <= TOLERANCE, "{name}: batches of {n_batch}: {difference:e}");
        }
    }
}

#[test]
fn crossing_the_original_context_equals_transformers() {
    for name in ["phi3-longrope", "phimoe"] {
        let oracle = Oracle::load(name);
        let engine = Converted::from(&oracle.folder, "F32").engine();
        assert!(!oracle.generations.is_empty());
        for greedy in &oracle.generations {
            for n_batch in [1, 64, 512] {
                let options = RunOptions { n_batch, all_logits: false, ..exact(512) };
                let got = continuation(&engine, &options, &greedy.prompt, greedy.output_ids.len());
                assert_eq!(got, greedy.output_ids, "{name}, batches of {n_batch}");
            }
            // A choice made once and for all gives another text: the fixture would notice.
            for factors in [Factors::Short, Factors::Long] {
                let options = RunOptions { factors: FactorChoice::Always(factors), ..exact(512) };
                let got = continuation(&engine, &options, &greedy.prompt, greedy.output_ids.len());
                assert_ne!(got, greedy.output_ids, "{name}, {factors:?}");
            }
        }
    }
}

/// After the crossing, the cache is that of a fresh prefill.
#[test]
fn crossing_equals_a_fresh_prefill() {
    let oracle = Oracle::load("phi3-longrope");
    let engine = Converted::from(&oracle.folder, "F32").engine();
    let tokens = ids(&oracle.cases.last().unwrap().tokens);
    let options = RunOptions { all_logits: false, ..exact(512) };
    let mut crossing = session(&engine, &options);
    crossing.prefill(&tokens[..200]).unwrap();
    crossing.prefill(&tokens[200..257]).unwrap();
    let mut fresh = session(&engine, &options);
    fresh.prefill(&tokens[..257]).unwrap();
    let next = |session: &mut phi_runtime::Session<'_>| -> Vec<TokenId> {
        let generation = session.generate(Sampler::new(Sampling::greedy(), 256), 20);
        generation.ignore_stops().map(Result::unwrap).collect()
    };
    assert_eq!(next(&mut crossing), next(&mut fresh));
    // Back below the boundary the short factors are right again.
    crossing.rewind(10);
    crossing.prefill(&tokens[10..200]).unwrap();
    let mut short = session(&engine, &options);
    short.prefill(&tokens[..200]).unwrap();
    assert_eq!(next(&mut crossing), next(&mut short));
}

/// Query, key and value in three tensors, gate and up in two: the same rows, the same bits.
#[test]
fn split_tensors_equal_fused_ones() {
    let oracle = Oracle::load("phi3-partial-tied");
    let converted = Converted::from(&oracle.folder, "F32");
    let engine = converted.engine();
    let d = engine.decoder();
    let (q, kv) = (d.n_head * d.head_dim, d.n_head_kv * d.head_dim);
    let gguf = Gguf::open(&converted.path()).unwrap();

    let mut tensors = Vec::new();
    for info in gguf.tensors() {
        let tensor = gguf.tensor(info);
        let parts: &[(&str, usize)] = match info.name.rsplit('.').nth(1) {
            Some("attn_qkv") => &[("attn_q", q), ("attn_k", kv), ("attn_v", kv)],
            Some("ffn_up") => &[("ffn_gate", d.n_ff), ("ffn_up", d.n_ff)],
            _ => &[],
        };
        if parts.is_empty() {
            tensors.push((info.name.clone(), info.shape, tensor.bytes().to_vec()));
        }
        let mut first = 0;
        for (part, rows) in parts {
            let layer = info.name.split('.').nth(1).unwrap();
            let bytes = tensor.matrix().slice_rows(first, *rows).bytes().to_vec();
            tensors.push((format!("blk.{layer}.{part}.weight"), Shape::matrix(*rows, d.n_embd), bytes));
            first += rows;
        }
    }
    let split = rebuilt(&gguf, tensors);
    let tokens = ids(&oracle.cases[0].tokens);
    assert!(all_logits(&split, &tokens, &exact(64)) == all_logits(&engine, &tokens, &exact(64)));
}

/// Files of 2023 and 2024 have query, key and value in one tensor: the same rows, the same bits.
#[test]
fn fused_tensors_of_phi2_equal_split_ones() {
    let oracle = Oracle::load("phi2");
    let converted = Converted::from(&oracle.folder, "F32");
    let (engine, gguf) = (converted.engine(), Gguf::open(&converted.path()).unwrap());
    let n_embd = engine.decoder().n_embd;
    let mut tensors = Vec::new();
    for info in gguf.tensors() {
        let bytes = |name: &str| gguf.tensor(gguf.find(name).unwrap()).bytes().to_vec();
        match info.name.split_once("attn_q.") {
            Some((layer, kind)) => {
                let all = ["q", "k", "v"].map(|part| bytes(&format!("{layer}attn_{part}.{kind}"))).concat();
                let shape = if kind == "bias" { Shape::vector(3 * n_embd) } else { Shape::matrix(3 * n_embd, n_embd) };
                tensors.push((format!("{layer}attn_qkv.{kind}"), shape, all));
            }
            None if info.name.contains("attn_k.") || info.name.contains("attn_v.") => {}
            None => tensors.push((info.name.clone(), info.shape, bytes(&info.name))),
        }
    }
    let fused = rebuilt(&gguf, tensors);
    assert!(fused.warnings().is_empty(), "{:?}", fused.warnings());
    let tokens = ids(&oracle.cases[0].tokens);
    assert!(all_logits(&fused, &tokens, &exact(64)) == all_logits(&engine, &tokens, &exact(64)));
}

/// A file with the keys of another and these tensors, all F32.
fn rebuilt(gguf: &Gguf, tensors: Vec<(String, Shape, Vec<u8>)>) -> Engine {
    let mut file = Blueprint::new();
    gguf.metadata().entries().iter().for_each(|e| file.set(&e.key, e.value.clone()));
    tensors.iter().for_each(|(name, shape, _)| file.tensor(name, DType::F32, *shape));
    let mut bytes = file.header_bytes();
    for (.., tensor) in tensors {
        bytes.extend(tensor);
        bytes.resize(bytes.len().next_multiple_of(32), 0);
    }
    Engine::from_bytes(bytes.into()).unwrap()
}

/// A weight that is not a number, wherever it hides, ends in an error and never in a token (robustness rows 123 to 125).
#[test]
fn non_finite_logits_stop() {
    let oracle = Oracle::load("phi3-base");
    let converted = Converted::from(&oracle.folder, "F32");
    let gguf = Gguf::open(&converted.path()).unwrap();
    let file = std::fs::read(converted.path()).unwrap();
    for (name, value) in
        [("token_embd.weight", f32::NAN), ("blk.0.ffn_up.weight", f32::INFINITY), ("blk.0.ffn_up.weight", 3.4e38)]
    {
        let info = gguf.find(name).unwrap();
        let mut bytes = file.clone();
        // Row 5, which no check at load looks at.
        let at = info.start as usize + 5 * 64 * 4;
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let engine = Engine::from_bytes(bytes.into()).unwrap();
        let mut session = session(&engine, &exact(32));
        let error = session.prefill(&ids(&[5, 6, 7])).unwrap_err();
        assert!(matches!(error, Error::NonFinite { position: 2 }), "{name} {value}: {error}");
    }
}

/// Numbers too small to be normal are numbers all the same (robustness row 126).
#[test]
fn denormal_norms_give_finite_logits() {
    let oracle = Oracle::load("phi3-base");
    let converted = Converted::from(&oracle.folder, "F32");
    let info = Gguf::open(&converted.path()).unwrap().find("output_norm.weight").unwrap().clone();
    let mut bytes = std::fs::read(converted.path()).unwrap();
    let norm = &mut bytes[info.start as usize..][..info.bytes as usize];
    norm.chunks_exact_mut(4).for_each(|x| x.copy_from_slice(&1e-40_f32.to_le_bytes()));
    let engine = Engine::from_bytes(bytes.into()).unwrap();
    session(&engine, &exact(32)).prefill(&ids(&[5, 6, 7])).unwrap();
}

#[test]
fn a_generation_says_why_it_ends() {
    let oracle = Oracle::load("phi3-base");
    let engine = Converted::from(&oracle.folder, "F16").engine();
    let mut short = session(&engine, &RunOptions { n_ctx: Some(8), ..exact(8) });
    short.prefill(&ids(&[1, 2, 3, 4])).unwrap();
    let mut generation = short.generate(Sampler::new(Sampling::greedy(), 256), 2);
    assert_eq!((generation.by_ref().count(), generation.finish()), (2, Some(Finish::Length)));
    let mut generation = short.generate(Sampler::new(Sampling::greedy(), 256), usize::MAX);
    // Five positions hold tokens; three more can be computed, and one token can be picked after the last.
    assert_eq!((generation.by_ref().count(), generation.finish()), (4, Some(Finish::ContextFull)));
    let error = short.prefill(&ids(&[1])).unwrap_err();
    assert!(matches!(error, Error::ContextFull { needed: 9, n_ctx: 8 }), "{error}");
    let error = short.prefill(&ids(&[256])).unwrap_err();
    assert!(matches!(error, Error::UnknownToken { token: TokenId(256), n_vocab: 256 }), "{error}");
}

/// What is common with the sequence so far is not computed again.
#[test]
fn a_turn_computes_only_what_is_new() {
    let oracle = Oracle::load("phi3-base");
    let engine = Converted::from(&oracle.folder, "F32").engine();
    let tokens = ids(&oracle.cases[0].tokens);
    let go_on = |_| std::ops::ControlFlow::Continue(());
    let mut session = session(&engine, &exact(64));
    session.sync(&tokens[..10], go_on).unwrap();
    assert_eq!(session.prompt_tally().tokens, 10);
    session.sync(&tokens[..14], go_on).unwrap();
    assert_eq!(session.prompt_tally().tokens, 14);
    // The same again: only the last token, for its logits.
    session.sync(&tokens[..14], go_on).unwrap();
    assert_eq!(session.prompt_tally().tokens, 15);
}

fn continuation(engine: &Engine, options: &RunOptions, prompt: &[u32], n: usize) -> Vec<u32> {
    let mut session = session(engine, options);
    session.prefill(&ids(prompt)).unwrap();
    let sampler = Sampler::new(Sampling::greedy(), engine.decoder().n_vocab);
    session.generate(sampler, n).ignore_stops().map(|token| token.unwrap().0).collect()
}

//! A session takes what its plan says: of the heap when it is opened, of memory as its context fills, and nothing more
//! for any token.
//!
//! One test, because the whole process is counted: another one at the same time would count, too.

use std::time::{Duration, Instant};

use phi_runtime::{Bytes, DType, Engine, Plan, Residency, RunOptions, Sampler, Sampling, TokenId, resident};
use phi_testkit::{TinyPhi3, run_cases};
use phi_tests::fixture;
use phi_tests::heap::{self, Counting};
use phi_tests::models::Converted;

#[global_allocator]
static HEAP: Counting = Counting;

/// What may come on top of the plan: lists of the layers and of the threads, and what the system keeps of a thread.
const SPARE_BYTES: i64 = 4 << 10;

const MIB: i64 = 1 << 20;

#[test]
fn a_session_takes_what_its_plan_says() {
    heap::watch_from_here();
    tokens_allocate_nothing();
    the_cache_becomes_resident_as_it_fills();
}

fn tokens_allocate_nothing() {
    let penalized = Sampling { repeat_penalty: 1.1, presence_penalty: 0.1, repeat_last_n: 4096, ..Sampling::default() };
    let all = Sampling { top_k: 0, top_p: 1.0, min_p: 0.0, temp: 2.0, ..penalized.clone() };
    let samplings =
        [("greedy", Sampling::greedy()), ("sampled", Sampling::default()), ("penalized", penalized), ("all", all)];
    let engines = [
        ("phi-tiny, Q8_0", phi_tiny()),
        ("tiny, F32", tiny(&TinyPhi3 { n_ctx: 1024, ..TinyPhi3::default() })),
        ("experts, Q8_0", Converted::from(&fixture("phimoe-slim"), "Q8_0").engine()),
    ];
    let caches = [DType::F16, DType::Q8_0, DType::F16];
    let cases = engines.iter().zip(caches).flat_map(|((name, engine), kv)| {
        [1, 2].map(|threads| (format!("{name}, {threads} threads, cache {kv}"), (engine, kv, threads)))
    });
    let n = run_cases(cases, |(engine, kv, threads)| {
        let options =
            RunOptions { n_ctx: Some(1024), n_batch: 64, k_type: kv, v_type: kv, threads, ..RunOptions::default() };
        let plan = engine.plan(&options).map_err(|e| e.to_string())?;
        let planned = plan.buffer_bytes() as i64;
        let (session, opened) = heap::of_watched_threads(|| engine.session(&plan));
        let mut session = session.map_err(|e| e.to_string())?;
        if !(0..=SPARE_BYTES).contains(&(opened.grown - planned)) {
            return Err(format!("the plan says {planned} bytes, the heap {opened:?}"));
        }

        let (prompt, second) = (tokens(engine, 300), tokens(engine, 150));
        // A thread's first steps are the system's: they are over when some time has passed.
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(100) {
            session.rewind(0);
            session.prefill(&prompt).map_err(|e| e.to_string())?;
        }
        for (name, sampling) in &samplings {
            let sampler = Sampler::new(sampling.clone(), engine.decoder().n_vocab);
            let mut generation = session.generate(sampler, 24).ignore_stops();
            let (tokens, use_of_heap) = heap::of_watched_threads(|| generation.by_ref().filter(Result::is_ok).count());
            if tokens != 24 || use_of_heap.allocations != 0 || use_of_heap.grown != 0 {
                return Err(format!("{name}: {tokens} of 24 tokens, {use_of_heap:?}"));
            }
        }
        let (done, use_of_heap) = heap::of_watched_threads(|| session.prefill(&second));
        done.map_err(|e| e.to_string())?;
        if use_of_heap.allocations != 0 || use_of_heap.grown != 0 {
            return Err(format!("a second prompt: {use_of_heap:?}"));
        }
        Ok(())
    });
    assert_eq!(n, 6);
}

fn the_cache_becomes_resident_as_it_fills() {
    if resident::now().is_none() {
        // Only Linux promises to tell.
        assert_ne!(std::env::consts::OS, "linux");
        return;
    }
    let model = TinyPhi3 { n_layer: 8, n_ctx: 1 << 16, ..TinyPhi3::default() };
    let engine = tiny(&model);
    let f32 = DType::F32;
    let options = RunOptions { n_ctx: Some(0), n_batch: 256, k_type: f32, v_type: f32, ..RunOptions::default() };
    let plan = engine.plan(&options).expect("the options fit the model");
    let before = now();
    let mut session = engine.session(&plan).expect("256 MiB of addresses");
    let opened = now() - before;
    let reserved: i64 = rows(&plan, Residency::Reserved);
    let filled: i64 = rows(&plan, Residency::Filled);
    assert!(reserved > 256 * MIB && filled < 16 * MIB, "{reserved} and {filled} bytes");
    assert!((filled - 2 * MIB..filled + 2 * MIB).contains(&opened), "{opened} bytes, filled are {filled}");

    // What the kernels work in is touched by the first batch.
    let prompt = tokens(&engine, 256);
    session.prefill(&prompt).expect("the tiny model computes");
    let first = now();
    let positions = 1536;
    for _ in 0..positions / 256 {
        session.prefill(&prompt).expect("the tiny model computes");
    }
    let grown = now() - first;
    // Each layer has keys and values of each head, a stretch of pages of its own.
    let stretches = (model.n_layer * 2 * model.n_head_kv) as i64;
    let written = stretches * positions * (model.n_embd / model.n_head * size_of::<f32>()) as i64;
    let rounding = stretches * page_bytes() + MIB;
    assert!((written - rounding..=written + rounding).contains(&grown), "{grown} bytes, written were {written}");
    assert!(grown < reserved / 2, "{grown} bytes of {reserved}");
}

fn rows(plan: &Plan, residency: Residency) -> i64 {
    plan.rows().iter().filter(|row| row.residency == residency).map(|row| row.bytes as i64).sum()
}

fn now() -> i64 {
    resident::now().expect("it was known before") as i64
}

/// The largest page that a first write may bring.
fn page_bytes() -> i64 {
    let huge = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    if huge.is_ok_and(|huge| huge.contains("[always]")) { 2 * MIB } else { 64 << 10 }
}

fn phi_tiny() -> Engine {
    Engine::from_bytes(Bytes::new(phi_run::PHI_TINY)).expect("the model inside the program opens")
}

fn tiny(model: &TinyPhi3) -> Engine {
    Engine::from_bytes(model.gguf().bytes().into()).expect("the tiny model is valid")
}

/// Tokens of which no two neighbours are alike.
fn tokens(engine: &Engine, n: u32) -> Vec<TokenId> {
    (0..n).map(|i| TokenId(i * 7 % engine.decoder().n_vocab as u32)).collect()
}

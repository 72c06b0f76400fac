//! What each architecture makes of a file's keys: those that lie, and those that say something else.

use std::ops::ControlFlow;

use phi_gguf::{Array, Blueprint, Gguf, Value};
use phi_model::{Model, Sizes, State};
use phi_runtime::{DType, Engine, FactorChoice, Factors, RunOptions, Sampler, Sampling, Session, TokenId};
use phi_testkit::run_cases;
use phi_tests::heap::{self, Counting};
use phi_tests::models::{Converted, Oracle, all_logits, exact, ids, max_difference, session};

#[global_allocator]
static HEAP: Counting = Counting;

/// A fixture as a GGUF in F32, with other keys.
fn with_keys(name: &str, keys: &[(&str, Value)]) -> Vec<u8> {
    let converted = Converted::from(&Oracle::load(name).source(), "F32");
    let gguf = Gguf::open(&converted.path()).expect("our own file opens");
    let mut file = Blueprint::of(gguf.header());
    keys.iter().for_each(|(key, value)| file.set(key, value.clone()));
    let mut bytes = file.header_bytes();
    for info in gguf.tensors() {
        bytes.extend_from_slice(gguf.tensor(info).bytes());
        bytes.resize(bytes.len().next_multiple_of(32), 0);
    }
    bytes
}

#[test]
fn keys_that_lie_have_their_answer() {
    let sparse = |name: &str| format!("phi3small.attention.block_sparse.{name}");
    let f32 = Value::F32;
    let ids = |ids: &[i32]| Value::Array(Array::I32(ids.into()));
    let rows: Vec<(&str, String, Value, &str)> = vec![
        ("phi2", "phi2.attention.layer_norm_epsilon".into(), f32(0.0), "must be finite, from"),
        ("phi2", "phi2.feed_forward_length".into(), 64_u32.into(), "blk.0.ffn_up.weight"),
        ("phi2", "phi2.attention.head_count_kv".into(), 2_u32.into(), "blk.0.attn_k.weight"),
        ("phi2", "phi2.rope.dimension_count".into(), 18_u32.into(), "18, exceeds the head size 16"),
        ("phi3small-8k", "phi3small.embedding_scale".into(), f32(f32::INFINITY), "inf, must be finite"),
        ("phi3small-8k", "phi3small.logit_scale".into(), f32(0.0), "0, must be finite, from"),
        ("phi3small-8k", "phi3small.attention.scale".into(), f32(f32::NAN), "NaN, must be finite"),
        ("phi3small-8k", "phi3small.attention.scale".into(), 3_u32.into(), "type u32, expected f32"),
        ("phi3small-8k", "phi3small.feed_forward_limit".into(), f32(-20.0), "-20, must be finite"),
        ("phi3small-8k", "phi3small.feed_forward_length".into(), 95_u32.into(), "shape [192, 64], expected [190, 64]"),
        ("phi3small-8k", "phi3small.masked_token_ids".into(), ids(&[5, 96]), "96, must be from 0 to 95"),
        ("phi3small-8k", "phi3small.masked_token_ids".into(), ids(&[-1]), "-1, must be from 0 to 95"),
        ("phi3small-8k", "phi3small.masked_token_ids".into(), 5_u32.into(), "expected array<i32>"),
        ("phi3small-8k", sparse("block_size"), u32::MAX.into(), "4294967295, exceeds 1048576"),
        ("phi3small-8k", sparse("local_blocks"), 0_u32.into(), "0, must not be 0"),
        ("phi3small-8k", sparse("stride"), 0_u32.into(), "0, must not be 0"),
        ("phi3small-8k", sparse("stride"), u32::MAX.into(), "exceeds 1048576"),
        ("phi3small-8k", sparse("head_shift"), u32::MAX.into(), "exceeds 1048576"),
        ("phi3small-128k", "phi3small.rope.scaling.original_context_length".into(), 1_u32.into(), "must be 2 or more"),
        ("phi4flash", "phi4flash.block_count".into(), 10_u32.into(), "10, must be a multiple of 4"),
        ("phi4flash", "phi4flash.block_count".into(), 8_u32.into(), "blk.6.ssm_in.weight"),
        ("phi4flash", "phi4flash.attention.sliding_window".into(), 0_u32.into(), "0, must not be 0"),
        ("phi4flash", "phi4flash.attention.head_count_kv".into(), 1_u32.into(), "1, must be even"),
        ("phi4flash", "phi4flash.attention.key_length".into(), 300_u32.into(), "pairs of which exceed 512"),
        ("phi4flash", "phi4flash.ssm.state_size".into(), 8_u32.into(), "8, must be a multiple of 16"),
        ("phi4flash", "phi4flash.ssm.state_size".into(), 32_u32.into(), "blk.0.ssm_x.weight"),
        ("phi4flash", "phi4flash.ssm.conv_kernel".into(), 0_u32.into(), "0, must not be 0"),
        ("phi4flash", "phi4flash.ssm.conv_kernel".into(), u32::MAX.into(), "exceeds 64"),
        ("phi4flash", "phi4flash.ssm.inner_size".into(), u32::MAX.into(), "exceeds 1048576"),
        ("phi4flash", "phi4flash.ssm.inner_size".into(), 63_u32.into(), "blk.0.ssm_in.weight"),
        ("phi4flash", "phi4flash.ssm.time_step_rank".into(), u32::MAX.into(), "exceeds 65536"),
        ("phimoe", "phimoe.expert_count".into(), 0_u32.into(), "0, must not be 0"),
        ("phimoe", "phimoe.expert_count".into(), 1_u32.into(), "1, must be 2 or more"),
        ("phimoe", "phimoe.expert_count".into(), 9_u32.into(), "blk.0.ffn_gate_inp.weight"),
        ("phimoe", "phimoe.expert_count".into(), u32::MAX.into(), "4294967295, exceeds 1024"),
        ("phimoe", "phimoe.expert_used_count".into(), 3_u32.into(), "3, must be 2, as sparsemixer picks"),
        ("phimoe", "phimoe.router_jitter_noise".into(), f32(f32::NAN), "NaN, must be finite"),
        ("phimoe", "phimoe.router_jitter_noise".into(), f32(-0.01), "-0.01, must be finite"),
        ("phimoe", "phimoe.feed_forward_length".into(), 64_u32.into(), "shape [8, 32, 64], expected [8, 64, 64]"),
        ("phimoe", "phimoe.attention.layer_norm_rms_epsilon".into(), f32(0.0), "must be finite, from"),
        ("llama", "llama.expert_count".into(), 8_u32.into(), "8, must be 0"),
        ("llama", "llama.rope.scaling.type".into(), "yarn".into(), "yarn, must be \"linear\" or \"none\""),
        ("llama", "llama.attention.layer_norm_rms_epsilon".into(), f32(2.0), "must be finite"),
        ("llama-factors", "llama.attention.key_length".into(), 1024_u32.into(), "exceeds 512"),
        ("llama-factors", "llama.rope.dimension_count".into(), 22_u32.into(), "rope_freqs.weight"),
    ];
    let n = run_cases(rows.iter().map(|row| (format!("{} = {:?}", row.1, row.2), row)), |(name, key, value, want)| {
        match Engine::from_bytes(with_keys(name, &[(key, value.clone())]).into()) {
            Ok(_) => Err("was accepted".into()),
            Err(error) if error.to_string().contains(want) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    });
    assert_eq!(n, rows.len());
}

/// Biases that would make a difference are no leftovers.
#[test]
fn a_llama_with_biases_is_refused() {
    let converted = Converted::from(&Oracle::load("llama").source(), "F32");
    let gguf = Gguf::open(&converted.path()).expect("our own file opens");
    let mut file = Blueprint::of(gguf.header());
    file.tensor("blk.0.attn_q.bias", DType::F32, phi_tensor::Shape::vector(64));
    let mut bytes = file.header_bytes();
    for info in gguf.tensors() {
        bytes.extend_from_slice(gguf.tensor(info).bytes());
        bytes.resize(bytes.len().next_multiple_of(32), 0);
    }
    bytes.resize(bytes.len() + 64 * 4, 0);
    let error = Engine::from_bytes(bytes.into()).err().expect("a bias");
    assert!(
        error.to_string().contains("blk.0.attn_q.bias at ") && error.to_string().contains("not supported"),
        "{error}"
    );
}

/// Positions that count half are those of a rotation with all factors 2.
#[test]
fn stretched_positions_are_factors() {
    let tokens = ids(&Oracle::load("llama").cases[0].tokens);
    let logits = |keys: &[(&str, Value)]| {
        let engine = Engine::from_bytes(with_keys("llama", keys).into()).expect("the keys are right");
        all_logits(&engine, &tokens, &exact(64))
    };
    let plain = logits(&[]);
    let linear =
        logits(&[("llama.rope.scaling.type", "linear".into()), ("llama.rope.scaling.factor", Value::F32(2.0))]);
    assert!(linear == logits(&[("llama.rope.scale_linear", Value::F32(2.0))]));
    assert!(linear == logits(&[("llama.rope.scaling.factor", Value::F32(2.0))]));
    assert!(plain == logits(&[("llama.rope.scaling.type", "none".into())]));
    assert!(
        plain
            == logits(&[("llama.rope.scaling.type", "linear".into()), ("llama.rope.scaling.factor", Value::F32(1.0))])
    );
    assert!(plain != linear);
}

/// Without blocks a file of Phi-3-small is dense, and with all of them near it is, too.
#[test]
fn blocks_may_be_all_or_none() {
    let tokens = ids(&Oracle::load("phi3small-8k").cases[0].tokens);
    let key = |name: &str| format!("phi3small.attention.block_sparse.{name}");
    let logits = |name: &str, value: u32| {
        let bytes = with_keys("phi3small-8k", &[(&key(name), value.into())]);
        all_logits(&Engine::from_bytes(bytes.into()).expect("the keys are right"), &tokens, &exact(128))
    };
    let dense = logits("block_size", 0);
    assert!(dense == logits("local_blocks", 100));
    assert!(dense == logits("dense_interval", 1));
    assert!(dense == logits("stride", 1));
    assert!(dense != logits("stride", 4), "the fixture is sparse");
    assert!(logits("dense_interval", 0) != logits("dense_interval", 2));
}

/// Where the sequence outgrows the original context, a ring begins anew as well.
#[test]
fn rings_cross_the_original_context() {
    let oracle = Oracle::load("phi3-longrope");
    let tokens = ids(&oracle.cases.last().unwrap().tokens);
    let bytes = with_keys("phi3-longrope", &[("phi3.attention.sliding_window", 40_u32.into())]);
    let engine = Engine::from_bytes(bytes.into()).expect("the keys are right");
    let plain = Converted::from(&oracle.source(), "F32").engine();
    let logits = |engine: &Engine, n_batch: usize, pieces: &[usize]| {
        let mut session = session(engine, &RunOptions { n_batch, ..exact(512) });
        let (mut first, mut last) = (0, Vec::new());
        for &end in pieces {
            session.logits_of(&tokens[first..end], |rows| last = rows[rows.len() - 256..].to_vec()).expect("numbers");
            first = end;
        }
        last
    };
    let fresh = logits(&engine, 512, &[300]);
    for n_batch in [1, 30, 512] {
        let crossed = logits(&engine, n_batch, &[200, 250, 270, 300]);
        let difference = max_difference(&crossed, &fresh);
        assert!(difference <= 1e-4, "batches of {n_batch}: {difference:e}");
    }
    assert!(max_difference(&fresh, &logits(&plain, 512, &[300])) > 1e-2, "the window shows");
}

/// The length at which the published models cross, in the turns of a conversation.
#[test]
fn a_conversation_crosses_4096() {
    let keys =
        [("phi3.rope.scaling.original_context_length", 4096_u32.into()), ("phi3.context_length", 8192_u32.into())];
    let engine = Engine::from_bytes(with_keys("phi3-longrope", &keys).into()).expect("the keys are right");
    let logits = |session: &mut Session<'_>, tokens: &[TokenId]| {
        let mut last = Vec::new();
        session.logits_of(tokens, |rows| last = rows[rows.len() - 256..].to_vec()).expect("the logits are numbers");
        last
    };
    let tokens: Vec<TokenId> = (0..4150).map(|i| TokenId(4 + i * i % 251)).collect();
    let fresh = |options: &RunOptions, n: usize| logits(&mut session(&engine, options), &tokens[..n]);
    let options = exact(4200);
    let mut chat = session(&engine, &options);
    logits(&mut chat, &tokens[..3000]);
    logits(&mut chat, &tokens[3000..4090]);
    // An answer, token by token, and another question.
    for (n, tokens) in (4091..).zip(tokens[4090..4110].chunks(1)) {
        let got = logits(&mut chat, tokens);
        if [4091, 4096, 4097, 4110].contains(&n) {
            let difference = max_difference(&got, &fresh(&options, n));
            assert!(difference <= 1e-4, "{n} tokens: {difference:e}");
        }
    }
    let got = logits(&mut chat, &tokens[4110..]);
    let difference = max_difference(&got, &fresh(&options, 4150));
    assert!(difference <= 1e-4, "{difference:e}");
    let short = RunOptions { factors: FactorChoice::Always(Factors::Short), ..options };
    assert!(max_difference(&got, &fresh(&short, 4150)) > 1e-2, "the factors show");
}

/// Files of others do not say how far the router looks: then it is as far as in the published models. And it matters.
#[test]
fn the_band_of_the_router_is_the_published_one() {
    let tokens = ids(&Oracle::load("phimoe").cases[0].tokens);
    let logits = |bytes: Vec<u8>| {
        all_logits(&Engine::from_bytes(bytes.into()).expect("the keys are right"), &tokens, &exact(64))
    };
    let jitter = |jitter: f32| logits(with_keys("phimoe", &[("phimoe.router_jitter_noise", Value::F32(jitter))]));
    // A key of another name is no key.
    let mut bytes = with_keys("phimoe", &[]);
    let key = b"phimoe.router_jitter_noise";
    let at = bytes.windows(key.len()).position(|window| window == key).expect("our own files have it");
    bytes[at + key.len() - 1] = b'_';
    let unsaid = logits(bytes);
    assert!(unsaid == jitter(0.01));
    assert!(unsaid != jitter(0.0) && unsaid != jitter(0.02));
}

/// A token that must not come does not, however hot the sampling.
#[test]
fn masked_tokens_never_come() {
    let all_but_three: Vec<i32> = (0..96).filter(|id| ![5, 50, 90].contains(id)).collect();
    let masked = Value::Array(Array::I32(all_but_three));
    let bytes = with_keys("phi3small-8k", &[("phi3small.masked_token_ids", masked)]);
    let engine = Engine::from_bytes(bytes.into()).expect("the keys are right");
    let mut session = session(&engine, &RunOptions { all_logits: false, ..exact(256) });
    session.sync(&ids(&[7, 8, 9]), |_| ControlFlow::Continue(())).expect("three tokens");
    let sampling = Sampling { temp: 5.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed: 3, ..Sampling::greedy() };
    let generation = session.generate(Sampler::new(sampling, 96), 200);
    let mut came: Vec<u32> = generation.ignore_stops().map(|token| token.expect("logits are numbers").0).collect();
    came.sort_unstable();
    came.dedup();
    assert_eq!(came, [5, 50, 90]);
}

/// The memory table is the allocation, whichever buffers an architecture has.
#[test]
fn every_buffer_is_in_the_plan() {
    for name in ["phi2", "phi3-window", "phi3small-8k", "phi4flash", "phimoe", "llama"] {
        let converted = Converted::from(&Oracle::load(name).source(), "F32");
        let model = Model::bind(&Gguf::open(&converted.path()).expect("our own file opens")).expect("it is a model");
        let sizes = Sizes { n_ctx: 600, n_batch: 40, n_logits: 1, k_type: DType::F16, v_type: DType::F16 };
        let plan = State::of(&model.decoder, sizes);
        let planned: u64 = plan.rows().iter().map(|row| row.bytes).sum();
        let (state, heap) = heap::of_this_thread(|| plan.allocate());
        state.expect("a tiny state fits");
        assert!((0..=4096).contains(&(heap.grown - planned as i64)), "{name}: {planned} planned, {heap:?}");
    }
}

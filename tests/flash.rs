//! Phi-4-mini-flash: states instead of keys, and of a prompt's upper half nothing but the end.

use std::ops::ControlFlow;

use phi_runtime::{DType, Engine, RunOptions, Session, TokenId};
use phi_tests::models::{Converted, Oracle, all_logits, exact, ids, max_difference, session};

/// As for all logits of tiny models (tests/fixtures/README.md).
const TOLERANCE: f32 = 1e-4;

fn engine() -> Engine {
    Converted::from(&Oracle::load("phi4flash").source(), "F32").engine()
}

fn tokens() -> Vec<TokenId> {
    ids(&Oracle::load("phi4flash").cases[0].tokens)
}

/// The logits of the last of some tokens, which follow what the session has.
fn last_logits(session: &mut Session<'_>, tokens: &[TokenId]) -> Vec<f32> {
    let n_vocab = session.engine().decoder().n_vocab;
    let mut last = Vec::new();
    session.logits_of(tokens, |rows| last = rows[rows.len() - n_vocab..].to_vec()).expect("the logits are numbers");
    last
}

/// Above the shared keys only tokens with logits are computed, and what is left out does not show.
#[test]
fn a_prompt_is_as_good_as_all_of_its_logits() {
    let (oracle, engine, tokens) = (Oracle::load("phi4flash"), engine(), tokens());
    let want = oracle.logits(&oracle.cases[0]);
    let want = |i: usize| &want[i * 96..(i + 1) * 96];
    for n_batch in [1, 5, 40, 512] {
        for end in [1, 2, 41, 150] {
            let mut session = session(&engine, &RunOptions { n_batch, ..exact(512) });
            // Batches of which no logits are wanted, then one of which the last are, then a token by itself.
            session.prefill(&tokens[..end - 1]).unwrap();
            let difference = max_difference(&last_logits(&mut session, &tokens[end - 1..end]), want(end - 1));
            assert!(difference <= TOLERANCE, "{end} tokens in batches of {n_batch}: {difference:e}");
        }
        // The same as the only thing that is planned for, one row of logits.
        let options = RunOptions { n_batch, all_logits: false, ..exact(512) };
        let mut session = session(&engine, &options);
        session.prefill(&tokens).unwrap();
        let sampler = phi_runtime::Sampler::new(phi_runtime::Sampling::greedy(), 96);
        let next = session.generate(sampler, 1).ignore_stops().next().unwrap().unwrap();
        let best = (0..96).max_by(|&a, &b| want(149)[a].total_cmp(&want(149)[b])).unwrap();
        assert_eq!(next.index(), best);
    }
}

/// A state goes on where it was: turns of any length are one prompt.
#[test]
fn what_follows_goes_on_where_the_state_is() {
    let (engine, tokens) = (engine(), tokens());
    let options = RunOptions { n_batch: 16, ..exact(512) };
    let whole = all_logits(&engine, &tokens, &options);
    let mut session = session(&engine, &options);
    let mut turns = Vec::new();
    for turn in [&tokens[..1], &tokens[1..3], &tokens[3..30], &tokens[30..31], &tokens[31..149], &tokens[149..]] {
        session.logits_of(turn, |rows| turns.extend_from_slice(rows)).unwrap();
    }
    let difference = max_difference(&turns, &whole);
    assert!(difference <= TOLERANCE, "{difference:e}");
}

/// Nobody can take a token out of a state: going back computes all that stays, going on does not.
#[test]
fn going_back_computes_again() {
    let (engine, all) = (engine(), tokens());
    let options = RunOptions { n_batch: 16, ..exact(512) };
    let mut session = session(&engine, &options);
    let go_on = |_| ControlFlow::Continue(());
    for (keep, len, computed) in [(0, 60, 60), (60, 70, 10), (69, 80, 80), (20, 150, 150), (0, 30, 30), (30, 31, 1)] {
        let mut sequence = session.tokens()[..keep].to_vec();
        sequence.extend(all[keep..len].iter().map(|t| TokenId((t.0 + len as u32) % 96)));
        session.reset_tallies();
        session.sync(&sequence, go_on).unwrap();
        assert_eq!((session.tokens(), session.prompt_tally().tokens), (&sequence[..], computed));
        let got = last_logits(&mut session, &[TokenId(7)]);
        let fresh =
            last_logits(&mut phi_tests::models::session(&engine, &options), &[&sequence[..], &[TokenId(7)]].concat());
        let difference = max_difference(&got, &fresh);
        assert!(difference <= TOLERANCE, "{keep} of {len}: {difference:e}");
        // Without the token that was added.
        session.rewind(len);
        session.prefill(&[]).unwrap();
    }
}

/// One cache grows; rings and states stay, however long the context.
#[test]
fn one_cache_grows() {
    let engine = engine();
    let plan = |n_ctx| engine.plan(&RunOptions { n_batch: 16, k_type: DType::F16, v_type: DType::F16, ..exact(n_ctx) });
    let (short, long) = (plan(400).unwrap(), plan(4000).unwrap());
    // Keys and values of 4 heads of 4 halves; rings of a window of 8 and a batch of 16, in layers 1, 3 and 5.
    assert_eq!(short.caches(), [(400, 64), (96, 3 * 64)]);
    assert_eq!(long.caches(), [(4000, 64), (96, 3 * 64)]);
    // Four recurrences of 64 channels: 3 inputs and 16 values each.
    assert_eq!(short.recurrence_bytes(), 4 * 64 * (3 + 16) * 4);
    assert_eq!(long.kv_bytes() - short.kv_bytes(), 3600 * 64);
    // The end of the context reads the grown cache in three layers, and of each ring what the window has.
    assert_eq!(long.cached_bytes(engine.decoder(), 3999), 3 * 4000 * 64 + 3 * 8 * 64 + long.recurrence_bytes());
}

//! Sliding windows: the caches of such layers are rings, and nobody can tell.

use std::ops::ControlFlow;

use phi_runtime::{DType, Engine, RunOptions, Session, TokenId};
use phi_testkit::{TinyPhi3, Vocabulary};
use phi_tests::models::{all_logits, exact, ids, max_difference, session};

/// As for all logits of tiny models (tests/fixtures/README.md).
const TOLERANCE: f32 = 1e-4;

/// Positions that a query sees in [`engine`].
const WINDOW: usize = 8;

/// Heads of 32, so that every type of cache can hold them.
fn engine() -> Engine {
    let tiny = TinyPhi3 { n_vocab: 256, n_layer: 3, vocabulary: Vocabulary::None, ..TinyPhi3::default() };
    let mut file = tiny.gguf();
    file.set("phi3.attention.sliding_window", WINDOW as u32);
    Engine::from_bytes(file.bytes().into()).expect("the tiny model is valid")
}

/// Tokens that do not repeat with any length of a ring.
fn tokens(n: usize) -> Vec<TokenId> {
    ids(&(0..n as u32).map(|i| 4 + i * i % 251).collect::<Vec<_>>())
}

/// Positions that each cache of a session of these options has rows for.
fn rows(engine: &Engine, options: &RunOptions) -> usize {
    let caches = engine.plan(options).expect("the options fit the model").caches();
    assert_eq!(caches.len(), 1, "all layers have the same window");
    caches[0].0
}

/// Logits of `tokens`, appended in pieces of `n` whatever the size of batches.
fn logits_in_pieces(engine: &Engine, tokens: &[TokenId], n: usize, options: &RunOptions) -> Vec<f32> {
    let (mut session, mut logits) = (session(engine, options), Vec::new());
    for piece in tokens.chunks(n) {
        session.logits_of(piece, |rows| logits.extend_from_slice(rows)).expect("the logits are numbers");
    }
    logits
}

/// The logits of the last of some tokens, which follow what the session has.
fn last_logits(session: &mut Session<'_>, tokens: &[TokenId]) -> Vec<f32> {
    let n_vocab = session.engine().decoder().n_vocab;
    let mut last = Vec::new();
    session.logits_of(tokens, |rows| last = rows[rows.len() - n_vocab..].to_vec()).expect("the logits are numbers");
    last
}

/// The same bits as of a cache that keeps everything, where a batch of the whole context is planned, to be used or not.
#[test]
fn a_ring_computes_what_a_full_cache_does() {
    let engine = engine();
    for (n_batch, n_rows, n) in [(1, 96, 230), (64, 96, 500), (89, 96, 500), (90, 192, 500), (512, 576, 1300)] {
        let tokens = tokens(n);
        for kv in [DType::F32, DType::F16, DType::Q8_0, DType::Q4_0] {
            let ring = RunOptions { n_batch, k_type: kv, v_type: kv, ..exact(1400) };
            let full = RunOptions { n_batch: 1400, ..ring.clone() };
            assert_eq!((rows(&engine, &ring), rows(&engine, &full)), (n_rows, 1400));
            let got = all_logits(&engine, &tokens, &ring);
            assert!(got == logits_in_pieces(&engine, &tokens, n_batch, &full), "batches of {n_batch}, {kv}");
        }
    }
}

/// What the last tokens' window still reaches is kept; farther back all is computed again. Either way it is as if the
/// sequence had never been another.
#[test]
fn going_back_keeps_what_a_ring_holds() {
    let (engine, all) = (engine(), tokens(300));
    let options = RunOptions { n_batch: 16, ..exact(400) };
    let n_rows = rows(&engine, &options);
    assert_eq!(n_rows, 96);
    let fresh = |tokens: &[TokenId]| last_logits(&mut session(&engine, &options), tokens);
    // The first position that the token at `keep` sees must not have been overwritten.
    let least = 300 - n_rows + WINDOW - 1;
    for (keep, computed) in [(299, 5), (least + 1, 5), (least, 5), (least - 1, least + 4), (50, 55), (1, 6), (0, 5)] {
        let mut session = session(&engine, &options);
        session.prefill(&all).unwrap();
        session.rewind(keep);
        session.reset_tallies();
        let other: Vec<TokenId> = (0..5).map(|i| TokenId(200 + i)).collect();
        session.prefill(&other[..4]).unwrap();
        let got = last_logits(&mut session, &other[4..]);
        assert_eq!(session.prompt_tally().tokens, computed - 1, "back to {keep}");
        let difference = max_difference(&got, &fresh(&[&all[..keep], &other].concat()));
        assert!(difference <= TOLERANCE, "back to {keep}: {difference:e}");
    }
}

/// Turns of a conversation: each has some of the last one in common. What an earlier one overwrote stays lost.
#[test]
fn turns_over_a_ring_equal_fresh_ones() {
    let (engine, all) = (engine(), tokens(600));
    let options = RunOptions { n_batch: 16, ..exact(700) };
    let mut session = session(&engine, &options);
    let go_on = |_| ControlFlow::Continue(());
    let mut recomputed = 0;
    for (turn, &(keep, len)) in
        [(0, 120), (118, 180), (100, 110), (60, 130), (110, 300), (220, 310), (215, 312), (30, 420), (420, 500)]
            .iter()
            .enumerate()
    {
        let mut sequence = session.tokens()[..keep].to_vec();
        sequence.extend(all[keep..len].iter().map(|t| TokenId(4 + (t.0 + 31 * turn as u32) % 250)));
        session
            .sync(&sequence[..len - 1], |progress| {
                recomputed += usize::from(progress.recomputing && progress.done == 0);
                go_on(progress)
            })
            .unwrap();
        let got = last_logits(&mut session, &sequence[len - 1..]);
        assert_eq!(session.tokens(), sequence);
        let fresh = last_logits(&mut phi_tests::models::session(&engine, &options), &sequence);
        let difference = max_difference(&got, &fresh);
        assert!(difference <= TOLERANCE, "turn {turn}: {difference:e}");
    }
    assert_eq!(recomputed, 3, "turns that were computed from the beginning");
}

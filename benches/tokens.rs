//! Prompt and generation on the embedded model, with threads.

#![allow(missing_docs, reason = "the harness generates its own main")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use phi_runtime::{Bytes, Engine, RunOptions, Sampler, Sampling, TokenId};

const PROMPT: usize = 256;
const ANSWER: usize = 32;

fn tokens(c: &mut Criterion) {
    let engine = Engine::from_bytes(Bytes::new(phi_run::PHI_TINY)).expect("the embedded model opens");
    let n_vocab = engine.decoder().n_vocab;
    let prompt: Vec<_> = (0..PROMPT as u32).map(|i| TokenId(i % n_vocab as u32)).collect();
    for threads in [1, 2] {
        let plan = engine.plan(&RunOptions { threads, ..RunOptions::default() }).expect("the options fit");
        let mut group = c.benchmark_group(format!("phi-tiny/{threads} threads"));
        group.sample_size(10);
        group.throughput(Throughput::Elements(PROMPT as u64));
        group.bench_function("prompt", |b| {
            let new = || engine.session(&plan).expect("a session fits");
            b.iter_batched_ref(new, |session| session.prefill(&prompt), BatchSize::PerIteration);
        });
        group.throughput(Throughput::Elements(ANSWER as u64));
        group.bench_function("generation", |b| {
            let new = || {
                let mut session = engine.session(&plan).expect("a session fits");
                session.prefill(&prompt[..8]).expect("a prompt fits");
                session
            };
            b.iter_batched_ref(
                new,
                |session| {
                    let sampler = Sampler::new(Sampling::greedy(), n_vocab);
                    session.generate(sampler, ANSWER).ignore_stops().count()
                },
                BatchSize::PerIteration,
            );
        });
    }
}

criterion_group!(benches, tokens);
criterion_main!(benches);

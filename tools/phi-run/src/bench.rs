//! `bench`: what was asked becomes a grid of tests, and each test a row.

pub(crate) mod args;
mod output;
mod random;

use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use phi_cli::{Io, Progress, Report, Talk, physical_cores};
use phi_runtime::{DType, Engine, Error, FactorChoice, Isa, Peaks, Plan, RunOptions, TokenId, resident};

use crate::{admit, answer, report};
use args::{BenchArgs, Format, Numbers, PromptGen};
use output::{Model, Output, Row};

/// Equal prompts in every run.
const SEED: u64 = 42;

pub(crate) fn bench(typed: &BenchArgs, io: &mut Io) -> Result<(), Report> {
    if typed.verbose {
        io.set_talk(Talk::Verbose);
    }
    let tests = tests(typed)?;
    let path = typed.model.as_deref().or(typed.model_flag.as_deref());
    let (engine, name) = random::open(path, typed.layers, io)?;
    let failed = |e: Error| failed(&e, &name);
    // What cannot be run is found before the first of many minutes.
    let plans = tests.iter().map(|test| engine.plan(&test.options(&engine))).collect::<Result<Vec<_>, _>>();
    let plans = plans.map_err(failed)?;

    let mut output =
        Output::new(if typed.json { Format::Json } else { typed.output }, Model::of(&engine, &name), &tests);
    io.stream(output.header())?;
    let mut peaks = Measured::default();
    let result = tests.iter().zip(&plans).try_for_each(|(test, plan)| {
        let peaks = if typed.no_peaks { None } else { peaks.of(test, io).map_err(failed)? };
        answer::show_plan(plan, io);
        admit::refuse(&engine, &name, plan, &test.options(&engine), typed.force, io)?;
        // What was needed before is gone, and shall not count.
        let counts_afresh = resident::forget_peak();
        let time = std::time::SystemTime::now();
        let samples = measure(&engine, plan, test, typed, io).map_err(failed)?;
        let peak_rss = if counts_afresh { resident::peak() } else { None };
        let cost = Cost::of(&engine, plan, test);
        io.stream(output.row(&Row { test, time, samples: &samples, peak_rss, cost, peaks }))?;
        Ok(())
    });
    // Of an array, too, what was measured can be read.
    io.stream(output.footer())?;
    result
}

fn failed(error: &Error, name: &str) -> Report {
    report::of(error).file(Path::new(name))
}

/// One row to be.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Test {
    n_prompt: usize,
    n_gen: usize,
    n_depth: usize,
    n_batch: usize,
    n_ubatch: usize,
    k_type: DType,
    v_type: DType,
    isa: Isa,
    threads: usize,
}

/// `pp512`, `tg128 @ d4096`, `pp512+tg128`
impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let depth = if self.n_depth > 0 { format!(" @ d{}", self.n_depth) } else { String::new() };
        match (self.n_prompt, self.n_gen) {
            (prompt, 0) => write!(f, "pp{prompt}{depth}"),
            (0, generated) => write!(f, "tg{generated}{depth}"),
            (prompt, generated) => write!(f, "pp{prompt}+tg{generated}{depth}"),
        }
    }
}

impl Test {
    fn tokens(&self) -> usize {
        self.n_prompt + self.n_gen
    }

    fn options(&self, engine: &Engine) -> RunOptions {
        let n_ctx = self.n_depth + self.tokens();
        RunOptions {
            n_ctx: Some(n_ctx),
            n_batch: self.n_ubatch.min(self.n_batch),
            k_type: self.k_type,
            v_type: self.v_type,
            threads: self.threads,
            isa: self.isa,
            // Those of the whole length from the first token on: nothing is computed again half-way.
            factors: FactorChoice::Always(engine.decoder().rope.factors_for(n_ctx)),
            ..RunOptions::default()
        }
    }
}

/// Every combination, in llama-bench's order.
fn tests(typed: &BenchArgs) -> Result<Vec<Test>, Report> {
    let at_least_1 = |flag: &str, options: &[Numbers], default: usize| {
        let numbers = Numbers::all(options, default);
        if numbers.contains(&0) { Err(Report::misuse(format_args!("{flag}: must not be 0"))) } else { Ok(numbers) }
    };
    let isas: Vec<Isa> = match &typed.isa[..] {
        [] => vec![Isa::detect()],
        names => names.iter().map(|name| isa(name)).collect::<Result<_, _>>()?,
    };
    let or_f16 = |types: &[DType]| if types.is_empty() { vec![DType::F16] } else { types.to_vec() };
    let (k_types, v_types) = (or_f16(&typed.cache_type_k), or_f16(&typed.cache_type_v));
    let caches: Vec<(DType, DType)> = match &typed.kv[..] {
        [] => k_types.iter().flat_map(|&k| v_types.iter().map(move |&v| (k, v))).collect(),
        both => both.iter().map(|&kv| (kv, kv)).collect(),
    };
    let (n_batches, n_ubatches) =
        (at_least_1("-b", &typed.batch_size, 2048)?, at_least_1("-ub", &typed.ubatch_size, 512)?);
    let threads = at_least_1("-t", &typed.threads, physical_cores())?;
    let prompts = Numbers::all(&typed.n_prompt, 512).into_iter().map(|n| PromptGen(n, 0));
    let generations = Numbers::all(&typed.n_gen, 128).into_iter().map(|n| PromptGen(0, n));
    let work: Vec<_> = prompts.chain(generations).chain(typed.pg.iter().copied()).filter(|w| w.0 + w.1 > 0).collect();

    let mut tests = Vec::new();
    for &n_batch in &n_batches {
        for &n_ubatch in &n_ubatches {
            for &(k_type, v_type) in &caches {
                for &isa in &isas {
                    for &threads in &threads {
                        for n_depth in Numbers::all(&typed.n_depth, 0) {
                            tests.extend(work.iter().map(|&PromptGen(n_prompt, n_gen)| Test {
                                n_prompt,
                                n_gen,
                                n_depth,
                                n_batch,
                                n_ubatch,
                                k_type,
                                v_type,
                                isa,
                                threads,
                            }));
                        }
                    }
                }
            }
        }
    }
    match tests.len() {
        0 => Err(Report::misuse("there is nothing to measure").hint("`-p` or `-n` has to be more than 0")),
        _ => Ok(tests),
    }
}

fn isa(name: &str) -> Result<Isa, Report> {
    name.parse().map_err(|e| Report::misuse(format_args!("--isa: {e}")))
}

/// Runs a test as often as it is asked for, in a session of its own.
fn measure(engine: &Engine, plan: &Plan, test: &Test, typed: &BenchArgs, io: &Io) -> Result<Vec<Duration>, Error> {
    let mut session = engine.session(plan)?;
    let mut tokens = Tokens { state: SEED, n_vocab: engine.decoder().n_vocab };
    let warm_up = if typed.no_warmup { 0 } else { test.n_prompt + test.n_gen.min(1) };
    let total = test.n_depth + warm_up + typed.repetitions as usize * test.tokens();
    // It goes away with this function, before the row is printed.
    let bar = io.err_is_terminal().then(|| Progress::tokens(io, total as u64));
    bar.iter().for_each(|bar| bar.name(&test.to_string()));
    let advance = |n: usize| bar.iter().for_each(|bar| bar.add(n as u64));
    let interrupt = io.interrupt();
    let go_on = || if interrupt.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };

    session.prefill_watched(&tokens.some(test.n_depth), |_| go_on())?;
    advance(test.n_depth);
    let mut run = |n_prompt: usize, n_gen: usize| {
        session.rewind(test.n_depth);
        // What rings let go of by the end of the last round.
        session.prefill_watched(&[], |_| go_on())?;
        let (prompt, generated) = (tokens.some(n_prompt), tokens.some(n_gen));
        let start = Instant::now();
        session.prefill_watched(&prompt, |_| go_on())?;
        for token in &generated {
            session.prefill_watched(std::slice::from_ref(token), |_| go_on())?;
        }
        let time = start.elapsed();
        advance(n_prompt + n_gen);
        Ok(time)
    };
    if !typed.no_warmup {
        run(test.n_prompt, test.n_gen.min(1))?;
    }
    (0..typed.repetitions).map(|_| run(test.n_prompt, test.n_gen)).collect()
}

/// What a token of a test costs, counted; of a test that is both prompt and generation, neither.
#[derive(Clone, Copy, Default)]
struct Cost {
    /// Bytes that are read for each generated token, on average over their positions.
    bytes: Option<f64>,
    /// Multiply-adds for each token of a prompt.
    macs: Option<f64>,
}

impl Cost {
    fn of(engine: &Engine, plan: &Plan, test: &Test) -> Cost {
        match (test.n_prompt, test.n_gen) {
            (n, 0) => Cost { macs: Some(engine.prompt_macs(n) as f64 / n as f64), bytes: None },
            (0, n) => {
                let positions = test.n_depth..test.n_depth + n;
                let bytes: u64 = positions.map(|position| engine.token_bytes(plan, position)).sum();
                Cost { bytes: Some(bytes as f64 / n as f64), macs: None }
            }
            _ => Cost::default(),
        }
    }
}

/// Peaks of the machine that were measured so far. They depend on the instruction set and on the threads.
#[derive(Default)]
struct Measured(Vec<((Isa, usize), Option<Peaks>)>);

impl Measured {
    fn of(&mut self, test: &Test, io: &mut Io) -> Result<Option<Peaks>, Error> {
        let key = (test.isa, test.threads);
        if let Some((_, peaks)) = self.0.iter().find(|(k, _)| *k == key) {
            return Ok(*peaks);
        }
        let peaks = match Peaks::measure(test.isa, test.threads) {
            Ok(peaks) => Some(peaks),
            Err(Error::Memory(e)) => {
                io.note(format_args!("note: {e}, so what this machine could do is not measured"));
                None
            }
            Err(error) => return Err(error),
        };
        self.0.push((key, peaks));
        Ok(peaks)
    }
}

/// Random tokens (SplitMix64): as for llama-bench, what is computed does not matter.
struct Tokens {
    state: u64,
    n_vocab: usize,
}

impl Tokens {
    fn some(&mut self, n: usize) -> Vec<TokenId> {
        (0..n).map(|_| TokenId((self.bits() % self.n_vocab as u64) as u32)).collect()
    }

    fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

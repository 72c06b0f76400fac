//! The plan against what the system counts: loads, fills the context, compares.

use std::ops::ControlFlow;
use std::path::Path;

use phi_cli::{Align, Io, Report, Table};
use phi_runtime::{Sampler, Sampling, TokenId};

use super::args::PlanArgs;
use super::{MIB, spaced};
use crate::{job, report};

/// What is allowed: two parts of a hundred, or this much where that is more.
const SLACK: u64 = 4 << 20;

pub(super) fn verify(model: Option<&Path>, typed: &PlanArgs, io: &mut Io) -> Result<(), Report> {
    let options = job::run_options(&typed.run)?;
    let (engine, name) = job::open(model, io)?;
    let failed = |e: phi_runtime::Error| report::of(&e).file(&name);
    let plan = engine.plan(&options).map_err(failed)?;
    let mut session = engine.session(&plan).map_err(failed)?;
    // Words from all over the vocabulary, so that its rows are read as a long text reads them.
    let n_vocab = engine.decoder().n_vocab as u64;
    let mut state = 1_u64;
    let mut word = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        TokenId(((state >> 33) % n_vocab) as u32)
    };
    let prompt: Vec<TokenId> = (1..plan.n_ctx()).map(|_| word()).collect();
    let interrupt = io.interrupt().clone();
    let bar = io.err_is_terminal().then(|| phi_cli::Progress::tokens(io, prompt.len() as u64));
    let mut done = 0;
    session
        .prefill_watched(&prompt, |progress| {
            bar.iter().for_each(|bar| bar.add((progress.done - done) as u64));
            done = progress.done;
            if interrupt.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .map_err(failed)?;
    drop(bar);
    let greedy = Sampler::new(Sampling { temp: 0.0, ..Sampling::default() }, n_vocab as usize);
    session.generate(greedy, 1).try_for_each(|token| token.map(drop)).map_err(failed)?;

    let Some(peak) = phi_runtime::resident::peak() else {
        return Err(Report::new("this system does not tell the peak of a process"));
    };
    let planned = plan.total_bytes();
    let (low, high) = (planned.min(peak), planned.max(peak));
    let exact = |bytes: u64| format!("{:.1}", bytes as f64 / MIB);
    let off = (peak as f64 - planned as f64) / planned as f64 * 100.0;
    let mut table = Table::new([("", Align::Left), ("MiB", Align::Right), ("", Align::Left)]);
    let mut row = |name: &str, bytes, what: String| table.row([name.into(), exact(bytes), what]);
    row("weights", plan.weight_bytes(), "mapped".into());
    row("KV cache", plan.kv_bytes(), format!("{} positions", spaced(plan.n_ctx() as u64)));
    row("compute", plan.compute_bytes(), String::new());
    row("tokenizer, program", plan.base_bytes(), "estimated".into());
    row("planned", planned, String::new());
    row("peak", peak, format!("{off:+.2} %, as the system counts (VmHWM)"));
    io.print(format_args!("{name}\n{table}"))?;
    if high - low > (planned / 50).max(SLACK) {
        return Err(Report::new(format_args!("the peak is off by {} MiB", exact(high - low))).file(&name));
    }
    Ok(())
}

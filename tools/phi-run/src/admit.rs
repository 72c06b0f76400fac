//! Whether a run may begin: its plan against what there is. Every load goes through here.

use phi_cli::{Exit, Io, Report, Size};
use phi_plan::{Asked, Quant, Subject, fit};
use phi_runtime::{DType, Engine, Plan, RunOptions};

use crate::{answer, memory, report};

/// What the user says about memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// At most this, by making the run smaller.
    pub(crate) max_ram: Option<u64>,
    /// The cache may get a smaller type for that.
    pub(crate) shrink_kv: bool,
    /// Begin all the same.
    pub(crate) force: bool,
}

/// Below these, a smaller batch saves nothing worth its time, and a shorter context is no use.
const SMALLEST_BATCH: usize = 32;
const SHORTEST_CONTEXT: usize = 256;

/// The plan of a run that may begin. With `--max-ram` it is made smaller, in this order, and said so: batches, the type of
/// the cache if that is allowed, the context, which keeps `least` positions.
pub(crate) fn admit(
    engine: &Engine,
    name: &str,
    options: &RunOptions,
    limit: Limit,
    least: usize,
    io: &mut Io,
) -> Result<Plan, Report> {
    let failed = |e| report::of(&e).file(name);
    let plan = engine.plan(options).map_err(failed)?;
    let plan = match limit.max_ram {
        Some(max) => shrink(engine, name, plan, options, (max, limit), least, io)?,
        None => plan,
    };
    let available = memory::available();
    io.note(format_args!(
        "plan: weights {} mapped, KV cache {} when full, compute {}; {} available ({})",
        Size(plan.weight_bytes()),
        Size(plan.kv_bytes()),
        Size(plan.compute_bytes()),
        Size(available.bytes),
        available.from
    ));
    answer::show_plan(&plan, io);
    refuse(engine, name, &plan, options, limit.force, io)?;
    Ok(plan)
}

/// Refuses a plan that cannot work, and warns of one that would be slow.
pub(crate) fn refuse(
    engine: &Engine,
    name: &str,
    plan: &Plan,
    options: &RunOptions,
    force: bool,
    io: &mut Io,
) -> Result<(), Report> {
    let available = memory::available();
    let buffers = plan.buffer_bytes();
    // What is not mapped from a file is there already, and the system counts it.
    let weights = if engine.gguf().paths().is_empty() { 0 } else { plan.weight_bytes() };
    // The tokenizer is there already, and counted by the system.
    if buffers > available.bytes && !force {
        let message =
            format!("the plan needs {} beside its weights, of {} available", Size(buffers), Size(available.bytes));
        let report = Report::new(message).file(name).exit(Exit::DoesNotFit);
        return Err(report
            .hint_if(remedy(engine, name, options, available.bytes))
            .hint("`--force` tries all the same"));
    }
    if weights.saturating_add(buffers) > available.bytes {
        io.warn(format_args!(
            "the weights do not stay in memory: they are read from the disk again and again, which is slow; {}",
            remedy(engine, name, options, available.bytes).unwrap_or_else(|| "a smaller model would fit".into())
        ));
    }
    Ok(())
}

/// The cheapest change that would make it fit.
fn remedy(engine: &Engine, name: &str, options: &RunOptions, available: u64) -> Option<String> {
    let subject = Subject::of_gguf(engine.gguf(), name).ok()?;
    let asked = Asked { quant: Quant::File, run: options.clone(), sequences: 1 };
    let change = fit::cheapest(&subject, &asked, available).ok()??;
    Some(format!("`{}` would fit", change.options))
}

/// The largest run within `max` bytes of everything.
fn shrink(
    engine: &Engine,
    name: &str,
    mut plan: Plan,
    options: &RunOptions,
    (max, limit): (u64, Limit),
    least: usize,
    io: &mut Io,
) -> Result<Plan, Report> {
    let failed = |e| report::of(&e).file(name);
    let mut options = RunOptions { n_ctx: Some(plan.n_ctx()), ..options.clone() };
    let mut says = Vec::new();
    while plan.total_bytes() > max && options.n_batch.min(plan.n_ctx()) > SMALLEST_BATCH {
        options.n_batch = (options.n_batch.min(plan.n_ctx()) / 2).max(SMALLEST_BATCH);
        plan = engine.plan(&options).map_err(failed)?;
        says.retain(|said: &String| !said.starts_with("batches"));
        says.push(format!("batches of {} tokens (-ub)", options.n_batch));
    }
    for kv in [DType::Q8_0, DType::Q4_0] {
        let smaller = kv.block_bytes() * options.k_type.block_len() < options.k_type.block_bytes() * kv.block_len();
        let divides = engine.decoder().head_dim.is_multiple_of(kv.block_len());
        if plan.total_bytes() > max && limit.shrink_kv && smaller && divides {
            (options.k_type, options.v_type) = (kv, kv);
            plan = engine.plan(&options).map_err(failed)?;
            says.retain(|said| !said.starts_with("a KV cache"));
            says.push(format!("a KV cache of {} (--kv)", fit::lower(kv)));
        }
    }
    if plan.total_bytes() > max {
        let (mut low, mut high) = (least.max(SHORTEST_CONTEXT).min(plan.n_ctx()), plan.n_ctx());
        let at = |n_ctx| engine.plan(&RunOptions { n_ctx: Some(n_ctx), ..options.clone() }).map_err(failed);
        plan = at(low)?;
        if plan.total_bytes() > max {
            let message =
                format!("needs {} even with a context of {low}, more than --max-ram", Size(plan.total_bytes()));
            let shrink = (!limit.shrink_kv).then_some("`--shrink-kv` lets the KV cache have a smaller type");
            let report = Report::new(message).file(name).exit(Exit::DoesNotFit).hint_if(shrink);
            return Err(report.hint(format_args!(
                "the weights alone take {}: a smaller quantization needs less",
                Size(plan.weight_bytes())
            )));
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let tried = at(middle)?;
            if tried.total_bytes() <= max { (low, plan) = (middle, tried) } else { high = middle }
        }
        says.push(format!("a context of {low} tokens (-c)"));
    }
    if !says.is_empty() {
        io.note(format_args!("note: to stay within {} (--max-ram): {}", Size(max), says.join(", ")));
    }
    Ok(plan)
}

//! How well a model predicts a text, in the words of llama-perplexity.

use std::io::IsTerminal;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use phi_cli::{Io, Progress, Report, Size, Talk};
use phi_runtime::perplexity::{BaseReader, BaseWriter, Chunk, Chunks, Distribution, Divergence, Estimate, Perplexity};
use phi_runtime::{Engine, Error, Plan, RunOptions, Session, Special};
use serde_json::{Value, json};

use crate::args::PerplexityArgs;
use crate::{admit, job, memory, report};

/// Tokens of a chunk: what published figures were measured with.
const DEFAULT_CTX: usize = 512;

/// Tokens computed together: enough to read the weights seldom, few enough that their logits stay small (100 MB for a
/// vocabulary of 200 000).
const DEFAULT_BATCH: usize = 128;

/// The fewest tokens whose distribution is worth a table.
const MIN_TOKENS: usize = 100;

pub(crate) fn perplexity(typed: Box<PerplexityArgs>, io: &mut Io) -> Result<(), Report> {
    let job = Job::new(typed, io)?;
    let failed = |e: Error| job.failed(&e);
    let n_vocab = job.engine.decoder().n_vocab;
    match &job.base {
        Base::Compare(path) => {
            let base = BaseReader::open(path, n_vocab, job.limit).map_err(|e| failed(e.into()))?;
            let chunks = job.chunks_of(&base, io)?;
            let (divergence, done) = compare(&job, &chunks, base, io)?;
            show_divergence(&job, &chunks, &divergence, &done, io)?;
            done.end(io)
        }
        save => {
            let text = text(job.file.as_deref())?;
            let words = job.engine.text().map_err(failed)?;
            let chunks = Chunks::new(words, &text, job.special, job.n_ctx(), job.limit).map_err(failed)?;
            let writer = match save {
                Base::Save(path) => Some(job.writer(path, &chunks, io)?),
                _ => None,
            };
            let (perplexity, done) = measure(&job, &chunks, writer, io)?;
            show_perplexity(&job, &chunks, &perplexity, &done, io)?;
            done.end(io)
        }
    }
}

/// What is to be measured.
struct Job {
    engine: Engine,
    name: String,
    file: Option<PathBuf>,
    limit: Option<NonZeroUsize>,
    base: Base,
    special: Special,
    json: bool,
    options: RunOptions,
    memory: admit::Limit,
}

/// What to do with a base.
enum Base {
    None,
    Save(PathBuf),
    Compare(PathBuf),
}

impl Job {
    fn new(typed: Box<PerplexityArgs>, io: &mut Io) -> Result<Job, Report> {
        if typed.verbose {
            io.set_talk(Talk::Verbose);
        }
        if typed.ppl_stride.is_some_and(|stride| stride > 0) {
            return Err(Report::misuse("--ppl-stride: chunks that overlap are not measured here")
                .hint("without it, each chunk begins where the last one ended"));
        }
        let limit = match usize::try_from(typed.chunks) {
            Ok(n) => {
                Some(NonZeroUsize::new(n).ok_or_else(|| Report::misuse("--chunks: no chunk is nothing to measure"))?)
            }
            Err(_) => None,
        };
        let base = match (typed.kl_divergence_base, typed.kl_divergence) {
            (None, _) => Base::None,
            (Some(path), false) => Base::Save(path),
            (Some(path), true) => Base::Compare(path),
        };
        let mut options = job::run_options(&typed.run)?;
        let memory = typed.run.limit();
        if typed.run.ubatch_size.or(typed.run.batch_size).is_none() {
            options.n_batch = DEFAULT_BATCH;
        }
        options.all_logits = true;
        options.base_records = !matches!(base, Base::None);
        let model = typed.model.or(typed.model_flag);
        let (engine, name) = job::open(model.as_deref(), io)?;
        let special = if typed.special { Special::Parse } else { Special::Plain };
        Ok(Job { engine, name, file: typed.file, limit, base, special, json: typed.json, options, memory })
    }

    /// Tokens of a chunk, where no base says.
    fn n_ctx(&self) -> usize {
        match self.options.n_ctx {
            Some(0) => self.engine.decoder().n_ctx_train,
            Some(n_ctx) => n_ctx,
            None => DEFAULT_CTX,
        }
    }

    fn failed(&self, error: &Error) -> Report {
        match (error, &self.base) {
            (Error::Base(_), Base::Save(path) | Base::Compare(path)) => report::of(error).file(path),
            _ => report::of(error).file(&self.name),
        }
    }

    /// The chunks of a base. A text that is given, too, must be the base's.
    fn chunks_of(&self, base: &BaseReader, io: &mut Io) -> Result<Chunks, Report> {
        let failed = |e: Error| self.failed(&e);
        let words = self.engine.text().map_err(failed)?;
        if let Some(n_ctx) = self.options.n_ctx.filter(|&n_ctx| n_ctx != base.n_ctx()) {
            io.note(format_args!("note: the base has chunks of {} tokens, so `-c {n_ctx}` is not used", base.n_ctx()));
        }
        if let Some(file) = &self.file {
            let text = text(Some(file))?;
            let tokens = words.raw(&text, self.special).tokens;
            base.check_text(&tokens).map_err(|e| failed(e.into()))?;
        }
        Ok(Chunks::of_base(words, base))
    }

    fn writer(&self, path: &Path, chunks: &Chunks, io: &mut Io) -> Result<BaseWriter, Report> {
        let n_vocab = self.engine.decoder().n_vocab;
        let writer = BaseWriter::create(path, chunks, n_vocab).map_err(|e| self.failed(&e.into()))?;
        if path.exists() {
            let path = path.display();
            io.warn(format_args!(
                "{path}: will be replaced at the end; `--kl-divergence` would compare with it instead"
            ));
        }
        io.note(format_args!("{}: will take {}", path.display(), Size(BaseWriter::file_bytes(chunks, n_vocab))));
        Ok(writer)
    }

    fn plan(&self, chunks: &Chunks, io: &mut Io) -> Result<Plan, Report> {
        let (n_ctx, trained) = (chunks.n_ctx(), self.engine.decoder().n_ctx_train);
        if n_ctx > trained {
            io.warn(format_args!(
                "chunks of {n_ctx} tokens are beyond the {trained} that the model was trained on, and score badly; \
                 `-c {trained}` is as long as it can read"
            ));
        }
        let options = RunOptions { n_ctx: Some(n_ctx), ..self.options.clone() };
        admit::admit(&self.engine, &self.name, &options, self.memory, n_ctx, io)
    }
}

/// How a measurement went.
struct Done {
    chunks: usize,
    interrupted: bool,
    speed: String,
    memory: String,
}

impl Done {
    fn end(self, io: &mut Io) -> Result<(), Report> {
        io.note(self.speed);
        io.note(self.memory);
        if self.interrupted { Err(Report::interrupted()) } else { Ok(()) }
    }
}

fn measure(
    job: &Job,
    chunks: &Chunks,
    mut writer: Option<BaseWriter>,
    io: &mut Io,
) -> Result<(Perplexity, Done), Report> {
    let mut perplexity = Perplexity::default();
    let done = each_chunk(job, chunks, io, |session, chunk, watch| {
        match &mut writer {
            Some(base) => perplexity.add_saving(session, chunk, base, watch)?,
            None => perplexity.add(session, chunk, watch)?,
        }
        Ok(format!("[{}]{:.4},", chunk.index() + 1, perplexity.ppl().value))
    })?;
    match writer {
        Some(base) if !done.interrupted => base.finish().map_err(|e| job.failed(&e.into()))?,
        _ => {}
    }
    Ok((perplexity, done))
}

fn compare(job: &Job, chunks: &Chunks, mut base: BaseReader, io: &mut Io) -> Result<(Divergence, Done), Report> {
    if !job.json {
        io.stream(CHUNK_HEADER)?;
    }
    let mut divergence = Divergence::default();
    let done = each_chunk(job, chunks, io, |session, chunk, watch| {
        divergence.add(session, chunk, &mut base, watch)?;
        Ok(chunk_line(chunk.index() + 1, &divergence))
    })?;
    Ok((divergence, done))
}

/// Measures chunk after chunk, and shows what `score` says of each; Ctrl-C stops it between two batches.
fn each_chunk(
    job: &Job,
    chunks: &Chunks,
    io: &mut Io,
    mut score: impl FnMut(&mut Session<'_>, &Chunk, &mut Watch<'_>) -> Result<String, Error>,
) -> Result<Done, Report> {
    let plan = job.plan(chunks, io)?;
    let mut session = job.engine.session(&plan).map_err(|e| job.failed(&e))?;
    let (n, n_ctx) = (chunks.len(), chunks.n_ctx());
    io.note(format_args!("chunks: {n} of {n_ctx} tokens, {} of each are scored", chunks.scored()));

    // Running figures on a terminal are progress enough, and a bar would write over them.
    let has_bar = io.err_is_terminal() && (job.json || !io.out_is_terminal());
    let bar = has_bar.then(|| Progress::tokens(io, (n * n_ctx) as u64));
    let interrupt = io.interrupt().clone();
    let start = Instant::now();
    let (mut done, mut interrupted) = (0, false);
    for chunk in chunks.iter() {
        let mut shown = 0;
        let mut advance = |to: usize| {
            bar.iter().for_each(|bar| bar.add((to - shown) as u64));
            shown = to;
        };
        let mut watch = |progress: phi_runtime::Progress| {
            advance(progress.done);
            if interrupt.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let line = match score(&mut session, &chunk, &mut watch) {
            Ok(line) => line,
            Err(Error::Interrupted) => {
                interrupted = true;
                break;
            }
            Err(error) => return Err(job.failed(&error)),
        };
        advance(n_ctx);
        done += 1;
        if done == 1 && n > 1 && bar.is_none() {
            let seconds = start.elapsed().as_secs_f64();
            let left = seconds * (n - 1) as f64 / 60.0;
            io.note(format_args!("{seconds:.2} seconds per chunk, {left:.1} minutes left"));
        }
        if !job.json {
            io.stream(line)?;
        }
    }
    if !job.json {
        io.stream("\n")?;
    }
    let tally = session.prompt_tally();
    let speed = format!("{} tokens, {:.1} tokens/s", tally.tokens, tally.rate());
    Ok(Done { chunks: done, interrupted, speed, memory: memory::line(&plan) })
}

type Watch<'a> = dyn FnMut(phi_runtime::Progress) -> ControlFlow<()> + 'a;

/// A text from a file, or through a pipe. As llama.cpp reads one, its last line end is not part of it.
fn text(file: Option<&Path>) -> Result<String, Report> {
    let mut text = match file {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|e| Report::new("cannot read the text").file(path).causes(Some(&e)))?,
        None if std::io::stdin().is_terminal() => {
            return Err(Report::misuse("there is no text").hint("give it with `-f FILE`, or through a pipe"));
        }
        None => std::io::read_to_string(std::io::stdin())
            .map_err(|e| Report::new("cannot read the text from standard input").causes(Some(&e)))?,
    };
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(text)
}

fn show_perplexity(job: &Job, chunks: &Chunks, ppl: &Perplexity, done: &Done, io: &mut Io) -> Result<(), Report> {
    let Estimate { value, error } = ppl.ppl();
    if job.json {
        let nll = ppl.nll();
        let mut object = progress(chunks, done, ppl.tokens());
        add(&mut object, "ppl", ppl.ppl());
        add(&mut object, "nll", nll);
        return Ok(io.json(&object)?);
    }
    let of = chunks.len();
    if !done.interrupted {
        io.print(format_args!("Final estimate: PPL = {value:.4} +/- {error:.5}\n"))?;
    } else if done.chunks > 0 {
        io.print(format_args!("Estimate after {} of {of} chunks: PPL = {value:.4} +/- {error:.5}\n", done.chunks))?;
    }
    Ok(())
}

const CHUNK_HEADER: &str = "chunk             PPL               ln(PPL(Q)/PPL(base))          KL Divergence              Δp RMS            Same top p\n";

fn chunk_line(number: usize, d: &Divergence) -> String {
    let (ppl, ln_ratio, kld) = (d.ppl(), d.ln_ratio(), d.kld());
    let [rms, top] = [d.p_diff_rms(), d.same_top()].map(percent);
    format!(
        "{number:4}    {:9.4} ± {:9.4}    {:10.5} ± {:10.5}    {:10.5} ± {:10.5}    {:6.3} ± {:6.3} %    {:6.3} ± {:6.3} %\n",
        ppl.value,
        ppl.error,
        ln_ratio.value,
        ln_ratio.error,
        kld.value,
        kld.error,
        rms.value,
        rms.error,
        top.value,
        top.error
    )
}

/// Names of the quantiles of the KL divergence, as printed and in JSON, from the greatest to the least.
const KLD_QUANTILES: [(&str, &str, f64); 11] = [
    ("Maximum KLD", "max", 1.0),
    ("99.9%   KLD", "p99.9", 0.999),
    ("99.0%   KLD", "p99", 0.99),
    ("95.0%   KLD", "p95", 0.95),
    ("90.0%   KLD", "p90", 0.9),
    ("Median  KLD", "median", 0.5),
    ("10.0%   KLD", "p10", 0.1),
    (" 5.0%   KLD", "p5", 0.05),
    (" 1.0%   KLD", "p1", 0.01),
    (" 0.1%   KLD", "p0.1", 0.001),
    ("Minimum KLD", "min", 0.0),
];

/// The same of the difference of probabilities.
const P_DIFF_QUANTILES: [(&str, &str, f64); 13] = [
    ("Maximum Δp", "max", 1.0),
    ("99.9%   Δp", "p99.9", 0.999),
    ("99.0%   Δp", "p99", 0.99),
    ("95.0%   Δp", "p95", 0.95),
    ("90.0%   Δp", "p90", 0.9),
    ("75.0%   Δp", "p75", 0.75),
    ("Median  Δp", "median", 0.5),
    ("25.0%   Δp", "p25", 0.25),
    ("10.0%   Δp", "p10", 0.1),
    (" 5.0%   Δp", "p5", 0.05),
    (" 1.0%   Δp", "p1", 0.01),
    (" 0.1%   Δp", "p0.1", 0.001),
    ("Minimum Δp", "min", 0.0),
];

fn show_divergence(job: &Job, chunks: &Chunks, d: &Divergence, done: &Done, io: &mut Io) -> Result<(), Report> {
    if job.json {
        return Ok(io.json(&divergence_json(chunks, d, done))?);
    }
    if d.tokens() < MIN_TOKENS {
        io.note(format_args!("note: {} tokens are too few for a table", d.tokens()));
        return Ok(());
    }
    if done.interrupted {
        io.print(format_args!("After {} of {} chunks:\n\n", done.chunks, chunks.len()))?;
    }
    let mut table = String::new();
    let mut line = |text: String| table += &(text + "\n");
    let figure = |name: &str, e: Estimate| format!("{name:<30}: {:10.6} ± {:10.6}", e.value, e.error);
    line("====== Perplexity statistics ======".into());
    line(figure("Mean PPL(Q)", d.ppl()));
    line(figure("Mean PPL(base)", d.ppl_base()));
    line(format!("Cor(ln(PPL(Q)), ln(PPL(base))): {:6.2}%", 100.0 * d.correlation()));
    line(figure("Mean ln(PPL(Q)/PPL(base))", d.ln_ratio()));
    line(figure("Mean PPL(Q)/PPL(base)", d.ratio()));
    line(figure("Mean PPL(Q)-PPL(base)", d.difference()));

    line("\n====== KL divergence statistics ======".into());
    let klds = d.klds();
    line(format!("Mean    KLD: {:10.6} ± {:10.6}", d.kld().value, d.kld().error));
    for (name, _, fraction) in KLD_QUANTILES {
        line(format!("{name}: {:10.6}", klds.quantile(fraction)));
    }

    line("\n====== Token probability statistics ======".into());
    let p_diffs = d.p_diffs();
    let figure = |name: &str, e: Estimate| format!("{name}: {:6.3} ± {:5.3} %", e.value, e.error);
    line(figure("Mean    Δp", percent(d.p_diff())));
    for (name, _, fraction) in P_DIFF_QUANTILES {
        line(format!("{name}: {:6.3}%", 100.0 * p_diffs.quantile(fraction)));
    }
    line(figure("RMS Δp    ", percent(d.p_diff_rms())));
    line(figure("Same top p", percent(d.same_top())));
    Ok(io.print(table)?)
}

fn divergence_json(chunks: &Chunks, d: &Divergence, done: &Done) -> Value {
    let with_quantiles = |mean: Estimate, of: Distribution, quantiles: &[(&str, &str, f64)]| {
        let mut object = json!({ "mean": mean.value, "mean_error": mean.error });
        for &(_, name, fraction) in quantiles {
            object[name] = of.quantile(fraction).into();
        }
        object
    };
    let mut object = progress(chunks, done, d.tokens());
    add(&mut object, "ppl", d.ppl());
    add(&mut object, "ppl_base", d.ppl_base());
    object["correlation"] = d.correlation().into();
    add(&mut object, "ln_ppl_ratio", d.ln_ratio());
    add(&mut object, "ppl_ratio", d.ratio());
    add(&mut object, "ppl_difference", d.difference());
    object["kld"] = with_quantiles(d.kld(), d.klds(), &KLD_QUANTILES);
    object["p_diff"] = with_quantiles(d.p_diff(), d.p_diffs(), &P_DIFF_QUANTILES);
    add(&mut object, "p_diff_rms", d.p_diff_rms());
    add(&mut object, "same_top", d.same_top());
    object
}

/// What was measured, as JSON.
fn progress(chunks: &Chunks, done: &Done, tokens: usize) -> Value {
    json!({ "n_ctx": chunks.n_ctx(), "chunks": done.chunks, "of_chunks": chunks.len(), "tokens": tokens })
}

fn add(object: &mut Value, name: &str, estimate: Estimate) {
    object[name] = estimate.value.into();
    object[format!("{name}_error")] = estimate.error.into();
}

fn percent(e: Estimate) -> Estimate {
    Estimate { value: 100.0 * e.value, error: 100.0 * e.error }
}

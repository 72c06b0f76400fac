//! Making a file: what is to be done, checked before anything is written; then the stream.

use std::time::Instant;

use phi_cli::{Interrupt, Io, Progress, Report};
use phi_convert::Importance;
use phi_gguf::{Blueprint, SplitName, Value, WriteOptions, Writer, Written};
use phi_quant::codec;

use crate::args::Nan;
use crate::fit;
use crate::job::Job;
use crate::report::{of_folder, of_writing};
use crate::source::{Source, Step};
use crate::stream::{Stream, Work};
use crate::summary::{Line, Summary};

pub(crate) fn quantize(job: &Job, io: &mut Io) -> Result<(), Report> {
    let start = Instant::now();
    let source = Source::open(&job.source, job.pre.clone())?;
    let fitting = job.fit.map(|fit| fit::recipe(job, fit, &source, io)).transpose()?;
    let job = &Job { recipe: fitting.unwrap_or_else(|| job.recipe.clone()), ..job.clone() };
    let importance = job.importance()?;
    let steps = source.plan(&job.recipe, job.keep_split);
    let mut warnings = source.warnings();
    warnings.extend(odd_shapes(&steps));
    let work = works(&source, &steps, job, importance.as_ref(), &mut warnings)?;
    warnings.iter().for_each(|warning| io.warn(warning));

    let files = files(&source, &steps, job, importance.as_ref());
    let bytes = files.iter().map(|(_, blueprint)| blueprint.file_bytes()).sum();
    let mut summary = Summary::of(&steps, job, bytes);
    for (number, step) in steps.iter().enumerate().filter(|_| job.dry_run) {
        io.verbose(Line { number: number + 1, of: steps.len(), step });
    }
    if !job.dry_run {
        let inputs = source.inputs().into_iter().chain(job.imatrix.clone()).collect();
        let options = WriteOptions { force: job.force, inputs, verify: job.verify, keep_partial: job.keep_partial };
        let written = write(job, &source, &steps, &work, files, &options, &mut summary, &mut warnings, io)?;
        summary.wrote(&written);
    }
    summary.warnings = warnings;
    summary.seconds = start.elapsed().as_secs_f64();
    if job.json { Ok(io.json(&summary)?) } else { summary.show(job.fit.is_some(), io) }
}

fn odd_shapes(steps: &[Step]) -> impl Iterator<Item = String> {
    let odd = steps.iter().filter(|s| s.choice.dtype != s.choice.wanted);
    odd.map(|s| {
        let (name, cols) = (&s.tensor.name, s.tensor.shape.cols());
        let (wanted, got) = (s.choice.wanted, s.choice.dtype);
        format!("{name}: rows of {cols} are not a multiple of {}: {got} instead of {wanted}", wanted.block_len())
    })
}

/// What is to be done to each tensor, if all of it can be done.
fn works(
    source: &Source,
    steps: &[Step],
    job: &Job,
    importance: Option<&Importance>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Work>, Report> {
    let mut works = Vec::new();
    for step in steps {
        let (tensor, to) = (&step.tensor, step.choice.dtype);
        let fail = |message: String| Report::new(message).file(&job.source).field(source.field(tensor));
        let from_numbers = tensor.dtype.block_len() == 1;
        if !from_numbers && to != tensor.dtype && !job.allow_requantize {
            return Err(fail(format!("{} would be quantized a second time, to {to}", tensor.dtype)).hint(
                "start from the F32, F16 or BF16 file, or from the folder; `--allow-requantize` does it all the same",
            ));
        }
        let (Some(decode), Some(decode_again)) = (codec(tensor.dtype), codec(to)) else {
            return Err(fail(format!("{} is not a type that this program reads", tensor.dtype)));
        };
        let encode = codec(to).and_then(|codec| codec.encode);
        if encode.is_none() && to != tensor.dtype {
            return Err(fail(format!("{to} can be read, but not written"))
                .hint("Q2_K is the smallest type of good quality that is written here"));
        }
        let weights = match importance {
            Some(importance) if to != tensor.dtype => weights(importance, step, job, warnings)?,
            _ => None,
        };
        if weights.is_none() && step.choice.needs_importance {
            let hint = match importance {
                Some(_) => "the one given says nothing about this tensor",
                None => "give one with `--imatrix FILE`",
            };
            let name = job.recipe.file_type.name();
            return Err(fail(format!("{to} in a {name} file needs an importance matrix")).hint(hint));
        }
        works.push(Work {
            decode: decode.decode,
            decode_again: decode_again.decode,
            encode,
            weights,
            nan: job.nan,
            stats: job.stats,
        });
    }
    Ok(works)
}

/// The importance of a tensor's columns, for each of its experts.
fn weights(
    importance: &Importance,
    step: &Step,
    job: &Job,
    warnings: &mut Vec<String>,
) -> Result<Option<Vec<f32>>, Report> {
    let name = &step.tensor.name;
    let Some(values) = importance.entries.get(name) else {
        return Ok(None);
    };
    let cols = step.tensor.shape.cols();
    let dims = step.tensor.shape.dims();
    let experts = if dims.len() > 2 { dims[dims.len() - 3] } else { 1 };
    if values.len() as u64 != cols * experts {
        let message = format!("{} values for {cols} columns and {experts} experts", values.len());
        if name == "token_embd.weight" {
            warnings.push(format!("{name}: importance matrix not used: {message}"));
            return Ok(None);
        }
        let path = job.imatrix.as_deref().unwrap_or(&job.source);
        return Err(Report::new(message).file(path).field(name.as_str()).hint("is it of the same model?"));
    }
    let mut values = values.clone();
    for (expert, values) in values.chunks_exact_mut(cols as usize).enumerate() {
        if values.iter().all(|&value| value == 0.0) && !job.reference {
            values.fill(1.0);
            warnings.push(format!("{name}: importance of expert {expert} is 0 everywhere: all columns count alike"));
        }
    }
    Ok(Some(values))
}

/// The files to be, by the parts that tensors go to.
fn files(
    source: &Source,
    steps: &[Step],
    job: &Job,
    importance: Option<&Importance>,
) -> Vec<(std::path::PathBuf, Blueprint)> {
    let mut first = source.keys(job.recipe.file_type);
    let keys = job.overrides.iter().cloned().chain(importance.into_iter().flat_map(|found| provenance(job, found)));
    for (key, value) in keys {
        first.remove(&key);
        first.set(&key, value);
    }
    let parts = if job.keep_split { source.parts() } else { 1 };
    let mut files = Vec::new();
    for part in 0..parts {
        let mut file = if part == 0 { std::mem::take(&mut first) } else { Blueprint::new() };
        if parts > 1 {
            file.set("split.no", part as u16);
            file.set("split.count", parts as u16);
            file.set("split.tensors.count", steps.len() as i32);
        }
        for step in steps.iter().filter(|step| parts == 1 || step.tensor.part == part) {
            file.tensor(&step.tensor.name, step.choice.dtype, step.tensor.shape);
        }
        let path =
            if parts == 1 { job.out.clone() } else { SplitName::of(&job.out, parts as u64).part(part as u64 + 1) };
        files.push((path, file));
    }
    files
}

/// Where the importance came from.
fn provenance(job: &Job, importance: &Importance) -> Vec<(String, Value)> {
    /// What llama-quantize keeps of a text.
    const MOST: usize = 127;
    let cut = |text: &str| {
        let end = (0..=MOST.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        Value::from(&text[..end])
    };
    let path = job.imatrix.as_deref().unwrap_or(std::path::Path::new("")).to_string_lossy();
    let mut keys = vec![("quantize.imatrix.file".into(), cut(&path))];
    if let Some(text) = importance.datasets.first() {
        keys.push(("quantize.imatrix.dataset".into(), cut(text)));
    }
    keys.push(("quantize.imatrix.entries_count".into(), (importance.entries.len() as u32).into()));
    if importance.chunks > 0 {
        keys.push(("quantize.imatrix.chunks_count".into(), importance.chunks.into()));
    }
    keys
}

#[expect(clippy::too_many_arguments, reason = "the one place where everything meets")]
fn write(
    job: &Job,
    source: &Source,
    steps: &[Step],
    works: &[Work],
    files: Vec<(std::path::PathBuf, Blueprint)>,
    options: &WriteOptions,
    summary: &mut Summary,
    warnings: &mut Vec<String>,
    io: &mut Io,
) -> Result<Vec<Written>, Report> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(job.threads).build();
    let pool = pool.map_err(|e| Report::new("cannot start threads").causes(Some(&e)))?;
    let progress = Progress::bytes(io, summary.source_bytes);
    let interrupt: Interrupt = io.interrupt().clone();
    let stream =
        Stream { source, pool: &pool, buffer_bytes: job.max_buffer_bytes, interrupt: &interrupt, progress: &progress };
    // All parts exist under their final names, or none that was not there before.
    let mut writers = Vec::new();
    for (path, blueprint) in files {
        writers.push(Writer::create(&path, blueprint, options).map_err(of_writing)?);
    }
    let work: Vec<_> = steps.iter().zip(works).collect();
    let parted = writers.len() > 1;
    let part = |step: &Step| if parted { step.tensor.part } else { 0 };
    let reports = stream.run(&work, &mut writers, part, |number, step| {
        progress.name(&step.tensor.name);
        io.verbose(Line { number: number + 1, of: steps.len(), step });
    })?;
    drop(progress);
    for (step, report) in steps.iter().zip(&reports) {
        let zeroed = report.faults.not_finite.count;
        if zeroed > 0 {
            let warning = format!("{}: {zeroed} values that were no numbers are 0 now", step.tensor.name);
            io.warn(&warning);
            warnings.push(warning);
        }
    }
    summary.measured(steps, &reports);
    writers.into_iter().map(|writer| writer.finish().map_err(of_writing)).collect()
}

impl Job {
    fn importance(&self) -> Result<Option<Importance>, Report> {
        let Some(path) = &self.imatrix else { return Ok(None) };
        let mut found = Importance::open(path).map_err(of_folder)?;
        let names = |list: &[String], name: &String| list.iter().any(|part| name.contains(part.as_str()));
        if !self.include_weights.is_empty() {
            found.entries.retain(|name, _| names(&self.include_weights, name));
        }
        found.entries.retain(|name, _| !names(&self.exclude_weights, name));
        Ok(Some(found))
    }
}

impl Nan {
    pub(crate) fn is_error(self) -> bool {
        self == Nan::Error
    }
}

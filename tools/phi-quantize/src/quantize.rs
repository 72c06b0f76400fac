//! The stream: read a slab of rows, convert its rows on all threads, append them.

use std::collections::BTreeMap;
use std::time::Instant;

use phi_cli::{Align, Interrupt, Io, Progress, Report, Size, Table};
use phi_gguf::{WriteOptions, Writer};
use phi_quant::{Codec, codec};
use phi_tensor::DType;
use rayon::prelude::*;
use serde::Serialize;

use crate::args::Nan;
use crate::job::Job;
use crate::report::of_writing;
use crate::source::{Source, Step};

/// Source and result of one slab together; what bounds the memory of the program. Large enough that threads do not wait
/// for each other, small enough for any machine.
const SLAB_BYTES: u64 = 32 << 20;

/// Finite values that reach this round to infinity in half precision.
const F16_OVERFLOW: f32 = 65_520.0;

pub(crate) fn quantize(job: &Job, io: &mut Io) -> Result<(), Report> {
    let start = Instant::now();
    let source = Source::open(job)?;
    let (blueprint, steps) = source.plan(&job.recipe)?;
    let mut warnings = source.warnings();
    let mut late = Vec::new();
    let fallbacks = steps.iter().filter(|s| s.choice.dtype != s.choice.wanted);
    warnings.extend(fallbacks.map(|s| {
        let (cols, wanted, got) = (s.shape.cols(), s.choice.wanted, s.choice.dtype);
        format!("{}: rows of {cols} are not a multiple of {}: {got} instead of {wanted}", s.name, wanted.block_len())
    }));
    warnings.iter().for_each(|warning| io.warn(warning));
    let mut summary = Summary::of(&steps, job, blueprint.file_bytes());

    if !job.dry_run {
        let options = WriteOptions { force: job.force, inputs: source.inputs() };
        let mut writer = Writer::create(&job.out, blueprint, &options).map_err(of_writing)?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(job.threads).build();
        let pool = pool.map_err(|e| Report::new("cannot start threads").causes(Some(&e)))?;
        let progress = Progress::bytes(io, summary.source_bytes);
        let interrupt = io.interrupt().clone();
        for (number, step) in steps.iter().enumerate() {
            progress.name(&step.name);
            io.verbose(Line { number: number + 1, of: steps.len(), step });
            let zeroed = pool.install(|| stream(&source, step, job.nan, &mut writer, &interrupt, &progress))?;
            if zeroed > 0 {
                late.push(format!("{}: {zeroed} values that were no numbers are 0 now", step.name));
            }
        }
        drop(progress);
        let written = writer.finish().map_err(of_writing)?;
        summary.bytes = written.bytes;
    }
    late.iter().for_each(|warning| io.warn(warning));
    warnings.append(&mut late);
    summary.warnings = warnings;
    summary.seconds = start.elapsed().as_secs_f64();
    if job.json { Ok(io.json(&summary)?) } else { summary.show(io) }
}

/// Converts one tensor. Returns how many values were replaced by 0.
fn stream(
    source: &Source,
    step: &Step,
    nan: Nan,
    writer: &mut Writer,
    interrupt: &Interrupt,
    progress: &Progress,
) -> Result<u64, Report> {
    let (from, to) = (step.from, step.choice.dtype);
    let cols = step.shape.cols() as usize;
    let row = |dtype: DType| dtype.row_bytes(cols as u64).expect("source and plan were checked") as usize;
    let (row_in, row_out) = (row(from), row(to));
    let rows_at_once = (SLAB_BYTES / (row_in + row_out) as u64).max(1);
    let mut convert =
        Convert { from: codec_of(from, step)?, to, nan, copy: from == to, encode: None, bad: Faults::default() };
    if !convert.copy || nan == Nan::Zero {
        let encode = codec(to).and_then(|codec| codec.encode);
        let encode =
            encode.ok_or_else(|| Report::new(format_args!("{to} cannot be written yet")).field(step.name.as_str()))?;
        convert.encode = Some(encode);
    }
    let (mut input, mut output) = (Vec::new(), Vec::new());
    let mut first = 0;
    while first < step.shape.rows() {
        if interrupt.is_set() {
            return Err(Report::interrupted());
        }
        let rows = rows_at_once.min(step.shape.rows() - first) as usize;
        input.resize(rows * row_in, 0);
        output.resize(rows * row_out, 0);
        source.read(step, first * row_in as u64, &mut input)?;
        let lines = input.par_chunks_exact(row_in).zip(output.par_chunks_exact_mut(row_out)).enumerate();
        // One row of floats per thread, in its cache; never a slab of them.
        let found = lines
            .map_init(|| vec![0.0; cols], |x, (i, (input, output))| convert.row(first + i as u64, input, x, output));
        let found = found.reduce(Faults::default, Faults::and);
        convert.bad = std::mem::take(&mut convert.bad).and(found);
        writer.write(&output).map_err(of_writing)?;
        progress.add(input.len() as u64);
        first += rows as u64;
    }
    convert.bad.judge(step, nan)
}

fn codec_of(dtype: DType, step: &Step) -> Result<&'static Codec, Report> {
    codec(dtype).ok_or_else(|| Report::new(format_args!("{dtype} cannot be read yet")).field(step.name.as_str()))
}

struct Convert {
    from: &'static Codec,
    to: DType,
    nan: Nan,
    /// Same type on both sides: the bytes stay.
    copy: bool,
    encode: Option<phi_quant::Encode>,
    bad: Faults,
}

impl Convert {
    /// Converts a row through the floats `x`. A row with a fault in it is left as zeros: the file will not be finished.
    fn row(&self, row: u64, input: &[u8], x: &mut [f32], output: &mut [u8]) -> Faults {
        (self.from.decode)(input, x);
        let limit = overflow(self.to);
        let mut faults = Faults::default();
        for (column, value) in x.iter_mut().enumerate() {
            if !value.is_finite() {
                faults.not_finite.add(row, column as u64, *value);
                if self.nan == Nan::Zero {
                    *value = 0.0;
                }
            } else if value.abs() >= limit {
                faults.overflow.add(row, column as u64, *value);
            }
        }
        let zeroed = faults.not_finite.count > 0;
        if self.copy && !zeroed {
            output.copy_from_slice(input);
        } else if faults.overflow.count > 0 || (zeroed && self.nan == Nan::Error) {
            output.fill(0);
        } else if let Some(encode) = self.encode {
            encode(x, None, output);
        }
        faults
    }
}

/// The magnitude from which a type, or the scale of its block, is infinite.
fn overflow(to: DType) -> f32 {
    match to {
        DType::F16 => F16_OVERFLOW,
        // The scale is the largest magnitude divided by this, in half precision.
        DType::Q8_0 => F16_OVERFLOW * 127.0,
        DType::Q4_0 => F16_OVERFLOW * 8.0,
        // Half a step above its largest.
        DType::BF16 => f32::from_bits(0x7f7f_8000),
        _ => f32::INFINITY,
    }
}

/// What was wrong with the values of some rows.
#[derive(Clone, Copy, Default)]
struct Faults {
    not_finite: Fault,
    overflow: Fault,
}

#[derive(Clone, Copy, Default)]
struct Fault {
    /// Row, column and value of the first.
    first: Option<(u64, u64, f32)>,
    count: u64,
}

impl Fault {
    fn add(&mut self, row: u64, column: u64, value: f32) {
        self.first = self.first.or(Some((row, column, value)));
        self.count += 1;
    }

    /// Both, whichever rows came first: threads finish in any order.
    fn and(self, other: Fault) -> Fault {
        let firsts = [self.first, other.first].into_iter().flatten();
        let first = firsts.min_by_key(|&(row, column, _)| (row, column));
        Fault { first, count: self.count + other.count }
    }

    /// `row 3, column 5: NaN is not … (and 1 more)`
    fn message(&self, complaint: impl std::fmt::Display) -> Option<String> {
        let (row, column, value) = self.first?;
        let more = match self.count - 1 {
            0 => String::new(),
            n => format!(" (and {n} more)"),
        };
        Some(format!("row {row}, column {column}: {value} {complaint}{more}"))
    }
}

impl Faults {
    fn and(self, other: Faults) -> Faults {
        Faults { not_finite: self.not_finite.and(other.not_finite), overflow: self.overflow.and(other.overflow) }
    }

    fn judge(&self, step: &Step, nan: Nan) -> Result<u64, Report> {
        let fail = |message: &String| Report::new(message).field(step.name.as_str());
        let not_finite = self.not_finite.message("is not a finite number").filter(|_| nan == Nan::Error);
        if let Some(message) = not_finite {
            return Err(fail(&message).hint("`--nan zero` writes 0 instead; a fresh download may be better"));
        }
        if let Some(message) = self.overflow.message(format_args!("is too large for {}", step.choice.dtype)) {
            return Err(fail(&message).hint("BF16 and F32 hold every value"));
        }
        Ok(self.not_finite.count)
    }
}

/// A tensor's line under `-v`, as llama-quantize writes it.
struct Line<'a> {
    number: usize,
    of: usize,
    step: &'a Step,
}

impl std::fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Line { number, of, step } = self;
        let mut dims: Vec<u64> = step.shape.dims().iter().rev().copied().collect();
        dims.resize(4, 1);
        let dims: Vec<_> = dims.iter().map(|dim| format!("{dim:>6}")).collect();
        let (from, to) = (step.bytes(step.from), step.bytes(step.choice.dtype));
        write!(f, "[{number:>4}/{of:>4}] {:>36} - [{}], type = {:>6}, ", step.name, dims.join(","), step.from)?;
        if step.from == step.choice.dtype {
            return write!(f, "size = {}", Size(from));
        }
        write!(f, "converting to {}, size = {} -> {}", step.choice.dtype, Size(from), Size(to))
    }
}

impl Step {
    fn bytes(&self, dtype: DType) -> u64 {
        dtype.row_bytes(self.shape.cols()).unwrap_or(0).saturating_mul(self.shape.rows())
    }
}

/// What was done.
#[derive(Serialize)]
struct Summary {
    output: String,
    #[serde(rename = "type")]
    recipe: &'static str,
    written: bool,
    bytes: u64,
    source_bytes: u64,
    bits_per_weight: f64,
    types: Vec<OfType>,
    warnings: Vec<String>,
    seconds: f64,
}

/// The tensors of one type.
#[derive(Serialize)]
struct OfType {
    #[serde(rename = "type")]
    dtype: &'static str,
    tensors: usize,
    bytes: u64,
}

impl Summary {
    fn of(steps: &[Step], job: &Job, bytes: u64) -> Summary {
        let mut types: BTreeMap<DType, OfType> = BTreeMap::new();
        for step in steps {
            let dtype = step.choice.dtype;
            let sum = types.entry(dtype).or_insert(OfType { dtype: dtype.name(), tensors: 0, bytes: 0 });
            sum.tensors += 1;
            sum.bytes += step.bytes(dtype);
        }
        let values: u64 = steps.iter().map(|s| s.shape.len()).sum();
        let data: u64 = types.values().map(|t| t.bytes).sum();
        Summary {
            output: job.out.display().to_string(),
            recipe: job.recipe.name,
            written: !job.dry_run,
            bytes,
            source_bytes: steps.iter().map(|s| s.bytes(s.from)).sum(),
            bits_per_weight: 8.0 * data as f64 / values.max(1) as f64,
            types: types.into_values().collect(),
            warnings: Vec::new(),
            seconds: 0.0,
        }
    }

    fn show(&self, io: &mut Io) -> Result<(), Report> {
        let mut table =
            Table::new([("type", Align::Left), ("tensors", Align::Right), ("bytes", Align::Right), ("", Align::Right)]);
        for t in &self.types {
            table.row([t.dtype.into(), t.tensors.to_string(), t.bytes.to_string(), Size(t.bytes).to_string()]);
        }
        io.note(table.to_string().trim_end());
        let verb = if self.written { "wrote" } else { "would write" };
        let bits = self.bits_per_weight;
        io.note(format_args!("{verb} {} ({bits:.2} bits per weight) in {:.1} s", Size(self.bytes), self.seconds));
        // The result that a script wants: the path, or the size that the path would have.
        let bytes = self.bytes.to_string();
        let result = if self.written { &self.output } else { &bytes };
        Ok(io.print(format_args!("{result}\n"))?)
    }
}

//! `split` and `merge`: one GGUF as several files, and back. Names and keys are those of llama-gguf-split:
//!
//! * part `k` of `n` is `PREFIX-0000k-of-0000n.gguf`, counted from 1;
//! * the first part has the file's keys; every part has `split.no` (u16, from 0), `split.tensors.count` (i32, of all parts)
//!   and `split.count` (u16), in this order, behind them;
//! * tensors keep their order.
//!
//! Unlike there, `merge` takes the keys away again, so that a file comes back byte for byte; and a tensor that is larger
//! than a part may be gets a part of its own.

use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::Args;
use phi_cli::{Align, Interrupt, Io, Progress, Report, Size, Table};
use phi_gguf::{Blueprint, Gguf, SplitName, TensorInfo, Value, WriteOptions, Writer};
use serde::Serialize;

use crate::report::{of_gguf, of_writing};
use crate::rows::SLAB_BYTES;

const NUMBER: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";
/// As many as are opened again.
const MAX_PARTS: u64 = 1024;
/// By what llama-gguf-split rounds a tensor up when it counts.
const PADDING: u64 = 32;

#[derive(Args, Debug)]
pub(crate) struct Split {
    /// A GGUF, whole or in parts
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// What the names of the parts begin with: PREFIX-00001-of-00003.gguf
    #[arg(value_name = "OUT_PREFIX")]
    prefix: PathBuf,
    /// Tensors of a part
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    split_max_tensors: u32,
    /// Bytes of tensors in a part, such as 2G, unless one tensor is larger
    #[arg(long, value_name = "SIZE", conflicts_with = "split_max_tensors")]
    split_max_size: Option<Size>,
    /// Puts keys only into the first part
    #[arg(long)]
    no_tensor_first_split: bool,
    /// Writes nothing, says what the parts would be
    #[arg(long)]
    dry_run: bool,
    /// Replaces existing files
    #[arg(long)]
    force: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Merge {
    /// A part of a split GGUF; the others are found by its name
    first_part: PathBuf,
    /// The file to make
    out: PathBuf,
    /// Replaces an existing file
    #[arg(long)]
    force: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// A file that was made, or would be.
#[derive(Serialize)]
struct Made {
    file: String,
    tensors: usize,
    bytes: u64,
}

pub(crate) fn split(typed: &Split, io: &mut Io) -> Result<(), Report> {
    let file = Gguf::open(&typed.input).map_err(|e| of_gguf(e, &typed.input))?;
    file.warnings().iter().for_each(|warning| io.warn(warning));
    let fits = |tensors: usize, bytes: u64| match typed.split_max_size {
        Some(Size(max)) => bytes <= max,
        None => tensors <= typed.split_max_tensors as usize,
    };
    let ranges = ranges(file.tensors(), fits, typed.no_tensor_first_split);
    let count = ranges.len() as u64;
    if count > MAX_PARTS {
        let report = Report::misuse(format_args!("{count} parts, more than {MAX_PARTS}"));
        return Err(report.hint("allow a part to be larger"));
    }
    let name = SplitName::new(&typed.prefix, count);
    let name = name.ok_or_else(|| Report::misuse("the prefix does not end in a name").file(&typed.prefix))?;
    let parts: Vec<Part> =
        ranges.into_iter().zip(0..).map(|(range, number)| Part::new(&file, range, number, &name)).collect();
    let made: Vec<Made> = parts.iter().map(Part::made).collect();
    if !typed.dry_run {
        let options =
            WriteOptions { force: typed.force, inputs: inputs(&typed.input, &file), ..WriteOptions::default() };
        write_all(&file, parts, &options, io)?;
    }
    if typed.json {
        return Ok(io.json(&made)?);
    }
    if !typed.dry_run {
        return Ok(made.iter().try_for_each(|part| io.print(format_args!("{}\n", part.file)))?);
    }
    let mut table = Table::new([("part", Align::Left), ("tensors", Align::Right), ("bytes", Align::Right)]);
    for part in made {
        table.row([phi_cli::printable(&part.file).into_owned(), part.tensors.to_string(), part.bytes.to_string()]);
    }
    Ok(io.print(table)?)
}

pub(crate) fn merge(typed: &Merge, io: &mut Io) -> Result<(), Report> {
    let input = &typed.first_part;
    let file = Gguf::open(input).map_err(|e| of_gguf(e, input))?;
    if file.metadata().find::<u64>(COUNT).map_err(|e| of_gguf(e, input))?.unwrap_or(0) == 0 {
        let report = Report::new("not a part of a split file").file(input).field(COUNT);
        return Err(report.hint("parts are called NAME-00001-of-00003.gguf; what is whole needs no merging"));
    }
    file.warnings().iter().for_each(|warning| io.warn(warning));
    let mut blueprint = keys(&file);
    file.tensors().iter().for_each(|t| blueprint.tensor(&t.name, t.dtype, t.shape));
    let part = Part { path: typed.out.clone(), range: 0..file.tensors().len(), blueprint };
    let made = part.made();
    let options = WriteOptions { force: typed.force, inputs: inputs(input, &file), ..WriteOptions::default() };
    write_all(&file, vec![part], &options, io)?;
    if typed.json { Ok(io.json(&made)?) } else { Ok(io.print(format_args!("{}\n", made.file))?) }
}

/// Which tensors go into which part, as many as fit.
fn ranges(tensors: &[TensorInfo], fits: impl Fn(usize, u64) -> bool, no_tensor_first: bool) -> Vec<Range<usize>> {
    let mut ranges: Vec<_> = no_tensor_first.then_some(0..0).into_iter().collect();
    let (mut first, mut bytes) = (0, 0_u64);
    for (i, tensor) in tensors.iter().enumerate() {
        let padded = tensor.bytes.checked_next_multiple_of(PADDING).unwrap_or(u64::MAX);
        bytes = bytes.saturating_add(padded);
        if i > first && !fits(i - first + 1, bytes) {
            ranges.push(first..i);
            (first, bytes) = (i, padded);
        }
    }
    ranges.push(first..tensors.len());
    ranges
}

/// The keys of a whole file.
fn keys(file: &Gguf) -> Blueprint {
    let mut blueprint = Blueprint::new();
    let whole = file.metadata().entries().iter().filter(|entry| ![NUMBER, COUNT, TENSORS].contains(&&*entry.key));
    whole.for_each(|entry| blueprint.set(&entry.key, entry.value.clone()));
    blueprint
}

/// Every file that is read, none of which may be written to.
fn inputs(path: &Path, file: &Gguf) -> Vec<PathBuf> {
    let is_split = matches!(file.metadata().find::<u64>(COUNT), Ok(Some(2..)));
    let others = SplitName::parse(path).filter(|_| is_split);
    let others = others.map(|name| (1..=name.count).map(|number| name.part(number)).collect());
    others.unwrap_or_else(|| vec![path.to_path_buf()])
}

/// A file to be, with some of the tensors.
struct Part {
    path: PathBuf,
    range: Range<usize>,
    blueprint: Blueprint,
}

impl Part {
    fn new(file: &Gguf, range: Range<usize>, number: u16, name: &SplitName) -> Part {
        let mut blueprint = if number == 0 { keys(file) } else { Blueprint::new() };
        // The numbers were compared with limits: parts above, tensors when the file was opened.
        blueprint.set(NUMBER, Value::U16(number));
        blueprint.set(TENSORS, Value::I32(i32::try_from(file.tensors().len()).unwrap_or(i32::MAX)));
        blueprint.set(COUNT, Value::U16(u16::try_from(name.count).unwrap_or(u16::MAX)));
        file.tensors()[range.clone()].iter().for_each(|t| blueprint.tensor(&t.name, t.dtype, t.shape));
        Part { path: name.part(u64::from(number) + 1), range, blueprint }
    }

    fn made(&self) -> Made {
        let bytes = self.blueprint.file_bytes();
        Made { file: self.path.display().to_string(), tensors: self.range.len(), bytes }
    }
}

/// Writes all parts, then puts all of them under their names, the first one last: until it is there, no reader finds any.
fn write_all(file: &Gguf, parts: Vec<Part>, options: &WriteOptions, io: &mut Io) -> Result<(), Report> {
    let tensors = |part: &Part| file.tensors()[part.range.clone()].to_vec();
    let total = parts.iter().flat_map(tensors).map(|t| t.bytes).fold(0, u64::saturating_add);
    let progress = Progress::bytes(io, total);
    let mut writers = Vec::new();
    // All names and all room first: what cannot end well fails at once.
    for part in &parts {
        writers.push(Writer::create(&part.path, part.blueprint.clone(), options).map_err(of_writing)?);
    }
    for (part, writer) in parts.iter().zip(&mut writers) {
        for tensor in tensors(part) {
            progress.name(&tensor.name);
            copy(file, &tensor, writer, io.interrupt(), &progress)?;
        }
    }
    drop(progress);
    let mut finished = Vec::new();
    for writer in writers.into_iter().rev() {
        match writer.finish() {
            Ok(written) => finished.push(written.path),
            Err(error) => {
                // All or none; what cannot be removed is not a model without its first part.
                finished.iter().for_each(|path| drop(std::fs::remove_file(path)));
                return Err(of_writing(error));
            }
        }
    }
    Ok(())
}

fn copy(
    file: &Gguf,
    tensor: &TensorInfo,
    writer: &mut Writer,
    interrupt: &Interrupt,
    progress: &Progress,
) -> Result<(), Report> {
    for slab in file.tensor(tensor).bytes().chunks(SLAB_BYTES as usize) {
        if interrupt.is_set() {
            return Err(Report::interrupted());
        }
        writer.write(slab).map_err(of_writing)?;
        progress.add(slab.len() as u64);
    }
    Ok(())
}

//! `check`: whether a container is sound and every number in it is one.
//!
//! Opening a file judges its header and, for a folder, that the model is complete. Then every block is unpacked: a scale
//! that is infinite or no number spoils at least one value of its block.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use phi_cli::{Io, Progress, Report, Size};
use phi_gguf::{Array, Gguf, Value, printable};
use phi_tensor::DType;
use serde::Serialize;

use crate::weights::{Buffer, PIECE, Stored, Weights, pieces, pool};

#[derive(Args, Debug)]
pub(crate) struct Check {
    /// A GGUF (any part of a split one), a safetensors file, or a Hugging Face folder
    file: PathBuf,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    /// Number of threads [default: physical cores]
    #[arg(short, long, value_name = "N")]
    threads: Option<usize>,
}

/// What was found.
#[derive(Serialize)]
struct Found {
    file: String,
    format: &'static str,
    ok: bool,
    tensors: usize,
    values: u64,
    bytes: u64,
    faults: Vec<Fault>,
    warnings: Vec<String>,
    seconds: f64,
}

/// A tensor or a key with numbers that are none.
#[derive(Serialize)]
struct Fault {
    /// Tensor or key.
    name: String,
    #[serde(rename = "type")]
    type_name: String,
    /// Of the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<u64>,
    /// Of the first, within its row, where the type has blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    block: Option<u64>,
    /// Of the first, within its row or array.
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<u64>,
    /// The first: `NaN`, `inf` or `-inf`.
    value: String,
    /// All of this tensor or key.
    count: u64,
}

pub(crate) fn check(typed: &Check, io: &mut Io) -> Result<(), Report> {
    let start = Instant::now();
    let pool = pool(typed.threads)?;
    let weights = Weights::open(&typed.file)?;
    let bytes = weights.tensors.iter().map(|t| t.bytes).fold(0, u64::saturating_add);
    let mut warnings = weights.warnings.clone();
    warnings.extend(unchecked(&weights.tensors));
    warnings.iter().for_each(|warning| io.warn(warning));

    let mut faults = weights.gguf().map(of_metadata).unwrap_or_default();
    let (progress, interrupt) = (Progress::bytes(io, bytes), io.interrupt().clone());
    for tensor in weights.tensors.iter().filter(|t| t.dtype.is_some()) {
        let look = |number, buffers: &mut [Buffer; 2]| {
            weights.piece(tensor, number, &mut buffers[0])?;
            Ok(Odd::among(&buffers[0].values, number * PIECE))
        };
        let odd = pool.install(|| pieces(tensor, &interrupt, &progress, look))?;
        faults.extend(odd.into_iter().flatten().reduce(Odd::and).map(|odd| odd.fault(tensor)));
    }
    drop(progress);

    let found = Found {
        file: typed.file.display().to_string(),
        format: weights.format(),
        ok: faults.is_empty(),
        tensors: weights.tensors.len(),
        values: weights.tensors.iter().map(|t| t.len).fold(0, u64::saturating_add),
        bytes,
        faults,
        warnings,
        seconds: start.elapsed().as_secs_f64(),
    };
    if typed.json {
        io.json(&found)?;
    } else if found.ok {
        let Found { file, format, tensors, values, .. } = &found;
        io.print(format_args!("{file}: {format}, {tensors} tensors, {values} values, {}: no fault\n", Size(bytes)))?;
    }
    match found.faults.split_first() {
        None => Ok(()),
        Some((first, rest)) => Err(first.report(rest.len()).file(&weights.path)),
    }
}

/// One line for all tensors that cannot be unpacked. Whole numbers have nothing to check.
fn unchecked(tensors: &[Stored]) -> Option<String> {
    let whole = |t: &Stored| ["I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64", "BOOL"].contains(&t.type_name);
    let mut opaque = tensors.iter().filter(|t| t.dtype.is_none() && !whole(t));
    let first = opaque.next()?;
    let (count, name) = (1 + opaque.count(), printable(&first.name));
    Some(format!(
        "{count} tensors are of types that cannot be checked yet, the first is `{name}` ({})",
        first.type_name
    ))
}

/// Numbers that are not finite: which is first, and how many.
struct Odd {
    at: u64,
    value: f32,
    count: u64,
}

impl Odd {
    fn among(values: &[f32], first: u64) -> Option<Odd> {
        // Nearly always there is none, and looking for one must not branch. What is no finite number has an exponent of
        // all ones: adding one to it reaches the sign's place.
        let reach = values.iter().fold(0, |all, x| all | ((x.to_bits() & 0x7fff_ffff) + 0x0080_0000));
        if reach >> 31 == 0 {
            return None;
        }
        let mut odd = values.iter().zip(first..).filter(|(x, _)| !x.is_finite());
        let (&value, at) = odd.next()?;
        Some(Odd { at, value, count: 1 + odd.count() as u64 })
    }

    /// Both; `self` comes first.
    fn and(self, other: Odd) -> Odd {
        Odd { count: self.count + other.count, ..self }
    }

    fn fault(&self, tensor: &Stored) -> Fault {
        let cols = tensor.shape.last().copied().unwrap_or(1);
        let block_len = tensor.dtype.map_or(1, DType::block_len) as u64;
        Fault {
            name: tensor.name.clone(),
            type_name: tensor.type_name.into(),
            row: Some(self.at / cols),
            block: (block_len > 1).then_some(self.at % cols / block_len),
            column: Some(self.at % cols),
            value: self.value.to_string(),
            count: self.count,
        }
    }
}

/// Keys with numbers that are none. No reader expects them, and all compute with them.
fn of_metadata(file: &Gguf) -> Vec<Fault> {
    let entries = file.metadata().entries().iter();
    let fault = |entry: &phi_gguf::Entry| {
        let (list, array): (Vec<f64>, bool) = match &entry.value {
            Value::F32(x) => (vec![f64::from(*x)], false),
            Value::F64(x) => (vec![*x], false),
            Value::Array(Array::F32(all)) => (all.iter().map(|&x| x.into()).collect(), true),
            Value::Array(Array::F64(all)) => (all.clone(), true),
            _ => return None,
        };
        let mut odd = list.iter().zip(0_u64..).filter(|(x, _)| !x.is_finite());
        let (value, at) = odd.next()?;
        Some(Fault {
            name: entry.key.clone(),
            type_name: entry.value.value_type().to_string(),
            row: None,
            block: None,
            column: array.then_some(at),
            value: value.to_string(),
            count: 1 + odd.count() as u64,
        })
    };
    entries.filter_map(fault).collect()
}

impl Fault {
    /// `row 3, block 2, column 70: NaN is not a finite number (and 5 more in this tensor; …)`
    fn report(&self, others: usize) -> Report {
        let place = [("row", self.row), ("block", self.block), ("column", self.column)];
        let place: Vec<_> = place.iter().filter_map(|(what, at)| at.map(|at| format!("{what} {at}"))).collect();
        let mut message = place.join(", ");
        if !message.is_empty() {
            message += ": ";
        }
        message += &format!("{} is not a finite number", self.value);
        let more = [
            (self.count > 1).then(|| format!("{} more here", self.count - 1)),
            (others > 0).then(|| format!("{others} more tensors or keys")),
        ];
        let more: Vec<_> = more.into_iter().flatten().collect();
        if !more.is_empty() {
            message += &format!(" (and {})", more.join(", "));
        }
        Report::new(message).field(printable(&self.name)).hint("download it again, or convert it again from its source")
    }
}

//! What was done, for people and for programs.

use std::collections::BTreeMap;

use phi_cli::{Align, Io, Report, Size, Table};
use phi_gguf::Written;
use phi_tensor::DType;
use serde::Serialize;

use crate::faults::{Lost, TensorReport};
use crate::job::Job;
use crate::source::Step;

/// What was done.
#[derive(Serialize)]
pub(crate) struct Summary {
    output: String,
    #[serde(rename = "type")]
    file_type: &'static str,
    written: bool,
    bytes: u64,
    pub(crate) source_bytes: u64,
    bits_per_weight: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<OfFile>,
    types: Vec<OfType>,
    /// Of all values together, with `--stats`.
    #[serde(skip_serializing_if = "Option::is_none")]
    rmse: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    relative: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<OfTensor>,
    pub(crate) warnings: Vec<String>,
    pub(crate) seconds: f64,
}

/// One file that was written.
#[derive(Serialize)]
struct OfFile {
    path: String,
    bytes: u64,
    sha256: String,
}

/// The tensors of one type.
#[derive(Serialize)]
struct OfType {
    #[serde(rename = "type")]
    dtype: &'static str,
    tensors: usize,
    bytes: u64,
    /// Root mean square of the error of all values, with `--stats`.
    #[serde(skip_serializing_if = "Option::is_none")]
    rmse: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    relative: Option<f64>,
}

/// What a tensor lost.
#[derive(Serialize)]
struct OfTensor {
    name: String,
    #[serde(rename = "type")]
    dtype: &'static str,
    rmse: f64,
    /// `rmse` as a part of the root mean square of the values.
    relative: f64,
    max: f64,
}

impl Summary {
    pub(crate) fn of(steps: &[Step], job: &Job, bytes: u64) -> Summary {
        let mut types: BTreeMap<DType, OfType> = BTreeMap::new();
        for step in steps {
            let dtype = step.choice.dtype;
            let new = OfType { dtype: dtype.name(), tensors: 0, bytes: 0, rmse: None, relative: None };
            let sum = types.entry(dtype).or_insert(new);
            sum.tensors += 1;
            sum.bytes += step.tensor.bytes(dtype);
        }
        let values: u64 = steps.iter().map(|s| s.tensor.shape.len()).sum();
        let data: u64 = types.values().map(|t| t.bytes).sum();
        Summary {
            output: job.out.display().to_string(),
            file_type: job.recipe.file_type.name(),
            written: false,
            bytes,
            source_bytes: steps.iter().map(|s| s.tensor.bytes(s.tensor.dtype)).sum(),
            bits_per_weight: 8.0 * data as f64 / values.max(1) as f64,
            files: Vec::new(),
            types: types.into_values().collect(),
            rmse: None,
            relative: None,
            errors: Vec::new(),
            warnings: Vec::new(),
            seconds: 0.0,
        }
    }

    pub(crate) fn wrote(&mut self, written: &[Written]) {
        self.written = true;
        self.bytes = written.iter().map(|file| file.bytes).sum();
        let of_file = |file: &Written| OfFile {
            path: file.path.display().to_string(),
            bytes: file.bytes,
            sha256: file.sha256.clone(),
        };
        self.files = written.iter().map(of_file).collect();
    }

    /// Takes over what `--stats` measured.
    pub(crate) fn measured(&mut self, steps: &[Step], reports: &[TensorReport]) {
        let measured = || steps.iter().zip(reports).filter(|(_, report)| report.error.count() > 0);
        for of_type in &mut self.types {
            let mut all = Lost::default();
            measured()
                .filter(|(step, _)| step.choice.dtype.name() == of_type.dtype)
                .for_each(|(_, r)| all.join(r.error));
            if all.count() > 0 {
                (of_type.rmse, of_type.relative) = (Some(all.rmse()), Some(all.relative()));
            }
        }
        let mut all = Lost::default();
        measured().for_each(|(_, report)| all.join(report.error));
        if all.count() > 0 {
            (self.rmse, self.relative) = (Some(all.rmse()), Some(all.relative()));
        }
        let of_tensor = |(step, report): (&Step, &TensorReport)| OfTensor {
            name: step.tensor.name.clone(),
            dtype: step.choice.dtype.name(),
            rmse: report.error.rmse(),
            relative: report.error.relative(),
            max: report.error.largest(),
        };
        self.errors = measured().map(of_tensor).collect();
    }

    /// Talk, and on stdout the result, unless that was the types of a fit.
    pub(crate) fn show(&self, fitted: bool, io: &mut Io) -> Result<(), Report> {
        let number = |x: Option<f64>| x.map(|x| format!("{x:.6}")).unwrap_or_default();
        let errors = if self.errors.is_empty() { ["", ""] } else { ["rmse", "relative"] };
        let mut table = Table::new([
            ("type", Align::Left),
            ("tensors", Align::Right),
            ("bytes", Align::Right),
            ("", Align::Right),
            (errors[0], Align::Right),
            (errors[1], Align::Right),
        ]);
        for t in &self.types {
            let (bytes, size) = (t.bytes.to_string(), Size(t.bytes).to_string());
            table.row([t.dtype.into(), t.tensors.to_string(), bytes, size, number(t.rmse), number(t.relative)]);
        }
        io.note(table.to_string().trim_end());
        let worst = self.errors.iter().max_by(|a, b| a.relative.total_cmp(&b.relative));
        if let Some(OfTensor { name, dtype, rmse, relative, max }) = worst {
            let all = format_args!("rmse {}, relative {}", number(self.rmse), number(self.relative)).to_string();
            io.note(format_args!("all: {all}"));
            io.note(format_args!("worst: {name} ({dtype}): rmse {rmse:.6}, relative {relative:.6}, max {max:.6}"));
        }
        let verb = if self.written { "wrote" } else { "would write" };
        let bits = self.bits_per_weight;
        io.note(format_args!("{verb} {} ({bits:.2} bits per weight) in {:.1} s", Size(self.bytes), self.seconds));
        self.files.iter().for_each(|file| io.note(format_args!("sha256 {}  {}", file.sha256, file.path)));
        // The result that a script wants: the path, or the size that the path would have.
        let bytes = self.bytes.to_string();
        let result = if self.written { self.files.first().map_or(&self.output, |file| &file.path) } else { &bytes };
        if fitted {
            io.note(result);
            return Ok(());
        }
        Ok(io.print(format_args!("{result}\n"))?)
    }
}

/// A tensor's line under `-v`, as llama-quantize writes it.
pub(crate) struct Line<'a> {
    pub(crate) number: usize,
    pub(crate) of: usize,
    pub(crate) step: &'a Step,
}

impl std::fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Line { number, of, step } = self;
        let mut dims: Vec<u64> = step.tensor.shape.dims().iter().rev().copied().collect();
        dims.resize(4, 1);
        let dims: Vec<_> = dims.iter().map(|dim| format!("{dim:>6}")).collect();
        let (name, from, to) = (&step.tensor.name, step.tensor.dtype, step.choice.dtype);
        write!(f, "[{number:>4}/{of:>4}] {name:>36} - [{}], type = {from:>6}, ", dims.join(","))?;
        let (size_in, size_out) = (Size(step.tensor.bytes(from)), Size(step.tensor.bytes(to)));
        if from == to {
            return write!(f, "size = {size_in}");
        }
        write!(f, "converting to {to}, size = {size_in} -> {size_out}")
    }
}

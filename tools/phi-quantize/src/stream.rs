//! The stream: read a slab of rows, convert its rows on all threads, append them. Reading, converting and writing go on at
//! the same time, each a slab ahead of the next.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use phi_cli::{Interrupt, Progress, Report};
use phi_gguf::Writer;
use phi_quant::{Decode, Encode};
use rayon::prelude::*;

use crate::args::Nan;
use crate::faults::{Faults, TensorReport};
use crate::report::of_writing;
use crate::source::{Source, Step};

/// Slabs larger than this gain nothing.
const SLAB_BYTES: u64 = 16 << 20;
/// Slabs that exist at once: one being read, one waiting, one converted, and so on the way out.
const SLABS: u64 = 4;
/// Slabs that wait between two stages.
const WAITING: usize = 1;
/// Values from here on may be too large for the scale of a type; such rows are decoded again to see.
const LARGE: f32 = 65_504.0;

/// What is done to the rows of a tensor.
pub(crate) struct Work {
    pub(crate) decode: Decode,
    /// Reads what `encode` wrote.
    pub(crate) decode_again: Decode,
    /// None where the bytes only pass through.
    pub(crate) encode: Option<Encode>,
    /// How much the error of each column counts, for each expert.
    pub(crate) weights: Option<Vec<f32>>,
    pub(crate) nan: Nan,
    /// Measure what is lost.
    pub(crate) stats: bool,
}

pub(crate) struct Stream<'a> {
    pub(crate) source: &'a Source,
    pub(crate) pool: &'a rayon::ThreadPool,
    pub(crate) buffer_bytes: u64,
    pub(crate) interrupt: &'a Interrupt,
    pub(crate) progress: &'a Progress,
}

/// Rows of tensor number `step`, on their way.
struct Slab {
    step: usize,
    first_row: u64,
    rows: usize,
    bytes: Vec<u8>,
}

impl Stream<'_> {
    /// Converts every tensor; each goes to the writer that `part` names. `begin` is told of each.
    pub(crate) fn run(
        &self,
        work: &[(&Step, &Work)],
        writers: &mut [Writer],
        part: impl Fn(&Step) -> usize + Sync,
        mut begin: impl FnMut(usize, &Step),
    ) -> Result<Vec<TensorReport>, Report> {
        let mut reports = vec![TensorReport::default(); work.len()];
        let (read, slabs) = sync_channel(WAITING);
        let (convert, converted) = sync_channel::<Slab>(WAITING);
        // Buffers go back to where they are filled: fresh ones would have to be cleared by the system first.
        let (used_in, free_in) = sync_channel(SLABS as usize);
        let (used_out, free_out) = sync_channel(SLABS as usize);
        std::thread::scope(|scope| {
            scope.spawn(|| self.read(work, read, free_in));
            let part = &part;
            let writing = scope.spawn(move || write(work, converted, used_out, writers, part));
            let result = (|| {
                for slab in slabs {
                    let slab: Slab = slab?;
                    if self.interrupt.is_set() {
                        return Err(Report::interrupted());
                    }
                    let (step, work) = work[slab.step];
                    if slab.first_row == 0 {
                        begin(slab.step, step);
                    }
                    let mut bytes = free_out.try_recv().unwrap_or_default();
                    let report = self.pool.install(|| rows(step, work, &slab, &mut bytes));
                    reports[slab.step].add(report);
                    if slab.first_row + slab.rows as u64 == step.tensor.shape.rows() {
                        reports[slab.step].judge(step, work.nan, work.encode.is_some())?;
                    }
                    self.progress.add(slab.bytes.len() as u64);
                    let Slab { step, first_row, rows, bytes: input } = slab;
                    let _ = used_in.try_send(input);
                    // A writer that is gone has failed, and says why below.
                    if convert.send(Slab { step, first_row, rows, bytes }).is_err() {
                        break;
                    }
                }
                Ok(())
            })();
            drop((convert, used_in, free_out));
            let written = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            result.and(written)
        })?;
        Ok(reports)
    }

    fn read(&self, work: &[(&Step, &Work)], out: SyncSender<Result<Slab, Report>>, free: Receiver<Vec<u8>>) {
        for (number, (step, _)) in work.iter().enumerate() {
            let cols = step.tensor.shape.cols();
            let row = |dtype: phi_tensor::DType| dtype.row_bytes(cols).expect("source and plan were checked");
            let (row_in, row_out) = (row(step.tensor.dtype), row(step.choice.dtype));
            let slab_bytes = (self.buffer_bytes / SLABS).min(SLAB_BYTES);
            let rows_at_once = (slab_bytes / (row_in + row_out).max(1)).max(1);
            let all = step.tensor.shape.rows();
            let mut first_row = 0;
            while first_row < all {
                let rows = rows_at_once.min(all - first_row) as usize;
                let mut bytes = free.try_recv().unwrap_or_default();
                bytes.resize(rows * row_in as usize, 0);
                let read = self.source.read(&step.tensor, first_row * row_in, &mut bytes);
                let slab = read.map(|()| Slab { step: number, first_row, rows, bytes });
                let failed = slab.is_err();
                if out.send(slab).is_err() || failed {
                    return;
                }
                first_row += rows as u64;
            }
        }
    }
}

fn write(
    work: &[(&Step, &Work)],
    slabs: Receiver<Slab>,
    used: SyncSender<Vec<u8>>,
    writers: &mut [Writer],
    part: impl Fn(&Step) -> usize,
) -> Result<(), Report> {
    for slab in slabs {
        writers[part(work[slab.step].0)].write(&slab.bytes).map_err(of_writing)?;
        let _ = used.try_send(slab.bytes);
    }
    Ok(())
}

/// Converts the rows of a slab on all threads of the pool. What is reported does not depend on their number.
fn rows(step: &Step, work: &Work, slab: &Slab, output: &mut Vec<u8>) -> TensorReport {
    let cols = step.tensor.shape.cols() as usize;
    let row_in = slab.bytes.len() / slab.rows;
    let row_out = step.choice.dtype.row_bytes(cols as u64).expect("source and plan were checked") as usize;
    output.resize(slab.rows * row_out, 0);
    let dims = step.tensor.shape.dims();
    let rows_per_expert = dims.iter().rev().nth(1).copied().unwrap_or(1).max(1);
    let lines = slab.bytes.par_chunks_exact(row_in).zip(output.par_chunks_exact_mut(row_out)).enumerate();
    // One row of floats per thread, in its cache; never a slab of them.
    let line = |(x, back): &mut (Vec<f32>, Vec<f32>), (i, (input, output)): (usize, (&[u8], &mut [u8]))| {
        let row = slab.first_row + i as u64;
        let expert = (row / rows_per_expert) as usize;
        let weights = work.weights.as_deref().map(|all| &all[expert * cols..][..cols]);
        let copy = step.tensor.dtype == step.choice.dtype;
        convert(work, copy, row, weights, input, x, back, output)
    };
    let reports: Vec<_> = lines.map_init(|| (vec![0.0; cols], vec![0.0; cols]), line).collect();
    let mut all = TensorReport::default();
    reports.into_iter().for_each(|report| all.add(report));
    all
}

/// Converts a row through the floats `x`. A row with a fault in it is left as zeros: the file will not be finished.
#[expect(clippy::too_many_arguments, reason = "two buffers that are used again for every row")]
fn convert(
    work: &Work,
    copy: bool,
    row: u64,
    weights: Option<&[f32]>,
    input: &[u8],
    x: &mut [f32],
    back: &mut [f32],
    output: &mut [u8],
) -> TensorReport {
    (work.decode)(input, x);
    let mut faults = Faults::default();
    let peak = phi_quant::peak(x);
    if !peak.is_finite() {
        for (column, value) in x.iter_mut().enumerate().filter(|(_, value)| !value.is_finite()) {
            faults.not_finite.add(row, column as u64, *value);
            *value = 0.0;
        }
    }
    if copy && peak.is_finite() {
        output.copy_from_slice(input);
        let mut report = TensorReport::default();
        if work.stats {
            report.error.add(x, x);
        }
        return report;
    }
    let Some(encode) = work.encode.filter(|_| peak.is_finite() || !work.nan.is_error()) else {
        output.fill(0);
        return TensorReport { faults, ..TensorReport::default() };
    };
    encode(x, weights, output);
    let mut report = TensorReport::default();
    if work.stats || peak >= LARGE {
        (work.decode_again)(output, back);
        let lost = back.iter().position(|value| !value.is_finite());
        if let Some(column) = lost {
            faults.overflow.add(row, column as u64, x[column]);
        }
        if work.stats {
            report.error.add(x, back);
        }
    }
    report.faults = faults;
    report
}

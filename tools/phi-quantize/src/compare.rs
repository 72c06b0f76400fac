//! `compare`: how far the numbers of B are from those of A, tensor by tensor.

use std::path::PathBuf;

use clap::Args;
use phi_cli::{Align, Io, Progress, Report, Table};
use phi_gguf::printable;
use serde::Serialize;

use crate::weights::{Buffer, PIECE, Stored, Weights, pieces, pool};

/// Sums that grow side by side.
const LANES: usize = 8;

#[derive(Args, Debug)]
pub(crate) struct Compare {
    /// What is right: a GGUF (split too), a safetensors file, or a Hugging Face folder
    a: PathBuf,
    /// What is compared with it: the same
    b: PathBuf,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    /// Number of threads [default: physical cores]
    #[arg(short, long, value_name = "N")]
    threads: Option<usize>,
}

#[derive(Serialize)]
struct Comparison {
    a: String,
    b: String,
    /// Whether both have the same tensors, of numbers.
    ok: bool,
    tensors: Vec<Line>,
    total: Option<Error>,
    /// The tensor with the largest relative error, if any has one.
    worst: Option<String>,
    problems: Vec<String>,
}

#[derive(Serialize)]
struct Line {
    name: String,
    shape: Vec<u64>,
    type_a: &'static str,
    type_b: &'static str,
    #[serde(flatten)]
    error: Error,
}

/// `d = b − a`
#[derive(Clone, Copy, Serialize)]
struct Error {
    values: u64,
    /// `√(Σ d² / n)`
    rmse: f64,
    /// `√(Σ d² / Σ a²)`; none where A is all zeros and B is not.
    relative: Option<f64>,
    /// `max |d|`
    max: f64,
}

pub(crate) fn compare(typed: &Compare, io: &mut Io) -> Result<(), Report> {
    let pool = pool(typed.threads)?;
    let (a, b) = (Weights::open(&typed.a)?, Weights::open(&typed.b)?);
    let (pairs, mut problems) = pair(&a, &b);
    let bytes = pairs.iter().map(|(t, _)| t.bytes).fold(0, u64::saturating_add);

    let (progress, interrupt) = (Progress::bytes(io, bytes), io.interrupt().clone());
    let (mut lines, mut all) = (Vec::new(), Sums::default());
    for (of_a, of_b) in pairs {
        let look = |number, [left, right]: &mut [Buffer; 2]| {
            a.piece(of_a, number, left)?;
            b.piece(of_b, number, right)?;
            Ok(Sums::of(&left.values, &right.values, number * PIECE))
        };
        let sums = pool.install(|| pieces(of_a, &interrupt, &progress, look))?;
        // In order, whichever thread had which: the same sum for any number of threads.
        let sums = sums.into_iter().fold(Sums::default(), Sums::and);
        problems.extend(sums.problem(of_a));
        all = all.and(sums);
        lines.push(Line {
            name: of_a.name.clone(),
            shape: of_a.shape.clone(),
            type_a: of_a.type_name,
            type_b: of_b.type_name,
            error: sums.error(),
        });
    }
    drop(progress);

    let by_relative = |a: &&Line, b: &&Line| a.error.order().total_cmp(&b.error.order());
    let comparison = Comparison {
        a: typed.a.display().to_string(),
        b: typed.b.display().to_string(),
        ok: problems.is_empty(),
        total: (!lines.is_empty()).then(|| all.error()),
        worst: lines.iter().filter(|line| line.error.order() > 0.0).max_by(by_relative).map(|line| line.name.clone()),
        tensors: lines,
        problems,
    };
    if typed.json {
        io.json(&comparison)?
    } else {
        io.print(comparison.table())?
    }
    comparison.judge(io)
}

/// Tensors of one name and shape, and what is wrong with all others.
fn pair<'w>(a: &'w Weights, b: &'w Weights) -> (Vec<(&'w Stored, &'w Stored)>, Vec<String>) {
    let (mut pairs, mut problems) = (Vec::new(), Vec::new());
    for of_a in &a.tensors {
        let name = printable(&of_a.name);
        let Some(of_b) = b.find(&of_a.name) else {
            problems.push(format!("{name}: missing in {}", b.path.display()));
            continue;
        };
        if of_a.shape != of_b.shape {
            problems.push(format!("{name}: shape {:?} in A, {:?} in B", of_a.shape, of_b.shape));
        } else if let Some(opaque) = [of_a, of_b].into_iter().find(|t| t.dtype.is_none()) {
            problems.push(format!("{name}: {} cannot be read yet", opaque.type_name));
        } else {
            pairs.push((of_a, of_b));
        }
    }
    let only_b = b.tensors.iter().filter(|t| a.find(&t.name).is_none());
    problems.extend(only_b.map(|t| format!("{}: missing in {}", printable(&t.name), a.path.display())));
    (pairs, problems)
}

/// What adds up.
#[derive(Clone, Copy, Default)]
struct Sums {
    len: u64,
    /// `Σ a²`
    squares: f64,
    /// `Σ (b − a)²`
    errors: f64,
    max: f64,
    /// Values that are no numbers, in either; they are left out of the sums. The first, and how many.
    odd: Option<(u64, u64)>,
}

impl Sums {
    fn of(a: &[f32], b: &[f32], first: u64) -> Sums {
        // Lanes that do not wait for each other; part of the result, for a sum depends on its order.
        let (mut squares, mut errors, mut max) = ([0.0; LANES], [0.0; LANES], [0.0_f64; LANES]);
        let mut add = |a: &[f32], b: &[f32]| {
            for (lane, (&a, &b)) in a.iter().zip(b).enumerate() {
                let (a, d) = (f64::from(a), f64::from(b) - f64::from(a));
                squares[lane] += a * a;
                errors[lane] += d * d;
                max[lane] = if d.abs() > max[lane] { d.abs() } else { max[lane] };
            }
        };
        let ((a_lanes, a_rest), (b_lanes, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
        a_lanes.iter().zip(b_lanes).for_each(|(a, b)| add(a, b));
        add(a_rest, b_rest);
        let (squares, errors) = (squares.iter().sum(), errors.iter().sum());
        let sums = Sums { len: a.len() as u64, squares, errors, max: max.into_iter().fold(0.0, f64::max), odd: None };
        if sums.squares.is_finite() && sums.errors.is_finite() {
            return sums;
        }
        let is_odd = |(a, b): (&f32, &f32)| !(a.is_finite() && b.is_finite());
        let mut odd = a.iter().zip(b).zip(first..).filter(|(pair, _)| is_odd(*pair)).map(|(_, at)| at);
        let odd = odd.next().map(|at| (at, 1 + odd.count() as u64));
        let finite: Vec<(f32, f32)> = a.iter().zip(b).filter(|pair| !is_odd(*pair)).map(|(&a, &b)| (a, b)).collect();
        let (a, b): (Vec<f32>, Vec<f32>) = finite.into_iter().unzip();
        // The squares of singles do not overflow a double: what is left is finite.
        Sums { odd, ..Sums::of(&a, &b, first) }
    }

    /// Both; `self` comes first.
    fn and(self, other: Sums) -> Sums {
        let odd = match (self.odd, other.odd) {
            (Some((at, n)), Some((_, m))) => Some((at, n + m)),
            (one, other) => one.or(other),
        };
        Sums {
            len: self.len + other.len,
            squares: self.squares + other.squares,
            errors: self.errors + other.errors,
            max: self.max.max(other.max),
            odd,
        }
    }

    fn error(&self) -> Error {
        let relative = match (self.errors, self.squares) {
            (0.0, _) => Some(0.0),
            (_, 0.0) => None,
            (errors, squares) => Some((errors / squares).sqrt()),
        };
        let rmse = (self.errors / self.len.max(1) as f64).sqrt();
        Error { values: self.len, rmse, relative, max: self.max }
    }

    fn problem(&self, tensor: &Stored) -> Option<String> {
        let (at, count) = self.odd?;
        let cols = tensor.shape.last().copied().unwrap_or(1);
        let (row, column, name) = (at / cols, at % cols, printable(&tensor.name));
        let more = if count > 1 { format!(" (and {} more)", count - 1) } else { String::new() };
        Some(format!("{name}: row {row}, column {column}: not a finite number{more}"))
    }
}

impl Error {
    /// Infinite where A is all zeros.
    fn order(&self) -> f64 {
        self.relative.unwrap_or(f64::INFINITY)
    }

    fn cells(&self) -> [String; 3] {
        let relative = self.relative.map_or("-".into(), |r| format!("{:.4} %", 100.0 * r));
        [format!("{:.3e}", self.rmse), relative, format!("{:.3e}", self.max)]
    }
}

impl Comparison {
    fn table(&self) -> String {
        let right = Align::Right;
        let mut table = Table::new([
            ("tensor", Align::Left),
            ("A", Align::Left),
            ("B", Align::Left),
            ("rmse", right),
            ("relative", right),
            ("max", right),
        ]);
        for line in &self.tensors {
            let [rmse, relative, max] = line.error.cells();
            table.row([printable(&line.name), line.type_a.into(), line.type_b.into(), rmse, relative, max]);
        }
        if let Some(total) = &self.total {
            let [rmse, relative, max] = total.cells();
            table.row(["total".into(), String::new(), String::new(), rmse, relative, max]);
        }
        let worst = self.worst.as_ref().map(|name| format!("\nworst: {}\n", printable(name)));
        format!("{table}{}", worst.unwrap_or_default())
    }

    fn judge(&self, io: &mut Io) -> Result<(), Report> {
        let Some((first, rest)) = self.problems.split_first() else { return Ok(()) };
        rest.iter().for_each(|problem| io.warn(problem));
        let more = if rest.is_empty() { String::new() } else { format!(" (and {} more, above)", rest.len()) };
        Err(Report::new(format_args!("{first}{more}")).file(&self.b))
    }
}

//! What is found in the rows of a tensor on their way: values that cannot be written, and what is lost of the others.

use phi_cli::Report;

use crate::args::Nan;
use crate::source::Step;

/// About some rows, in order.
#[derive(Clone, Copy, Default)]
pub(crate) struct TensorReport {
    pub(crate) faults: Faults,
    pub(crate) error: Lost,
}

impl TensorReport {
    /// Also about the rows after these.
    pub(crate) fn add(&mut self, next: TensorReport) {
        self.faults.not_finite.join(next.faults.not_finite);
        self.faults.overflow.join(next.faults.overflow);
        self.error.join(next.error);
    }

    /// Whether the file can still come to be, when all rows were seen. Of a type that nobody here writes, values cannot be
    /// replaced.
    pub(crate) fn judge(&self, step: &Step, nan: Nan, replaceable: bool) -> Result<(), Report> {
        let fail = |message: String| Report::new(message).field(step.tensor.name.as_str());
        let not_finite =
            self.faults.not_finite.message("is not a finite number").filter(|_| nan == Nan::Error || !replaceable);
        if let Some(message) = not_finite {
            let hint = if replaceable { "`--nan zero` writes 0 instead; a" } else { "a" };
            return Err(fail(message).hint(format_args!("{hint} fresh download may be better")));
        }
        match self.faults.overflow.message(format_args!("is too large for {}", step.choice.dtype)) {
            Some(message) => Err(fail(message).hint("BF16 and F32 hold every value")),
            None => Ok(()),
        }
    }
}

/// What is wrong with values.
#[derive(Clone, Copy, Default)]
pub(crate) struct Faults {
    pub(crate) not_finite: Fault,
    pub(crate) overflow: Fault,
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Fault {
    /// Row, column and value of the first.
    first: Option<(u64, u64, f32)>,
    pub(crate) count: u64,
}

impl Fault {
    pub(crate) fn add(&mut self, row: u64, column: u64, value: f32) {
        self.first = self.first.or(Some((row, column, value)));
        self.count += 1;
    }

    fn join(&mut self, next: Fault) {
        self.first = self.first.or(next.first);
        self.count += next.count;
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

/// How far values are from what they were.
#[derive(Clone, Copy, Default)]
pub(crate) struct Lost {
    /// `Σ (back − x)²`
    squares: f64,
    /// `Σ x²`
    total: f64,
    largest: f64,
    count: u64,
}

impl Lost {
    pub(crate) fn add(&mut self, x: &[f32], back: &[f32]) {
        for (x, back) in x.iter().zip(back) {
            let error = f64::from(*back) - f64::from(*x);
            self.squares += error * error;
            self.total += f64::from(*x).powi(2);
            self.largest = self.largest.max(error.abs());
        }
        self.count += x.len() as u64;
    }

    pub(crate) fn join(&mut self, next: Lost) {
        self.squares += next.squares;
        self.total += next.total;
        self.largest = self.largest.max(next.largest);
        self.count += next.count;
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// `√mean (back − x)²`
    pub(crate) fn rmse(&self) -> f64 {
        (self.squares / self.count.max(1) as f64).sqrt()
    }

    /// `rmse / √mean x²`
    pub(crate) fn relative(&self) -> f64 {
        if self.total > 0.0 { (self.squares / self.total).sqrt() } else { 0.0 }
    }

    /// `max |back − x|`
    pub(crate) fn largest(&self) -> f64 {
        self.largest
    }
}

//! Rows, in the fields of llama-bench where they mean the same, and ours behind them.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use phi_cli::{Size, printable};
use phi_convert::FileType;
use phi_runtime::{DType, Engine, Peaks};
use serde_json::{Value, json};

use super::args::Format;
use super::{Cost, Test};

/// Every field, and its type in SQL.
const FIELDS: [(&str, &str); 29] = [
    ("build_commit", "TEXT"),
    ("cpu_info", "TEXT"),
    ("gpu_info", "TEXT"),
    ("backends", "TEXT"),
    ("model_filename", "TEXT"),
    ("model_type", "TEXT"),
    ("model_size", "INTEGER"),
    ("model_n_params", "INTEGER"),
    ("n_batch", "INTEGER"),
    ("n_ubatch", "INTEGER"),
    ("n_threads", "INTEGER"),
    ("type_k", "TEXT"),
    ("type_v", "TEXT"),
    ("n_prompt", "INTEGER"),
    ("n_gen", "INTEGER"),
    ("n_depth", "INTEGER"),
    ("test_time", "TEXT"),
    ("avg_ns", "INTEGER"),
    ("stddev_ns", "INTEGER"),
    ("avg_ts", "REAL"),
    ("stddev_ts", "REAL"),
    ("test", "TEXT"),
    ("isa", "TEXT"),
    ("peak_rss", "INTEGER"),
    ("gb_per_s", "REAL"),
    ("gmac_per_s", "REAL"),
    ("peak_gb_per_s", "REAL"),
    ("peak_gmac_per_s", "REAL"),
    ("percent_of_peak", "REAL"),
];

/// What is measured.
pub(super) struct Model {
    filename: String,
    /// Architecture, size and type.
    kind: String,
    bytes: u64,
    n_params: u64,
}

impl Model {
    pub(super) fn of(engine: &Engine, name: &str) -> Model {
        let file = engine.gguf();
        let n_params = file.tensors().iter().map(|t| t.shape.len()).sum::<u64>();
        let size = match file.metadata().find::<&str>("general.size_label") {
            // Some labels are words.
            Ok(Some(label)) if label.starts_with(|c: char| c.is_ascii_digit()) => label.to_string(),
            _ => params(n_params).replace(' ', ""),
        };
        let id = file.metadata().find::<u32>("general.file_type").ok().flatten();
        let file_type = id.and_then(|id| FileType::ALL.iter().find(|t| t.id() == id)).map(|t| t.name());
        // Where the file does not say: the type that most of it has.
        let bytes_of = |dtype| file.tensors().iter().filter(|t| t.dtype == dtype).map(|t| t.bytes).sum::<u64>();
        let most = || DType::ALL.iter().max_by_key(|dtype| bytes_of(**dtype)).map_or("", |dtype| dtype.name());
        let kind = format!("{} {size} {}", engine.decoder().arch, file_type.unwrap_or_else(most));
        Model {
            filename: name.into(),
            // The label is the file's own words: on one line, and no column of a table.
            kind: printable(&kind).replace(['\n', '\t', '|'], " "),
            bytes: file.tensors().iter().map(|t| t.bytes).sum(),
            n_params,
        }
    }
}

/// One test, measured.
pub(super) struct Row<'a> {
    pub(super) test: &'a Test,
    pub(super) time: SystemTime,
    pub(super) samples: &'a [Duration],
    pub(super) peak_rss: Option<u64>,
    pub(super) cost: Cost,
    pub(super) peaks: Option<Peaks>,
}

impl Row<'_> {
    fn samples_ns(&self) -> Vec<u64> {
        self.samples.iter().map(|time| time.as_nanos().max(1) as u64).collect()
    }

    /// Tokens a second.
    fn samples_ts(&self) -> Vec<f64> {
        self.samples_ns().iter().map(|&ns| self.test.tokens() as f64 * 1e9 / ns as f64).collect()
    }

    /// GB/s of a generation, GMAC/s of a prompt, what the machine does of each at best, and how much of that it is.
    fn speeds(&self) -> Speeds {
        let (ts, _) = mean(&self.samples_ts());
        let giga = |each: Option<f64>| each.map(|each| each * ts / 1e9);
        let (gb, gmac) = (giga(self.cost.bytes), giga(self.cost.macs));
        let peak_gb = self.peaks.map(|peaks| peaks.bytes_per_second / 1e9);
        let peak_gmac = self.peaks.and_then(|peaks| peaks.macs_per_second).map(|macs| macs / 1e9);
        let part = |x: Option<f64>, of: Option<f64>| x.zip(of).map(|(x, of)| 100.0 * x / of);
        Speeds { gb, gmac, peak_gb, peak_gmac, percent: part(gb, peak_gb).or(part(gmac, peak_gmac)) }
    }
}

struct Speeds {
    gb: Option<f64>,
    gmac: Option<f64>,
    peak_gb: Option<f64>,
    peak_gmac: Option<f64>,
    percent: Option<f64>,
}

/// Rows as text, one at a time.
pub(super) struct Output {
    format: Format,
    model: Model,
    cpu: String,
    /// Columns that are only shown where they differ from what is usual.
    batches: bool,
    caches: bool,
    rows: usize,
    /// What was measured beside the rows.
    peaks: Vec<String>,
}

impl Output {
    pub(super) fn new(format: Format, model: Model, tests: &[Test]) -> Output {
        let usual = (2048, 512);
        let batches = tests.iter().any(|test| (test.n_batch, test.n_ubatch) != usual);
        let caches = tests.iter().any(|test| (test.k_type, test.v_type) != (DType::F16, DType::F16));
        Output { format, model, cpu: cpu(), batches, caches, rows: 0, peaks: Vec::new() }
    }

    pub(super) fn header(&self) -> String {
        let names = FIELDS.map(|(name, _)| name);
        match self.format {
            Format::Md => {
                let columns = self.columns();
                let names = columns.iter().map(|column| column.cell(column.name));
                let rules = columns.iter().map(|column| {
                    let dashes = "-".repeat(column.width - 1);
                    if column.right { format!("{dashes}:") } else { format!("-{dashes}") }
                });
                line(names) + &line(rules)
            }
            Format::Csv => format!("{}\n", names.join(",")),
            Format::Json => "[\n".into(),
            Format::Jsonl => String::new(),
            Format::Sql => {
                let columns = FIELDS.map(|(name, kind)| format!("  {name} {kind}"));
                format!("CREATE TABLE IF NOT EXISTS phi_bench (\n{}\n);\n\n", columns.join(",\n"))
            }
        }
    }

    pub(super) fn row(&mut self, row: &Row<'_>) -> String {
        let values = self.values(row);
        let first = self.rows == 0;
        self.rows += 1;
        match self.format {
            Format::Md => {
                self.remember_peaks(row);
                let cells = self.cells(row);
                line(self.columns().iter().zip(cells).map(|(column, cell)| column.cell(&cell)))
            }
            Format::Csv => {
                let quoted = values.map(|value| format!("\"{}\"", plain(&value).replace('"', "\"\"")));
                format!("{}\n", quoted.join(","))
            }
            Format::Json => {
                let fields = self.json(row, values).map(|(name, value)| format!("    \"{name}\": {value}"));
                let between = if first { "" } else { ",\n" };
                format!("{between}  {{\n{}\n  }}", fields.collect::<Vec<_>>().join(",\n"))
            }
            Format::Jsonl => {
                let fields = self.json(row, values).map(|(name, value)| format!("\"{name}\": {value}"));
                format!("{{{}}}\n", fields.collect::<Vec<_>>().join(", "))
            }
            Format::Sql => {
                let names = FIELDS.map(|(name, _)| name).join(", ");
                let values = values.map(|value| match value {
                    Value::Null => "NULL".into(),
                    Value::String(text) => format!("'{}'", text.replace('\'', "''")),
                    number => number.to_string(),
                });
                format!("INSERT INTO phi_bench ({names}) VALUES ({});\n", values.join(", "))
            }
        }
    }

    pub(super) fn footer(&self) -> String {
        match self.format {
            Format::Md => {
                let peaks = self.peaks.iter().map(|peak| format!("peak: {peak}\n")).collect::<String>();
                format!("\nbuild: {} on {}\n{peaks}", build(), self.cpu)
            }
            Format::Json => "\n]\n".into(),
            _ => String::new(),
        }
    }

    /// A value for each of [`FIELDS`].
    fn values(&self, row: &Row<'_>) -> [Value; FIELDS.len()] {
        let (test, model, speeds) = (row.test, &self.model, row.speeds());
        let ns = row.samples_ns().iter().map(|&ns| ns as f64).collect::<Vec<_>>();
        let ((avg_ns, stddev_ns), (avg_ts, stddev_ts)) = (mean(&ns), mean(&row.samples_ts()));
        [
            json!(build()),
            json!(self.cpu),
            json!(""),
            json!("CPU"),
            json!(model.filename),
            json!(model.kind),
            json!(model.bytes),
            json!(model.n_params),
            json!(test.n_batch),
            json!(test.n_ubatch),
            json!(test.threads),
            json!(test.k_type.name().to_lowercase()),
            json!(test.v_type.name().to_lowercase()),
            json!(test.n_prompt),
            json!(test.n_gen),
            json!(test.n_depth),
            json!(utc(row.time)),
            json!(avg_ns as u64),
            json!(stddev_ns as u64),
            rounded(avg_ts),
            rounded(stddev_ts),
            json!(test.to_string()),
            json!(test.isa.name()),
            json!(row.peak_rss),
            speeds.gb.map_or(Value::Null, rounded),
            speeds.gmac.map_or(Value::Null, rounded),
            speeds.peak_gb.map_or(Value::Null, rounded),
            speeds.peak_gmac.map_or(Value::Null, rounded),
            speeds.percent.map_or(Value::Null, rounded),
        ]
    }

    /// The fields, and at llama-bench's place each sample.
    fn json(&self, row: &Row<'_>, values: [Value; FIELDS.len()]) -> impl Iterator<Item = (&'static str, Value)> {
        let samples = [
            ("samples_ns", json!(row.samples_ns())),
            ("samples_ts", row.samples_ts().into_iter().map(rounded).collect()),
        ];
        let mut fields: Vec<_> = FIELDS.iter().map(|(name, _)| *name).zip(values).collect();
        let behind = FIELDS.iter().position(|(name, _)| *name == "stddev_ts").map_or(fields.len(), |at| at + 1);
        fields.splice(behind..behind, samples);
        fields.into_iter()
    }

    fn columns(&self) -> Vec<Column> {
        let left = |name, width| Column { name, width, right: false };
        let right = |name, width| Column { name, width, right: true };
        let mut columns = vec![left("model", 30), right("size", 10), right("params", 10), left("backend", 10)];
        columns.push(right("threads", 7));
        if self.batches {
            columns.extend([right("n_batch", 7), right("n_ubatch", 8)]);
        }
        if self.caches {
            columns.extend([right("type_k", 6), right("type_v", 6)]);
        }
        columns.extend([right("test", 15), right("t/s", 20), left("isa", 7), right("peak RSS", 10)]);
        columns.extend([right("GB/s", 7), right("GMAC/s", 8), right("of peak", 7)]);
        columns
    }

    /// A cell for each of the columns.
    fn cells(&self, row: &Row<'_>) -> Vec<String> {
        let (test, model, speeds) = (row.test, &self.model, row.speeds());
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        let number = |x: Option<f64>| or_dash(x.map(|x| format!("{x:.2}")));
        let (ts, deviation) = mean(&row.samples_ts());
        let size = Size(model.bytes).to_string();
        let mut cells = vec![model.kind.clone(), size, params(model.n_params), "CPU".into(), test.threads.to_string()];
        if self.batches {
            cells.extend([test.n_batch, test.n_ubatch].map(|n| n.to_string()));
        }
        if self.caches {
            cells.extend([test.k_type, test.v_type].map(|dtype| dtype.name().to_lowercase()));
        }
        cells.extend([test.to_string(), format!("{ts:.2} ± {deviation:.2}"), test.isa.name().into()]);
        cells.push(or_dash(row.peak_rss.map(|bytes| Size(bytes).to_string())));
        cells.extend([number(speeds.gb), number(speeds.gmac)]);
        cells.push(or_dash(speeds.percent.map(|percent| format!("{percent:.1} %"))));
        cells
    }

    fn remember_peaks(&mut self, row: &Row<'_>) {
        let Speeds { peak_gb: Some(gb), peak_gmac, .. } = row.speeds() else { return };
        let threads = row.test.threads;
        let mut peak = format!("{threads} thread{} read {gb:.1} GB/s", if threads == 1 { "" } else { "s" });
        if let Some(gmac) = peak_gmac {
            let _ = write!(peak, " and do {gmac:.0} GMAC/s with {}", row.test.isa);
        }
        if !self.peaks.contains(&peak) {
            self.peaks.push(peak);
        }
    }
}

struct Column {
    name: &'static str,
    width: usize,
    right: bool,
}

impl Column {
    fn cell(&self, text: &str) -> String {
        let width = self.width;
        if self.right { format!("{text:>width$}") } else { format!("{text:<width$}") }
    }
}

/// A line of a Markdown table.
fn line(cells: impl Iterator<Item = String>) -> String {
    cells.fold("|".into(), |line, cell| format!("{line} {cell} |")) + "\n"
}

/// The commit where the build named one, else the version.
fn build() -> &'static str {
    option_env!("PHI_BUILD_COMMIT").unwrap_or(env!("CARGO_PKG_VERSION"))
}

/// What the system calls the processor, or the board.
fn cpu() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let board = || std::fs::read_to_string("/proc/device-tree/model").ok();
    let name = named.map(|(_, name)| name.to_string()).or_else(board).unwrap_or_else(|| std::env::consts::ARCH.into());
    printable(name.trim()).into_owned()
}

fn params(n: u64) -> String {
    match n {
        ..1_000_000_000 => format!("{:.2} M", n as f64 / 1e6),
        _ => format!("{:.2} B", n as f64 / 1e9),
    }
}

/// Mean, and the standard deviation of a sample.
fn mean(x: &[f64]) -> (f64, f64) {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let squares = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
    (mean, if x.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 })
}

/// As many digits as anybody may want.
fn rounded(x: f64) -> Value {
    json!((x * 1e6).round() / 1e6)
}

/// A value in a column of text; nothing for none.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        number => number.to_string(),
    }
}

/// RFC 3339, to the second: days since 1970 become a date of the Gregorian calendar.
fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    let (month, day) = (month + 1, days + 1);
    format!("{year}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        let at = |seconds| utc(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_704_067_199), "2023-12-31T23:59:59Z");
        assert_eq!(at(1_735_603_200), "2024-12-31T00:00:00Z");
    }

    #[test]
    fn deviations_are_those_of_a_sample() {
        assert_eq!(mean(&[2.0, 4.0, 4.0, 6.0]), (4.0, (8.0_f64 / 3.0).sqrt()));
        assert_eq!(mean(&[5.0]), (5.0, 0.0));
    }
}

//! Types by what they cost: of all ways to spend the bytes that there are, the one that loses least.
//!
//! Every matrix takes part in every token, and adds noise to what passes through it, in proportion to the error of its
//! weights: `e² = Σ (x − x̂)² / Σ x²`, measured on rows spread over the tensor. The sum over all matrices is made small.
//! Beginning with the fewest bits everywhere, the next bytes go where they take off most of it for each byte.

use std::path::Path;

use phi_cli::{Io, Report, Size};
use phi_convert::{Config, FileType, Item, Recipe};
use phi_plan::{Asked, Quant, Source as From, Subject};
use phi_quant::codec;
use phi_tensor::DType;
use rayon::prelude::*;
use regex::Regex;

use crate::job::Job;
use crate::report::of_folder;
use crate::source::{Source, Stored};

/// What a matrix may become, from the fewest bits on.
const TYPES: [DType; 7] = [DType::Q2_K, DType::Q3_K, DType::Q4_K, DType::Q5_K, DType::Q6_K, DType::Q8_0, DType::F16];
/// The same for rows that super-blocks do not divide.
const SMALL_TYPES: [DType; 4] = [DType::Q4_0, DType::Q5_0, DType::Q8_0, DType::F16];
/// Rows of a tensor that are tried.
const ROWS: u64 = 48;

/// What is to fit where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fit {
    /// All memory of a run.
    pub(crate) bytes: u64,
    /// Positions of its context.
    pub(crate) n_ctx: Option<usize>,
    /// Type of its cache.
    pub(crate) kv: DType,
}

/// A matrix, and what each type would cost and lose.
struct Matrix {
    name: String,
    /// Type, bytes, error; more bytes and less error as it goes on.
    choices: Vec<(DType, u64, f64)>,
    chosen: usize,
}

/// The recipe that fits, with a pattern for each tensor; the patterns are printed as `--tensor-type-file` reads them.
pub(crate) fn recipe(job: &Job, fit: Fit, source: &Source, io: &mut Io) -> Result<Recipe, Report> {
    let tensors = source.tensors(false);
    let (matrices, others): (Vec<_>, Vec<_>) = tensors.iter().partition(|t| is_matrix(t));
    let beside = beside(&job.source, source, fit)?;
    let fixed: u64 = others.iter().map(|t| t.bytes(t.kept)).sum();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(job.threads).build();
    let pool = pool.map_err(|e| Report::new("cannot start threads").causes(Some(&e)))?;
    let measured: Result<Vec<_>, Report> =
        pool.install(|| matrices.par_iter().map(|tensor| measure(source, tensor)).collect());
    let mut matrices = measured?;
    let least = beside + fixed + matrices.iter().map(|m| m.choices[0].1).sum::<u64>();
    if least > fit.bytes {
        let report =
            Report::new(format_args!("needs {} even with the fewest bits, of {}", Size(least), Size(fit.bytes)));
        return Err(report
            .file(&job.source)
            .exit(phi_cli::Exit::DoesNotFit)
            .hint("a shorter context (`-c`), a smaller KV cache (`--kv q8_0`) or a smaller model needs less"));
    }
    spend(&mut matrices, fit.bytes - least);
    let weights = fixed + matrices.iter().map(|m| m.choices[m.chosen].1).sum::<u64>();
    let error = (matrices.iter().map(|m| m.choices[m.chosen].2).sum::<f64>() / matrices.len().max(1) as f64).sqrt();
    io.note(format_args!(
        "fit: weights {}, beside them {} (KV cache, compute, program): {} of {}; relative error {:.2} %",
        Size(weights),
        Size(beside),
        Size(weights + beside),
        Size(fit.bytes),
        100.0 * error
    ));
    let mut overrides = Vec::new();
    for m in &matrices {
        let pattern = format!("^{}$", regex::escape(&m.name));
        let dtype = m.choices[m.chosen].0;
        io.print(format_args!("{pattern}={}\n", dtype.name().to_ascii_lowercase()))?;
        let regex = Regex::new(&pattern).map_err(|e| Report::new(&e).field(m.name.as_str()))?;
        overrides.push((regex, dtype));
    }
    let file_type = named(&matrices);
    Ok(Recipe { overrides, ..Recipe::new(file_type) })
}

/// Memory of a run other than its weights.
fn beside(path: &Path, source: &Source, fit: Fit) -> Result<u64, Report> {
    let failed = |e: phi_plan::Error| Report::of(&e).file(path);
    let subject = match source {
        Source::Folder(_) => {
            let config = Config::open(&path.join("config.json")).map_err(of_folder)?;
            Subject::config(config, &path.display().to_string(), From::Config).map_err(failed)?
        }
        Source::Gguf { header, .. } => Subject::of_gguf(header, &path.display().to_string()).map_err(failed)?,
    };
    let mut asked = Asked::new(Quant::of(FileType::F16)).with_kv(fit.kv);
    asked.run.n_ctx = fit.n_ctx;
    let need = subject.need(&asked).map_err(failed)?;
    Ok(need.anonymous())
}

fn is_matrix(tensor: &Stored) -> bool {
    let Stored { name, layer, shape, kept, .. } = tensor;
    Item { name, layer: *layer, shape: *shape, dtype: *kept }.takes_part()
}

/// Tries each type on some rows.
fn measure(source: &Source, tensor: &Stored) -> Result<Matrix, Report> {
    let cols = tensor.shape.cols();
    let unable = || Report::new(format_args!("{} is not a type that this program reads", tensor.dtype));
    let decode = codec(tensor.dtype).ok_or_else(unable)?.decode;
    let row_bytes = tensor.dtype.row_bytes(cols).ok_or_else(unable)?;
    let rows = tensor.shape.rows();
    let tried = rows.min(ROWS);
    let mut x = vec![0.0; (cols * tried) as usize];
    let mut bytes = vec![0; row_bytes as usize];
    for (i, x) in x.chunks_exact_mut(cols as usize).enumerate() {
        source.read(tensor, i as u64 * rows / tried * row_bytes, &mut bytes)?;
        decode(&bytes, x);
    }
    let energy: f64 = x.iter().map(|&x| f64::from(x).powi(2)).sum();
    let types: &[DType] = if cols.is_multiple_of(256) { &TYPES } else { &SMALL_TYPES };
    let mut choices: Vec<(DType, u64, f64)> = Vec::new();
    for &dtype in types.iter().filter(|dtype| cols.is_multiple_of(dtype.block_len() as u64)) {
        let Some(codec) = codec(dtype) else { continue };
        let Some(encode) = codec.encode else { continue };
        let mut packed = vec![0; dtype.row_bytes(cols).unwrap_or(0) as usize];
        let mut y = vec![0.0; cols as usize];
        let mut lost = 0.0;
        for x in x.chunks_exact(cols as usize) {
            encode(x, None, &mut packed);
            (codec.decode)(&packed, &mut y);
            lost += x.iter().zip(&y).map(|(x, y)| f64::from(x - y).powi(2)).sum::<f64>();
        }
        let error = if energy > 0.0 { lost / energy } else { 0.0 };
        // What costs more and loses no less is no choice.
        if choices.last().is_none_or(|&(.., before)| error < before) {
            choices.push((dtype, tensor.bytes(dtype), error));
        }
    }
    if choices.is_empty() {
        choices.push((tensor.kept, tensor.bytes(tensor.kept), 0.0));
    }
    Ok(Matrix { name: tensor.name.clone(), choices, chosen: 0 })
}

/// Spends `left` bytes, each time where it takes off most for each of them.
fn spend(matrices: &mut [Matrix], mut left: u64) {
    loop {
        // A step may skip types that would be a poor bargain.
        let steps = matrices.iter().enumerate().flat_map(|(i, m)| {
            let (_, bytes, error) = m.choices[m.chosen];
            m.choices
                .iter()
                .enumerate()
                .skip(m.chosen + 1)
                .map(move |(to, &(_, more, less))| (i, to, more - bytes, (error - less) / (more - bytes) as f64))
        });
        let best = steps.filter(|&(_, _, cost, _)| cost <= left).max_by(|a, b| a.3.total_cmp(&b.3));
        let Some((i, to, cost, _)) = best else { return };
        matrices[i].chosen = to;
        left -= cost;
    }
}

/// What the file is called in its keys: the mixture around the type that most bytes have.
fn named(matrices: &[Matrix]) -> FileType {
    let most = TYPES.iter().chain(&SMALL_TYPES).max_by_key(|&&dtype| {
        let of = matrices.iter().map(|m| m.choices[m.chosen]).filter(|(t, ..)| *t == dtype);
        of.map(|(_, bytes, _)| bytes).sum::<u64>()
    });
    match most {
        Some(&DType::Q2_K) => FileType::Q2_K,
        Some(&DType::Q3_K) => FileType::Q3_K_M,
        Some(&DType::Q4_0) => FileType::Q4_0,
        Some(&DType::Q5_0) => FileType::Q5_0,
        Some(&DType::Q5_K) => FileType::Q5_K_M,
        Some(&DType::Q6_K) => FileType::Q6_K,
        Some(&DType::Q8_0) => FileType::Q8_0,
        // Such a file would follow no rules, the patterns neither.
        _ => FileType::Q4_K_M,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(name: &str, choices: &[(DType, u64, f64)]) -> Matrix {
        Matrix { name: name.into(), choices: choices.to_vec(), chosen: 0 }
    }

    fn chosen(left: u64) -> [DType; 2] {
        let small = matrix("small", &[(DType::Q2_K, 10, 0.5), (DType::Q4_K, 20, 0.1), (DType::Q8_0, 40, 0.01)]);
        let large = matrix("large", &[(DType::Q2_K, 100, 0.5), (DType::Q4_K, 200, 0.1), (DType::Q8_0, 400, 0.01)]);
        let mut both = [small, large];
        spend(&mut both, left);
        both.map(|m| m.choices[m.chosen].0)
    }

    #[test]
    fn bytes_go_where_they_help_most() {
        assert_eq!(chosen(9), [DType::Q2_K, DType::Q2_K]);
        assert_eq!(chosen(10), [DType::Q4_K, DType::Q2_K]);
        assert_eq!(chosen(30), [DType::Q8_0, DType::Q2_K]);
        assert_eq!(chosen(130), [DType::Q8_0, DType::Q4_K]);
        assert_eq!(chosen(330), [DType::Q8_0, DType::Q8_0]);
        assert_eq!(chosen(u64::MAX), [DType::Q8_0, DType::Q8_0]);
    }
}

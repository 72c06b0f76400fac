//! What it means: words told apart, patterns and types understood, defaults taken from the machine.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use phi_cli::{Report, Size};
use phi_convert::{FileType, Recipe, Rule};
use phi_gguf::Value;
use phi_tensor::DType;
use regex::Regex;

use crate::args::{Nan, Quantize, RuleArg};
use crate::fit::Fit;

/// A file to make.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) source: PathBuf,
    pub(crate) out: PathBuf,
    pub(crate) recipe: Recipe,
    /// In place of a recipe: what it has to fit into.
    pub(crate) fit: Option<Fit>,
    pub(crate) threads: usize,
    pub(crate) imatrix: Option<PathBuf>,
    pub(crate) include_weights: Vec<String>,
    pub(crate) exclude_weights: Vec<String>,
    /// Keys to set.
    pub(crate) overrides: Vec<(String, Value)>,
    pub(crate) allow_requantize: bool,
    pub(crate) reference: bool,
    pub(crate) keep_split: bool,
    pub(crate) force: bool,
    pub(crate) verify: bool,
    pub(crate) keep_partial: bool,
    pub(crate) nan: Nan,
    pub(crate) pre: Option<String>,
    pub(crate) dry_run: bool,
    pub(crate) stats: bool,
    pub(crate) max_buffer_bytes: u64,
    pub(crate) json: bool,
}

impl TryFrom<Quantize> for Job {
    type Error = Report;

    fn try_from(typed: Quantize) -> Result<Job, Report> {
        let words = &typed.words;
        let source = PathBuf::from(&words[0]);
        let fit = fit(&typed)?;
        if words.len() == 1 && fit.is_none() {
            return Err(Report::misuse("no type is given").hint(types()));
        }
        // As in llama-quantize: a second word that is a type is one, whatever files there are.
        let (out, file_type, rest) = match words.get(1).and_then(|word| file_type(word)) {
            Some(_) if fit.is_some() => {
                return Err(Report::misuse("`--fit` chooses the types itself: TYPE goes without it"));
            }
            // Another is named when the tensors' types are known.
            None if fit.is_some() => (words.get(1).map(PathBuf::from), FileType::Q4_K_M, words.get(2..).unwrap_or(&[])),
            Some(file_type) => (None, file_type, &words[2..]),
            None => {
                let word = words.get(2).ok_or_else(|| unknown_type(&words[1]))?;
                (Some(PathBuf::from(&words[1])), file_type(word).ok_or_else(|| unknown_type(word))?, &words[3..])
            }
        };
        let out = out.unwrap_or_else(|| default_out(&source, if fit.is_some() { "fit" } else { file_type.name() }));
        if out.as_os_str() == "-" {
            return Err(Report::misuse("a GGUF cannot be written to a pipe").hint("name a file"));
        }
        let threads = match rest {
            [] => typed.threads,
            [word, ..] => {
                let count = word.to_str().and_then(|text| text.parse().ok());
                let wrong = || Report::misuse(format_args!("`{}` is not a number of threads", word.to_string_lossy()));
                Some(count.ok_or_else(wrong)?)
            }
        };
        if rest.len() > 1 {
            return Err(Report::misuse(format_args!("`{}` is one word too many", rest[1].to_string_lossy())));
        }
        if threads == Some(0) {
            return Err(Report::misuse("0 threads can do nothing"));
        }
        let threads = threads.unwrap_or_else(phi_cli::physical_cores);
        let recipe = recipe(&typed, file_type)?;
        let overrides = typed.override_kv.iter().map(|text| key_value(text)).collect::<Result<_, _>>()?;
        let max_buffer_bytes = typed.max_buffer_size.saturating_mul(1 << 20);
        let Quantize { imatrix, include_weights, exclude_weights, allow_requantize, reference, keep_split, .. } = typed;
        let Quantize { force, verify, keep_partial, nan, pre, dry_run, stats, json, .. } = typed;
        Ok(Job {
            source,
            out,
            recipe,
            fit,
            threads,
            imatrix,
            include_weights,
            exclude_weights,
            overrides,
            allow_requantize,
            reference,
            keep_split,
            force,
            verify,
            keep_partial,
            nan,
            pre,
            dry_run,
            stats,
            max_buffer_bytes,
            json,
        })
    }
}

fn fit(typed: &Quantize) -> Result<Option<Fit>, Report> {
    let Some(Size(bytes)) = typed.fit else { return Ok(None) };
    let kv = typed.kv.as_deref().map_or(Ok(DType::F16), dtype)?;
    if ![DType::F32, DType::F16, DType::Q8_0, DType::Q4_0].contains(&kv) {
        return Err(Report::misuse(format_args!("--kv: {kv} is not a cache's type")).hint("f32, f16, q8_0 or q4_0"));
    }
    Ok(Some(Fit { bytes, n_ctx: typed.ctx_size, kv }))
}

fn recipe(typed: &Quantize, file_type: FileType) -> Result<Recipe, Report> {
    let rule = match typed.rule {
        RuleArg::Current => Rule::Current,
        RuleArg::Classic => Rule::Classic,
    };
    let mut patterns = typed.tensor_type.clone();
    if let Some(path) = &typed.tensor_type_file {
        let text = std::fs::read_to_string(path).map_err(|e| Report::new(&e).file(path))?;
        patterns.extend(text.split_whitespace().map(String::from));
    }
    Ok(Recipe {
        rule,
        pure: typed.pure,
        leave_output: typed.leave_output_tensor,
        output: typed.output_tensor_type.as_deref().map(dtype).transpose()?,
        token_embd: typed.token_embedding_type.as_deref().map(dtype).transpose()?,
        overrides: patterns.iter().map(|text| pattern(text)).collect::<Result<_, _>>()?,
        weighted: typed.imatrix.is_some(),
        ..Recipe::new(file_type)
    })
}

/// `ffn_down=q6_k`
fn pattern(text: &str) -> Result<(Regex, DType), Report> {
    let wrong = |what: String| Report::misuse(format_args!("`{text}`: {what}"));
    let (name, of) = text.split_once('=').filter(|(name, of)| !name.is_empty() && !of.is_empty()).ok_or_else(|| {
        wrong("a pattern, `=` and a type are expected".into()).hint("such as `--tensor-type ffn_down=q6_k`")
    })?;
    // As in llama-quantize, whose names of tensors have small letters only.
    let regex = Regex::new(&name.to_lowercase()).map_err(|e| wrong(e.to_string()))?;
    Ok((regex, dtype(of)?))
}

fn dtype(name: &str) -> Result<DType, Report> {
    DType::from_name(name).ok_or_else(|| {
        let all: Vec<_> = DType::ALL.iter().map(|dtype| dtype.name()).collect();
        Report::misuse(format_args!("`{name}` is not a tensor's type"))
            .hint(format_args!("types are {}", all.join(", ")))
    })
}

/// `KEY=int:1`
fn key_value(text: &str) -> Result<(String, Value), Report> {
    let wrong = || {
        Report::misuse(format_args!("`{text}` does not set a key"))
            .hint("such as `--override-kv phi3.context_length=int:4096`; the types are int, float, bool and str")
    };
    let (key, typed) = text.split_once('=').ok_or_else(wrong)?;
    let (of, value) = typed.split_once(':').ok_or_else(wrong)?;
    let value: Value = match of {
        // Every count in a file is a u32.
        "int" => value.parse::<i64>().ok().and_then(|n| u32::try_from(n.unsigned_abs()).ok()).ok_or_else(wrong)?.into(),
        "float" => value.parse::<f32>().map_err(|_| wrong())?.into(),
        "bool" => value.parse::<bool>().map_err(|_| wrong())?.into(),
        "str" => value.into(),
        _ => return Err(wrong()),
    };
    Ok((key.into(), value))
}

pub(crate) fn file_type(word: &OsStr) -> Option<FileType> {
    FileType::find(word.to_str()?)
}

fn unknown_type(word: &OsStr) -> Report {
    Report::misuse(format_args!("`{}` is not a type", word.to_string_lossy())).hint(types())
}

pub(crate) fn types() -> String {
    let written = FileType::ALL.iter().filter(|t| phi_quant::codec(t.base()).is_some_and(|c| c.encode.is_some()));
    let known: Vec<_> = written.map(|t| t.name()).collect();
    format!("types are {}", known.join(", "))
}

/// In the folder, or beside the file.
fn default_out(source: &Path, of: &str) -> PathBuf {
    let name = format!("ggml-model-{of}.gguf");
    if source.is_dir() { source.join(name) } else { source.with_file_name(name) }
}

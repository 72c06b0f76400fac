//! What it means: words told apart, defaults taken from the machine.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use phi_cli::Report;
use phi_convert::Recipe;

use crate::args::{Nan, Quantize};

/// A file to make.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) source: PathBuf,
    pub(crate) out: PathBuf,
    pub(crate) recipe: Recipe,
    pub(crate) threads: usize,
    pub(crate) force: bool,
    pub(crate) nan: Nan,
    pub(crate) pre: Option<String>,
    pub(crate) dry_run: bool,
    pub(crate) json: bool,
}

impl TryFrom<Quantize> for Job {
    type Error = Report;

    fn try_from(typed: Quantize) -> Result<Job, Report> {
        let words = &typed.words;
        let source = PathBuf::from(&words[0]);
        if words.len() == 1 {
            return Err(Report::misuse("no type is given").hint(types()));
        }
        // As in llama-quantize: a second word that is a type is one, whatever files there are.
        let (out, recipe, rest) = match recipe(&words[1]) {
            Some(recipe) => (None, recipe, &words[2..]),
            None => {
                let word = words.get(2).ok_or_else(|| unknown_type(&words[1]))?;
                (Some(PathBuf::from(&words[1])), recipe(word).ok_or_else(|| unknown_type(word))?, &words[3..])
            }
        };
        let out = out.unwrap_or_else(|| default_out(&source, &recipe));
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
        let Quantize { force, nan, pre, dry_run, json, .. } = typed;
        Ok(Job { source, out, recipe, threads, force, nan, pre, dry_run, json })
    }
}

fn recipe(word: &OsStr) -> Option<Recipe> {
    Recipe::find(word.to_str()?)
}

fn unknown_type(word: &OsStr) -> Report {
    Report::misuse(format_args!("`{}` is not a type", word.to_string_lossy())).hint(types())
}

pub(crate) fn types() -> String {
    let known: Vec<_> = Recipe::all().iter().map(|r| r.name).collect();
    format!("types are {}", known.join(", "))
}

/// In the folder, or beside the file.
fn default_out(source: &Path, recipe: &Recipe) -> PathBuf {
    let name = format!("ggml-model-{}.gguf", recipe.name);
    if source.is_dir() { source.join(name) } else { source.with_file_name(name) }
}

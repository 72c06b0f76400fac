//! Library errors carry facts; here they become what the user reads, with the flags that help.

use std::path::Path;

use phi_cli::{Exit, Report};
use phi_convert::ConvertError;
use phi_runtime::perplexity::BaseProblem;
use phi_runtime::{Error, ModelError};

/// An error as it is shown.
pub(crate) fn of(error: &Error) -> Report {
    match error {
        Error::Gguf(e) | Error::Model(ModelError::Key(e)) => {
            Report::new(&e.problem).field(e.field.as_str()).at(e.offset).hint_if(e.hint())
        }
        Error::Base(e) => {
            let report = Report::new(&e.problem).field(e.field.as_str()).at(e.offset).hint_if(e.hint());
            report.hint_if(option_for(&e.problem))
        }
        Error::TextTooShort { tokens, .. } => {
            Report::of(error).hint_if((tokens / 2 >= 8).then(|| format!("`-c {}` makes shorter chunks", tokens / 2)))
        }
        Error::ChunkTooShort { .. } => Report::of(error).exit(Exit::Misused),
        Error::Memory(_) => Report::of(error)
            .exit(Exit::DoesNotFit)
            .hint("a smaller context (`-c`), a smaller KV cache (`--kv q8_0`) or a smaller batch (`-ub`) needs less"),
        Error::KvType { .. } => Report::of(error).exit(Exit::Misused),
        Error::UnknownToken { .. } => Report::of(error).exit(Exit::Misused),
        Error::ContextFull { needed, .. } => Report::of(error).hint(format_args!("`-c {needed}` makes room for them")),
        Error::Interrupted => Report::interrupted(),
        _ => Report::of(error),
    }
}

/// Our option that helps with a base.
fn option_for(problem: &BaseProblem) -> Option<String> {
    Some(match problem {
        BaseProblem::Magic(_) => "`--kl-divergence-base FILE` without `--kl-divergence` writes one".into(),
        BaseProblem::CutOff { complete: complete @ 1.., .. } => format!("`--chunks {complete}` compares with those"),
        BaseProblem::OtherText { .. } => {
            "`--special` has to be as it was for the base; without `-f`, the base's own tokens are measured".into()
        }
        BaseProblem::Occupied(_) => "give the base another name".into(),
        BaseProblem::PartialExists => "remove it if nothing is writing it any more".into(),
        _ => return None,
    })
}

/// An error of opening `path`.
pub(crate) fn opening(error: &Error, path: &Path) -> Report {
    let report = of(error).file(path);
    match path {
        path if path.join("config.json").is_file() => report.hint(format_args!(
            "this is a Hugging Face folder: `phi-quantize {} OUT.gguf Q8_0` converts it",
            path.display()
        )),
        path if !path.exists() => report.hint("without MODEL, the small model inside this program answers"),
        _ => report,
    }
}

/// An error of a config, or of what follows from it.
pub(crate) fn of_folder(error: ConvertError) -> Report {
    let mut report = Report::new(&error.problem).file(&error.file);
    if !error.field.is_empty() {
        report = report.field(error.field.as_str());
    }
    report.at(error.offset).causes(std::error::Error::source(&error)).hint_if(error.hint())
}

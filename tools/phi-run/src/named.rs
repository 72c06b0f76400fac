//! MODEL where it is not a file of weights: a known name, a folder or a config, with a type behind it.

use std::path::Path;

use phi_cli::Report;
use phi_convert::{Config, FileType, Known};
use phi_plan::Source;

use crate::report;

/// A model without its weights.
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) config: Config,
    pub(crate) source: Source,
    /// The type behind the colon.
    pub(crate) tag: Option<FileType>,
}

/// What MODEL says, or `None` where it is a file of weights.
pub(crate) fn named(model: &Path) -> Result<Option<Named>, Report> {
    let Some(text) = model.to_str() else { return Ok(None) };
    // A path may have a colon in it, and Windows has one in most.
    let tagged = text.rsplit_once(':').filter(|(_, tag)| !model.exists() && !tag.contains(['/', '\\']));
    let (text, tag) = tagged.map_or((text, None), |(text, tag)| (text, Some(tag)));
    let path = Path::new(text);
    let folder = path.join("config.json");
    let (name, config, source) = if let Some(known) = Known::find(text).filter(|_| !path.exists()) {
        (known.name.into(), known.config().map_err(report::of_folder)?, Source::Known)
    } else if folder.is_file() || path.extension().is_some_and(|e| e == "json") && path.exists() {
        let config = Config::open(if folder.is_file() { &folder } else { path }).map_err(report::of_folder)?;
        (text.into(), config, Source::Config)
    } else if path.exists() || text.contains(['/', '\\']) || path.extension().is_some_and(|e| e == "gguf") {
        return Ok(None);
    } else {
        let report = Report::misuse(format_args!("`{text}` is neither a file nor a known model"));
        return Err(report.hint(format_args!("known are {}", names())));
    };
    let unknown = |tag| {
        let names: Vec<_> = FileType::ALL.iter().map(|t| t.name()).collect();
        Report::misuse(format_args!("`{tag}` is not a type")).hint(names.join(", "))
    };
    let tag = tag.map(|tag| FileType::find(tag).ok_or_else(|| unknown(tag))).transpose()?;
    Ok(Some(Named { name, config, source, tag }))
}

fn names() -> String {
    let names = Known::all().iter().flat_map(|known| std::iter::once(&known.name).chain(known.aliases));
    names.copied().collect::<Vec<_>>().join(", ")
}

//! Opening, reading by position, reading whole: nothing is mapped, and nothing is read before its size is known.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::{ConvertError, Problem, Result};

/// A regular file (through links, as download caches use them), and its length.
pub(crate) fn open(path: &Path) -> Result<(File, u64)> {
    let io = |error| ConvertError::new("", None, Problem::Io(error)).of(path);
    let not_regular = || ConvertError::new("", None, Problem::NotRegular).of(path);
    // Before opening, too: opening a pipe would wait for a writer.
    if !std::fs::metadata(path).map_err(io)?.is_file() {
        return Err(not_regular());
    }
    let file = File::open(path).map_err(io)?;
    let about = file.metadata().map_err(io)?;
    if about.is_file() { Ok((file, about.len())) } else { Err(not_regular()) }
}

/// A whole file of at most `max` bytes.
pub(crate) fn read(path: &Path, max: u64) -> Result<Vec<u8>> {
    let (file, len) = open(path)?;
    if len > max {
        return Err(ConvertError::new("file size", None, Problem::Limit { got: len, max }).of(path));
    }
    let mut bytes = Vec::new();
    // The file may grow meanwhile, but not under us.
    file.take(max).read_to_end(&mut bytes).map_err(|e| ConvertError::new("", None, Problem::Io(e)).of(path))?;
    Ok(bytes)
}

/// A JSON file of at most `max` bytes, or `None` when it is not there.
pub(crate) fn find_json<T: DeserializeOwned>(path: &Path, max: u64) -> Result<Option<T>> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        _ => json(&read(path, max)?).map(Some).map_err(|e| e.of(path)),
    }
}

/// JSON, with the place of what is wrong with it.
pub(crate) fn json<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| json_error("", bytes, 0, &error))
}

/// What serde says about text that begins at byte `start` of its file.
pub(crate) fn json_error(field: &str, text: &[u8], start: u64, error: &serde_json::Error) -> ConvertError {
    let (line, column) = (error.line(), error.column());
    let before: usize = text.split_inclusive(|&b| b == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    let at = before.saturating_add(column.saturating_sub(1)).min(text.len());
    let shown = error.to_string();
    let what = shown.split(" at line ").next().unwrap_or(&shown).into();
    ConvertError::new(field, start.saturating_add(at as u64), Problem::Json { what, line, column })
}

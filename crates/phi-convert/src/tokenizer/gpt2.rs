//! GPT-2's own files: `vocab.json`, a map of text to id, and `merges.txt`, a pair per line.

use std::path::Path;

use phi_gguf::Strings;

use super::fast::VocabMap;
use super::{Family, MAX_TOKENIZER_BYTES, Vocab};
use crate::error::{ConvertError, Problem, Result};
use crate::file;

/// What byte-level BPE splits by where nothing else is said.
pub(super) const PATTERN: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

pub(super) fn open(folder: &Path, pre: Option<&'static str>) -> Result<Option<Vocab>> {
    let path = folder.join("vocab.json");
    let Some(map) = file::find_json::<VocabMap>(&path, MAX_TOKENIZER_BYTES)? else { return Ok(None) };
    let pre = match pre {
        Some(pre) => pre,
        None => super::fast::recognise(PATTERN, &path)?,
    };
    let mut vocab = Vocab::new(Family::Bytes { pre: pre.into() });
    map.put_into(&mut vocab, &path)?;

    let path = folder.join("merges.txt");
    let text = file::read(&path, MAX_TOKENIZER_BYTES)?;
    let text = std::str::from_utf8(&text).map_err(|e| {
        let at = e.valid_up_to();
        ConvertError::new("", at as u64, Problem::NotUtf8 { at }).of(&path)
    })?;
    vocab.merges = merges(text, &path)?;
    Ok(Some(vocab))
}

/// The pairs of a `merges.txt`.
pub(super) fn merges(text: &str, path: &Path) -> Result<Strings> {
    let mut merges = Strings::new();
    for (i, line) in text.lines().enumerate() {
        // The first line may name the version; `#` begins ordinary pairs elsewhere.
        if line.is_empty() || (i == 0 && line.starts_with("#version")) {
            continue;
        }
        let mut parts = line.split(' ');
        if let (Some(_), Some(_), None) = (parts.next(), parts.next(), parts.next()) {
            merges.push(line);
        } else {
            let problem = Problem::Expected { want: "two pieces with a space between" };
            return Err(ConvertError::new(format!("line {}", i + 1), None, problem).of(path));
        }
    }
    Ok(merges)
}

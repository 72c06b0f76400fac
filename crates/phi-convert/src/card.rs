//! The model card: what the front matter of a `README.md` says, as far as a GGUF has a key for it.

use std::path::Path;

use phi_gguf::{Strings, Value};

use crate::error::Result;
use crate::file;

/// A card is text for people; a larger one is not read.
const MAX_CARD_BYTES: u64 = 4 << 20;

/// The keys for licence, tags and languages.
pub(crate) fn keys(folder: &Path) -> Result<Vec<(String, Value)>> {
    let path = folder.join("README.md");
    if !path.is_file() || std::fs::metadata(&path).is_ok_and(|about| about.len() > MAX_CARD_BYTES) {
        return Ok(Vec::new());
    }
    let text = file::read(&path, MAX_CARD_BYTES)?;
    let fields = front_matter(&String::from_utf8_lossy(&text));
    let find =
        |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, values)| values.as_slice()).unwrap_or(&[]);

    let mut keys: Vec<(String, Value)> = Vec::new();
    for (key, name) in [("license", "license"), ("license.name", "license_name"), ("license.link", "license_link")] {
        if !find(name).is_empty() {
            keys.push((format!("general.{key}"), find(name).join(",").into()));
        }
    }
    for (key, names) in [("tags", ["tags", "pipeline_tag"]), ("languages", ["languages", "language"])] {
        let all: Strings = names.iter().flat_map(|name| find(name)).collect();
        if !all.is_empty() {
            keys.push((format!("general.{key}"), all.into()));
        }
    }
    Ok(keys)
}

/// The top level of the little YAML that cards use: `key: value`, `key: [a, b]`, and lists of `- item` lines.
fn front_matter(text: &str) -> Vec<(String, Vec<String>)> {
    let mut lines = text.lines();
    let mut fields: Vec<(String, Vec<String>)> = Vec::new();
    if lines.next() != Some("---") {
        return fields;
    }
    for line in lines.take_while(|line| *line != "---") {
        let item = line.trim_start().strip_prefix("- ");
        if let (Some(item), Some((_, values))) = (item, fields.last_mut()) {
            values.extend(scalar(item));
        } else if let Some((key, value)) = line.split_once(':').filter(|_| !line.starts_with([' ', '\t', '#'])) {
            let list = value.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            let values = match list {
                Some(list) => list.split(',').filter_map(scalar).collect(),
                None => scalar(value).into_iter().collect(),
            };
            fields.push((key.trim().to_string(), values));
        }
    }
    fields
}

fn scalar(text: &str) -> Option<String> {
    let text = text.trim();
    let quoted = ['"', '\''].iter().find_map(|&q| text.strip_prefix(q)?.strip_suffix(q));
    let plain = text.split(" #").next().unwrap_or("").trim();
    Some(quoted.unwrap_or(plain).to_string()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn front_matter_is_read() {
        let card =
            "---\nlicense: mit\nlanguage:\n- en\n- \"no\"\ntags: [nlp, 'code']\nwidget:\n  - messages:\n---\n# x: y\n";
        let fields = front_matter(card);
        assert_eq!(fields[0], ("license".into(), vec!["mit".into()]));
        assert_eq!(fields[1], ("language".into(), vec!["en".into(), "no".into()]));
        assert_eq!(fields[2], ("tags".into(), vec!["nlp".into(), "code".into()]));
        assert_eq!(fields.len(), 4);
        assert!(front_matter("# no card\n").is_empty());
    }
}

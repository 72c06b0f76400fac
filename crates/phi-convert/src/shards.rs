//! One file or many: where each tensor of a folder lies.

use std::collections::HashMap;
use std::fmt;
use std::path::{Component, Path};

use phi_gguf::printable;
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};

use crate::error::{ConvertError, Problem, Result, Warning};
use crate::file;
use crate::safetensors::{Entry, Safetensors};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// Real indexes are below 1 MiB.
const MAX_INDEX_BYTES: u64 = 16 << 20;
/// Each is opened and stays open.
const MAX_SHARDS: usize = 1024;

/// The weights of a folder.
#[derive(Debug)]
pub(crate) struct Shards {
    pub(crate) files: Vec<Safetensors>,
    /// Name of a tensor to number of its file.
    by_name: HashMap<String, usize>,
    pub(crate) warnings: Vec<Warning>,
}

impl Shards {
    pub(crate) fn open(folder: &Path) -> Result<Shards> {
        let single = folder.join(SINGLE);
        if std::fs::symlink_metadata(&single).is_ok() {
            return Ok(Shards::one(Safetensors::open(&single)?));
        }
        let path = folder.join(INDEX);
        match file::find_json::<Index>(&path, MAX_INDEX_BYTES)? {
            Some(index) => Shards::open_all(folder, index, &path),
            None => {
                let others = ["pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt"];
                let other = others.iter().find(|name| folder.join(name).exists()).map(|name| name.to_string());
                Err(ConvertError::new("", None, Problem::NoWeights { other }).of(folder))
            }
        }
    }

    /// All in one file.
    pub(crate) fn one(file: Safetensors) -> Shards {
        let by_name = file.tensors().iter().map(|t| (t.name.clone(), 0)).collect();
        Shards { files: vec![file], by_name, warnings: Vec::new() }
    }

    fn open_all(folder: &Path, index: Index, path: &Path) -> Result<Shards> {
        let fail = |field: String, problem| ConvertError::new(field, None, problem).of(path);
        let entry = |tensor: &str| format!("weight_map[\"{}\"]", printable(tensor));
        let Some(WeightMap(weights)) = index.weight_map else {
            return Err(fail("weight_map".into(), Problem::Missing));
        };
        if let Some(name) = index.duplicate {
            return Err(fail(entry(&name), Problem::Duplicate));
        }
        // In the order of the index, so that what is opened and reported does not depend on chance.
        let mut names: Vec<&str> = Vec::new();
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        for (tensor, shard) in &weights {
            if !is_plain_name(shard) {
                return Err(fail(entry(tensor), Problem::FileName));
            }
            if !numbers.contains_key(shard.as_str()) {
                if names.len() >= MAX_SHARDS {
                    let problem =
                        Problem::TooMany { got: names.len() as u64 + 1, what: "shards", max: MAX_SHARDS as u64 };
                    return Err(fail("weight_map".into(), problem));
                }
                let shard_path = folder.join(shard);
                if std::fs::symlink_metadata(&shard_path).is_err() {
                    let problem = Problem::NoShard { tensor: printable(tensor) };
                    return Err(ConvertError::new("", None, problem).of(&shard_path));
                }
                numbers.insert(shard, names.len());
                names.push(shard);
            }
        }
        let files = names.iter().map(|name| Safetensors::open(&folder.join(name))).collect::<Result<Vec<_>>>()?;
        let by_name: HashMap<String, usize> = weights.iter().map(|(t, s)| (t.clone(), numbers[s.as_str()])).collect();

        for (tensor, &number) in weights.iter().map(|(t, s)| (t, &numbers[s.as_str()])) {
            if files[number].find(tensor).is_none() {
                let shard = names[number].to_string();
                return Err(fail(entry(tensor), Problem::NotInShard { shard }));
            }
        }
        let mut found = 0_u64;
        for (number, file) in files.iter().enumerate() {
            for tensor in file.tensors() {
                found = found.saturating_add(tensor.bytes);
                if let Some(&other) = by_name.get(&tensor.name).filter(|&&other| other != number) {
                    let (first, second) = (names[other.min(number)].into(), names[other.max(number)].into());
                    return Err(fail(entry(&tensor.name), Problem::TwoShards { first, second }));
                }
            }
        }
        let said = index.metadata.and_then(|m| m.total_size);
        let warnings = match said {
            // Some writers store the number as a float.
            Some(said) if said != found as f64 => vec![Warning::TotalSize { said: said as u64, found }],
            _ => Vec::new(),
        };
        Ok(Shards { files, by_name, warnings })
    }

    /// The tensor with this name, and the number of its file.
    pub(crate) fn find(&self, name: &str) -> Option<(usize, &Entry)> {
        let &number = self.by_name.get(name)?;
        Some((number, self.files[number].find(name)?))
    }

    /// Every name, sorted.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.by_name.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }
}

/// A name that stays in the folder on every system.
fn is_plain_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name)
        && !name.contains(['/', '\\', ':'])
        && !name.contains(char::is_control)
}

struct Index {
    weight_map: Option<WeightMap>,
    metadata: Option<IndexMetadata>,
    duplicate: Option<String>,
}

#[derive(Deserialize)]
struct RawIndex {
    weight_map: Option<WeightMap>,
    metadata: Option<IndexMetadata>,
}

#[derive(Deserialize)]
struct IndexMetadata {
    total_size: Option<f64>,
}

impl<'de> Deserialize<'de> for Index {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Index, D::Error> {
        let RawIndex { weight_map, metadata } = RawIndex::deserialize(deserializer)?;
        let mut seen = std::collections::HashSet::new();
        let duplicate =
            weight_map.as_ref().and_then(|WeightMap(all)| all.iter().map(|(t, _)| t).find(|t| !seen.insert(*t)));
        let duplicate = duplicate.cloned();
        Ok(Index { weight_map, metadata, duplicate })
    }
}

/// Tensor to shard, in the order of the file, with nothing overwritten.
struct WeightMap(Vec<(String, String)>);

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<WeightMap, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = WeightMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of file names in `weight_map`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<WeightMap, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(WeightMap(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

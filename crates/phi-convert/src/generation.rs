//! `generation_config.json`: how the model wants to be sampled, and where it stops.

use std::path::Path;

use phi_gguf::Value;
use serde::Deserialize;

use crate::error::{ConvertError, Problem, Result};
use crate::file;

const MAX_BYTES: u64 = 1 << 20;

/// The fields we have a key for.
#[derive(Clone, Default, Debug, Deserialize)]
#[serde(default)]
pub(crate) struct Generation {
    do_sample: Option<bool>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<i64>,
    eos_token_id: Option<Ids>,
}

/// One id or several: the field has both forms.
///
/// Read through a JSON value: an untagged enum of numbers depends on how serde_json keeps them, which any crate of the
/// program may change (`arbitrary_precision`).
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "serde_json::Value")]
pub(crate) struct Ids(Vec<u32>);

impl TryFrom<serde_json::Value> for Ids {
    type Error = serde_json::Error;

    fn try_from(value: serde_json::Value) -> std::result::Result<Ids, serde_json::Error> {
        let several = if value.is_array() { value } else { vec![value].into() };
        serde_json::from_value(several).map(Ids)
    }
}

impl Ids {
    pub(crate) fn to_vec(&self) -> Vec<u32> {
        self.0.clone()
    }
}

impl Generation {
    pub(crate) fn open(folder: &Path) -> Result<Generation> {
        let path = folder.join("generation_config.json");
        let generation: Generation = file::find_json(&path, MAX_BYTES)?.unwrap_or_default();
        let ranges = [("temperature", generation.temperature, 0.0..=100.0), ("top_p", generation.top_p, 0.0..=1.0)];
        for (field, value, range) in ranges {
            if let Some(got) = value.filter(|value| !range.contains(value)) {
                let want = format!("{} to {}", range.start(), range.end()).into();
                let problem = Problem::Value { got: got.to_string().into(), want };
                return Err(ConvertError::new(field, None, problem).of(&path));
            }
        }
        Ok(generation)
    }

    /// Where the model stops.
    pub(crate) fn stops(&self) -> Vec<u32> {
        self.eos_token_id.as_ref().map(Ids::to_vec).unwrap_or_default()
    }

    /// The sampling keys, in llama.cpp's order. A model that is not to be sampled is a temperature of 0.
    pub(crate) fn keys(&self) -> Vec<(String, Value)> {
        if self.do_sample == Some(false) {
            return vec![("general.sampling.temp".into(), Value::F32(0.0))];
        }
        let top_k = self.top_k.and_then(|k| i32::try_from(k).ok()).map(Value::I32);
        let float = |value: Option<f64>| value.map(|value| Value::F32(value as f32));
        let keys = [("top_k", top_k), ("top_p", float(self.top_p)), ("temp", float(self.temperature))];
        keys.into_iter().filter_map(|(key, value)| Some((format!("general.sampling.{key}"), value?))).collect()
    }
}

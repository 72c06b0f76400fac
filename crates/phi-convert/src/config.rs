//! `config.json`, in both of its spellings, with every number judged under its name.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use phi_gguf::printable;
use serde_json::{Map, Value};

use crate::error::{ConvertError, Problem, Result};
use crate::file;

/// Real ones are below 50 KiB.
const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// What no model of ours exceeds, with room to spare; the same bounds as when a GGUF is read.
pub(crate) const LAYERS: RangeInclusive<u64> = 1..=1024;
pub(crate) const HEADS: RangeInclusive<u64> = 1..=1024;
pub(crate) const WIDTH: RangeInclusive<u64> = 1..=1 << 16;
pub(crate) const FEED_FORWARD: RangeInclusive<u64> = 1..=1 << 20;
pub(crate) const VOCABULARY: RangeInclusive<u64> = 1..=1 << 20;
/// By what queries and keys may grow.
const MSCALE: RangeInclusive<f64> = 0.0..=100.0;
pub(crate) const CONTEXT: RangeInclusive<u64> = 1..=1 << 30;

/// A parsed `config.json`.
#[derive(Clone, Debug)]
pub struct Config {
    path: PathBuf,
    root: Map<String, Value>,
}

/// Which rotation a model uses, whichever way the config spells it.
#[derive(Clone, PartialEq, Debug)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// The part of each head that is rotated, in (0, 1], where the config says it.
    pub partial: Option<f64>,
    /// Context before it was extended.
    pub original_context: Option<u32>,
    /// Longrope, where the model has it.
    pub longrope: Option<Longrope>,
}

/// Factors by which frequencies are divided.
#[derive(Clone, PartialEq, Debug)]
pub struct Longrope {
    /// The kind, as the config calls it: `longrope`, `su` or `yarn`.
    pub kind: String,
    /// Within the original context.
    pub short: Vec<f32>,
    /// Beyond it.
    pub long: Vec<f32>,
    /// By what queries and keys grow, where the config says it itself.
    pub mscale: Option<f64>,
}

impl Rope {
    /// Context before it was extended, which must be known if it was.
    pub(crate) fn original(&self, config: &Config, n_ctx: u32) -> Result<u32> {
        match self.original_context {
            Some(n) => Ok(n),
            None if self.longrope.is_none() => Ok(n_ctx),
            None => Err(config.error("original_max_position_embeddings", Problem::Missing)),
        }
    }
}

impl Longrope {
    /// By what queries and keys grow when the context was extended: `√(1 + ln(s) / ln(original))`, or YaRN's older formula.
    pub(crate) fn attn_factor(&self, n_ctx: u32, n_orig: u32) -> f32 {
        let scale = f64::from(n_ctx) / f64::from(n_orig);
        let factor = match self.kind.as_str() {
            _ if scale <= 1.0 => 1.0,
            "yarn" => 0.1 * scale.ln() + 1.0,
            _ => (1.0 + scale.ln() / f64::from(n_orig).ln()).sqrt(),
        };
        self.mscale.unwrap_or(factor) as f32
    }
}

impl Config {
    /// Reads a `config.json`.
    pub fn open(path: &Path) -> Result<Config> {
        Config::parse(path, &file::read(path, MAX_CONFIG_BYTES)?)
    }

    /// Reads the text of a `config.json`; `path` is for messages.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Config> {
        let value: Value = file::json(text).map_err(|e| e.of(path))?;
        match value {
            Value::Object(root) => Ok(Config { path: path.to_path_buf(), root }),
            _ => Err(ConvertError::new("", 0, Problem::Expected { want: "an object" }).of(path)),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text, as a file would have it.
    pub fn text(&self) -> String {
        let text = serde_json::to_string_pretty(&self.root).expect("what was JSON is JSON");
        format!("{text}\n")
    }

    pub(crate) fn root_mut(&mut self) -> &mut Map<String, Value> {
        &mut self.root
    }

    /// The class that the model was saved from.
    pub fn architecture(&self) -> Result<&str> {
        let first = self.find("architectures").and_then(|list| list.get(0));
        let first = first.ok_or_else(|| self.error("architectures", Problem::Missing))?;
        first.as_str().ok_or_else(|| self.error("architectures[0]", Problem::Expected { want: "a string" }))
    }

    /// A field that is there and not null.
    pub(crate) fn find(&self, field: &str) -> Option<&Value> {
        self.root.get(field).filter(|value| !value.is_null())
    }

    pub(crate) fn error(&self, field: &str, problem: Problem) -> ConvertError {
        ConvertError::new(field, None, problem).of(&self.path)
    }

    /// A value that this program cannot do with.
    pub(crate) fn misfit(&self, field: &str, got: impl ToString, want: impl Into<Box<str>>) -> ConvertError {
        self.error(field, Problem::Value { got: printable(got.to_string()).into(), want: want.into() })
    }

    fn bad(&self, field: &str, got: &Value, want: impl Into<Box<str>>) -> ConvertError {
        self.misfit(field, got, want)
    }

    /// A whole number that must be there.
    pub(crate) fn size(&self, field: &str, range: RangeInclusive<u64>) -> Result<u32> {
        self.find_size(field, range)?.ok_or_else(|| self.error(field, Problem::Missing))
    }

    /// A whole number that may be absent.
    pub(crate) fn find_size(&self, field: &str, range: RangeInclusive<u64>) -> Result<Option<u32>> {
        self.find(field).map(|value| self.as_size(field, value, range)).transpose()
    }

    fn as_size(&self, field: &str, value: &Value, range: RangeInclusive<u64>) -> Result<u32> {
        // Python writes 1e9 as 1000000000.0.
        let whole = value.as_f64().filter(|x| x.fract() == 0.0 && (0.0..1e18).contains(x)).map(|x| x as u64);
        let Some(number) = value.as_u64().or(whole) else { return Err(self.bad(field, value, "a whole number")) };
        if number > *range.end() {
            return Err(self.error(field, Problem::Limit { got: number, max: *range.end() }));
        }
        match u32::try_from(number) {
            Ok(size) if range.contains(&number) => Ok(size),
            _ => Err(self.bad(field, value, format!("at least {}", range.start()))),
        }
    }

    /// A number in a range, that must be there.
    pub(crate) fn number(&self, field: &str, range: RangeInclusive<f64>) -> Result<f64> {
        let value = self.find(field).ok_or_else(|| self.error(field, Problem::Missing))?;
        self.as_number(field, value, range)
    }

    /// A number in a range, that may be absent.
    pub(crate) fn find_number(&self, field: &str, range: RangeInclusive<f64>) -> Result<Option<f64>> {
        self.find(field).map(|value| self.as_number(field, value, range)).transpose()
    }

    /// A list of ids below `n_vocab`, that may be absent.
    pub(crate) fn find_ids(&self, field: &str, n_vocab: u32) -> Result<Option<Vec<i32>>> {
        let Some(value) = self.find(field) else { return Ok(None) };
        let list = value.as_array().ok_or_else(|| self.error(field, Problem::Expected { want: "a list of ids" }))?;
        let id = |value: &Value| value.as_i64().filter(|id| (0..i64::from(n_vocab)).contains(id)).map(|id| id as i32);
        let known = |value: &Value| id(value).ok_or_else(|| self.bad(field, value, format!("an id below {n_vocab}")));
        list.iter().map(known).collect::<Result<_>>().map(Some)
    }

    fn as_number(&self, field: &str, value: &Value, range: RangeInclusive<f64>) -> Result<f64> {
        match value.as_f64() {
            Some(number) if range.contains(&number) => Ok(number),
            Some(_) => Err(self.bad(field, value, format!("{} to {}", range.start(), range.end()))),
            None => Err(self.bad(field, value, "a number")),
        }
    }

    /// A yes or no that may be absent.
    pub(crate) fn find_bool(&self, field: &str) -> Result<Option<bool>> {
        let as_bool = |value: &Value| value.as_bool().ok_or_else(|| self.bad(field, value, "true or false"));
        self.find(field).map(as_bool).transpose()
    }

    /// A text that may be absent.
    pub(crate) fn find_str(&self, field: &str) -> Result<Option<&str>> {
        self.find(field).map(|value| value.as_str().ok_or_else(|| self.bad(field, value, "a string"))).transpose()
    }

    /// The rotation: from `rope_parameters` (transformers 5), or from `rope_scaling` and its neighbours (before). `theta`
    /// is what the field of its base is called.
    pub fn rope(&self, theta: &str) -> Result<Rope> {
        let (object, values) = match (self.find("rope_parameters"), self.find("rope_scaling")) {
            (Some(values), _) => ("rope_parameters", Some(values)),
            (None, Some(values)) => ("rope_scaling", Some(values)),
            (None, None) => ("rope_scaling", None),
        };
        if let Some(value) = values.filter(|value| !value.is_object()) {
            return Err(self.bad(object, value, "an object"));
        }
        // A field of the object, else one of the same name beside it.
        let field = |name: &str| {
            let inside = values.and_then(|values| values.get(name)).filter(|value| !value.is_null());
            let path = if inside.is_some() { format!("{object}.{name}") } else { name.to_string() };
            (path, inside.or_else(|| self.find(name)))
        };
        let number = |name: &str, range| match field(name) {
            (path, Some(value)) => self.as_number(&path, value, range).map(Some),
            (_, None) => Ok(None),
        };
        let theta = number(theta, 1.0..=1e12)?.ok_or_else(|| self.error(theta, Problem::Missing))?;
        let partial = number("partial_rotary_factor", 1e-3..=1.0)?;
        let original_context = match field("original_max_position_embeddings") {
            (path, Some(value)) => Some(self.as_size(&path, value, CONTEXT)?),
            (_, None) => None,
        };
        let kind = ["rope_type", "type"].iter().find_map(|name| values.and_then(|values| values.get(*name)));
        let kind = match kind.filter(|kind| !kind.is_null()) {
            Some(value) => value.as_str().ok_or_else(|| self.bad(&format!("{object}.rope_type"), value, "a string"))?,
            None => "default",
        };
        let longrope = match kind {
            "default" => None,
            "longrope" | "su" | "yarn" => Some(Longrope {
                kind: kind.to_string(),
                short: self.factors(&format!("{object}.short_factor"), values.and_then(|v| v.get("short_factor")))?,
                long: self.factors(&format!("{object}.long_factor"), values.and_then(|v| v.get("long_factor")))?,
                mscale: self.mscale(number("short_mscale", MSCALE)?, number("long_mscale", MSCALE)?)?,
            }),
            other => {
                let got = format!("\"{}\"", printable(other)).into();
                let want = "default, longrope, su or yarn".into();
                return Err(self.error(&format!("{object}.rope_type"), Problem::Value { got, want }));
            }
        };
        Ok(Rope { theta, partial, original_context, longrope })
    }

    /// One factor for both lists, 0 or nothing where a formula gives it.
    fn mscale(&self, short: Option<f64>, long: Option<f64>) -> Result<Option<f64>> {
        if short != long {
            let show = |x: Option<f64>| x.map_or("none".into(), |x| x.to_string());
            return Err(self.misfit("short_mscale", show(short), format!("that of long_mscale, {}", show(long))));
        }
        Ok(short.filter(|&mscale| mscale > 0.0))
    }

    fn factors(&self, field: &str, value: Option<&Value>) -> Result<Vec<f32>> {
        let value = value.ok_or_else(|| self.error(field, Problem::Missing))?;
        let list =
            value.as_array().ok_or_else(|| self.error(field, Problem::Expected { want: "a list of numbers" }))?;
        let factor = |(i, value)| self.as_number(&format!("{field}[{i}]"), value, 1e-6..=1e6).map(|x| x as f32);
        list.iter().enumerate().map(factor).collect()
    }
}

//! `inspect`: what is in a container, whether or not it makes a model.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::Read;
use std::path::Path;

use phi_cli::{Align, Io, Report, Size, Table};
use phi_convert::safetensors::Safetensors;
use phi_gguf::{Array, Gguf, Value};
use serde::Serialize;

use crate::args::Inspect;
use crate::report::{of_folder, of_gguf};

/// Characters of a value that are shown.
const VALUE_CHARS: usize = 80;
/// Elements of an array that are shown.
const ELEMENTS: usize = 8;

/// A container, in the same words for both formats.
#[derive(Serialize)]
struct About {
    file: String,
    format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    bytes: u64,
    values: u64,
    metadata: Vec<Key>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tensors: Option<Vec<OneTensor>>,
    types: Vec<OfType>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Key {
    key: String,
    #[serde(rename = "type")]
    ty: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    len: Option<usize>,
    value: Shown,
}

/// A value; of an array the first elements.
#[derive(Serialize)]
#[serde(untagged)]
enum Shown {
    Bool(bool),
    Whole(i128),
    Float(f64),
    Text(String),
    List(Vec<Shown>),
}

#[derive(Serialize)]
struct OneTensor {
    name: String,
    #[serde(rename = "type")]
    dtype: &'static str,
    shape: Vec<u64>,
    offset: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct OfType {
    #[serde(rename = "type")]
    dtype: &'static str,
    tensors: usize,
    bytes: u64,
}

pub(crate) fn inspect(what: &Inspect, io: &mut Io) -> Result<(), Report> {
    let mut about = if is_safetensors(&what.file)? { of_safetensors(&what.file)? } else { of_gguf_file(&what.file)? };
    about.warnings.iter().for_each(|warning| io.warn(warning));
    about.types = sum(about.tensors.as_deref().unwrap_or_default());
    about.tensors = about.tensors.filter(|_| what.tensors);
    if what.json { Ok(io.json(&about)?) } else { Ok(io.print(about.text())?) }
}

/// By the name, else by what the file begins with.
pub(crate) fn is_safetensors(path: &Path) -> Result<bool, Report> {
    if let Some(extension) = path.extension().filter(|e| *e == "safetensors" || *e == "gguf") {
        return Ok(extension == "safetensors");
    }
    let io = |e: std::io::Error| Report::new(&e).file(path);
    if !std::fs::metadata(path).map_err(io)?.is_file() {
        return Err(Report::new("not a regular file").file(path));
    }
    let mut start = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(9).read_to_end(&mut start)).map_err(io)?;
    Ok(!start.starts_with(b"GGUF") && start.get(8) == Some(&b'{'))
}

fn of_safetensors(path: &Path) -> Result<About, Report> {
    let file = Safetensors::open(path).map_err(of_folder)?;
    let tensors: Vec<_> = file
        .tensors()
        .iter()
        .map(|t| OneTensor {
            name: t.name.clone(),
            dtype: t.dtype.name(),
            shape: t.shape.clone(),
            offset: t.start,
            bytes: t.bytes,
        })
        .collect();
    Ok(About {
        file: path.display().to_string(),
        format: "safetensors",
        version: None,
        bytes: file.tensors().iter().map(|t| t.start + t.bytes).max().unwrap_or(0),
        values: file.tensors().iter().map(|t| t.shape.iter().product::<u64>()).fold(0, u64::saturating_add),
        metadata: Vec::new(),
        tensors: Some(tensors),
        types: Vec::new(),
        warnings: Vec::new(),
    })
}

fn of_gguf_file(path: &Path) -> Result<About, Report> {
    let file = Gguf::open(path).map_err(|e| of_gguf(e, path))?;
    let tensors = file.tensors().iter().map(|t| OneTensor {
        name: t.name.clone(),
        dtype: t.dtype.name(),
        shape: t.shape.dims().to_vec(),
        offset: t.start,
        bytes: t.bytes,
    });
    let keys = file.metadata().entries().iter().map(|entry| {
        let (ty, len) = match &entry.value {
            Value::Array(array) => (format!("array<{}>", array.element_type()), Some(array.len())),
            value => (value.value_type().to_string(), None),
        };
        Key { key: entry.key.clone(), ty, len, value: Shown::of(&entry.value) }
    });
    Ok(About {
        file: path.display().to_string(),
        format: "gguf",
        version: Some(file.header().version),
        bytes: file.file_bytes(),
        values: file.tensors().iter().map(|t| t.shape.len()).fold(0, u64::saturating_add),
        metadata: keys.collect(),
        tensors: Some(tensors.collect()),
        types: Vec::new(),
        warnings: file.warnings().iter().map(ToString::to_string).collect(),
    })
}

fn sum(tensors: &[OneTensor]) -> Vec<OfType> {
    let mut types: BTreeMap<&str, OfType> = BTreeMap::new();
    for t in tensors {
        let sum = types.entry(t.dtype).or_insert(OfType { dtype: t.dtype, tensors: 0, bytes: 0 });
        sum.tensors += 1;
        sum.bytes = sum.bytes.saturating_add(t.bytes);
    }
    types.into_values().collect()
}

impl Shown {
    fn of(value: &Value) -> Shown {
        match value {
            Value::Bool(x) => Shown::Bool(*x),
            Value::String(x) => Shown::Text(x.clone()),
            Value::F32(x) => Shown::Float(f64::from(*x)),
            Value::F64(x) => Shown::Float(*x),
            Value::U8(x) => Shown::Whole((*x).into()),
            Value::I8(x) => Shown::Whole((*x).into()),
            Value::U16(x) => Shown::Whole((*x).into()),
            Value::I16(x) => Shown::Whole((*x).into()),
            Value::U32(x) => Shown::Whole((*x).into()),
            Value::I32(x) => Shown::Whole((*x).into()),
            Value::U64(x) => Shown::Whole((*x).into()),
            Value::I64(x) => Shown::Whole((*x).into()),
            Value::Array(array) => Shown::List(elements(array)),
        }
    }

    fn text(&self) -> String {
        match self {
            Shown::Bool(x) => x.to_string(),
            Shown::Whole(x) => x.to_string(),
            // As the file has it: most are singles.
            Shown::Float(x) => format!("{}", *x as f32),
            Shown::Text(x) => x.clone(),
            Shown::List(all) => all.iter().map(Shown::text).collect::<Vec<_>>().join(", "),
        }
    }
}

fn elements(array: &Array) -> Vec<Shown> {
    (0..ELEMENTS).map_while(|i| array.value(i)).map(|value| Shown::of(&value)).collect()
}

impl About {
    fn text(&self) -> String {
        let mut out = String::new();
        let version = self.version.map(|v| format!(" version {v}")).unwrap_or_default();
        let count: usize = self.types.iter().map(|t| t.tensors).sum();
        let _ = writeln!(
            out,
            "{}: {}{version}, {}, {count} tensors, {} values",
            self.file,
            self.format,
            Size(self.bytes),
            self.values
        );
        if !self.metadata.is_empty() {
            let mut table = Table::new([("key", Align::Left), ("type", Align::Left), ("value", Align::Left)]);
            for key in &self.metadata {
                let ty = key.len.map_or(key.ty.clone(), |len| format!("{} × {len}", key.ty));
                let more = if key.len.is_some_and(|len| len > ELEMENTS) { ", …" } else { "" };
                table.row([line(&key.key), ty, line(&(key.value.text() + more))]);
            }
            let _ = write!(out, "\n{table}");
        }
        if let Some(tensors) = &self.tensors {
            let mut table = Table::new([
                ("tensor", Align::Left),
                ("type", Align::Left),
                ("shape", Align::Left),
                ("bytes", Align::Right),
            ]);
            for t in tensors {
                table.row([line(&t.name), t.dtype.into(), format!("{:?}", t.shape), t.bytes.to_string()]);
            }
            let _ = write!(out, "\n{table}");
        }
        let mut table =
            Table::new([("type", Align::Left), ("tensors", Align::Right), ("bytes", Align::Right), ("", Align::Right)]);
        for t in &self.types {
            table.row([t.dtype.into(), t.tensors.to_string(), t.bytes.to_string(), Size(t.bytes).to_string()]);
        }
        let _ = write!(out, "\n{table}");
        out
    }
}

/// Text from a file in one line of bounded length, with nothing in it that acts on a terminal.
fn line(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(VALUE_CHARS)
        .flat_map(|c| match c.is_control() {
            true => c.escape_default().collect::<Vec<_>>(),
            false => vec![c],
        })
        .collect();
    if text.chars().nth(VALUE_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

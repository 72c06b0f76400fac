//! safetensors: eight bytes of length, a JSON header, the numbers. Ours is stricter than the usual reader: no name
//! twice, at most 8 dimensions, and every error names the tensor and the field.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use phi_gguf::printable;
use phi_tensor::{DType, Shape};
use serde::Deserialize;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::{ConvertError, Problem, Result};
use crate::file;
use crate::random;

/// The limit of the format's own library.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// As many as we accept in a GGUF; real models have some hundreds.
const MAX_TENSORS: usize = 65_536;
/// The numbers of a header count from 0 behind the length.
const LENGTH_BYTES: u64 = 8;
const MAX_RANK: usize = 8;

/// One file: its tensors, and the numbers by position. Only the header is ever in memory.
#[derive(Debug)]
pub struct Safetensors {
    path: PathBuf,
    numbers: Numbers,
    tensors: Vec<Entry>,
    by_name: HashMap<String, usize>,
}

/// Where the numbers are.
#[derive(Debug)]
enum Numbers {
    /// In the file.
    File(File),
    /// Nowhere: they follow from a seed.
    Random(u64),
}

/// One tensor of a file. Its bytes lie inside the file, and are as many as type and shape need.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its name; any text.
    pub name: String,
    /// How its numbers are stored.
    pub dtype: Number,
    /// Its dimensions, slowest first; none for a scalar, and any of them may be zero.
    pub shape: Vec<u64>,
    /// Its first byte, counted from the beginning of the file.
    pub start: u64,
    /// Its length.
    pub bytes: u64,
}

impl Safetensors {
    /// Reads and checks the header.
    pub fn open(path: &Path) -> Result<Safetensors> {
        let (file, file_bytes) = file::open(path)?;
        let read = |bytes: &mut [u8], start| {
            phi_gguf::read_at(&file, bytes, start)
                .map_err(|e| ConvertError::new("header", None, Problem::Io(e)).of(path))
        };
        if file_bytes < LENGTH_BYTES {
            let problem = Problem::TooSmall { got: file_bytes, need: LENGTH_BYTES };
            return Err(ConvertError::new("header length", 0, problem).of(path));
        }
        let mut length = [0; LENGTH_BYTES as usize];
        read(&mut length, 0)?;
        let header_bytes = header_bytes(u64::from_le_bytes(length), file_bytes).map_err(|e| e.of(path))?;
        let mut header = vec![0; header_bytes];
        read(&mut header, LENGTH_BYTES)?;
        let tensors = parse(&header, file_bytes).map_err(|e| e.of(path))?;
        Ok(Safetensors::new(path, Numbers::File(file), tensors))
    }

    /// A file that exists nowhere, of random numbers in BF16; `path` is for messages.
    pub(crate) fn random(path: &Path, tensors: Vec<Entry>, seed: u64) -> Safetensors {
        Safetensors::new(path, Numbers::Random(seed), tensors)
    }

    fn new(path: &Path, numbers: Numbers, tensors: Vec<Entry>) -> Safetensors {
        let by_name = tensors.iter().enumerate().map(|(i, t)| (t.name.clone(), i)).collect();
        Safetensors { path: path.to_path_buf(), numbers, tensors, by_name }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its tensors, as they lie in it.
    pub fn tensors(&self) -> &[Entry] {
        &self.tensors
    }

    /// The tensor with this name.
    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.by_name.get(name).and_then(|&i| self.tensors.get(i))
    }

    /// Fills `bytes` with the bytes of `entry` from `first` on.
    pub fn read(&self, entry: &Entry, first: u64, bytes: &mut [u8]) -> Result<()> {
        let read = match &self.numbers {
            Numbers::File(file) => phi_gguf::read_at(file, bytes, entry.start.saturating_add(first)),
            Numbers::Random(seed) => {
                let shape = Shape::new(&entry.shape).expect("a layout has shapes");
                random::fill(*seed, &entry.name, &shape, first, bytes);
                Ok(())
            }
        };
        read.map_err(|e| ConvertError::new(printable(&entry.name), entry.start, Problem::Io(e)).of(&self.path))
    }
}

/// The beginning of a file to be: length and header of these tensors, whose bytes will follow each other in this order.
/// `None` when the offsets overflow.
pub fn header<'a>(tensors: impl IntoIterator<Item = (&'a str, Number, &'a [u64])>) -> Option<Vec<u8>> {
    let mut map = serde_json::Map::new();
    // What transformers writes, and some readers ask for.
    map.insert("__metadata__".into(), serde_json::json!({"format": "pt"}));
    let mut begin = 0_u64;
    for (name, dtype, shape) in tensors {
        let len = shape.iter().try_fold(1_u64, |n, &dim| n.checked_mul(dim))?;
        let end = begin.checked_add(len.checked_mul(u64::from(dtype.bits()))?.div_ceil(8))?;
        let about = serde_json::json!({"dtype": dtype.name(), "shape": shape, "data_offsets": [begin, end]});
        map.insert(name.into(), about);
        begin = end;
    }
    let mut text = serde_json::Value::from(map).to_string().into_bytes();
    // The numbers begin at a multiple of 8.
    text.resize(text.len().next_multiple_of(8), b' ');
    Some([(text.len() as u64).to_le_bytes().as_slice(), &text].concat())
}

/// The length of the header, if there can be one of that length.
fn header_bytes(length: u64, file_bytes: u64) -> Result<usize> {
    let field = |problem| ConvertError::new("header length", 0, problem);
    if length > MAX_HEADER_BYTES {
        return Err(field(Problem::Limit { got: length, max: MAX_HEADER_BYTES }));
    }
    if length == 0 {
        return Err(ConvertError::new("header", LENGTH_BYTES, Problem::Empty));
    }
    let end = length.saturating_add(LENGTH_BYTES);
    if end > file_bytes {
        let problem = Problem::BeyondFile { start: LENGTH_BYTES, end, file_end: file_bytes, whole: end };
        return Err(ConvertError::new("header", LENGTH_BYTES, problem));
    }
    usize::try_from(length).map_err(|_| field(Problem::SizeOverflow))
}

/// The tensors that a header names, in the order of their bytes. Pure: this is what a fuzzer calls.
pub fn parse(header: &[u8], file_bytes: u64) -> Result<Vec<Entry>> {
    let at = |problem| ConvertError::new("header", LENGTH_BYTES, problem);
    let data_start = LENGTH_BYTES.saturating_add(header.len() as u64);
    let text = std::str::from_utf8(header).map_err(|e| {
        let at = e.valid_up_to();
        ConvertError::new("header", LENGTH_BYTES.saturating_add(at as u64), Problem::NotUtf8 { at })
    })?;
    if !text.starts_with('{') {
        return Err(at(Problem::Expected { want: "an object" }));
    }
    if text.trim_end_matches(' ').ends_with(['\0', '\n', '\t', '\r']) {
        return Err(at(Problem::Padding));
    }
    let mut parser = serde_json::Deserializer::from_str(text);
    let mut found = Found::default();
    let read = Entries { data_start, found: &mut found }.deserialize(&mut parser).and_then(|()| parser.end());
    if let Some(error) = found.error {
        return Err(error);
    }
    read.map_err(|error| file::json_error("header", header, LENGTH_BYTES, &error))?;
    let mut tensors = found.tensors;

    // Together the tensors must be the data section: no byte twice, none left over.
    tensors.sort_by_key(|t| (t.start, t.bytes));
    let whole = tensors.iter().map(|t| t.start.saturating_add(t.bytes)).max().unwrap_or(data_start);
    let mut end = data_start;
    let mut before: Option<&Entry> = None;
    for tensor in &tensors {
        let problem = match tensor.start.cmp(&end) {
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Less => Some(Problem::Overlap(printable(before.map_or("the header", |b| &b.name)))),
            std::cmp::Ordering::Greater => Some(Problem::Hole {
                got: tensor.start.saturating_sub(data_start),
                want: end.saturating_sub(data_start),
            }),
        };
        if let Some(problem) = problem {
            return Err(ConvertError::new(printable(&tensor.name), tensor.start, problem));
        }
        end = tensor.start.checked_add(tensor.bytes).ok_or_else(|| at(Problem::SizeOverflow))?;
        before = Some(tensor);
        if end > file_bytes {
            let problem = Problem::BeyondFile { start: tensor.start, end, file_end: file_bytes, whole };
            return Err(ConvertError::new(printable(&tensor.name), tensor.start, problem));
        }
    }
    match file_bytes.saturating_sub(end) {
        0 => Ok(tensors),
        trailing => Err(ConvertError::new("file", end, Problem::Trailing(trailing))),
    }
}

/// What the visitor collects. Our error is kept here and not in serde's, which only holds text.
#[derive(Default)]
struct Found {
    tensors: Vec<Entry>,
    seen: HashMap<String, ()>,
    error: Option<ConvertError>,
}

struct Entries<'f> {
    data_start: u64,
    found: &'f mut Found,
}

/// The fields of an entry as text, each to be judged under its own name. Others are skipped.
#[derive(Deserialize)]
struct RawEntry<'a> {
    #[serde(borrow)]
    dtype: Option<&'a RawValue>,
    #[serde(borrow)]
    shape: Option<&'a RawValue>,
    #[serde(borrow)]
    data_offsets: Option<&'a RawValue>,
}

impl<'de> DeserializeSeed<'de> for Entries<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        let stop = |found: &mut Found, error| {
            found.error = Some(error);
            serde::de::Error::custom("stopped")
        };
        while let Some(name) = map.next_key::<String>()? {
            if self.found.seen.insert(name.clone(), ()).is_some() {
                let error = ConvertError::new(printable(&name), LENGTH_BYTES, Problem::Duplicate);
                return Err(stop(self.found, error));
            }
            if name == "__metadata__" {
                let texts: &RawValue = map.next_value()?;
                if serde_json::from_str::<HashMap<String, String>>(texts.get()).is_err() {
                    let problem = Problem::Expected { want: "an object of strings" };
                    return Err(stop(self.found, ConvertError::new(name, LENGTH_BYTES, problem)));
                }
                continue;
            }
            let raw: &RawValue = map.next_value()?;
            // Counting goes on beyond the limit, to say how many there are; keeping does not.
            if self.found.tensors.len() >= MAX_TENSORS {
                let mut got = MAX_TENSORS as u64 + 1;
                while map.next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>()?.is_some() {
                    got = got.saturating_add(1);
                }
                let problem = Problem::TooMany { got, what: "tensors", max: MAX_TENSORS as u64 };
                return Err(stop(self.found, ConvertError::new("header", LENGTH_BYTES, problem)));
            }
            match Entry::read(&name, raw, self.data_start) {
                Ok(entry) => self.found.tensors.push(entry),
                Err(error) => return Err(stop(self.found, error)),
            }
        }
        Ok(())
    }
}

impl Entry {
    fn read(name: &str, raw: &RawValue, data_start: u64) -> Result<Entry> {
        let shown = printable(name);
        let field = |field: &str| if field.is_empty() { shown.clone() } else { format!("{shown}.{field}") };
        let fail = |path: &str, problem| ConvertError::new(field(path), LENGTH_BYTES, problem);
        let raw: RawEntry<'_> = serde_json::from_str(raw.get()).map_err(|_| {
            fail("", Problem::Expected { want: "an object with dtype, shape and data_offsets, each once" })
        })?;
        let need = |path: &str, value: Option<&'_ RawValue>| match value {
            Some(value) => Ok(value.get().to_string()),
            None => Err(fail(path, Problem::Missing)),
        };
        let (dtype, shape, range) =
            (need("dtype", raw.dtype)?, need("shape", raw.shape)?, need("data_offsets", raw.data_offsets)?);

        let dtype = serde_json::from_str::<String>(&dtype).ok().and_then(|text| Number::from_name(&text));
        let dtype = dtype.ok_or_else(|| fail("dtype", Problem::DType(short(raw.dtype.map_or("", RawValue::get)))))?;
        let shape: Dims =
            serde_json::from_str(&shape).map_err(|_| fail("shape", Problem::Expected { want: "a list of sizes" }))?;
        if shape.rank > MAX_RANK {
            return Err(fail("shape", Problem::Rank { got: shape.rank, max: MAX_RANK }));
        }
        let len = shape.dims.iter().try_fold(1_u64, |n, &d| n.checked_mul(d));
        let len = len.ok_or_else(|| fail("shape", Problem::ElementCount))?;
        let bits = u128::from(len).saturating_mul(u128::from(dtype.bits()));
        let need = u64::try_from(bits.div_ceil(8)).map_err(|_| fail("", Problem::SizeOverflow))?;

        let bad_range = || fail("data_offsets", Problem::Range(short(&range)));
        let [begin, end] = serde_json::from_str::<[u64; 2]>(&range).map_err(|_| bad_range())?;
        let got = end.checked_sub(begin).ok_or_else(bad_range)?;
        if need != got {
            return Err(fail("", Problem::Size { need, got }));
        }
        let start =
            data_start.checked_add(begin).filter(|start| start.checked_add(got).is_some()).ok_or_else(bad_range)?;
        Ok(Entry { name: name.to_string(), dtype, shape: shape.dims, start, bytes: got })
    }
}

/// A list of sizes: all are counted, a few are kept.
struct Dims {
    dims: Vec<u64>,
    rank: usize,
}

impl<'de> Deserialize<'de> for Dims {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Dims, D::Error> {
        struct Sizes;
        impl<'de> Visitor<'de> for Sizes {
            type Value = Dims;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of sizes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Dims, A::Error> {
                let mut found = Dims { dims: Vec::new(), rank: 0 };
                while let Some(dim) = seq.next_element::<u64>()? {
                    found.rank = found.rank.saturating_add(1);
                    if found.rank <= MAX_RANK {
                        found.dims.push(dim);
                    }
                }
                Ok(found)
            }
        }
        deserializer.deserialize_seq(Sizes)
    }
}

/// Declares the number types of the format once: name, bits.
macro_rules! numbers {
    ($($name:ident $bits:literal;)*) => {
        /// How safetensors stores a number.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[allow(non_camel_case_types, missing_docs, reason = "the format's own names")]
        pub enum Number { $($name,)* }

        impl Number {
            /// The format's name for it.
            pub const fn name(self) -> &'static str {
                match self { $(Number::$name => stringify!($name),)* }
            }

            const fn bits(self) -> u8 {
                match self { $(Number::$name => $bits,)* }
            }

            fn from_name(name: &str) -> Option<Number> {
                $(if name == stringify!($name) { return Some(Number::$name); })*
                None
            }
        }
    };
}

numbers! {
    BOOL 8; F4 4; F6_E2M3 6; F6_E3M2 6; U8 8; I8 8; F8_E5M2 8; F8_E4M3 8; F8_E8M0 8; F8_E4M3FNUZ 8; F8_E5M2FNUZ 8;
    I16 16; U16 16; F16 16; BF16 16; I32 32; U32 32; F32 32; C64 64; F64 64; I64 64; U64 64;
}

impl Number {
    /// The same type as GGUF has it, for those that weights come in.
    pub fn of(dtype: DType) -> Option<Number> {
        [Number::F32, Number::F16, Number::BF16].into_iter().find(|number| number.dtype() == Some(dtype))
    }

    /// The same in a GGUF, for the types that weights come in.
    pub fn dtype(self) -> Option<DType> {
        match self {
            Number::F32 => Some(DType::F32),
            Number::F16 => Some(DType::F16),
            Number::BF16 => Some(DType::BF16),
            _ => None,
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

fn short(text: &str) -> Box<str> {
    printable(text).into()
}

use std::collections::HashMap;

use phi_tensor::{BadShape, DType, Shape};

use crate::error::{GgufError, Problem, printable};
use crate::limits;
use crate::metadata::Metadata;
use crate::reader::Reader;
use crate::value::Value;

type Result<T> = std::result::Result<T, GgufError>;

pub(crate) const MAGIC: [u8; 4] = *b"GGUF";
pub(crate) const DEFAULT_ALIGNMENT: u64 = 32;

/// Magic, version and two counts.
const HEADER_BYTES: u64 = 4 + 4 + 8 + 8;
/// Fewest bytes of a tensor's entry: name length, a count of dimensions, one dimension, type, offset (a name of none).
const MIN_TENSOR_BYTES: u64 = 8 + 4 + 8 + 4;

/// Everything before the tensor data, validated: every tensor named here lies inside the file.
#[derive(Clone, Debug)]
pub struct Header {
    /// Version of the format, 2 or 3.
    pub version: u32,
    /// The key-values.
    pub metadata: Metadata,
    /// The tensors, in the file's order.
    pub tensors: Vec<TensorInfo>,
    /// Tensor data starts at multiples of this.
    pub alignment: u64,
    /// Where the data section begins.
    pub data_start: u64,
    /// What is odd but harmless.
    pub warnings: Vec<Warning>,
}

/// Where a tensor lies, and what it is. Its bytes are inside the file: [`Header::parse`] checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// How its numbers are packed.
    pub dtype: DType,
    /// Its dimensions, slowest first.
    pub shape: Shape,
    /// Its first byte, counted from the beginning of its file.
    pub start: u64,
    /// Its length.
    pub bytes: u64,
    /// Which part of a split file holds it, from 0.
    pub part: usize,
    /// Where in its file the line of the tensor table begins that says all this.
    pub entry_offset: u64,
}

/// Something published files do that does no harm; shown once.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// Bytes after the last tensor.
    #[error("{0} trailing bytes after the tensor data")]
    TrailingBytes(u64),
    /// A key with letters beyond ASCII.
    #[error("key \"{0}\" is not ASCII")]
    NonAsciiKey(String),
}

impl Header {
    /// Reads and checks the header of a whole file. Pure: nothing is opened, and nothing is allocated that bytes of
    /// the file do not back.
    pub fn parse(file: &[u8]) -> Result<Header> {
        Header::parse_start(file, file.len() as u64)
    }

    /// The same, from the beginning of a file of `file_bytes` bytes that holds the whole header.
    pub fn parse_start(file: &[u8], file_bytes: u64) -> Result<Header> {
        if file.is_empty() {
            return Err(GgufError::new("header", None, Problem::TooSmall { got: 0, need: HEADER_BYTES }));
        }
        let mut r = Reader::new(file);
        let magic = r.array(|| "header.magic".into())?;
        if magic != MAGIC {
            return Err(GgufError::new("header.magic", 0, Problem::Magic(magic)));
        }
        let offset = r.offset();
        let version = r.u32(|| "header.version".into())?;
        if !(2..=3).contains(&version) {
            return Err(GgufError::new("header.version", offset, Problem::Version(version)));
        }
        // A file that is cut inside its counts is cut, whatever they say.
        let mut counts = r.clone();
        counts.u64(|| "header.tensor_count".into())?;
        counts.u64(|| "header.kv_count".into())?;
        let n_tensors = r.count(MIN_TENSOR_BYTES, limits::COUNT, || "header.tensor_count".into())?;
        let n_entries = Metadata::parse_count(&mut r)?;
        let metadata = Metadata::parse(&mut r, n_entries)?;
        let alignment = alignment(&metadata)?;

        let mut tensors = Vec::new();
        let mut names = HashMap::new();
        for i in 0..n_tensors {
            let entry = Entry::parse(&mut r, i)?;
            if let Some(first) = names.insert(entry.name.clone(), i) {
                let problem = Problem::Duplicate { first: format!("tensor[{first}]") };
                return Err(GgufError::new(entry.field("name"), entry.at.name, problem));
            }
            tensors.push(entry);
        }
        let data_start = r.offset().checked_next_multiple_of(alignment).unwrap_or(u64::MAX);
        if data_start > limits::HEADER.max {
            let problem = Problem::Limit { got: data_start, max: limits::HEADER.max };
            return Err(GgufError::new("header", None, problem));
        }
        let place = Place { alignment, data_start, file_bytes };
        let offset_fields: Vec<u64> = tensors.iter().map(|entry| entry.at.offset).collect();
        let tensors: Vec<_> = tensors.into_iter().map(|entry| entry.locate(place)).collect::<Result<_>>()?;
        let end = check_overlaps(&tensors, &offset_fields)?.unwrap_or_else(|| data_start.min(file_bytes));

        let mut warnings: Vec<_> = metadata
            .entries()
            .iter()
            .filter(|entry| !entry.key.is_ascii())
            .map(|entry| Warning::NonAsciiKey(printable(&entry.key)))
            .collect();
        // The last tensor may be padded.
        let padded = end.checked_next_multiple_of(alignment).unwrap_or(u64::MAX);
        if let Some(trailing @ 1..) = file_bytes.checked_sub(padded) {
            warnings.push(Warning::TrailingBytes(trailing));
        }
        Ok(Header { version, metadata, tensors, alignment, data_start, warnings })
    }

    /// The tensor with this name.
    pub fn find(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.iter().find(|t| t.name == name)
    }
}

/// The type is compared strictly: this key moves every tensor.
fn alignment(metadata: &Metadata) -> Result<u64> {
    const KEY: &str = "general.alignment";
    let Some(entry) = metadata.entry(KEY) else { return Ok(DEFAULT_ALIGNMENT) };
    let Value::U32(alignment) = entry.value else {
        let problem = Problem::Type { got: entry.value.value_type().to_string(), want: "u32" };
        return Err(GgufError::new(KEY, entry.offset, problem));
    };
    let alignment = u64::from(alignment);
    if alignment > limits::ALIGNMENT.max {
        let problem = Problem::Limit { got: alignment, max: limits::ALIGNMENT.max };
        return Err(GgufError::new(KEY, entry.offset, problem));
    }
    if !alignment.is_power_of_two() || alignment < 8 {
        return Err(GgufError::new(KEY, entry.offset, Problem::Alignment(alignment)));
    }
    Ok(alignment)
}

/// A line of the tensor table, before its place in the file is known to exist.
struct Entry {
    index: usize,
    name: String,
    shape: Shape,
    dtype: DType,
    offset: u64,
    at: Offsets,
}

/// Where the fields of an entry lie, for messages.
struct Offsets {
    name: u64,
    dims: u64,
    dtype: u64,
    offset: u64,
}

#[derive(Clone, Copy)]
struct Place {
    alignment: u64,
    data_start: u64,
    file_bytes: u64,
}

impl Entry {
    fn parse(r: &mut Reader<'_>, index: usize) -> Result<Entry> {
        let at_name = r.offset();
        let name = r.text(limits::TENSOR_NAME, || format!("tensor[{index}].name"))?;
        let field = |what: &str| field(index, name, what);
        if name.is_empty() {
            return Err(GgufError::new(format!("tensor[{index}].name"), at_name, Problem::Empty));
        }
        if name.chars().any(char::is_control) {
            return Err(GgufError::new(field("name"), at_name, Problem::ControlCharacter));
        }
        let at_dims = r.offset();
        let n_dims = r.u32(|| field("n_dims"))? as usize;
        if n_dims == 0 || n_dims > Shape::MAX_DIMS {
            let problem = Problem::Shape(BadShape::Dimensions(n_dims));
            return Err(GgufError::new(field("n_dims"), at_dims, problem));
        }
        let mut dims = Vec::with_capacity(Shape::MAX_DIMS);
        for i in 0..n_dims {
            let at = r.offset();
            let dim = r.u64(|| field("dims"))?;
            if i64::try_from(dim).is_err() {
                return Err(GgufError::new(field("dims"), at, Problem::Dimension { index: i, value: dim }));
            }
            if dim == 0 {
                return Err(GgufError::new(field("dims"), at, Problem::Shape(BadShape::Zero { index: i })));
            }
            dims.push(dim);
        }
        // The file counts the fastest dimension first; from here on, it is the last.
        dims.reverse();
        let shape = Shape::new(&dims).map_err(|e| GgufError::new(field("dims"), at_dims, Problem::Shape(e)))?;
        let at_dtype = r.offset();
        let id = r.u32(|| field("type"))?;
        let dtype = DType::from_id(id).map_err(|e| GgufError::new(field("type"), at_dtype, Problem::DType(e)))?;
        let at_offset = r.offset();
        let offset = r.u64(|| field("offset"))?;
        let at = Offsets { name: at_name, dims: at_dims, dtype: at_dtype, offset: at_offset };
        Ok(Entry { index, name: name.into(), shape, dtype, offset, at })
    }

    fn field(&self, what: &str) -> String {
        field(self.index, &self.name, what)
    }

    /// Checks size and place against the file that really is there.
    fn locate(self, Place { alignment, data_start, file_bytes }: Place) -> Result<TensorInfo> {
        let (dtype, shape, offset) = (self.dtype, self.shape, self.offset);
        if !shape.cols().is_multiple_of(dtype.block_len() as u64) {
            let problem = Problem::Row { cols: shape.cols(), dtype };
            return Err(GgufError::new(self.field("dims"), self.at.dims, problem));
        }
        let bytes = dtype.row_bytes(shape.cols()).and_then(|row| row.checked_mul(shape.rows()));
        let padded = bytes.filter(|b| b.checked_next_multiple_of(alignment).is_some());
        let Some(bytes) = padded else {
            let problem = Problem::SizeOverflow { dtype, shape };
            return Err(GgufError::new(self.field("type"), self.at.dtype, problem));
        };
        let start = data_start.checked_add(offset);
        let (Some(start), Some(end)) = (start, start.and_then(|s| s.checked_add(bytes))) else {
            let problem = Problem::DataOverflow { offset, bytes };
            return Err(GgufError::new(self.field("offset"), self.at.offset, problem));
        };
        if !offset.is_multiple_of(alignment) {
            let problem = Problem::Unaligned { offset, alignment };
            return Err(GgufError::new(self.field("offset"), self.at.offset, problem));
        }
        if end > file_bytes {
            let problem = Problem::DataBeyondFile { start, end, file_end: file_bytes };
            return Err(GgufError::new(self.field("offset"), self.at.offset, problem));
        }
        Ok(TensorInfo { name: self.name, dtype, shape, start, bytes, part: 0, entry_offset: self.at.name })
    }
}

fn field(index: usize, name: &str, what: &str) -> String {
    format!("tensor[{index}] \"{}\".{what}", printable(name))
}

/// Refuses two tensors on the same bytes; returns the end of the last one. `offset_fields` says where the table gives
/// each tensor's offset.
fn check_overlaps(tensors: &[TensorInfo], offset_fields: &[u64]) -> Result<Option<u64>> {
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by_key(|&i| tensors.get(i).map(|t| t.start));
    let mut last: Option<(u64, usize)> = None;
    for i in order {
        let Some(tensor) = tensors.get(i) else { continue };
        if let Some((end, other)) = last
            && tensor.start < end
        {
            // Say it of the later line of the table.
            let (later, earlier) = (i.max(other), i.min(other));
            let name = |i: usize| tensors.get(i).map_or("", |t| t.name.as_str());
            let problem = Problem::Overlap { other: format!("tensor[{earlier}] \"{}\"", printable(name(earlier))) };
            let at = offset_fields.get(later).copied();
            return Err(GgufError::new(field(later, name(later), "offset"), at, problem));
        }
        last = Some((tensor.start.saturating_add(tensor.bytes), i));
    }
    Ok(last.map(|(end, _)| end))
}

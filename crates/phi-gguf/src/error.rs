use std::fmt;
use std::io;

use phi_tensor::{BadShape, DType, Shape, UnknownDType};

use crate::ValueType;

/// What is wrong with a file, and where: a field's path, its byte offset when a byte exists to point at, and the facts.
#[derive(Debug)]
pub struct GgufError {
    /// The field's path, such as `kv[3].key` or `tensor[17] "blk.1.ffn_down.weight"`.
    pub field: String,
    /// Where in the file the field lies.
    pub offset: Option<u64>,
    /// What is wrong with it.
    pub problem: Problem,
}

impl GgufError {
    pub(crate) fn new(field: impl Into<String>, offset: impl Into<Option<u64>>, problem: Problem) -> Self {
        GgufError { field: field.into(), offset: offset.into(), problem }
    }

    /// What the user can do about it, where something can be done.
    pub fn hint(&self) -> Option<String> {
        Some(match &self.problem {
            Problem::Magic([0, 0, 0, 0]) => "writing this file was interrupted; make or download it again".into(),
            Problem::Magic([b'F', b'U', b'G', b'G']) => "this looks like a byte-swapped (big-endian) file".into(),
            Problem::Magic(_) => "this is not a GGUF file".into(),
            Problem::Version(v) if is_swapped(*v) => {
                "this is a big-endian file; only little-endian files are supported".into()
            }
            Problem::Version(1) => "version 1 files are from 2023; convert the model again".into(),
            Problem::DataBeyondFile { end, file_end, .. } => {
                let missing = end.saturating_sub(*file_end);
                format!("the file is {missing} bytes short; the download may be incomplete")
            }
            Problem::PartOfSplit => "open the first part, named NAME-00001-of-….gguf".into(),
            _ => return None,
        })
    }
}

impl fmt::Display for GgufError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.field)?;
        if let Some(offset) = self.offset {
            write!(f, " at {offset}")?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl std::error::Error for GgufError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            Problem::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// The ways in which a file can be wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Not even a header.
    #[error("file has {got} bytes, need {need}")]
    TooSmall {
        /// Bytes there are.
        got: u64,
        /// Bytes of the smallest file.
        need: u64,
    },
    /// The field is cut off.
    #[error("end of file")]
    EndOfFile,
    /// The first four bytes are not `GGUF`.
    #[error("{}, expected \"GGUF\"", escaped_magic(.0))]
    Magic([u8; 4]),
    /// A version we do not read.
    #[error("{}", version(*.0))]
    Version(u32),
    /// A count that the rest of the file cannot hold.
    #[error("{count} needs at least {need} bytes, {remain} remain")]
    Count {
        /// The count claimed.
        count: u64,
        /// The fewest bytes that many can take.
        need: u128,
        /// The bytes left.
        remain: u64,
    },
    /// A length that the rest of the file cannot hold.
    #[error("length {need} exceeds the {remain} bytes that remain")]
    ExceedsRemaining {
        /// Bytes claimed.
        need: u128,
        /// Bytes left.
        remain: u64,
    },
    /// Beyond a limit of this program.
    #[error("{got} exceeds {max}")]
    Limit {
        /// The value in the file.
        got: u64,
        /// The largest accepted.
        max: u64,
    },
    /// Empty where something must stand.
    #[error("empty")]
    Empty,
    /// Text that is not UTF-8.
    #[error("not UTF-8 at byte {at}")]
    NotUtf8 {
        /// First bad byte of the text.
        at: usize,
    },
    /// A control character in something that gets printed.
    #[error("control character")]
    ControlCharacter,
    /// The same name twice.
    #[error("duplicate of {first}")]
    Duplicate {
        /// Where it stood first.
        first: String,
    },
    /// An unknown value type.
    #[error("value type {0} unknown")]
    ValueType(u32),
    /// An unknown element type.
    #[error("array element type {0} unknown")]
    ElementType(u32),
    /// An array of arrays.
    #[error("nested arrays are not supported")]
    NestedArray,
    /// A bool that is neither.
    #[error("bool must be 0 or 1, not {0}")]
    Bool(u8),
    /// A key that is needed and not there.
    #[error("missing")]
    Missing,
    /// A value of another type than needed.
    #[error("type {got}, expected {want}")]
    Type {
        /// The type in the file.
        got: String,
        /// The type needed.
        want: &'static str,
    },
    /// A number that does not fit where it is needed.
    #[error("{got} is out of range")]
    Range {
        /// The number in the file.
        got: i128,
    },
    /// An alignment that is not one.
    #[error("{0} is not a power of two from 8 on")]
    Alignment(u64),
    /// A dimension list that is not a shape.
    #[error(transparent)]
    Shape(BadShape),
    /// A dimension too large to count.
    #[error("dim[{index}] = {value} overflows")]
    Dimension {
        /// Index as the file counts, fastest first.
        index: usize,
        /// The value in the file.
        value: u64,
    },
    /// A tensor type that stands for nothing.
    #[error("type {0}")]
    DType(UnknownDType),
    /// A row that blocks do not divide.
    #[error("row {cols} not a multiple of {} ({dtype})", .dtype.block_len())]
    Row {
        /// Length of the row.
        cols: u64,
        /// The block type.
        dtype: DType,
    },
    /// A size that does not fit 64 bits.
    #[error("byte size of {dtype} {shape} overflows")]
    SizeOverflow {
        /// The block type.
        dtype: DType,
        /// The shape, slowest first.
        shape: Shape,
    },
    /// An offset that is not aligned.
    #[error("{offset} is not a multiple of {alignment}")]
    Unaligned {
        /// The offset in the file.
        offset: u64,
        /// The file's alignment.
        alignment: u64,
    },
    /// Two tensors on the same bytes.
    #[error("overlaps {other}")]
    Overlap {
        /// The other tensor.
        other: String,
    },
    /// A tensor that the file does not hold.
    #[error("needs bytes {start}..{end}, file ends at {file_end}")]
    DataBeyondFile {
        /// First byte of the tensor.
        start: u64,
        /// One past its last byte.
        end: u64,
        /// Length of the file.
        file_end: u64,
    },
    /// A tensor whose end cannot even be counted.
    #[error("offset {offset} with {bytes} bytes overflows")]
    DataOverflow {
        /// Offset in the data section.
        offset: u64,
        /// Bytes of the tensor.
        bytes: u64,
    },
    /// A part of a split file that was opened alone.
    #[error("this is a later part of a split file")]
    PartOfSplit,
    /// A split file under a name from which its parts cannot be found.
    #[error("{count} parts, but the file name is not NAME-00001-of-{count:05}.gguf")]
    SplitName {
        /// Parts claimed.
        count: u64,
    },
    /// A part that says it is another.
    #[error("{got}, expected {want}")]
    SplitPart {
        /// What the part says.
        got: u64,
        /// What it should say.
        want: u64,
    },
    /// Not a file that can be mapped.
    #[error("not a regular file")]
    NotRegular,
    /// The system refused.
    #[error("{0}")]
    Io(#[source] io::Error),
}

fn version(version: u32) -> String {
    match version {
        0 | 1 => format!("{version}, supported 2..=3"),
        v if is_swapped(v) => format!("0x{version:08x}, supported 2..=3"),
        _ => format!("{version}, newer than this program (supported 2..=3)"),
    }
}

/// Whether the version is one in the other byte order.
fn is_swapped(version: u32) -> bool {
    (1..=3).contains(&version.swap_bytes())
}

fn escaped_magic(magic: &[u8; 4]) -> String {
    if *magic == [0; 4] { "all zero".into() } else { format!("\"{}\"", magic.escape_ascii()) }
}

/// Text from a file, fit for a message: bytes that are no text replaced, control characters escaped, cut at 64 characters.
pub fn printable(text: impl AsRef<[u8]>) -> String {
    const SHOWN: usize = 64;
    let text = String::from_utf8_lossy(text.as_ref());
    let mut shown = String::new();
    for c in text.chars().take(SHOWN) {
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

impl ValueType {
    /// How an error calls an array of this.
    pub(crate) fn array_name(self) -> String {
        format!("array<{self}>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_swapped_version_is_called_big_endian() {
        let hint = |version| GgufError::new("header.version", 4, Problem::Version(version)).hint();
        assert!(hint(0x0300_0000).unwrap().contains("big-endian"));
        assert!(hint(1).unwrap().contains("2023"));
        assert_eq!((hint(0), hint(4)), (None, None));
    }
}

use std::collections::HashMap;

use crate::error::{GgufError, Problem};
use crate::limits;
use crate::reader::Reader;
use crate::value::{Array, Strings, Value, ValueType};

type Result<T> = std::result::Result<T, GgufError>;

/// Fewest bytes of a key-value: length and one byte of key, type, one byte of value.
const MIN_ENTRY_BYTES: u64 = 8 + 1 + 4;

/// The key-values of a file, in the file's order.
#[derive(Clone, Default, Debug)]
pub struct Metadata {
    entries: Vec<Entry>,
    index: HashMap<String, usize>,
}

/// One key-value.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Value,
    /// Where in the file it begins.
    pub offset: u64,
}

impl Metadata {
    /// The entries, in the file's order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The raw entry of a key.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.index.get(key).and_then(|&i| self.entries.get(i))
    }

    /// Where in the file the entry of a key begins, for messages.
    pub fn offset(&self, key: &str) -> Option<u64> {
        self.entry(key).map(|entry| entry.offset)
    }

    /// The value of a key that must be there, of a type that must fit.
    pub fn get<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<T> {
        self.find(key)?.ok_or_else(|| GgufError::new(key, None, Problem::Missing))
    }

    /// The value of a key that may be absent. One of the wrong type is an error all the same, never a default.
    pub fn find<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<Option<T>> {
        let Some(entry) = self.entry(key) else { return Ok(None) };
        match T::from_value(&entry.value) {
            Ok(value) => Ok(Some(value)),
            Err(problem) => Err(GgufError::new(key, entry.offset, problem)),
        }
    }

    pub(crate) fn parse(r: &mut Reader<'_>, count: usize) -> Result<Metadata> {
        let mut metadata = Metadata::default();
        for i in 0..count {
            let offset = r.offset();
            let field = || format!("kv[{i}].key");
            let key = r.text(limits::KEY, field)?;
            if key.is_empty() {
                return Err(GgufError::new(field(), offset, Problem::Empty));
            }
            if key.chars().any(char::is_control) {
                let field = format!("kv[{i}].key \"{}\"", crate::error::printable(key));
                return Err(GgufError::new(field, offset, Problem::ControlCharacter));
            }
            if let Some(first) = metadata.index.get(key) {
                let field = format!("kv[{i}].key {}", crate::error::printable(key));
                return Err(GgufError::new(field, offset, Problem::Duplicate { first: format!("kv[{first}]") }));
            }
            let shown = crate::error::printable(key);
            let value = parse_value(r, &|| format!("kv[{i}] {shown}"))?;
            metadata.index.insert(key.to_string(), metadata.entries.len());
            metadata.entries.push(Entry { key: key.to_string(), value, offset });
        }
        Ok(metadata)
    }

    pub(crate) fn parse_count(r: &mut Reader<'_>) -> Result<usize> {
        r.count(MIN_ENTRY_BYTES, limits::COUNT, || "header.kv_count".into())
    }
}

fn parse_value(r: &mut Reader<'_>, field: &dyn Fn() -> String) -> Result<Value> {
    let offset = r.offset();
    let id = r.u32(field)?;
    let Some(ty) = ValueType::from_id(id) else {
        return Err(GgufError::new(field(), offset, Problem::ValueType(id)));
    };
    Ok(match ty {
        ValueType::U8 => Value::U8(u8::from_le_bytes(r.array(field)?)),
        ValueType::I8 => Value::I8(i8::from_le_bytes(r.array(field)?)),
        ValueType::U16 => Value::U16(u16::from_le_bytes(r.array(field)?)),
        ValueType::I16 => Value::I16(i16::from_le_bytes(r.array(field)?)),
        ValueType::U32 => Value::U32(u32::from_le_bytes(r.array(field)?)),
        ValueType::I32 => Value::I32(i32::from_le_bytes(r.array(field)?)),
        ValueType::F32 => Value::F32(f32::from_le_bytes(r.array(field)?)),
        ValueType::U64 => Value::U64(u64::from_le_bytes(r.array(field)?)),
        ValueType::I64 => Value::I64(i64::from_le_bytes(r.array(field)?)),
        ValueType::F64 => Value::F64(f64::from_le_bytes(r.array(field)?)),
        ValueType::Bool => {
            let offset = r.offset();
            let [byte] = r.array(field)?;
            Value::Bool(to_bool(byte).map_err(|p| GgufError::new(field(), offset, p))?)
        }
        ValueType::String => Value::String(r.text(limits::STRING, field)?.to_string()),
        ValueType::Array => Value::Array(parse_array(r, field)?),
    })
}

fn parse_array(r: &mut Reader<'_>, field: &dyn Fn() -> String) -> Result<Array> {
    let offset = r.offset();
    let id = r.u32(field)?;
    let ty = match ValueType::from_id(id) {
        Some(ValueType::Array) => return Err(GgufError::new(field(), offset, Problem::NestedArray)),
        Some(ty) => ty,
        None => return Err(GgufError::new(field(), offset, Problem::ElementType(id))),
    };
    let min_bytes = match ty {
        ValueType::U8 | ValueType::I8 | ValueType::Bool => 1,
        ValueType::U16 | ValueType::I16 => 2,
        ValueType::U32 | ValueType::I32 | ValueType::F32 => 4,
        _ => 8,
    };
    let length = || format!("{} array length", field());
    let count = r.count(min_bytes, limits::ARRAY, length)?;

    /// `count` was compared with the bytes left, so the collection is no larger than the file.
    fn numbers<const N: usize, T>(
        r: &mut Reader<'_>,
        count: usize,
        field: &dyn Fn() -> String,
        from: fn([u8; N]) -> T,
    ) -> Result<Vec<T>> {
        let bytes = r.take(count.saturating_mul(N), field)?;
        Ok(bytes.as_chunks::<N>().0.iter().map(|&b| from(b)).collect())
    }
    Ok(match ty {
        ValueType::U8 => Array::U8(numbers(r, count, field, u8::from_le_bytes)?),
        ValueType::I8 => Array::I8(numbers(r, count, field, i8::from_le_bytes)?),
        ValueType::U16 => Array::U16(numbers(r, count, field, u16::from_le_bytes)?),
        ValueType::I16 => Array::I16(numbers(r, count, field, i16::from_le_bytes)?),
        ValueType::U32 => Array::U32(numbers(r, count, field, u32::from_le_bytes)?),
        ValueType::I32 => Array::I32(numbers(r, count, field, i32::from_le_bytes)?),
        ValueType::F32 => Array::F32(numbers(r, count, field, f32::from_le_bytes)?),
        ValueType::U64 => Array::U64(numbers(r, count, field, u64::from_le_bytes)?),
        ValueType::I64 => Array::I64(numbers(r, count, field, i64::from_le_bytes)?),
        ValueType::F64 => Array::F64(numbers(r, count, field, f64::from_le_bytes)?),
        ValueType::Bool => {
            let offset = r.offset();
            let bytes = r.take(count, field)?;
            let bools = bytes.iter().map(|&b| to_bool(b)).collect::<std::result::Result<_, _>>();
            Array::Bool(bools.map_err(|p| GgufError::new(field(), offset, p))?)
        }
        ValueType::String => {
            let mut strings = Strings::new();
            for i in 0..count {
                strings.push(r.bytes(limits::STRING, || format!("{}[{i}]", field()))?);
            }
            Array::String(strings)
        }
        ValueType::Array => unreachable!("refused above"),
    })
}

fn to_bool(byte: u8) -> std::result::Result<bool, Problem> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(Problem::Bool(other)),
    }
}

/// What a metadata value can be read as.
pub trait FromValue<'a>: Sized {
    /// Reads the value, or says which type it has instead.
    fn from_value(value: &'a Value) -> std::result::Result<Self, Problem>;
}

fn wrong_type(value: &Value, want: &'static str) -> Problem {
    let got = match value {
        Value::Array(array) => array.element_type().array_name(),
        other => other.value_type().to_string(),
    };
    Problem::Type { got, want }
}

/// Integers of any width, as long as the number fits: writers disagree on widths, never on meaning.
macro_rules! integers {
    ($($ty:ty, $text:literal;)*) => {$(
        impl<'a> FromValue<'a> for $ty {
            fn from_value(value: &'a Value) -> std::result::Result<Self, Problem> {
                let number: i128 = match *value {
                    Value::U8(x) => x.into(),
                    Value::I8(x) => x.into(),
                    Value::U16(x) => x.into(),
                    Value::I16(x) => x.into(),
                    Value::U32(x) => x.into(),
                    Value::I32(x) => x.into(),
                    Value::U64(x) => x.into(),
                    Value::I64(x) => x.into(),
                    _ => return Err(wrong_type(value, $text)),
                };
                <$ty>::try_from(number).map_err(|_| Problem::Range { got: number })
            }
        }
    )*};
}

integers! {
    u32, "u32";
    u64, "u64";
    i64, "i64";
    // Sizes are counted in `usize` here and stored as u32.
    usize, "u32";
}

impl<'a> FromValue<'a> for f32 {
    fn from_value(value: &'a Value) -> std::result::Result<Self, Problem> {
        match *value {
            Value::F32(x) => Ok(x),
            #[expect(clippy::cast_possible_truncation, reason = "rounding a double is what asking for f32 means")]
            Value::F64(x) => Ok(x as f32),
            _ => Err(wrong_type(value, "f32")),
        }
    }
}

impl<'a> FromValue<'a> for bool {
    fn from_value(value: &'a Value) -> std::result::Result<Self, Problem> {
        match *value {
            Value::Bool(x) => Ok(x),
            _ => Err(wrong_type(value, "bool")),
        }
    }
}

impl<'a> FromValue<'a> for &'a str {
    fn from_value(value: &'a Value) -> std::result::Result<Self, Problem> {
        match value {
            Value::String(x) => Ok(x),
            _ => Err(wrong_type(value, "str")),
        }
    }
}

impl<'a> FromValue<'a> for &'a Strings {
    fn from_value(value: &'a Value) -> std::result::Result<Self, Problem> {
        match value {
            Value::Array(Array::String(x)) => Ok(x),
            _ => Err(wrong_type(value, "array<str>")),
        }
    }
}

/// Slices of an array of exactly this element type.
macro_rules! arrays {
    ($($name:ident $ty:ty, $text:literal;)*) => {$(
        impl<'a> FromValue<'a> for &'a [$ty] {
            fn from_value(value: &'a Value) -> std::result::Result<Self, Problem> {
                match value {
                    Value::Array(Array::$name(x)) => Ok(x),
                    _ => Err(wrong_type(value, $text)),
                }
            }
        }
    )*};
}

arrays! {
    I32 i32, "array<i32>";
    U32 u32, "array<u32>";
    F32 f32, "array<f32>";
    Bool bool, "array<bool>";
}

use std::fmt;

/// Declares the scalar types once: variant, Rust type, number in the file, name in messages.
macro_rules! values {
    ($($name:ident($ty:ty) = $id:literal $text:literal;)*) => {
        /// One metadata value.
        #[derive(Clone, PartialEq, Debug)]
        #[allow(missing_docs, reason = "the variants are GGUF's own type names")]
        pub enum Value { $($name($ty),)* Bool(bool), String(String), Array(Array) }

        /// An array of values of one type.
        #[derive(Clone, PartialEq, Debug)]
        #[allow(missing_docs, reason = "the variants are GGUF's own type names")]
        pub enum Array { $($name(Vec<$ty>),)* Bool(Vec<bool>), String(Strings) }

        /// The type of a value, or of an array's elements.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[allow(missing_docs, reason = "the variants are GGUF's own type names")]
        pub enum ValueType { $($name,)* Bool, String, Array }

        impl ValueType {
            /// The type's number in the file.
            pub const fn id(self) -> u32 {
                match self {
                    $(ValueType::$name => $id,)*
                    ValueType::Bool => 7,
                    ValueType::String => 8,
                    ValueType::Array => 9,
                }
            }

            pub(crate) fn from_id(id: u32) -> Option<ValueType> {
                Some(match id {
                    $($id => ValueType::$name,)*
                    7 => ValueType::Bool,
                    8 => ValueType::String,
                    9 => ValueType::Array,
                    _ => return None,
                })
            }
        }

        impl fmt::Display for ValueType {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(ValueType::$name => $text,)*
                    ValueType::Bool => "bool",
                    ValueType::String => "str",
                    ValueType::Array => "array",
                })
            }
        }

        impl Value {
            /// The type of this value.
            pub fn value_type(&self) -> ValueType {
                match self {
                    $(Value::$name(_) => ValueType::$name,)*
                    Value::Bool(_) => ValueType::Bool,
                    Value::String(_) => ValueType::String,
                    Value::Array(_) => ValueType::Array,
                }
            }
        }

        impl Array {
            /// The type of the elements.
            pub fn element_type(&self) -> ValueType {
                match self {
                    $(Array::$name(_) => ValueType::$name,)*
                    Array::Bool(_) => ValueType::Bool,
                    Array::String(_) => ValueType::String,
                }
            }

            /// Number of elements.
            pub fn len(&self) -> usize {
                match self {
                    $(Array::$name(v) => v.len(),)*
                    Array::Bool(v) => v.len(),
                    Array::String(v) => v.len(),
                }
            }

            /// Element `index` as a value of its own.
            pub fn value(&self, index: usize) -> Option<Value> {
                match self {
                    $(Array::$name(v) => v.get(index).map(|&x| Value::$name(x)),)*
                    Array::Bool(v) => v.get(index).map(|&x| Value::Bool(x)),
                    Array::String(v) => v.get(index).map(|x| Value::String(String::from_utf8_lossy(x).into_owned())),
                }
            }

            /// Appends the elements as the file stores them.
            pub(crate) fn write_elements(&self, out: &mut Vec<u8>) {
                match self {
                    $(Array::$name(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),)*
                    Array::Bool(v) => out.extend(v.iter().map(|&x| u8::from(x))),
                    Array::String(v) => v.iter().for_each(|x| write_string(x, out)),
                }
            }
        }

        impl Value {
            /// Appends the value as the file stores it, without its type.
            pub(crate) fn write(&self, out: &mut Vec<u8>) {
                match self {
                    $(Value::$name(x) => out.extend(x.to_le_bytes()),)*
                    Value::Bool(x) => out.push(u8::from(*x)),
                    Value::String(x) => write_string(x.as_bytes(), out),
                    Value::Array(x) => {
                        out.extend(x.element_type().id().to_le_bytes());
                        out.extend((x.len() as u64).to_le_bytes());
                        x.write_elements(out);
                    }
                }
            }
        }

        impl fmt::Display for Value {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Value::$name(x) => x.fmt(f),)*
                    Value::Bool(x) => x.fmt(f),
                    Value::String(x) => f.write_str(x),
                    Value::Array(x) => write!(f, "{} × {}", x.len(), x.element_type()),
                }
            }
        }

        $(impl From<$ty> for Value {
            fn from(x: $ty) -> Value {
                Value::$name(x)
            }
        }
        impl From<Vec<$ty>> for Value {
            fn from(x: Vec<$ty>) -> Value {
                Value::Array(Array::$name(x))
            }
        })*
    };
}

values! {
    U8(u8) = 0 "u8";
    I8(i8) = 1 "i8";
    U16(u16) = 2 "u16";
    I16(i16) = 3 "i16";
    U32(u32) = 4 "u32";
    I32(i32) = 5 "i32";
    F32(f32) = 6 "f32";
    U64(u64) = 10 "u64";
    I64(i64) = 11 "i64";
    F64(f64) = 12 "f64";
}

impl Array {
    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<bool> for Value {
    fn from(x: bool) -> Value {
        Value::Bool(x)
    }
}

impl From<&str> for Value {
    fn from(x: &str) -> Value {
        Value::String(x.into())
    }
}

impl From<String> for Value {
    fn from(x: String) -> Value {
        Value::String(x)
    }
}

impl From<Strings> for Value {
    fn from(x: Strings) -> Value {
        Value::Array(Array::String(x))
    }
}

pub(crate) fn write_string(text: &[u8], out: &mut Vec<u8>) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text);
}

/// Many strings in one allocation: a vocabulary of 200 thousand would otherwise cost as much in `String` headers as in
/// text. The bytes are kept as the file has them, which need not be UTF-8.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Strings {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Strings {
    /// None.
    pub fn new() -> Self {
        Strings::default()
    }

    /// Appends one.
    ///
    /// # Panics
    /// Beyond 4 GiB of text; a header holds at most 256 MiB.
    pub fn push(&mut self, text: impl AsRef<[u8]>) {
        self.bytes.extend(text.as_ref());
        self.ends.push(u32::try_from(self.bytes.len()).expect("a header holds less than 4 GiB"));
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of string `index`.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)? as usize;
        let start = index.checked_sub(1).and_then(|i| self.ends.get(i)).map_or(0, |&e| e as usize);
        self.bytes.get(start..end)
    }

    /// The bytes of each string.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|i| self.get(i).unwrap_or_default())
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for Strings {
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        let mut all = Strings::new();
        texts.into_iter().for_each(|text| all.push(text));
        all
    }
}

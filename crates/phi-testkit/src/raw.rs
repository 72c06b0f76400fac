use phi_tensor::DType;

/// A GGUF as raw fields. As made by its methods it is valid; then any field can be made to lie.
#[derive(Clone, Debug)]
pub struct RawGguf {
    /// The first four bytes.
    pub magic: [u8; 4],
    /// Version of the format.
    pub version: u32,
    /// What the header claims instead of the number of tensors.
    pub n_tensors: Option<u64>,
    /// What the header claims instead of the number of key-values.
    pub n_kv: Option<u64>,
    /// The key-values, in order.
    pub entries: Vec<RawEntry>,
    /// The tensors, in order.
    pub tensors: Vec<RawTensor>,
    /// What tensor data is padded to, whatever `general.alignment` says.
    pub alignment: usize,
}

/// A key-value.
#[derive(Clone, Debug)]
pub struct RawEntry {
    /// The key, which need not be text.
    pub key: Vec<u8>,
    /// What the file claims instead of the key's length.
    pub key_len: Option<u64>,
    /// The value.
    pub value: RawValue,
}

/// A value: the number of its type, and bytes that need not fit it.
#[derive(Clone, PartialEq, Debug)]
pub struct RawValue {
    /// Number of the type.
    pub ty: u32,
    /// What follows in the file.
    pub bytes: Vec<u8>,
}

/// A line of the tensor table, and the tensor's data.
#[derive(Clone, Debug)]
pub struct RawTensor {
    /// The name, which need not be text.
    pub name: Vec<u8>,
    /// What the file claims instead of the number of dimensions.
    pub n_dims: Option<u32>,
    /// Dimensions as the file counts them, fastest first.
    pub dims: Vec<u64>,
    /// Number of the element type.
    pub ty: u32,
    /// What the file claims instead of where the data really is.
    pub offset: Option<u64>,
    /// The data.
    pub data: Vec<u8>,
}

impl RawGguf {
    /// A version 3 file of nothing.
    pub fn new() -> Self {
        RawGguf {
            magic: *b"GGUF",
            version: 3,
            n_tensors: None,
            n_kv: None,
            entries: Vec::new(),
            tensors: Vec::new(),
            alignment: 32,
        }
    }

    /// Sets a key: in place when it exists, else at the end.
    pub fn set(&mut self, key: &str, value: impl Into<RawValue>) {
        let value = value.into();
        match self.entries.iter_mut().find(|entry| entry.key == key.as_bytes()) {
            Some(entry) => entry.value = value,
            None => self.entries.push(RawEntry::new(key, value)),
        }
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &str) {
        self.entries.retain(|entry| entry.key != key.as_bytes());
    }

    /// Appends an f32 tensor of these dimensions, slowest first.
    pub fn tensor(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        let dims = shape.iter().rev().map(|&dim| dim as u64).collect();
        let data = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.tensors.push(RawTensor { name: name.into(), n_dims: None, dims, ty: DType::F32.id(), offset: None, data });
    }

    /// The line of a tensor, to be changed.
    ///
    /// # Panics
    /// When there is none of this name.
    pub fn tensor_mut(&mut self, name: &str) -> &mut RawTensor {
        let found = self.tensors.iter_mut().find(|tensor| tensor.name == name.as_bytes());
        found.unwrap_or_else(|| panic!("no tensor `{name}`"))
    }

    /// Everything before the tensor data, without padding.
    pub fn header_bytes(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.n_tensors.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.n_kv.unwrap_or(self.entries.len() as u64).to_le_bytes());
        for entry in &self.entries {
            out.extend(entry.key_len.unwrap_or(entry.key.len() as u64).to_le_bytes());
            out.extend(&entry.key);
            out.extend(entry.value.ty.to_le_bytes());
            out.extend(&entry.value.bytes);
        }
        let mut offset = 0;
        for tensor in &self.tensors {
            write_string(&tensor.name, &mut out);
            out.extend(tensor.n_dims.unwrap_or(tensor.dims.len() as u32).to_le_bytes());
            tensor.dims.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
            out.extend(tensor.ty.to_le_bytes());
            out.extend(tensor.offset.unwrap_or(offset).to_le_bytes());
            offset += tensor.data.len().next_multiple_of(self.alignment) as u64;
        }
        out
    }

    /// The whole file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.header_bytes();
        for tensor in &self.tensors {
            out.resize(out.len().next_multiple_of(self.alignment), 0);
            out.extend(&tensor.data);
        }
        out.resize(out.len().next_multiple_of(self.alignment), 0);
        out
    }
}

impl Default for RawGguf {
    fn default() -> Self {
        RawGguf::new()
    }
}

impl RawEntry {
    /// An entry that does not lie.
    pub fn new(key: impl Into<Vec<u8>>, value: impl Into<RawValue>) -> Self {
        RawEntry { key: key.into(), key_len: None, value: value.into() }
    }
}

const BOOL: u32 = 7;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

impl RawValue {
    /// A string that claims to have `len` bytes.
    pub fn string(len: u64, text: &[u8]) -> RawValue {
        RawValue { ty: STRING, bytes: [&len.to_le_bytes(), text].concat() }
    }

    /// An array that claims to have `len` elements of the type `element_ty`.
    pub fn array(element_ty: u32, len: u64, elements: &[u8]) -> RawValue {
        RawValue { ty: ARRAY, bytes: [&element_ty.to_le_bytes(), &len.to_le_bytes()[..], elements].concat() }
    }

    /// An array of strings, which need not be text.
    pub fn strings<T: AsRef<[u8]>>(texts: impl IntoIterator<Item = T>) -> RawValue {
        let (mut len, mut elements) = (0, Vec::new());
        for text in texts {
            write_string(text.as_ref(), &mut elements);
            len += 1;
        }
        RawValue::array(STRING, len, &elements)
    }
}

impl From<bool> for RawValue {
    fn from(x: bool) -> RawValue {
        RawValue { ty: BOOL, bytes: vec![u8::from(x)] }
    }
}

impl From<&str> for RawValue {
    fn from(x: &str) -> RawValue {
        RawValue::string(x.len() as u64, x.as_bytes())
    }
}

/// Numbers, and arrays of them.
macro_rules! numbers {
    ($($ty:ty = $id:literal;)*) => {$(
        impl From<$ty> for RawValue {
            fn from(x: $ty) -> RawValue {
                RawValue { ty: $id, bytes: x.to_le_bytes().to_vec() }
            }
        }

        impl From<Vec<$ty>> for RawValue {
            fn from(x: Vec<$ty>) -> RawValue {
                let elements: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();
                RawValue::array($id, x.len() as u64, &elements)
            }
        }
    )*};
}

numbers! {
    u8 = 0;
    i8 = 1;
    u16 = 2;
    i16 = 3;
    u32 = 4;
    i32 = 5;
    f32 = 6;
    u64 = 10;
    i64 = 11;
    f64 = 12;
}

fn write_string(text: &[u8], out: &mut Vec<u8>) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let mut file = RawGguf::new();
        file.set("a", 7_u32);
        file.tensor("t", &[1, 2], &[1.0, 2.0]);
        let mut want = b"GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0".to_vec();
        want.extend(b"\x01\0\0\0\0\0\0\0a\x04\0\0\0\x07\0\0\0");
        want.extend(b"\x01\0\0\0\0\0\0\0t\x02\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(file.header_bytes(), want);
        want.resize(96, 0);
        want.extend(b"\0\0\x80\x3f\0\0\0\x40");
        want.resize(128, 0);
        assert_eq!(file.bytes(), want);
    }
}

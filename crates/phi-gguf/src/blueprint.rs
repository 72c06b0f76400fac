use phi_tensor::{DType, Shape};

use crate::header::{DEFAULT_ALIGNMENT, Header, MAGIC};
use crate::value::{Value, write_string};

/// A file to be: its key-values and tensors in order, and from them its exact size before a byte is written.
#[derive(Clone, Debug, Default)]
pub struct Blueprint {
    entries: Vec<(String, Value)>,
    tensors: Vec<TensorSpec>,
}

/// A tensor to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// How its numbers will be packed.
    pub dtype: DType,
    /// Its dimensions, slowest first.
    pub shape: Shape,
}

impl TensorSpec {
    /// Bytes of the tensor, without padding.
    ///
    /// # Panics
    /// When blocks do not divide its rows or its size overflows: whoever chose the type checked.
    pub fn bytes(&self) -> u64 {
        let row = self.dtype.row_bytes(self.shape.cols());
        row.and_then(|row| row.checked_mul(self.shape.rows())).expect("the type was chosen to fit the shape")
    }
}

impl Blueprint {
    /// Nothing yet.
    pub fn new() -> Self {
        Blueprint::default()
    }

    /// What a header says, to be written again.
    pub fn of(header: &Header) -> Self {
        let mut file = Blueprint::new();
        for entry in header.metadata.entries() {
            file.set(&entry.key, entry.value.clone());
        }
        for t in &header.tensors {
            file.tensor(&t.name, t.dtype, t.shape);
        }
        file
    }

    /// Sets a key: in place when it exists, else at the end.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        match self.entries.iter_mut().find(|(k, _)| k == key) {
            Some((_, old)) => *old = value,
            None => self.entries.push((key.into(), value)),
        }
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &str) {
        self.entries.retain(|(k, _)| k != key);
    }

    /// Adds a tensor behind those that are there.
    pub fn tensor(&mut self, name: impl Into<String>, dtype: DType, shape: Shape) {
        self.tensors.push(TensorSpec { name: name.into(), dtype, shape });
    }

    /// The key-values, in order.
    pub fn entries(&self) -> &[(String, Value)] {
        &self.entries
    }

    /// The tensors, in order.
    pub fn tensors(&self) -> &[TensorSpec] {
        &self.tensors
    }

    /// Tensor data starts at multiples of this.
    pub fn alignment(&self) -> u64 {
        let set = self.entries.iter().find(|(key, _)| key == "general.alignment");
        match set {
            Some((_, Value::U32(alignment))) if alignment.is_power_of_two() => u64::from(*alignment),
            _ => DEFAULT_ALIGNMENT,
        }
    }

    /// Bytes that a tensor takes in the file, padding included.
    pub(crate) fn padded(&self, tensor: &TensorSpec) -> u64 {
        tensor.bytes().checked_next_multiple_of(self.alignment()).expect("the type was chosen to fit the shape")
    }

    /// Bytes of the whole file.
    pub fn file_bytes(&self) -> u64 {
        let data: u64 = self.tensors.iter().map(|t| self.padded(t)).sum();
        (self.header_bytes().len() as u64).saturating_add(data)
    }

    /// Everything before the tensor data, padded to the alignment.
    ///
    /// # Panics
    /// When offsets overflow: whoever chose the types checked.
    pub fn header_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(MAGIC);
        out.extend(3_u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.entries.len() as u64).to_le_bytes());
        for (key, value) in &self.entries {
            write_string(key.as_bytes(), &mut out);
            out.extend(value.value_type().id().to_le_bytes());
            value.write(&mut out);
        }
        let mut offset = 0_u64;
        for tensor in &self.tensors {
            write_string(tensor.name.as_bytes(), &mut out);
            let dims = tensor.shape.dims();
            out.extend(u32::try_from(dims.len()).unwrap_or_default().to_le_bytes());
            // The file counts the fastest dimension first.
            dims.iter().rev().for_each(|dim| out.extend(dim.to_le_bytes()));
            out.extend(tensor.dtype.id().to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset = offset.checked_add(self.padded(tensor)).expect("the types were chosen to fit the shapes");
        }
        let alignment = usize::try_from(self.alignment()).unwrap_or(1);
        out.resize(out.len().next_multiple_of(alignment), 0);
        out
    }
}

use std::marker::PhantomData;

use crate::Buffer;
use crate::buffer::{LINE_BYTES, Line};

/// What a buffer may hold: plain numbers for which all-zero bytes mean zero.
pub trait Elem: bytemuck::Pod + Send + Sync {}

impl<T: bytemuck::Pod + Send + Sync> Elem for T {}

/// When the memory of a buffer becomes resident.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Residency {
    /// Written once when allocated, so that a small device fails at the start and not later.
    Filled,
    /// Zero pages until first written; counted in full all the same.
    Reserved,
}

/// The description of a buffer: a name, dimensions, and when its pages are touched.
#[derive(Clone, Debug)]
pub struct Spec<T> {
    name: String,
    dims: Vec<usize>,
    residency: Residency,
    elem: PhantomData<T>,
}

impl<T: Elem> Spec<T> {
    /// A buffer that is filled with zeros when allocated.
    pub fn new(name: impl Into<String>, dims: &[usize]) -> Self {
        Spec { name: name.into(), dims: dims.to_vec(), residency: Residency::Filled, elem: PhantomData }
    }

    /// A buffer whose pages stay untouched until used, such as a KV cache.
    pub fn reserved(name: impl Into<String>, dims: &[usize]) -> Self {
        Spec { residency: Residency::Reserved, ..Spec::new(name, dims) }
    }

    /// Elements, or `None` when they cannot be counted.
    fn len(&self) -> Option<usize> {
        self.dims.iter().try_fold(1_usize, |n, &d| n.checked_mul(d))
    }

    /// Bytes this buffer takes: its elements, rounded up to whole cache lines. The only size formula.
    ///
    /// A buffer beyond what 64 bits count saturates, and then fails to allocate.
    pub fn bytes(&self) -> u64 {
        let bytes = self.len().and_then(|n| n.checked_mul(size_of::<T>()));
        bytes.and_then(|n| n.checked_next_multiple_of(LINE_BYTES)).map_or(u64::MAX, |n| n as u64)
    }

    /// Makes the buffer. The only way to one.
    pub fn allocate(&self) -> Result<Buffer<T>, OutOfMemory> {
        let out_of_memory = || OutOfMemory { name: self.name.clone(), bytes: self.bytes() };
        let len = self.len().ok_or_else(out_of_memory)?;
        let lines = usize::try_from(self.bytes()).map_err(|_| out_of_memory())? / LINE_BYTES;
        let mut lines = bytemuck::allocation::try_zeroed_slice_box::<Line>(lines).map_err(|()| out_of_memory())?;
        if self.residency == Residency::Filled {
            // Opaque, or the compiler may know the memory to be zero already and leave the pages untouched.
            std::hint::black_box(&mut lines[..]).fill(Line::ZERO);
        }
        Ok(Buffer::new(lines, len))
    }

    /// This buffer as a row of the memory table.
    pub fn row(&self) -> Row {
        Row {
            name: self.name.clone(),
            dims: self.dims.clone(),
            elem_bytes: size_of::<T>(),
            bytes: self.bytes(),
            residency: self.residency,
        }
    }
}

/// One line of the memory table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Name of the buffer, such as `kv.k.0`.
    pub name: String,
    /// Its dimensions, slowest first.
    pub dims: Vec<usize>,
    /// Bytes of one element.
    pub elem_bytes: usize,
    /// Bytes of the whole buffer, alignment included.
    pub bytes: u64,
    /// When it becomes resident.
    pub residency: Residency,
}

/// A buffer the system would not give.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("cannot allocate {bytes} bytes for `{name}`")]
pub struct OutOfMemory {
    /// The buffer.
    pub name: String,
    /// What it needed.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocates_what_it_says() {
        let spec = Spec::<f32>::new("x", &[3, 5]);
        assert_eq!(spec.bytes(), 64);
        let mut buffer = spec.allocate().unwrap();
        assert_eq!(buffer.len(), 15);
        assert_eq!(buffer.as_ptr() as usize % LINE_BYTES, 0);
        buffer[14] = 1.0;
        assert_eq!(buffer.iter().sum::<f32>(), 1.0);
    }

    #[test]
    fn names_what_does_not_fit() {
        for dims in [[usize::MAX, 2], [usize::MAX / 8, 1]] {
            let error = Spec::<f32>::reserved("kv.k.0", &dims).allocate().unwrap_err();
            assert_eq!(error.name, "kv.k.0");
        }
    }
}

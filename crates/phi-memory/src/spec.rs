use std::marker::PhantomData;

use crate::Buffer;
use crate::buffer::LINE_BYTES;

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

    /// Bytes this buffer takes: its elements, and a line to begin with the first whole one. The only size formula.
    ///
    /// A buffer beyond what 64 bits count saturates, and then fails to allocate.
    pub fn bytes(&self) -> u64 {
        let bytes = self.len().and_then(|n| n.checked_mul(size_of::<T>()));
        bytes.and_then(|n| n.checked_add(LINE_BYTES)).map_or(u64::MAX, |n| n as u64)
    }

    /// Makes the buffer. The only way to one.
    pub fn allocate(&self) -> Result<Buffer<T>, OutOfMemory> {
        let out_of_memory = || OutOfMemory { name: self.name.clone(), bytes: self.bytes() };
        let len = self.len().ok_or_else(out_of_memory)?;
        let bytes = usize::try_from(self.bytes()).map_err(|_| out_of_memory())?;
        let mut bytes = bytemuck::allocation::try_zeroed_slice_box(bytes).map_err(|()| out_of_memory())?;
        if self.residency == Residency::Filled {
            // Opaque, or the compiler may know the memory to be zero already and leave the pages untouched.
            std::hint::black_box(&mut bytes[..]).fill(0);
        }
        Ok(Buffer::new(bytes, len))
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

impl Row {
    /// Bytes of the elements alone.
    pub fn content_bytes(&self) -> u64 {
        self.dims.iter().fold(self.elem_bytes as u64, |bytes, &n| bytes.saturating_mul(n as u64))
    }
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
        for len in [0, 1, 15, 16, 1000] {
            let spec = Spec::<f32>::new("x", &[len, 5]);
            assert_eq!(spec.bytes(), 4 * 5 * len as u64 + 64);
            let mut buffer = spec.allocate().unwrap();
            assert_eq!(buffer.len(), 5 * len);
            assert_eq!(buffer.as_ptr() as usize % LINE_BYTES, 0);
            assert!(buffer.iter().all(|&x| x == 0.0));
            buffer.iter_mut().for_each(|x| *x = 1.0);
            assert_eq!(buffer.iter().sum::<f32>(), 5.0 * len as f32);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no pages")]
    fn what_is_reserved_becomes_resident_as_it_is_written() {
        const MIB: usize = 1 << 20;
        let Some(before) = crate::resident::now() else {
            assert_ne!(std::env::consts::OS, "linux", "Linux says what is resident");
            return;
        };
        // Other tests are small, and so is what the system counts late.
        let grown = || (crate::resident::now().unwrap().saturating_sub(before) as usize) / MIB;
        let mut reserved = Spec::<f32>::reserved("kv.k.0", &[256 * MIB / 4]).allocate().unwrap();
        assert!(grown() < 8, "{} MiB", grown());
        assert_eq!(reserved[7 * MIB], 0.0);
        reserved[..128 * MIB / 4].fill(1.0);
        assert!((120..136).contains(&grown()), "{} MiB", grown());
        drop(reserved);
        let filled = Spec::<f32>::new("x", &[128 * MIB / 4]).allocate().unwrap();
        assert!((120..136).contains(&grown()), "{} MiB", grown());
        drop(filled);
    }

    #[test]
    fn names_what_does_not_fit() {
        for dims in [[usize::MAX, 2], [usize::MAX / 8, 1]] {
            let error = Spec::<f32>::reserved("kv.k.0", &dims).allocate().unwrap_err();
            assert_eq!(error.name, "kv.k.0");
        }
    }
}

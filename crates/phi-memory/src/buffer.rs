use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use crate::Elem;

/// Buffers start on a cache line, so that no vector load of a kernel crosses two.
pub(crate) const LINE_BYTES: usize = 64;

/// Memory that was planned: a slice of `T` that starts on a cache line.
///
/// An allocator that is asked for lines clears what it gives by hand, and touches all of it. Asked for bytes it hands out
/// pages that the system clears when they are first used; so that is what it is asked for, and the first line is found
/// here.
pub struct Buffer<T> {
    bytes: Box<[u8]>,
    /// The first byte on a line.
    start: usize,
    /// Elements.
    len: usize,
    elem: PhantomData<T>,
}

impl<T: Elem> Buffer<T> {
    /// `len` elements, from the first whole line of `bytes` on.
    ///
    /// # Panics
    /// When there are not as many: a line more than the elements take always suffices.
    pub(crate) fn new(bytes: Box<[u8]>, len: usize) -> Self {
        const { assert!(align_of::<T>() <= LINE_BYTES, "an element that starts on a line is aligned") };
        let start = bytes.as_ptr().addr().wrapping_neg() % LINE_BYTES;
        assert!(len.checked_mul(size_of::<T>()).is_some_and(|n| n <= bytes.len().saturating_sub(start)), "{len} fit");
        Buffer { bytes, start, len, elem: PhantomData }
    }
}

impl<T: Elem> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        bytemuck::cast_slice(&self.bytes[self.start..][..self.len * size_of::<T>()])
    }
}

impl<T: Elem> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.bytes[self.start..][..self.len * size_of::<T>()])
    }
}

impl<T> std::fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} × {})", self.len, std::any::type_name::<T>())
    }
}

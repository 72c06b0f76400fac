use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use crate::Elem;

/// Buffers start on a cache line, so that no vector load of a kernel crosses two.
pub(crate) const LINE_BYTES: usize = 64;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Line([u8; LINE_BYTES]);

impl Line {
    pub(crate) const ZERO: Line = Line([0; LINE_BYTES]);
}

/// Memory that was planned: a slice of `T` that starts on a cache line.
pub struct Buffer<T> {
    lines: Box<[Line]>,
    len: usize,
    elem: PhantomData<T>,
}

impl<T: Elem> Buffer<T> {
    pub(crate) fn new(lines: Box<[Line]>, len: usize) -> Self {
        Buffer { lines, len, elem: PhantomData }
    }
}

impl<T: Elem> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl<T: Elem> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

impl<T> std::fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} × {})", self.len, std::any::type_name::<T>())
    }
}

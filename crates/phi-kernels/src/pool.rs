//! Stand-in.
#![allow(unsafe_code, missing_docs, clippy::missing_safety_doc, reason = "stand-in")]
use rayon::prelude::*;
use std::ops::Range;

pub(crate) struct Pool(rayon::ThreadPool, usize);
impl Pool {
    pub(crate) fn new(threads: usize) -> std::io::Result<Pool> {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .map(|p| Pool(p, threads))
            .map_err(std::io::Error::other)
    }
    pub(crate) fn threads(&self) -> usize {
        self.1
    }
    pub(crate) fn run(&self, n: usize, task: impl Fn(usize, usize) + Sync) {
        if n == 1 || self.1 == 1 {
            return (0..n).for_each(|i| task(0, i));
        }
        self.0.install(|| (0..n).into_par_iter().for_each(|i| task(rayon::current_thread_index().unwrap_or(0), i)));
    }
    pub(crate) fn chunks<T: Send>(&self, out: &mut [T], len: usize, task: impl Fn(usize, usize, &mut [T]) + Sync) {
        let n = out.len().div_ceil(len);
        let all = out.len();
        let shared = Shared::new(out);
        self.run(n, |t, i| task(t, i, unsafe { shared.slice(i * len..all.min((i + 1) * len)) }));
    }
}
pub(crate) struct Shared<'a, T>(*mut T, usize, std::marker::PhantomData<&'a mut [T]>);
unsafe impl<T: Send> Sync for Shared<'_, T> {}
impl<'a, T> Shared<'a, T> {
    pub(crate) fn new(x: &'a mut [T]) -> Self {
        Shared(x.as_mut_ptr(), x.len(), std::marker::PhantomData)
    }
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn slice(&self, r: Range<usize>) -> &mut [T] {
        assert!(r.start <= r.end && r.end <= self.1);
        unsafe { std::slice::from_raw_parts_mut(self.0.add(r.start), r.len()) }
    }
}

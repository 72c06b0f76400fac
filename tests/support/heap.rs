//! An allocator that counts, and what a piece of code did to the heap.
//!
//! A test binary that wants to count installs it:
//!
//! ```
//! use phi_tests::heap::{self, Counting};
//!
//! #[global_allocator]
//! static HEAP: Counting = Counting;
//!
//! let (buffer, use_of_heap) = heap::of_this_thread(|| vec![0_u8; 1000]);
//! assert_eq!(use_of_heap.grown, 1000);
//! # drop(buffer);
//! ```

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// The system's allocator, counting bytes and calls of each thread, and of some together.
pub struct Counting;

/// What a piece of code did to the heap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Use {
    /// Bytes allocated and not freed.
    pub grown: i64,
    /// The most bytes that were allocated at once, beyond those before. Only known of a single thread, else 0.
    pub peak: i64,
    /// Calls that asked for memory.
    pub allocations: i64,
}

/// What `f` does to the heap on this thread. Other threads, such as those of other tests, do not disturb it.
pub fn of_this_thread<T>(f: impl FnOnce() -> T) -> (T, Use) {
    let before = THREAD.get();
    THREAD.set(Count { peak: before.live, ..before });
    let result = f();
    let after = THREAD.get();
    THREAD.set(Count { peak: before.peak.max(after.peak), ..after });
    let grown = after.live - before.live;
    let peak = after.peak - before.live;
    (result, Use { grown, peak, allocations: after.allocations - before.allocations })
}

/// From here on this thread is watched, and every thread that begins to use the heap later. The threads of the test
/// harness are not, as long as the test binary has a single test.
pub fn watch_from_here() {
    FIRST.store(THREADS.load(Relaxed), Relaxed);
    OWN.store(number(), Relaxed);
}

/// What the watched threads do to the heap while `f` runs.
pub fn of_watched_threads<T>(f: impl FnOnce() -> T) -> (T, Use) {
    let before = (LIVE.load(Relaxed), ALLOCATIONS.load(Relaxed));
    let result = f();
    let (grown, allocations) = (LIVE.load(Relaxed) - before.0, ALLOCATIONS.load(Relaxed) - before.1);
    (result, Use { grown, peak: 0, allocations })
}

#[derive(Clone, Copy)]
struct Count {
    live: i64,
    peak: i64,
    allocations: i64,
}

thread_local! {
    /// Made at compile time and without a destructor, so that counting never allocates itself.
    static THREAD: Cell<Count> = const { Cell::new(Count { live: 0, peak: 0, allocations: 0 }) };
    /// Threads have numbers in the order in which they first use the heap; 0 is none yet.
    static NUMBER: Cell<u64> = const { Cell::new(0) };
}

/// The number of the next thread.
static THREADS: AtomicU64 = AtomicU64::new(1);
/// Watched are the threads from this number on, and the one of that number.
static FIRST: AtomicU64 = AtomicU64::new(u64::MAX);
static OWN: AtomicU64 = AtomicU64::new(u64::MAX);
/// Bytes and calls of those that are watched.
static LIVE: AtomicI64 = AtomicI64::new(0);
static ALLOCATIONS: AtomicI64 = AtomicI64::new(0);

/// This thread's number.
fn number() -> u64 {
    if NUMBER.get() == 0 {
        NUMBER.set(THREADS.fetch_add(1, Relaxed));
    }
    NUMBER.get()
}

fn count(bytes: i64, allocations: i64) {
    let number = number();
    if number >= FIRST.load(Relaxed) || number == OWN.load(Relaxed) {
        LIVE.fetch_add(bytes, Relaxed);
        ALLOCATIONS.fetch_add(allocations, Relaxed);
    }
    let mut thread = THREAD.get();
    thread.live += bytes;
    thread.peak = thread.peak.max(thread.live);
    thread.allocations += allocations;
    THREAD.set(thread);
}

#[expect(unsafe_code, reason = "the one way to see what is allocated")]
// SAFETY: every call goes to the system's allocator unchanged; counting neither allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc`, which is the system's too.
        let memory = unsafe { System.alloc(layout) };
        count(if memory.is_null() { 0 } else { layout.size() as i64 }, 1);
        memory
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc_zeroed`, which is the system's too.
        let memory = unsafe { System.alloc_zeroed(layout) };
        count(if memory.is_null() { 0 } else { layout.size() as i64 }, 1);
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-(layout.size() as i64), 0);
        // SAFETY: `memory` came from the system's allocator with this layout: ours gives nothing else.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: `memory` came from the system's allocator with this layout: ours gives nothing else.
        let new = unsafe { System.realloc(memory, layout, new_size) };
        count(if new.is_null() { 0 } else { new_size as i64 - layout.size() as i64 }, 1);
        new
    }
}

//! Threads that share the items of one job, for work so short that starting it must cost next to nothing.
//!
//! The plain version is `std::thread::scope`: a thread for each share, joined at the end. That costs tens of
//! microseconds, and a token has hundreds of regions of some tens of microseconds each. So the threads are started once,
//! and a job is handed to whoever is there:
//!
//! 1. The caller of [`Pool::run`] puts the [`Job`] on its own stack, leaves a pointer to it, and sets `OPEN`.
//! 2. A worker that sees `OPEN` *joins*: one atomic step counts it as `ACTIVE`, and fails when the job is closed. Only
//!    then does it read the job. It claims items until none is left, then *leaves*.
//! 3. The caller claims items like everybody else.
//! 4. Whoever finds no item left closes the job, so that nobody joins any more.
//! 5. The caller waits for those who joined, and for nobody else: a worker that the system keeps from running holds up
//!    nothing unless it has an item in its hands. Then the job can go, since nobody is left who could look at it.
//!
//! Everybody has a [`Share`] of the items, and begins with it, from its front: what lies side by side is read by one
//! thread in one go, and what that fetches ahead it needs itself. Who is done with its own share takes from the fronts of
//! the others'. So nobody waits for a slow thread longer than for one item, and for one that does not come, not at all.
//!
//! All of the above but claiming is one word, [`Board::state`]. Each step is one atomic change of it, so the steps have one order, which
//! everybody sees. Who writes before such a step has release ordering there, who reads after it has acquire ordering;
//! the steps of others in between are read-modify-writes and do not break the chain.
//!
//! Waiting is spinning at first, because a region is over, and the next one there, sooner than the system could wake
//! anybody; and sleeping soon after, because the core may be wanted. Workers that sleep are counted in the same word:
//! the caller makes a system call only if somebody sleeps.

#![expect(unsafe_code, reason = "threads that outlive a borrow, and slices that several of them write")]

use std::any::Any;
use std::cell::Cell;
use std::io;
use std::marker::PhantomData;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A fixed number of threads, one of them the caller's own.
pub(crate) struct Pool {
    board: Arc<Board>,
    workers: Vec<JoinHandle<()>>,
    /// Held while a job runs: there is one at a time.
    turn: Mutex<()>,
}

impl Pool {
    /// Starts `threads − 1` workers (none for 0); the caller of [`run`](Pool::run) is the first thread.
    pub(crate) fn new(threads: usize) -> io::Result<Pool> {
        if threads > MAX_THREADS {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("more than {MAX_THREADS} threads")));
        }
        // From here on dropping the pool stops what was started, should a later thread fail.
        let board = Board { shares: (0..threads.max(1)).map(|_| Share::default()).collect(), ..Board::default() };
        let mut pool = Pool { board: Arc::new(board), workers: Vec::new(), turn: Mutex::default() };
        for thread in 1..threads {
            let board = Arc::clone(&pool.board);
            let worker = thread::Builder::new().name(format!("phi-{thread}")).spawn(move || board.work(thread))?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// Number of threads, the caller's own included.
    pub(crate) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `task(thread, i)` once for every `i` below `n`, on all threads; returns when all are done.
    ///
    /// `thread` is below [`threads`](Pool::threads), and no two calls at the same time have the same, not even of
    /// different callers: a second caller waits until the first is done.
    ///
    /// # Panics
    /// When a task did: with its message, after the tasks that had begun are done; others are not begun.
    /// When called by a task, of this pool or of another: the thread is taken, waiting for it would not end.
    pub(crate) fn run(&self, n: usize, task: impl Fn(usize, usize) + Sync) {
        let turn = Turn::take(&self.turn);
        if n <= 1 || self.workers.is_empty() {
            (0..n).for_each(|i| task(0, i));
            return;
        }
        let job = Job { task: &task, n, panic: Mutex::new(None) };
        self.board.open(&job, self.workers.len());
        job.claim(0, &self.board);
        self.board.wait();
        drop(turn);
        if let Some(panic) = job.panic.into_inner().unwrap_or_else(PoisonError::into_inner) {
            resume_unwind(panic);
        }
    }

    /// Cuts `out` into pieces of `len` (the last may be shorter) and calls `task(thread, i, piece)` for each, as
    /// [`run`](Pool::run) does.
    ///
    /// # Panics
    /// When `len` is 0, and as `run` does.
    pub(crate) fn chunks<T: Send>(&self, out: &mut [T], len: usize, task: impl Fn(usize, usize, &mut [T]) + Sync) {
        let (pieces, total) = (out.len().div_ceil(len), out.len());
        let out = Shared::new(out);
        self.run(pieces, |thread, i| {
            let start = i * len;
            let range = start..total.min(start.saturating_add(len));
            // SAFETY: piece `i` overlaps no other piece, and `run` hands out each `i` once.
            task(thread, i, unsafe { out.slice(range) });
        });
    }
}

impl Drop for Pool {
    /// Stops and joins the workers. `&mut self`: nobody is in `run`.
    fn drop(&mut self) {
        self.board.stop();
        for worker in self.workers.drain(..) {
            // A worker catches what its tasks throw, and has nothing of its own to say.
            let _ = worker.join();
        }
    }
}

/// A mutable slice whose disjoint parts tasks write.
pub(crate) struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: sharing it lets several threads have a `&mut [T]` each, of disjoint parts by the contract of `slice`; that is
// what sending parts of a `&mut [T]` to them would do.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Shared<'a, T> {
        Shared { start: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// The elements of `range`.
    ///
    /// # Safety
    /// No two slices that are alive at the same time overlap.
    ///
    /// # Panics
    /// When `range` is not within the slice.
    #[expect(clippy::mut_from_ref, reason = "that disjoint parts are handed out is what this type is for")]
    pub(crate) unsafe fn slice(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {}", self.len);
        // SAFETY: `range` is within the slice, checked above.
        let start = unsafe { self.start.add(range.start) };
        // SAFETY: these elements are borrowed mutably for as long as `self` is there, and the caller says by no other
        // slice.
        unsafe { std::slice::from_raw_parts_mut(start, range.len()) }
    }
}

/// The right to use the pool, until dropped; remembers that this thread has it.
struct Turn<'a>(#[expect(dead_code, reason = "held, not read")] MutexGuard<'a, ()>);

impl Turn<'_> {
    fn take(turn: &Mutex<()>) -> Turn<'_> {
        assert!(!IN_TASK.get(), "a task of a thread pool must not use a thread pool");
        let turn = lock(turn);
        IN_TASK.set(true);
        Turn(turn)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        IN_TASK.set(false);
    }
}

/// What one call of `run` wants done.
struct Job<'a> {
    task: &'a (dyn Fn(usize, usize) + Sync),
    n: usize,
    /// What the first task to panic said.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Job<'_> {
    /// Claims and does items until none is left. Afterwards the job is closed.
    fn claim(&self, thread: usize, board: &Board) {
        let shares = board.shares.len();
        let items = || {
            for share in (thread..shares).chain(0..thread) {
                let end = first_item(self.n, share + 1, shares);
                loop {
                    // Relaxed: that no two threads get the same number is in the nature of an atomic step; everything
                    // else was made visible by joining.
                    let i = board.shares[share].next.fetch_add(1, Relaxed);
                    if i >= end {
                        break;
                    }
                    (self.task)(thread, i);
                }
            }
        };
        // A task can leave nothing behind half done that anybody sees: the caller goes on with the panic.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(items)) {
            for share in &board.shares {
                share.next.store(self.n, Relaxed);
            }
            lock(&self.panic).get_or_insert(panic);
        }
        board.close();
    }
}

/// Where share `share` of `shares` begins, of `n` items: they differ by one item at most.
fn first_item(n: usize, share: usize, shares: usize) -> usize {
    n / shares * share + share.min(n % shares)
}

/// One thread's share of a job's items. Its thread writes it all the time, so it has a cache line of its own (some CPUs
/// fetch lines of 64 bytes in pairs).
#[derive(Default)]
#[repr(align(128))]
struct Share {
    /// The first item of the share that nobody has claimed; where the next share begins, or more, when all are.
    next: AtomicUsize,
}

/// What the threads of a pool know of each other.
#[derive(Default)]
struct Board {
    /// `OPEN`, `STOP` and `WAITING`, the number of `ACTIVE` workers and the number of those `ASLEEP`.
    state: AtomicUsize,
    /// The job, while it is open or has workers. Written by the caller only, while it is neither.
    job: AtomicPtr<Job<'static>>,
    /// The job's items, a share for each thread. Like `job`, set by the caller only.
    shares: Box<[Share]>,
    /// How many workers have been called and have not woken yet. Guards both ways of sleeping.
    called: Mutex<usize>,
    /// Told when `called` grows.
    call: Condvar,
    /// Told when the last worker leaves a job whose caller is `WAITING`.
    done: Condvar,
}

/// There is a job to join. Set by its caller, cleared by who finds no item left.
const OPEN: usize = 1;
/// The pool is being dropped: workers end.
const STOP: usize = 1 << 1;
/// The caller sleeps until the last worker has left.
const WAITING: usize = 1 << 2;
/// One worker that has joined the job.
const ACTIVE: usize = 1 << 3;
/// One worker that sleeps and has not been called.
const ASLEEP: usize = 1 << 16;
/// All bits that count `ACTIVE`.
const ALL_ACTIVE: usize = ASLEEP - ACTIVE;
/// What both counts have room for, on machines of 32 bits too.
const MAX_THREADS: usize = ALL_ACTIVE / ACTIVE;

/// How long to wait without letting go of the core: the threads of a region end a few microseconds apart.
const SPIN: Duration = Duration::from_micros(10);
/// How long to wait then while lending the core to whoever wants it, before sleeping: longer than what lies between the
/// regions of a token. On an idle machine this is as good as spinning.
const YIELD: Duration = Duration::from_micros(50);

impl Board {
    /// Publishes `job` and calls as many sleeping workers as it needs.
    fn open(&self, job: &Job<'_>, workers: usize) {
        // Nobody reads the old pointer any more: the last job is closed, and the last caller waited until nobody was
        // active. Relaxed, since the next line publishes it.
        self.job.store(ptr::from_ref(job).cast::<Job<'static>>().cast_mut(), Relaxed);
        for (i, share) in self.shares.iter().enumerate() {
            share.next.store(first_item(job.n, i, self.shares.len()), Relaxed);
        }
        // Release, with `join`: who joins sees the pointer, the shares, the job, and all that its caller has written so
        // far.
        let asleep = self.state.fetch_or(OPEN, Release) / ASLEEP;
        if asleep > 0 {
            // Still true below: the count shrinks only when a caller calls, and the caller is us.
            let awake = workers - asleep;
            self.call((job.n - 1).saturating_sub(awake).min(asleep));
        }
    }

    /// Wakes `n` of the workers that sleep. They are called once: until they run they cost no further system call.
    fn call(&self, n: usize) {
        // A worker that counts as asleep but does not wait yet holds the lock: it hears us.
        let mut called = lock(&self.called);
        *called += n;
        self.state.fetch_sub(n * ASLEEP, Relaxed);
        drop(called);
        (0..n).for_each(|_| self.call.notify_one());
    }

    /// Lets nobody join any more. By the job's caller or by a worker that is active: it is still this job.
    fn close(&self) {
        // Relaxed: it gives nothing to see to anybody. `wait` comes after it in any case.
        if self.state.load(Relaxed) & OPEN != 0 {
            self.state.fetch_and(!OPEN, Relaxed);
        }
    }

    /// Returns when nobody is active any more. The job is closed, so nobody can become so.
    fn wait(&self) {
        // Acquire, with `leave`: here ends what each worker did.
        let left = || self.state.load(Acquire) & ALL_ACTIVE == 0;
        if watch(left) {
            return;
        }
        let mut called = lock(&self.called);
        // From here on the last to leave sees `WAITING`, and gets the lock only when we sleep. Who left before is seen
        // by `left`, which reads this same word later.
        self.state.fetch_or(WAITING, Relaxed);
        while !left() {
            called = self.done.wait(called).unwrap_or_else(PoisonError::into_inner);
        }
        self.state.fetch_and(!WAITING, Relaxed);
    }

    /// Ends the workers as soon as they are idle.
    fn stop(&self) {
        self.call(self.state.fetch_or(STOP, Relaxed) / ASLEEP);
    }

    /// The life of a worker.
    fn work(&self, thread: usize) {
        IN_TASK.set(true);
        loop {
            if !watch(|| self.state.load(Relaxed) & (OPEN | STOP) != 0) {
                self.sleep();
            }
            // Relaxed: what the thread leaves behind is seen by who joins it.
            if self.state.load(Relaxed) & STOP != 0 {
                return;
            }
            if self.join() {
                let job = self.job.load(Relaxed);
                // SAFETY: the job was open when we joined it, so it is alive, and its caller does not return from
                // `wait` before we leave. `Job` is `Sync`, like all that is in it.
                unsafe { &*job }.claim(thread, self);
                self.leave();
            }
        }
    }

    /// Becomes active, if there is an open job: then this thread may use it until it leaves.
    fn join(&self) -> bool {
        let join = |state| (state & OPEN != 0).then_some(state + ACTIVE);
        // Acquire, with `open`.
        self.state.try_update(Acquire, Relaxed, join).is_ok()
    }

    /// The opposite: from here on the job may be gone.
    fn leave(&self) {
        // Release, with `wait`.
        let before = self.state.fetch_sub(ACTIVE, Release);
        if before & WAITING != 0 && before & ALL_ACTIVE == ACTIVE {
            // The caller holds the lock until it sleeps.
            drop(lock(&self.called));
            self.done.notify_one();
        }
    }

    /// Sleeps until called, unless there is something to do.
    fn sleep(&self) {
        let mut called = lock(&self.called);
        let sleep = |state| (state & (OPEN | STOP) == 0).then_some(state + ASLEEP);
        // Relaxed: either this comes before `open` or `stop`, which then sees a sleeper and takes the lock to call it;
        // or it comes after, and fails.
        if self.state.try_update(Relaxed, Relaxed, sleep).is_err() {
            return;
        }
        while *called == 0 {
            called = self.call.wait(called).unwrap_or_else(PoisonError::into_inner);
        }
        *called -= 1;
    }
}

/// Waits a short time for `ready`; false if that was not enough.
fn watch(ready: impl Fn() -> bool) -> bool {
    // By the clock: a spin takes from 5 to 50 ns depending on the CPU.
    let watch = |patience, pause: fn()| {
        let start = Instant::now();
        while start.elapsed() < patience {
            if ready() {
                return true;
            }
            pause();
        }
        ready()
    };
    ready() || watch(SPIN, std::hint::spin_loop) || watch(YIELD, thread::yield_now)
}

/// Locks, also after a panic: nothing that is locked here is ever half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    /// Whether this thread works for a pool already: then it cannot wait for one.
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often: Miri is some thousand times slower.
    const fn times(n: usize) -> usize {
        if cfg!(miri) { n.div_ceil(1000) } else { n }
    }

    fn pool(threads: usize) -> Pool {
        Pool::new(threads).expect("threads start")
    }

    /// What a panic said.
    fn message(f: impl FnOnce()) -> String {
        let panic = catch_unwind(AssertUnwindSafe(f)).expect_err("it panics");
        let panic = panic.downcast::<&str>().map(|text| text.to_string());
        panic.or_else(|panic| panic.downcast::<String>().map(|text| *text)).expect("a text")
    }

    #[test]
    fn every_item_once() {
        for threads in [0, 1, 2, 3, 8] {
            let pool = pool(threads);
            assert_eq!(pool.threads(), threads.max(1));
            for n in [0, 1, 2, 3, 7, 100] {
                let counts: Vec<_> = (0..n).map(|_| AtomicUsize::new(0)).collect();
                pool.run(n, |_, i| {
                    counts[i].fetch_add(1, Relaxed);
                });
                assert!(counts.iter().all(|count| count.load(Relaxed) == 1), "{threads} threads, {n} items");
            }
        }
    }

    #[test]
    fn no_two_calls_have_the_same_thread() {
        let pool = pool(4);
        // Of two callers, and with single items, which need no workers.
        let taken = [const { Mutex::new(()) }; 4];
        let call = |n| {
            for _ in 0..times(2000) {
                pool.run(n, |thread, _| {
                    let _alone = taken[thread].try_lock().expect("nobody else has this number");
                    std::hint::black_box(thread);
                });
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| call(1));
            scope.spawn(|| call(6));
            call(9);
        });
    }

    #[test]
    fn all_threads_take_part() {
        let pool = pool(3);
        // Each item waits for the others, so one thread alone would never be done.
        let barrier = std::sync::Barrier::new(3);
        for _ in 0..times(3000) {
            let seen = AtomicUsize::new(0);
            pool.run(3, |thread, _| {
                seen.fetch_or(1 << thread, Relaxed);
                barrier.wait();
            });
            assert_eq!(seen.into_inner(), 0b111);
        }
    }

    #[test]
    fn a_thread_begins_with_its_own_share() {
        let pool = pool(3);
        let barrier = std::sync::Barrier::new(3);
        let first = [const { AtomicUsize::new(usize::MAX) }; 3];
        pool.run(11, |thread, i| {
            if first[thread].load(Relaxed) == usize::MAX {
                first[thread].store(i, Relaxed);
                // Nobody takes what is another's before all have begun.
                barrier.wait();
            }
        });
        assert_eq!(first.map(AtomicUsize::into_inner), [0, 4, 8]);
    }

    #[test]
    fn many_tiny_regions_see_what_the_last_one_wrote() {
        let pool = pool(4);
        let mut values = [0; 16];
        for round in 0..times(100_000) {
            let first = values[0];
            pool.chunks(&mut values, 3, |_, _, piece| {
                for value in piece {
                    assert_eq!((*value, *value), (round, first));
                    *value += 1;
                }
            });
        }
        assert_eq!(values, [times(100_000); 16]);
    }

    #[test]
    fn chunks_are_the_pieces_in_their_order() {
        let pool = pool(3);
        for (total, len) in [(0, 4), (1, 4), (4, 4), (5, 4), (12, 4), (7, 1), (7, usize::MAX)] {
            let mut out = vec![String::new(); total];
            pool.chunks(&mut out, len, |_, i, piece| {
                let n = piece.len();
                for (k, value) in piece.iter_mut().enumerate() {
                    *value = format!("{i}.{k}/{n}");
                }
            });
            let want: Vec<_> = (0..total).map(|t| (t / len, t % len, len.min(total - t / len * len))).collect();
            let want: Vec<_> = want.iter().map(|(i, k, n)| format!("{i}.{k}/{n}")).collect();
            assert_eq!(out, want);
        }
    }

    #[test]
    fn shared_slices_stay_inside() {
        let mut values = [1, 2, 3];
        let shared = Shared::new(&mut values);
        // SAFETY: there is one slice at a time.
        let text = message(|| _ = unsafe { shared.slice(2..4) });
        assert_eq!(text, "2..4 of 3");
        // SAFETY: there is one slice at a time.
        assert_eq!(unsafe { shared.slice(1..3) }, [2, 3]);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        for threads in [1, 4] {
            let pool = pool(threads);
            for bad in 0..5 {
                let alive = AtomicUsize::new(0);
                let text = message(|| {
                    pool.run(5, |_, i| {
                        alive.fetch_add(1, Relaxed);
                        thread::yield_now();
                        alive.fetch_sub(usize::from(i != bad), Relaxed);
                        assert_ne!(i, bad, "item {i}");
                    });
                });
                assert!(text.ends_with(&format!("item {bad}\n  left: {bad}\n right: {bad}")), "{text}");
                assert_eq!(alive.into_inner(), 1, "all but the bad one came to their end");
            }
            message(|| pool.run(5, |_, _| panic!("all of them")));
            let sum = AtomicUsize::new(0);
            pool.run(5, |_, i| _ = sum.fetch_add(i, Relaxed));
            assert_eq!(sum.into_inner(), 10);
        }
    }

    #[test]
    fn a_task_cannot_use_a_pool() {
        let pools = [pool(1), pool(2), pool(3)];
        for (outer, inner) in [(0, 0), (1, 1), (1, 2), (0, 1)] {
            let text = message(|| pools[outer].run(4, |_, _| pools[inner].run(1, |_, _| ())));
            assert_eq!(text, "a task of a thread pool must not use a thread pool");
        }
        pools[1].run(4, |_, _| ());
    }

    #[test]
    fn dropped_while_workers_spin_sleep_or_start() {
        for wait in [Duration::ZERO, SPIN, SPIN + YIELD, 20 * YIELD] {
            for _ in 0..times(20) {
                drop(pool(4));
                let pool = pool(4);
                thread::sleep(wait);
                pool.run(8, |_, _| ());
                thread::sleep(wait);
            }
        }
    }

    #[test]
    fn sleepers_are_called_and_the_caller_sleeps_too() {
        let pool = pool(2);
        let barrier = std::sync::Barrier::new(2);
        for round in 0..times(200) {
            thread::sleep(2 * (SPIN + YIELD));
            pool.run(2, |thread, _| {
                barrier.wait();
                if thread == round % 2 {
                    thread::sleep(2 * (SPIN + YIELD));
                }
            });
        }
    }

    #[test]
    fn too_many_threads_are_an_error() {
        let error = Pool::new(MAX_THREADS + 1).err().expect("there is a limit");
        assert_eq!(error.to_string(), "more than 8191 threads");
    }
}

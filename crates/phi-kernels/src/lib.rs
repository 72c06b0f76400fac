//! Arithmetic on packed matrices and slices.
//!
//! [`Kernels`] is the whole surface: safe operations, checked once per call, on values that say what they are. Behind
//! it, `arch` holds one table of row-sized functions for each instruction set, and the drivers here do the tiling and
//! the threads. Every sum is taken in an order that does not depend on the number of threads: the same prompt gives the
//! same text. Few tokens and many go through different kernels, whose last bits may differ.
//!
//! Weights of 8 bits or fewer are multiplied with activations that are rounded to 8 bits too, one scale for 256 of them
//! ([`Kernels::quantize`]): products of integers, exact within a sub-block. All other types are multiplied as floats.
//!
//! This crate does not know files, models or memory plans: every buffer comes from the caller, the [`ThreadRoom`] of each
//! thread included, and no operation allocates.
//!
//! ```
//! use phi_kernels::{Activations, Isa, Kernels};
//! use phi_tensor::{DType, Shape, Tensor};
//!
//! let kernels = Kernels::new(Isa::detect(), 2)?;
//! let bytes: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0].iter().flat_map(|x| x.to_le_bytes()).collect();
//! let w = Tensor::new(DType::F32, Shape::matrix(2, 2), bytes.into())?;
//! let mut out = [0.0; 2];
//! let (mut codes, mut sides) = (vec![0; 256], vec![0.0; Activations::room(1, 2).1]);
//! let x = kernels.quantize(&[10.0, 1.0], 2, &mut codes, &mut sides);
//! kernels.matmul(w.matrix(), x, &mut out);
//! assert_eq!(out, [12.0, 34.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod activations;
mod arch;
mod attention;
mod isa;
mod matmul;
mod peak;
mod pool;
mod recurrence;
mod rows;

pub use activations::Activations;
pub use attention::{Attention, Blocks, KvRows, MAX_HEAD_DIM};
pub use isa::{Isa, UnknownIsa};
pub use recurrence::Scan;

use std::ops::DerefMut;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytemuck::{Pod, Zeroable};

use arch::{Room, Table};
use matmul::Work;
use pool::Pool;

/// The operations of a forward pass, for one instruction set and one pool of threads.
pub struct Kernels {
    isa: Isa,
    table: &'static Table,
    pool: Pool,
    /// Room of each thread: slices of one.
    rooms: Vec<Mutex<BoxedRoom>>,
}

/// What one thread works in: tiles, sums and scores. It may be zeros when given, and what is touched of it may be less.
#[derive(Clone, Copy, Zeroable, Pod)]
#[repr(C)]
pub struct ThreadRoom {
    products: Work,
    attention: Room,
}

/// Memory of whatever kind.
type BoxedRoom = Box<dyn DerefMut<Target = [ThreadRoom]> + Send>;

impl Kernels {
    /// Starts `threads` threads (at least one), the caller's included, and allocates their rooms.
    pub fn new(isa: Isa, threads: usize) -> Result<Kernels, NoThreads> {
        Kernels::with_rooms(isa, (0..threads.max(1)).map(|_| bytemuck::zeroed_slice_box(1)))
    }

    /// Starts as many threads as there are rooms, the caller's included.
    ///
    /// # Panics
    /// When there is no room, or one that is empty.
    pub fn with_rooms<R>(isa: Isa, rooms: impl IntoIterator<Item = R>) -> Result<Kernels, NoThreads>
    where
        R: DerefMut<Target = [ThreadRoom]> + Send + 'static,
    {
        let boxed = |room: R| {
            assert!(!room.is_empty(), "each thread has a room");
            Mutex::new(Box::new(room) as BoxedRoom)
        };
        let rooms: Vec<_> = rooms.into_iter().map(boxed).collect();
        let threads = rooms.len();
        assert!(threads > 0, "the caller is a thread, too");
        let pool = Pool::new(threads).map_err(|source| NoThreads { threads, source })?;
        Ok(Kernels { isa, table: arch::table(isa), pool, rooms })
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Calls `task` once for each item, on all threads.
    ///
    /// # Panics
    /// When a task did, or called an operation of kernels.
    pub fn for_each<T: Send>(&self, items: &mut [T], task: impl Fn(&mut T) + Sync) {
        self.pool.chunks(items, 1, |_, _, items| items.iter_mut().for_each(&task));
    }

    fn room(&self, thread: usize) -> MutexGuard<'_, BoxedRoom> {
        self.rooms[thread].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kernels({}, {} threads)", self.isa, self.threads())
    }
}

/// The system would not start the threads.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {threads} threads")]
pub struct NoThreads {
    /// How many were wanted.
    pub threads: usize,
    /// What the system said.
    pub source: std::io::Error,
}

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
//! This crate does not know files, models or memory plans: every buffer comes from the caller, but for the room that each
//! thread works in, whose size is [`Kernels::THREAD_BYTES`].
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
mod rows;

pub use activations::Activations;
pub use attention::{Attention, Blocks, KvRows, MAX_HEAD_DIM};
pub use isa::{Isa, UnknownIsa};

use std::sync::{Mutex, MutexGuard, PoisonError};

use arch::{Room, Table};
use matmul::Work;
use pool::Pool;

/// The operations of a forward pass, for one instruction set and one pool of threads.
pub struct Kernels {
    isa: Isa,
    table: &'static Table,
    pool: Pool,
    /// Room of each thread, for products.
    work: Vec<Mutex<Box<Work>>>,
    /// Room of each thread, for attention.
    rooms: Vec<Mutex<Box<Room>>>,
}

impl Kernels {
    /// Starts `threads` threads (at least one), the caller's included.
    pub fn new(isa: Isa, threads: usize) -> Result<Kernels, NoThreads> {
        let threads = threads.max(1);
        let pool = Pool::new(threads).map_err(|source| NoThreads { threads, source })?;
        let work = (0..threads).map(|_| Mutex::new(bytemuck::zeroed_box())).collect();
        let rooms = (0..threads).map(|_| Mutex::new(bytemuck::zeroed_box())).collect();
        Ok(Kernels { isa, table: arch::table(isa), pool, work, rooms })
    }

    /// Bytes of each thread's room for tiles, sums and scores; what of it is touched is less.
    pub const THREAD_BYTES: usize = size_of::<Work>() + size_of::<Room>();

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    fn room(&self, thread: usize) -> MutexGuard<'_, Box<Room>> {
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

//! Arithmetic on packed matrices and slices.
//!
//! [`Kernels`] is the whole surface: safe operations, checked once per call, on values that say what they are. Behind
//! it, `arch` holds one table of row-sized functions for each instruction set, and the drivers here do the tiling and
//! the threads. Every sum is taken in an order that does not depend on the number of threads, nor on how many tokens
//! are computed together: the same prompt gives the same text.
//!
//! This crate does not know files, models or memory plans: every buffer comes from the caller.
//!
//! ```
//! use phi_kernels::{Isa, Kernels};
//! use phi_tensor::{DType, Shape, Tensor};
//!
//! let kernels = Kernels::new(Isa::detect(), 2)?;
//! let bytes: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0].iter().flat_map(|x| x.to_le_bytes()).collect();
//! let w = Tensor::new(DType::F32, Shape::matrix(2, 2), bytes.into())?;
//! let mut out = [0.0; 2];
//! kernels.matmul(w.matrix(), &[10.0, 1.0], &mut out);
//! assert_eq!(out, [12.0, 34.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod arch;
mod attention;
mod isa;
mod matmul;
#[cfg_attr(not(test), expect(dead_code, reason = "the drivers still use rayon's"))]
mod pool;
mod rows;

pub use attention::{Attention, KvRows, MAX_HEAD_DIM};
pub use isa::{Isa, UnknownIsa};

use arch::Table;

/// The operations of a forward pass, for one instruction set and one pool of threads.
pub struct Kernels {
    isa: Isa,
    table: &'static Table,
    pool: rayon::ThreadPool,
}

impl Kernels {
    /// Starts `threads` threads (at least one).
    pub fn new(isa: Isa, threads: usize) -> Result<Kernels, NoThreads> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .thread_name(|i| format!("phi-{i}"))
            .build()
            .map_err(|source| NoThreads { threads, source })?;
        Ok(Kernels { isa, table: arch::table(isa), pool })
    }

    /// Runs several operations on the pool's own threads, so that the work is handed over once and not for each of them.
    pub fn run<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.pool.install(f)
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
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
    pub source: rayon::ThreadPoolBuildError,
}

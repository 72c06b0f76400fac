use phi_kernels::{Isa, Kernels};
use phi_memory::Spec;

use crate::Error;

/// Several times the caches of a desktop, and small enough for a machine of 1 GiB that does nothing else.
const BUFFER_BYTES: usize = 512 << 20;

/// What this machine does at best, measured: what figures of a model can be set against.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Peaks {
    /// Bytes that all threads together read from memory in a second.
    pub bytes_per_second: f64,
    /// Multiply-adds of bytes that they do in registers in a second, where that can be measured.
    pub macs_per_second: Option<f64>,
}

impl Peaks {
    /// Bytes that measuring takes, for the time of it.
    pub const BYTES: usize = BUFFER_BYTES;

    /// Measures for about a second.
    pub fn measure(isa: Isa, threads: usize) -> Result<Peaks, Error> {
        let kernels = Kernels::new(isa, threads)?;
        let macs_per_second = kernels.peak_dot();
        let buffer = Spec::<u64>::new("peak", &[BUFFER_BYTES / size_of::<u64>()]).allocate()?;
        Ok(Peaks { bytes_per_second: kernels.peak_stream(&buffer), macs_per_second })
    }
}

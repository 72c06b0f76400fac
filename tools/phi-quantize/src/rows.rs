//! Rows on all threads, a slab at a time: read, unpack, pack, hand over in order.

use phi_cli::{Interrupt, Progress, Report};
use phi_quant::codec;
use phi_tensor::{DType, Shape};
use rayon::prelude::*;

/// What is held of a tensor at once, whatever its size: enough that threads seldom wait for each other.
pub(crate) const SLAB_BYTES: u64 = 32 << 20;

/// A tensor that changes its type on the way.
pub(crate) struct Rows<'a> {
    pub(crate) name: &'a str,
    pub(crate) shape: Shape,
    pub(crate) from: DType,
    pub(crate) to: DType,
}

impl Rows<'_> {
    /// `read(first, bytes)` fills in the source's bytes from byte `first` of the tensor on, on any thread; `write` gets
    /// those of the result, one slab after the other.
    pub(crate) fn stream(
        &self,
        read: impl Fn(u64, &mut [u8]) -> Result<(), Report> + Sync,
        mut write: impl FnMut(&[u8]) -> Result<(), Report>,
        interrupt: &Interrupt,
        progress: &Progress,
    ) -> Result<(), Report> {
        let &Rows { name, shape, from, to } = self;
        progress.name(name);
        let unable = |dtype: DType, verb| Report::new(format_args!("{dtype} cannot be {verb} yet")).field(name);
        let decode = codec(from).ok_or_else(|| unable(from, "read"))?.decode;
        let encode = codec(to).and_then(|codec| codec.encode).ok_or_else(|| unable(to, "written"))?;
        let size = |dtype: DType| dtype.row_bytes(shape.cols()).and_then(|n| usize::try_from(n).ok());
        let (Some(row_in), Some(row_out)) = (size(from), size(to)) else {
            return Err(Report::new(format_args!("rows of {} are too long for this machine", shape.cols())).field(name));
        };
        let at_once = (SLAB_BYTES / row_out as u64).clamp(1, shape.rows());
        let mut slab = vec![0; at_once as usize * row_out];
        let mut first = 0;
        while first < shape.rows() {
            if interrupt.is_set() {
                return Err(Report::interrupted());
            }
            let rows = at_once.min(shape.rows() - first);
            let slab = &mut slab[..rows as usize * row_out];
            let place = |row: u64| (first + row) * row_in as u64;
            let rows = slab.par_chunks_exact_mut(row_out).enumerate();
            match from == to {
                true => rows.try_for_each(|(row, out)| read(place(row as u64), out))?,
                // One row per thread in its cache; never a slab of floats.
                false => rows.try_for_each_init(
                    || (vec![0; row_in], vec![0.0; shape.cols() as usize]),
                    |(bytes, x), (row, out)| {
                        read(place(row as u64), bytes)?;
                        decode(bytes, x);
                        encode(x, None, out);
                        Ok::<(), Report>(())
                    },
                )?,
            }
            write(slab)?;
            progress.add(slab.len() as u64);
            first += at_once;
        }
        Ok(())
    }
}

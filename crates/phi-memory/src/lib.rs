//! Plan, then allocate the plan.
//!
//! A [`Spec`] says how large a buffer is; [`Spec::allocate`] is the only way to a [`Buffer`]. A struct of buffers is
//! declared once with [`slots!`] and exists at two stages: `Scratch<Planned>` holds specs and prints as rows of a
//! memory table, `Scratch<Live>` holds the buffers that the forward pass writes. A buffer that skipped the plan cannot
//! be made, and a row of the table that nobody allocates cannot be printed.
//!
//! Whether a plan fits, [`Available`] says; what became of it, [`resident`].
//!
//! This crate does not know what a model is.
//!
//! ```
//! use phi_memory::{Planned, Spec, slots};
//!
//! slots! {
//!     /// What one step writes.
//!     pub struct Scratch {
//!         /// Residual stream, `[n_batch, n_embd]`.
//!         x: f32,
//!         /// Logits of the last token, `[n_vocab]`.
//!         logits: f32,
//!     }
//! }
//!
//! let plan = Scratch::<Planned> { x: Spec::new("x", &[8, 256]), logits: Spec::new("logits", &[2048]) };
//! let rows = plan.rows();
//! // Each begins on a cache line, wherever that is.
//! assert_eq!(rows.iter().map(|row| row.bytes).sum::<u64>(), 4 * (8 * 256 + 2048) + 2 * 64);
//! let scratch = plan.allocate()?;
//! assert_eq!(scratch.logits.len(), 2048);
//! # Ok::<(), phi_memory::OutOfMemory>(())
//! ```

#![forbid(unsafe_code)]

mod available;
mod buffer;
pub mod resident;
mod spec;
#[cfg(any(target_os = "linux", target_os = "android", test))]
mod status;

pub use available::{Available, Source, swap_bytes};
pub use buffer::Buffer;
pub use spec::{Elem, OutOfMemory, Residency, Row, Spec};

/// The stage of a struct of buffers: described, or there.
pub trait Slots {
    /// What stands in the place of a buffer of `T`.
    type Of<T: Elem>;
}

/// Described: each place holds a [`Spec`].
#[derive(Clone, Copy, Debug)]
pub enum Planned {}

/// There: each place holds a [`Buffer`].
#[derive(Clone, Copy, Debug)]
pub enum Live {}

impl Slots for Planned {
    type Of<T: Elem> = Spec<T>;
}

impl Slots for Live {
    type Of<T: Elem> = Buffer<T>;
}

/// Declares a struct whose every field is a buffer, at both stages.
///
/// `struct Name { field: T, … }` becomes `Name<S: Slots>` with fields `S::Of<T>`, and `Name<Planned>` gets
/// `rows()`, for the memory table, and `allocate()`, the only way to a `Name<Live>`.
#[macro_export]
macro_rules! slots {
    (
        $(#[$struct_doc:meta])*
        $vis:vis struct $name:ident { $( $(#[$doc:meta])* $field:ident : $elem:ty ),* $(,)? }
    ) => {
        $(#[$struct_doc])*
        $vis struct $name<S: $crate::Slots> { $( $(#[$doc])* pub $field: S::Of<$elem>, )* }

        impl $name<$crate::Planned> {
            /// One row of the memory table for each buffer.
            pub fn rows(&self) -> Vec<$crate::Row> {
                vec![$( self.$field.row() ),*]
            }

            /// Allocates every buffer, or names the first that does not fit.
            pub fn allocate(&self) -> Result<$name<$crate::Live>, $crate::OutOfMemory> {
                Ok($name { $( $field: self.$field.allocate()? ),* })
            }
        }
    };
}

//! 64-bit Arm: three instruction sets that share all but their products of bytes.

mod base;
mod bytes;
mod dot;
mod float;
mod i8mm;

pub(crate) use base::Neon;
pub(crate) use dot::NeonDot;
pub(crate) use i8mm::I8mm;

pub(crate) use base::TABLE as NEON;
pub(crate) use dot::TABLE as NEON_DOT;
pub(crate) use i8mm::TABLE as I8MM;

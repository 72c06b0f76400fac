//! x86-64: three instruction sets, two of which share all vectors of 256 bits.

mod avx2;
mod avx512;
mod avxvnni;
mod bytes;
mod float;
mod wide;

pub(crate) use avx2::Avx2;
pub(crate) use avx512::Avx512;
pub(crate) use avxvnni::AvxVnni;

pub(crate) use avx2::TABLE as AVX2;
pub(crate) use avx512::TABLE as AVX512;
pub(crate) use avxvnni::TABLE as AVXVNNI;

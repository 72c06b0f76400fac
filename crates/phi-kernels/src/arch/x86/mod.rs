//! x86-64: three instruction sets that share their 256-bit byte operations.

mod avx2;
mod avx512;
mod avxvnni;
mod bytes;
mod float;

pub(crate) use avx2::Avx2;
pub(crate) use avx512::Avx512;
pub(crate) use avxvnni::AvxVnni;

pub(crate) use avx2::TABLE as AVX2;
pub(crate) use avx512::TABLE as AVX512;
pub(crate) use avxvnni::TABLE as AVXVNNI;

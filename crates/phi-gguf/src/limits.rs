//! What a file may ask for. One table, used by the reader and printed by the tools.

/// A bound on something a file says.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// What is bounded.
    pub item: &'static str,
    /// The largest value accepted.
    pub max: u64,
    /// Why this much.
    pub why: &'static str,
}

/// Every bound of this crate.
pub const LIMITS: &[Limit] = &[HEADER, COUNT, KEY, STRING, ARRAY, TENSOR_NAME, ALIGNMENT, PARTS];

pub(crate) const HEADER: Limit =
    Limit { item: "header bytes before tensor data", max: 256 << 20, why: "real ones are 2 to 20 MiB" };
pub(crate) const COUNT: Limit =
    Limit { item: "key-values, tensors (each)", max: 65_536, why: "real ones are below 2000" };
pub(crate) const KEY: Limit = Limit { item: "bytes of a key", max: 65_535, why: "the format's text" };
pub(crate) const STRING: Limit = Limit { item: "bytes of a string", max: 16 << 20, why: "as other readers" };
pub(crate) const ARRAY: Limit =
    Limit { item: "entries of an array", max: 16 << 20, why: "vocabularies need 200 thousand" };
pub(crate) const TENSOR_NAME: Limit =
    Limit { item: "bytes of a tensor name", max: 63, why: "other readers keep names in 64 bytes" };
pub(crate) const ALIGNMENT: Limit = Limit { item: "alignment of tensor data", max: 4096, why: "a page" };
pub(crate) const PARTS: Limit = Limit { item: "parts of a split file", max: 1024, why: "each is opened and mapped" };

//! The model inside the program.

/// A static whose bytes start on a cache line, as a mapped file's tensors do.
#[repr(align(64))]
struct Aligned<T: ?Sized>(T);

static FILE: &Aligned<[u8]> = &Aligned(*include_bytes!("../../phi-tiny/phi-tiny-Q8_0.gguf"));

/// phi-tiny, as `phi-quantize tools/phi-tiny/checkpoint OUT Q8_0` writes it: a test compares the bytes.
pub static PHI_TINY: &[u8] = &FILE.0;

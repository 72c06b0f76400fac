//! What is in a GGUF: its keys, and its tensors with their types and shapes.

use std::error::Error;
use std::path::Path;

use phi_gguf::Gguf;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: inspect MODEL.gguf")?;
    let gguf = Gguf::open(Path::new(&path))?;
    for entry in gguf.metadata().entries() {
        println!("{} = {}", entry.key, entry.value);
    }
    for tensor in gguf.tensors() {
        println!("{:40} {:6} {}", tensor.name, tensor.dtype, tensor.shape);
    }
    Ok(())
}

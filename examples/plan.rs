//! What a model needs, before anything is allocated.

use std::error::Error;
use std::path::Path;

use phi_runtime::{Engine, RunOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: plan MODEL.gguf")?;
    let engine = Engine::open(Path::new(&path))?;
    for n_ctx in [2048, 4096, 8192] {
        let plan = engine.plan(&RunOptions { n_ctx: Some(n_ctx), ..RunOptions::default() })?;
        println!(
            "context {n_ctx}: weights {} bytes mapped, buffers {} bytes",
            plan.weight_bytes(),
            plan.buffer_bytes()
        );
    }
    Ok(())
}

//! Run one with `cargo run --release -p phi-examples --example generate -- MODEL.gguf 'What is 17 + 25?'`.

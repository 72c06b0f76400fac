//! Run with `cargo bench -p phi-benches`. Times mean something only on a quiet machine, and side by side.
//! `interleave.sh` sets `phi-run bench` beside other people's programs.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{Io, Talk};

/// A bar of work done, on stderr when that is a terminal; otherwise nothing. It goes away when dropped.
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar for `bytes` bytes.
    pub fn bytes(io: &Io, bytes: u64) -> Progress {
        Progress::new(
            io,
            Some(bytes),
            "{bar:30} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} {wide_msg}",
        )
    }

    /// A bar for `count` tokens.
    pub fn tokens(io: &Io, count: u64) -> Progress {
        Progress::new(io, Some(count), "{bar:30} {pos}/{len} tokens {per_sec} {eta} {wide_msg}")
    }

    /// Tokens of which nobody knows how many there will be.
    pub fn open(io: &Io) -> Progress {
        Progress::new(io, None, "{spinner} {pos} tokens {per_sec} {wide_msg}")
    }

    fn new(io: &Io, count: Option<u64>, template: &str) -> Progress {
        // Verbose lines and a bar would write over each other.
        let shown = io.err_is_terminal() && io.talk() == Talk::Normal;
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(count, target);
        bar.set_style(ProgressStyle::with_template(template).expect("the template is a constant"));
        bar.enable_steady_tick(Duration::from_millis(250));
        Progress(bar)
    }

    /// Names what is being done.
    pub fn name(&self, what: &str) {
        self.0.set_message(what.to_string());
    }

    /// Counts `count` more.
    pub fn add(&self, count: u64) {
        self.0.inc(count);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

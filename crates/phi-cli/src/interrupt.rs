use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Exit;

/// Ctrl-C (or SIGTERM) as a flag that work looks at between two pieces. Clones share the flag.
#[derive(Clone, Default, Debug)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// A flag that only [`Interrupt::set`] sets.
    pub fn new() -> Self {
        Interrupt::default()
    }

    /// A flag that the first Ctrl-C sets; a second one, while it is set, ends the process at once.
    ///
    /// Only the first flag of a process can have the signal. Where it cannot be had, the system's own way of ending the
    /// process stays.
    pub fn listen() -> Self {
        let interrupt = Interrupt::new();
        let flag = interrupt.clone();
        let handler = move || {
            if flag.0.swap(true, Ordering::Relaxed) {
                std::process::exit(Exit::Interrupted.code().into());
            }
        };
        let _ = ctrlc::set_handler(handler);
        interrupt
    }

    /// Whether somebody asked to stop.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Asks to stop.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked to stop, and forgets it: a chat goes on after an answer was stopped.
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

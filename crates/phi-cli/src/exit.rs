use std::process::ExitCode;

/// How a program ends. Scripts rely on the numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// It did what it was asked.
    Done = 0,
    /// A bad file, the disk, or the numbers.
    Failed = 1,
    /// It was asked for something that makes no sense.
    Misused = 2,
    /// The model does not fit in memory.
    DoesNotFit = 3,
    /// Ctrl-C.
    Interrupted = 130,
}

impl Exit {
    /// The number the system gets.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

//! Library errors, ready to be shown: the facts are theirs, the hints that name our options are added here.

use phi_cli::Report;
use phi_convert::ConvertError;
use phi_gguf::{GgufError, WriteError};
use std::path::Path;

pub(crate) fn of_folder(error: ConvertError) -> Report {
    let mut report = Report::new(&error.problem);
    if !error.file.as_os_str().is_empty() {
        report = report.file(&error.file);
    }
    if !error.field.is_empty() {
        report = report.field(error.field.as_str());
    }
    report.at(error.offset).causes(std::error::Error::source(&error)).hint_if(error.hint())
}

pub(crate) fn of_gguf(error: GgufError, file: &Path) -> Report {
    let report = Report::new(&error.problem).file(file).field(error.field.as_str()).at(error.offset);
    report.causes(std::error::Error::source(&error)).hint_if(error.hint())
}

pub(crate) fn of_writing(error: WriteError) -> Report {
    let hint = match &error {
        WriteError::Exists(_) => Some("`--force` replaces it"),
        WriteError::SameFile(_) => Some("give the output another name"),
        WriteError::PartialExists { .. } => Some("remove it if nothing is writing it any more"),
        WriteError::DiskFull { .. } => Some("make room, or name an output on another disk"),
        WriteError::Io { source, .. } if source.kind() == std::io::ErrorKind::FileTooLarge => {
            Some("this disk cannot hold a file so large (FAT32 holds at most 4 GiB), or a limit is set")
        }
        _ => None,
    };
    Report::of(&error).hint_if(hint)
}

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use fs4::FileExt;
use sha2::{Digest, Sha256};

use crate::GgufError;
use crate::blueprint::Blueprint;
use crate::header::{Header, MAGIC};

/// Room that must be left on the disk after the file is written.
const SPARE_BYTES: u64 = 64 << 20;
/// Written bytes that the system may hold back. The disk works while we do, and the end comes without a long wait.
const HELD_BACK_BYTES: u64 = 128 << 20;
/// Read back at a time.
const READ_BYTES: usize = 1 << 20;

/// How to treat what is already there.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Replace an existing file.
    pub force: bool,
    /// Files that are read while this one is written: never to be replaced.
    pub inputs: Vec<PathBuf>,
    /// Read everything back at the end, and compare checksums.
    pub verify: bool,
    /// Leave the unfinished file where it is when something goes wrong.
    pub keep_partial: bool,
}

/// Writes a file of known layout so that its final name is either absent (or what it was before) or complete.
///
/// The bytes go to `NAME.partial` in the same folder, with a zero magic. [`Writer::finish`] writes the magic last, syncs,
/// renames, syncs the folder, and reads the header back. Dropping the writer earlier removes the partial file.
pub struct Writer {
    blueprint: Blueprint,
    file: File,
    partial: PathBuf,
    path: PathBuf,
    /// Tensors completed.
    done: usize,
    /// Bytes of the current tensor that are written.
    written: u64,
    /// Of the finished file, as far as it is written.
    checksum: Sha256,
    /// Bytes since the system was last told to write what it holds back.
    held_back: u64,
    force: bool,
    verify: bool,
    keep_partial: bool,
    finished: bool,
}

/// A finished file.
#[derive(Clone, Debug)]
pub struct Written {
    /// Its path.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hexadecimal digits.
    pub sha256: String,
}

/// Why a file was not written. Nothing is left under its final name that was not there before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The final name is taken.
    #[error("{}: exists already", .0.display())]
    Exists(PathBuf),
    /// The output is one of the inputs.
    #[error("{}: output and input are the same file", .0.display())]
    SameFile(PathBuf),
    /// Somebody is writing the same file, or was interrupted while doing so.
    #[error("{}: an unfinished file is there{}", .path.display(), age(.seconds_old))]
    PartialExists {
        /// The partial file.
        path: PathBuf,
        /// How long ago it was last written to.
        seconds_old: Option<u64>,
    },
    /// The disk cannot hold the file.
    #[error("{}: needs {need} bytes, {free} are free on the disk", .path.display())]
    DiskFull {
        /// The file to be.
        path: PathBuf,
        /// Its size, and a little to spare.
        need: u64,
        /// What the disk has.
        free: u64,
    },
    /// The output is something that cannot be renamed.
    #[error("{}: not a regular file name", .0.display())]
    NotAFile(PathBuf),
    /// A write failed.
    #[error("{}: writing {field} failed after {written} of {need} bytes", .path.display())]
    Io {
        /// The partial file.
        path: PathBuf,
        /// What was being written.
        field: String,
        /// Bytes of it written.
        written: u64,
        /// Bytes of it needed.
        need: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The finished file reads back differently.
    #[error("{}: reads back differently from what was written", .path.display())]
    ReadBack {
        /// The partial file.
        path: PathBuf,
        /// How, if its header does not even parse.
        source: Option<Box<GgufError>>,
    },
}

fn age(seconds: &Option<u64>) -> String {
    match seconds {
        Some(s @ ..120) => format!(", {s} seconds old"),
        Some(s) => format!(", {} minutes old", s / 60),
        None => String::new(),
    }
}

impl Writer {
    /// Checks name and disk, then makes the partial file with its header.
    pub fn create(path: &Path, blueprint: Blueprint, options: &WriteOptions) -> Result<Writer, WriteError> {
        check_target(path, options)?;
        let file_name = path.file_name().ok_or_else(|| WriteError::NotAFile(path.into()))?;
        let partial = path.with_file_name(format!("{}.partial", file_name.to_string_lossy()));
        let need = blueprint.file_bytes();
        check_space(path, need)?;

        let file = match OpenOptions::new().read(true).write(true).create_new(true).open(&partial) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                let modified = std::fs::metadata(&partial).and_then(|m| m.modified()).ok();
                let seconds_old = modified.and_then(|t| t.elapsed().ok()).map(|d| d.as_secs());
                return Err(WriteError::PartialExists { path: partial, seconds_old });
            }
            Err(source) => {
                return Err(WriteError::Io { path: partial, field: "header".into(), written: 0, need, source });
            }
        };
        let path = path.to_path_buf();
        let mut writer = Writer {
            blueprint,
            file,
            partial,
            path,
            done: 0,
            written: 0,
            checksum: Sha256::new(),
            held_back: 0,
            force: options.force,
            verify: options.verify,
            keep_partial: options.keep_partial,
            finished: false,
        };
        // Another writer may have finished since the first look. From here on the partial file keeps others out.
        check_target(&writer.path, options)?;
        // A full disk appears now and not after 20 minutes. Not every file system can do it, and none has to.
        match FileExt::allocate(&writer.file, need) {
            Err(source) if source.kind() == io::ErrorKind::StorageFull => {
                return Err(writer.failed("file", 0, need, source));
            }
            _ => {}
        }
        let mut header = writer.blueprint.header_bytes();
        writer.checksum.update(&header);
        // Until the end the file must not look like one.
        if let Some(magic) = header.first_chunk_mut::<4>() {
            *magic = [0; 4];
        }
        let len = header.len() as u64;
        writer.file.write_all(&header).map_err(|e| writer.failed("header", 0, len, e))?;
        Ok(writer)
    }

    /// The file to be.
    pub fn blueprint(&self) -> &Blueprint {
        &self.blueprint
    }

    /// Appends bytes of the current tensor; the tensors follow each other in the blueprint's order.
    ///
    /// # Panics
    /// When more bytes come than the blueprint has.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let tensor = self.blueprint.tensors().get(self.done).expect("there is no further tensor to write");
        let (need, padded) = (tensor.bytes(), self.blueprint.padded(tensor));
        let name = tensor.name.clone();
        let written = self.written.saturating_add(bytes.len() as u64);
        assert!(written <= need, "`{name}` has {need} bytes, not {written}");
        self.append(bytes).map_err(|e| self.failed(&name, self.written, need, e))?;
        self.written = written;
        if written == need {
            let padding = padded.saturating_sub(need);
            let zeros = vec![0; usize::try_from(padding).unwrap_or(0)];
            self.append(&zeros).map_err(|e| self.failed(&name, need, need, e))?;
            self.done = self.done.saturating_add(1);
            self.written = 0;
        }
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.checksum.update(bytes);
        self.held_back = self.held_back.saturating_add(bytes.len() as u64);
        if self.held_back >= HELD_BACK_BYTES {
            self.held_back = 0;
            // Also where a full disk is heard of early.
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// Puts the finished file under its name.
    ///
    /// # Panics
    /// When tensors are missing.
    pub fn finish(mut self) -> Result<Written, WriteError> {
        assert_eq!(self.done, self.blueprint.tensors().len(), "every tensor was written");
        let bytes = self.file.stream_position().map_err(|e| self.failed("file", 0, 0, e))?;
        let sealed = self.file.set_len(bytes).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        let sealed = sealed.and_then(|_| self.file.write_all(&MAGIC)).and_then(|()| self.file.sync_all());
        // `sync_all` also reports earlier writes that failed behind our back.
        sealed.map_err(|e| self.failed("header", 0, bytes, e))?;
        self.read_back(bytes)?;
        let sha256 = hex(&std::mem::take(&mut self.checksum).finalize());
        if self.verify && self.read_sum(bytes)? != sha256 {
            return Err(WriteError::ReadBack { path: self.partial.clone(), source: None });
        }
        self.publish(bytes)?;
        self.finished = true;
        sync_folder(&self.path).map_err(|e| self.failed("folder", 0, bytes, e))?;
        Ok(Written { path: self.path.clone(), bytes, sha256 })
    }

    /// Gives the finished file its name. Without `force` by a link first, which fails where the name was taken meanwhile.
    fn publish(&self, bytes: u64) -> Result<(), WriteError> {
        let failed = |e| self.failed("final name", 0, bytes, e);
        if self.force {
            return std::fs::rename(&self.partial, &self.path).map_err(failed);
        }
        match std::fs::hard_link(&self.partial, &self.path) {
            Ok(()) => std::fs::remove_file(&self.partial).map_err(failed),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(WriteError::Exists(self.path.clone())),
            // Not every file system has links: FAT has none.
            Err(_) if self.path.exists() => Err(WriteError::Exists(self.path.clone())),
            Err(_) => std::fs::rename(&self.partial, &self.path).map_err(failed),
        }
    }

    /// Checksum of what the file reads back as.
    fn read_sum(&mut self, bytes: u64) -> Result<String, WriteError> {
        let mut sum = Sha256::new();
        let mut buffer = vec![0; READ_BYTES];
        let mut read = self.file.seek(SeekFrom::Start(0)).map(|_| 1);
        while let Ok(1..) = read {
            read = self.file.read(&mut buffer);
            let n = *read.as_ref().unwrap_or(&0);
            sum.update(buffer.get(..n).unwrap_or_default());
        }
        read.map_err(|e| self.failed("file", 0, bytes, e))?;
        Ok(hex(&sum.finalize()))
    }

    fn read_back(&mut self, bytes: u64) -> Result<(), WriteError> {
        let want = self.blueprint.header_bytes();
        let mut got = vec![0; want.len()];
        let read = self.file.seek(SeekFrom::Start(0)).and_then(|_| self.file.read_exact(&mut got));
        read.map_err(|e| self.failed("header", 0, bytes, e))?;
        let differs = |source| WriteError::ReadBack { path: self.partial.clone(), source };
        if got != want {
            return Err(differs(None));
        }
        // Not mapped: a file may be larger than the address space of the machine that writes it.
        let found = self.file.metadata().map_err(|e| self.failed("header", 0, bytes, e))?.len();
        let header = Header::parse_start(&got, found).map_err(|e| differs(Some(e.into())))?;
        if header.tensors.len() != self.blueprint.tensors().len() || found != bytes {
            return Err(differs(None));
        }
        Ok(())
    }

    fn failed(&self, field: &str, written: u64, need: u64, source: io::Error) -> WriteError {
        WriteError::Io { path: self.partial.clone(), field: field.into(), written, need, source }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.finished && !self.keep_partial {
            // Nothing more can be done about a file that cannot be removed; its zero magic tells what it is.
            let _ = std::fs::remove_file(&self.partial);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check_target(path: &Path, options: &WriteOptions) -> Result<(), WriteError> {
    let Ok(there) = std::fs::metadata(path) else { return Ok(()) };
    if !there.is_file() {
        return Err(WriteError::NotAFile(path.into()));
    }
    for input in &options.inputs {
        if same_file(path, input) {
            return Err(WriteError::SameFile(path.into()));
        }
    }
    if options.force { Ok(()) } else { Err(WriteError::Exists(path.into())) }
}

/// Whether two names lead to one file, through links too.
fn same_file(a: &Path, b: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let id = |path: &Path| std::fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
        id(a).is_some() && id(a) == id(b)
    }
    #[cfg(not(unix))]
    {
        let real = |path: &Path| std::fs::canonicalize(path).ok();
        real(a).is_some() && real(a) == real(b)
    }
}

fn check_space(path: &Path, bytes: u64) -> Result<(), WriteError> {
    let need = bytes.saturating_add(SPARE_BYTES);
    match fs4::available_space(folder(path)) {
        Ok(free) if free < need => Err(WriteError::DiskFull { path: path.into(), need, free }),
        // A file system that cannot tell is found out by writing.
        _ => Ok(()),
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes the rename itself durable, where folders can be synced.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder(path))?.sync_all() } else { Ok(()) }
}

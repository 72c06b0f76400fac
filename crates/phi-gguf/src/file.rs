use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use phi_tensor::{Bytes, Tensor};

use crate::error::{GgufError, Problem};
use crate::header::{Header, TensorInfo, Warning};
use crate::limits;
use crate::metadata::Metadata;
use crate::split::SplitName;

type Result<T> = std::result::Result<T, GgufError>;

/// A GGUF, whole: the header, and the bytes of every part. Tensors are views into them, never copies.
#[derive(Clone, Debug)]
pub struct Gguf {
    header: Header,
    parts: Vec<Bytes>,
    paths: Vec<PathBuf>,
    by_name: HashMap<String, usize>,
}

impl Gguf {
    /// Maps the file and reads its header. Of a split file any part may be named; all are opened.
    pub fn open(path: &Path) -> Result<Gguf> {
        let name = SplitName::parse(path);
        let first_path = name.as_ref().map_or_else(|| path.to_path_buf(), |name| name.part(1));
        let first = map(&first_path).map_err(|e| e.of(&first_path))?;
        let header = Header::parse(&first).map_err(|e| e.of(&first_path))?;
        let count = header.metadata.find::<u64>("split.count")?.unwrap_or(1);
        if count <= 1 {
            // Where the name only looks like that of a later part, the file of this name is meant.
            let mut file =
                if first_path == path { Self::assemble(header, vec![first])? } else { Self::from_bytes(map(path)?)? };
            file.paths = vec![path.to_path_buf()];
            return Ok(file);
        }
        let Some(name) = name.filter(|name| name.count == count) else { return Err(alone(&header.metadata, count)?) };
        if count > limits::PARTS.max {
            let problem = Problem::Limit { got: count, max: limits::PARTS.max };
            return Err(GgufError::new("split.count", header.metadata.offset("split.count"), problem));
        }
        Self::open_parts(header, first, &name)
    }

    /// Reads a file that is already in memory, such as one compiled into the program.
    pub fn from_bytes(bytes: Bytes) -> Result<Gguf> {
        let header = Header::parse(&bytes)?;
        if let Some(count @ 2..) = header.metadata.find::<u64>("split.count")? {
            return Err(alone(&header.metadata, count)?);
        }
        Self::assemble(header, vec![bytes])
    }

    fn open_parts(mut header: Header, first: Bytes, name: &SplitName) -> Result<Gguf> {
        let mut parts = vec![first];
        let paths = (1..=name.count).map(|number| name.part(number)).collect();
        for number in 1..=name.count {
            let path = name.part(number);
            let index = parts.len();
            let (found, at) = if number == 1 {
                (header.metadata.find::<u64>("split.no")?.unwrap_or(0), header.metadata.offset("split.no"))
            } else {
                let bytes = map(&path).map_err(|e| e.of(&path))?;
                let mut part = Header::parse(&bytes).map_err(|e| e.of(&path))?;
                part.tensors.iter_mut().for_each(|t| t.part = index);
                header.tensors.append(&mut part.tensors);
                header.warnings.append(&mut part.warnings);
                parts.push(bytes);
                let found = part.metadata.get::<u64>("split.no").map_err(|e| e.of(&path))?;
                (found, part.metadata.offset("split.no"))
            };
            let want = number.saturating_sub(1);
            if found != want {
                return Err(GgufError::new("split.no", at, Problem::SplitPart { got: found, want }).of(&path));
            }
        }
        const TENSORS: &str = "split.tensors.count";
        let want = header.tensors.len() as u64;
        if let Some(got) = header.metadata.find::<u64>(TENSORS)?.filter(|&got| got != want) {
            let at = header.metadata.offset(TENSORS);
            return Err(GgufError::new(TENSORS, at, Problem::SplitPart { got, want }));
        }
        let mut file = Self::assemble(header, parts)?;
        file.paths = paths;
        Ok(file)
    }

    fn assemble(header: Header, parts: Vec<Bytes>) -> Result<Gguf> {
        let mut by_name = HashMap::new();
        for (i, tensor) in header.tensors.iter().enumerate() {
            if let Some(first) = by_name.insert(tensor.name.clone(), i) {
                let problem = Problem::Duplicate { first: format!("tensor[{first}]") };
                return Err(GgufError::new(format!("tensor[{i}] \"{}\"", tensor.name), None, problem));
            }
        }
        Ok(Gguf { header, parts, paths: Vec::new(), by_name })
    }

    /// The header; for a split file that of the first part, with the tensors of all.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The key-values.
    pub fn metadata(&self) -> &Metadata {
        &self.header.metadata
    }

    /// Every tensor, in the order of the file.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.header.tensors
    }

    /// What is odd but harmless.
    pub fn warnings(&self) -> &[Warning] {
        &self.header.warnings
    }

    /// The file, or the files of all parts: a tensor lies in number [`TensorInfo::part`]. None for bytes in memory.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Bytes of all parts.
    pub fn file_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.len() as u64).sum()
    }

    /// The tensor with this name.
    pub fn find(&self, name: &str) -> Option<&TensorInfo> {
        self.by_name.get(name).and_then(|&i| self.header.tensors.get(i))
    }

    /// The tensor's bytes, as they lie in the file.
    ///
    /// # Panics
    /// When `info` is of another file.
    pub fn tensor(&self, info: &TensorInfo) -> Tensor {
        let range = usize::try_from(info.start).ok().zip(info.start.checked_add(info.bytes));
        let bytes = self
            .parts
            .get(info.part)
            .zip(range)
            .and_then(|(part, (start, end))| part.slice(start..usize::try_from(end).ok()?));
        let bytes = bytes.expect("the header was checked against this file");
        Tensor::new(info.dtype, info.shape, bytes).expect("the size was computed from type and shape")
    }
}

/// Why one of several parts cannot be read where the others cannot be found.
fn alone(metadata: &Metadata, count: u64) -> Result<GgufError> {
    Ok(match metadata.find::<u64>("split.no")?.unwrap_or(0) {
        0 => GgufError::new("split.count", metadata.offset("split.count"), Problem::SplitName { count }),
        number => GgufError::new(format!("split.no {number}"), metadata.offset("split.no"), Problem::PartOfSplit),
    })
}

impl GgufError {
    /// The same error, naming the part of a split file it is about.
    fn of(mut self, path: &Path) -> GgufError {
        if SplitName::parse(path).is_some() {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            self.field = format!("{file}: {}", self.field);
        }
        self
    }
}

/// Maps a whole regular file, read-only.
pub fn map(path: &Path) -> Result<Bytes> {
    let io = |error| GgufError::new("open", None, Problem::Io(error));
    // Opening a pipe would wait for somebody to write into it, so this is asked by name first, then of what was opened.
    if !std::fs::metadata(path).map_err(io)?.is_file() {
        return Err(GgufError::new("open", None, Problem::NotRegular));
    }
    let file = File::open(path).map_err(io)?;
    let about = file.metadata().map_err(io)?;
    if !about.is_file() {
        return Err(GgufError::new("open", None, Problem::NotRegular));
    }
    // An empty file cannot be mapped, and is a shorter story anyway.
    if about.len() == 0 {
        return Ok(Bytes::from(Vec::new()));
    }
    #[expect(unsafe_code, reason = "the one map of the workspace")]
    // SAFETY: nobody may truncate or rewrite the file while it is mapped. We cannot enforce that against other
    // programs: our own writer never touches a file in place (it renames a finished one over it), and the tools tell
    // users to do the same. A file that shrinks all the same ends the process by a signal, it never yields wrong data.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(io)?;
    Ok(Bytes::new(map))
}

/// Fills `bytes` from position `start`, without moving anything: any number of threads may do so at once.
pub fn read_at(file: &File, bytes: &mut [u8], start: u64) -> io::Result<()> {
    #[cfg(unix)]
    {
        std::os::unix::fs::FileExt::read_exact_at(file, bytes, start)
    }
    #[cfg(windows)]
    {
        let mut done = 0;
        while done < bytes.len() {
            match std::os::windows::fs::FileExt::seek_read(
                file,
                bytes.get_mut(done..).unwrap_or_default(),
                start.saturating_add(done as u64),
            )? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => done = done.saturating_add(n),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_regular_files_only() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("empty"), "").unwrap();
        std::fs::write(at("some"), "abc").unwrap();
        assert_eq!(map(&at("empty")).unwrap()[..], []);
        assert_eq!(map(&at("some")).unwrap()[..], *b"abc");
        assert!(matches!(map(folder.path()).unwrap_err().problem, Problem::NotRegular));
        assert!(matches!(map(&at("none")).unwrap_err().problem, Problem::Io(_)));
    }
}

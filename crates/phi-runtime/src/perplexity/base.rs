//! A base: what a model says of every scored token of a text, in a file. Little endian throughout.
//!
//! ```text
//! "_logits_"  i32 n_ctx  i32 n_vocab  i32 n_chunk  i32 token[n_chunk · n_ctx]
//! record[n_chunk][n_ctx − 1 − n_ctx / 2]        f32 scale, f32 floor, u16 code[n_vocab], padded to an even number
//! ```
//!
//! The tokens are those of the text as the tokenizer gave them, before BOS took the place of a chunk's first.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use phi_tensor::TokenId;

use super::chunks::scored;
use super::softmax::Record;
use super::{Chunk, Chunks};

const MAGIC: [u8; 8] = *b"_logits_";

/// Magic and three numbers.
const HEADER_BYTES: u64 = 20;

/// Bytes of a record.
pub(crate) fn record_bytes(n_vocab: usize) -> usize {
    2 * (n_vocab.next_multiple_of(2) + 4)
}

/// What is wrong with a base, and where.
#[derive(Debug)]
pub struct BaseError {
    /// The field's path, such as `n_vocab` or `chunk[3].row[17].scale`.
    pub field: String,
    /// Where in the file the field lies.
    pub offset: Option<u64>,
    /// What is wrong with it.
    pub problem: BaseProblem,
}

/// The ways in which a base can be wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BaseProblem {
    /// Reading or writing failed.
    #[error("{0}")]
    Io(io::Error),
    /// It is something else.
    #[error("\"{}\", expected \"_logits_\"", .0.escape_ascii())]
    Magic(Vec<u8>),
    /// A number out of its range.
    #[error("{got}, expected at least {min}")]
    TooSmall {
        /// The number.
        got: i32,
        /// The least that makes sense.
        min: i32,
    },
    /// Made with another vocabulary.
    #[error("{got}, the model has {want}")]
    Vocabulary {
        /// Entries in the base.
        got: i32,
        /// Entries of the model.
        want: usize,
    },
    /// The file ends too early.
    #[error("needs bytes {offset}..{end}, file ends at {file_end}", offset = .end - .need)]
    CutOff {
        /// Bytes needed.
        need: u128,
        /// Where they would end.
        end: u128,
        /// Where the file ends.
        file_end: u64,
        /// Chunks that are complete.
        complete: usize,
    },
    /// The file does not end where it should.
    #[error("expected the end of the file, {0} bytes follow")]
    Trailing(u64),
    /// A token outside the vocabulary.
    #[error("{got} is not in the vocabulary of {n_vocab}")]
    Token {
        /// The token.
        got: i32,
        /// Entries of the vocabulary.
        n_vocab: usize,
    },
    /// A number that no distribution has.
    #[error("{0} makes no log-probabilities")]
    Record(f32),
    /// The text is another one.
    #[error("{}", other_text(*.base, *.text))]
    OtherText {
        /// The base's token.
        base: TokenId,
        /// The text's token; `None` where the text has ended.
        text: Option<TokenId>,
    },
    /// The output's name belongs to something else.
    #[error("exists, and is {0}")]
    Occupied(&'static str),
    /// Somebody is writing the same file, or was interrupted while doing so.
    #[error("an unfinished base is there")]
    PartialExists,
}

fn other_text(base: TokenId, text: Option<TokenId>) -> String {
    match text {
        Some(text) => format!("the base was made of another text: its token is {base}, this text's is {text}"),
        None => format!("the base was made of a longer text: its token is {base}, this text has ended"),
    }
}

impl BaseError {
    fn new(field: impl Into<String>, offset: impl Into<Option<u64>>, problem: BaseProblem) -> Self {
        BaseError { field: field.into(), offset: offset.into(), problem }
    }

    /// What the user can do about it, where something can be done.
    pub fn hint(&self) -> Option<String> {
        Some(match &self.problem {
            BaseProblem::Magic(_) => "this is not a base; one is written while a perplexity is measured".into(),
            BaseProblem::Vocabulary { .. } | BaseProblem::Token { .. } => {
                "make the base with a model of the same vocabulary".into()
            }
            BaseProblem::CutOff { complete: 0, .. } => "writing this file was interrupted; make it again".into(),
            BaseProblem::CutOff { complete, .. } => {
                format!("writing this file was interrupted; its first {complete} chunks are complete")
            }
            _ => return None,
        })
    }
}

impl fmt::Display for BaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.field)?;
        if let Some(offset) = self.offset {
            write!(f, " at {offset}")?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl std::error::Error for BaseError {}

/// A base, read record by record in the order of the text. Nothing in it is trusted.
#[derive(Debug)]
pub struct BaseReader<R = File> {
    file: R,
    n_ctx: usize,
    n_vocab: usize,
    tokens: Vec<TokenId>,
    /// Where the records begin.
    records_at: u64,
    /// The next record to be read, counted from the first.
    next: u64,
}

impl BaseReader {
    /// Opens a base for a model of `n_vocab` entries, and checks all but its records. With `limit`, only so many chunks are
    /// looked at, and only they need to be there.
    pub fn open(path: &Path, n_vocab: usize, limit: Option<NonZeroUsize>) -> Result<BaseReader, BaseError> {
        let file = File::open(path).map_err(|e| BaseError::new("open", None, BaseProblem::Io(e)))?;
        BaseReader::new(file, n_vocab, limit)
    }
}

impl<R: Read + Seek> BaseReader<R> {
    /// The same, of anything that can be read.
    pub fn new(mut file: R, n_vocab: usize, limit: Option<NonZeroUsize>) -> Result<Self, BaseError> {
        let io = |field: &'static str| move |e| BaseError::new(field, None, BaseProblem::Io(e));
        let file_end = file.seek(SeekFrom::End(0)).map_err(io("size"))?;
        file.rewind().map_err(io("magic"))?;
        let mut magic = Vec::new();
        (&mut file).take(8).read_to_end(&mut magic).map_err(io("magic"))?;
        if magic != MAGIC {
            return Err(BaseError::new("magic", 0, BaseProblem::Magic(magic)));
        }
        let mut number = |field: &'static str, at: u64, min: i32| {
            let end = at + 4;
            if end > file_end {
                let problem = BaseProblem::CutOff { need: 4, end: end.into(), file_end, complete: 0 };
                return Err(BaseError::new(field, at, problem));
            }
            let mut bytes = [0; 4];
            file.read_exact(&mut bytes).map_err(io(field))?;
            let got = i32::from_le_bytes(bytes);
            if got < min { Err(BaseError::new(field, at, BaseProblem::TooSmall { got, min })) } else { Ok(got) }
        };
        let n_ctx = number("n_ctx", 8, 3)? as usize;
        let vocab = number("n_vocab", 12, 1)?;
        if vocab as usize != n_vocab {
            return Err(BaseError::new("n_vocab", 12, BaseProblem::Vocabulary { got: vocab, want: n_vocab }));
        }
        let n_chunk = number("n_chunk", 16, 1)? as usize;

        // Sizes first, memory after: 128 bits hold any product of these.
        let token_bytes = 4 * n_chunk as u128 * n_ctx as u128;
        let records_at = u128::from(HEADER_BYTES) + token_bytes;
        let chunk_bytes = scored(n_ctx) as u128 * record_bytes(n_vocab) as u128;
        let cut_off = |field, at: u128, need, end, complete| {
            let problem = BaseProblem::CutOff { need, end, file_end, complete };
            Err(BaseError::new(field, at as u64, problem))
        };
        if records_at > file_end.into() {
            return cut_off("tokens", HEADER_BYTES.into(), token_bytes, records_at, 0);
        }
        let complete = ((u128::from(file_end) - records_at) / chunk_bytes).min(n_chunk as u128) as usize;
        let used = n_chunk.min(limit.map_or(usize::MAX, NonZeroUsize::get));
        let end = records_at + n_chunk as u128 * chunk_bytes;
        if complete < used {
            return cut_off("records", records_at, n_chunk as u128 * chunk_bytes, end, complete);
        }
        if end < file_end.into() {
            let (end, trailing) = (end as u64, file_end - end as u64);
            return Err(BaseError::new("end", end, BaseProblem::Trailing(trailing)));
        }

        // No more than the file has; where addresses are too small for that, so is the memory.
        let used_bytes = usize::try_from(4 * used as u128 * n_ctx as u128);
        let mut bytes = vec![0; used_bytes.map_err(|_| io("tokens")(io::ErrorKind::OutOfMemory.into()))?];
        file.read_exact(&mut bytes).map_err(io("tokens"))?;
        let token = |(i, bytes): (usize, &[u8; 4])| {
            let got = i32::from_le_bytes(*bytes);
            match u32::try_from(got).ok().map(TokenId).filter(|id| id.index() < n_vocab) {
                Some(id) => Ok(id),
                None => {
                    let problem = BaseProblem::Token { got, n_vocab };
                    Err(BaseError::new(format!("tokens[{i}]"), token_at(i), problem))
                }
            }
        };
        let tokens = bytes.as_chunks().0.iter().enumerate().map(token).collect::<Result<_, _>>()?;
        Ok(BaseReader { file, n_ctx, n_vocab, tokens, records_at: records_at as u64, next: 0 })
    }

    /// Tokens of a chunk.
    pub fn n_ctx(&self) -> usize {
        self.n_ctx
    }

    /// The tokens of its text, chunk after chunk.
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// Checks that the base was made of the text that begins with these tokens.
    pub fn check_text(&self, tokens: &[TokenId]) -> Result<(), BaseError> {
        let mut pairs = self.tokens.iter().enumerate().map(|(i, &base)| (i, base, tokens.get(i).copied()));
        match pairs.find(|&(_, base, text)| text != Some(base)) {
            Some((i, base, text)) => {
                Err(BaseError::new(format!("tokens[{i}]"), token_at(i), BaseProblem::OtherText { base, text }))
            }
            None => Ok(()),
        }
    }

    /// Goes to the first record of a chunk.
    pub(super) fn start(&mut self, chunk: &Chunk) -> Result<(), BaseError> {
        self.next = chunk.index as u64 * scored(self.n_ctx) as u64;
        let at = self.records_at + self.next * record_bytes(self.n_vocab) as u64;
        let moved = self.file.seek(SeekFrom::Start(at));
        moved.map(|_| ()).map_err(|e| self.fault("", BaseProblem::Io(e)))
    }

    /// Reads the next records, as many as fit.
    pub(super) fn read(&mut self, records: &mut [u8]) -> Result<(), BaseError> {
        self.file.read_exact(records).map_err(|e| self.fault("", BaseProblem::Io(e)))?;
        for record in records.chunks_exact(record_bytes(self.n_vocab)) {
            if let Some((field, value)) = Record::of(record).fault() {
                return Err(self.fault(&format!(".{field}"), BaseProblem::Record(value)));
            }
            self.next += 1;
        }
        Ok(())
    }

    fn fault(&self, field: &str, problem: BaseProblem) -> BaseError {
        let scored = scored(self.n_ctx) as u64;
        let at = self.records_at + self.next * record_bytes(self.n_vocab) as u64;
        let path = format!("chunk[{}].row[{}]{field}", self.next / scored, self.next % scored);
        BaseError::new(path, at, problem)
    }
}

fn token_at(index: usize) -> u64 {
    HEADER_BYTES + 4 * index as u64
}

/// Writes a base, so that its final name is either what it was before or complete.
///
/// The bytes go to `NAME.partial` in the same folder; [`BaseWriter::finish`] renames it. Dropping the writer earlier
/// removes it.
#[derive(Debug)]
pub struct BaseWriter {
    file: File,
    partial: PathBuf,
    path: PathBuf,
    finished: bool,
}

impl BaseWriter {
    /// Begins a base of these chunks, for a model of `n_vocab` entries. It will replace another base, but nothing else.
    pub fn create(path: &Path, chunks: &Chunks, n_vocab: usize) -> Result<BaseWriter, BaseError> {
        let failed = |field: &str, e| BaseError::new(field, None, BaseProblem::Io(e));
        // What a link points to is to be replaced, and not the link.
        let path = match path.canonicalize() {
            Ok(path) => {
                check_occupant(&path)?;
                path
            }
            Err(_) => path.to_path_buf(),
        };
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(".partial");
        let partial = path.with_file_name(name);
        let file = match OpenOptions::new().write(true).create_new(true).open(&partial) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Err(BaseError::new(partial.display().to_string(), None, BaseProblem::PartialExists));
            }
            Err(e) => return Err(failed("create", e)),
        };
        let mut writer = BaseWriter { file, partial, path, finished: false };
        let numbers = [chunks.n_ctx(), n_vocab, chunks.len()].map(|n| i32::try_from(n).unwrap_or(i32::MAX));
        let mut header = MAGIC.to_vec();
        numbers.iter().for_each(|n| header.extend(n.to_le_bytes()));
        chunks.tokens().iter().for_each(|id| header.extend(id.0.to_le_bytes()));
        writer.write(&header)?;
        Ok(writer)
    }

    /// Bytes of a base of these chunks.
    pub fn file_bytes(chunks: &Chunks, n_vocab: usize) -> u64 {
        let records = chunks.len() as u64 * chunks.scored() as u64;
        HEADER_BYTES + 4 * chunks.tokens().len() as u64 + records * record_bytes(n_vocab) as u64
    }

    /// Appends records.
    pub(super) fn write(&mut self, records: &[u8]) -> Result<(), BaseError> {
        self.file.write_all(records).map_err(|e| BaseError::new("write", None, BaseProblem::Io(e)))
    }

    /// Gives the file its name, once all chunks are in it.
    pub fn finish(mut self) -> Result<(), BaseError> {
        let named = self.file.sync_all().and_then(|()| std::fs::rename(&self.partial, &self.path));
        named.map_err(|e| BaseError::new("rename", None, BaseProblem::Io(e)))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for BaseWriter {
    fn drop(&mut self) {
        if !self.finished {
            // Whoever failed to write has told so already.
            let _ = std::fs::remove_file(&self.partial);
        }
    }
}

/// Only a base, or an empty file, may be replaced: a mistyped name must not cost a model.
fn check_occupant(path: &Path) -> Result<(), BaseError> {
    let occupied = |what| Err(BaseError::new("create", None, BaseProblem::Occupied(what)));
    let failed = |e| BaseError::new("create", None, BaseProblem::Io(e));
    if !path.metadata().map_err(failed)?.is_file() {
        return occupied("no regular file");
    }
    let mut magic = Vec::new();
    File::open(path).map_err(failed)?.take(8).read_to_end(&mut magic).map_err(failed)?;
    if magic.is_empty() || magic == MAGIC { Ok(()) } else { occupied("not a base") }
}

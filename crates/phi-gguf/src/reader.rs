//! A cursor that can only take what is left.

use crate::GgufError;
use crate::error::Problem;
use crate::limits::Limit;

/// The only ways to take bytes from a file. Each knows the offset, each returns our error, and a length is compared
/// with the bytes left before anything is allocated for it: no call site can forget.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    file: &'a [u8],
    at: usize,
}

type Result<T> = std::result::Result<T, GgufError>;

impl<'a> Reader<'a> {
    pub(crate) fn new(file: &'a [u8]) -> Self {
        Reader { file, at: 0 }
    }

    /// Offset of the next byte.
    pub(crate) fn offset(&self) -> u64 {
        self.at as u64
    }

    fn rest(&self) -> &'a [u8] {
        self.file.get(self.at..).unwrap_or_default()
    }

    pub(crate) fn remain(&self) -> u64 {
        self.rest().len() as u64
    }

    /// The next `N` bytes of the field `field`.
    pub(crate) fn array<const N: usize>(&mut self, field: impl FnOnce() -> String) -> Result<[u8; N]> {
        match self.rest().first_chunk::<N>() {
            Some(bytes) => {
                self.at = self.at.saturating_add(N);
                Ok(*bytes)
            }
            None => Err(GgufError::new(field(), self.offset(), Problem::EndOfFile)),
        }
    }

    pub(crate) fn u32(&mut self, field: impl FnOnce() -> String) -> Result<u32> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, field: impl FnOnce() -> String) -> Result<u64> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// A count of things that take at least `min_bytes` each; one the rest of the file cannot hold is refused.
    pub(crate) fn count(&mut self, min_bytes: u64, limit: Limit, field: impl Fn() -> String) -> Result<usize> {
        let offset = self.offset();
        let count = self.u64(&field)?;
        let need = u128::from(count).saturating_mul(u128::from(min_bytes));
        if need > u128::from(self.remain()) {
            return Err(GgufError::new(field(), offset, Problem::Count { count, need, remain: self.remain() }));
        }
        self.within(count, limit, offset, field)
    }

    /// The next `len` bytes.
    pub(crate) fn take(&mut self, len: usize, field: impl FnOnce() -> String) -> Result<&'a [u8]> {
        match self.rest().get(..len) {
            Some(bytes) => {
                self.at = self.at.saturating_add(len);
                Ok(bytes)
            }
            None => {
                let problem = Problem::ExceedsRemaining { need: len as u128, remain: self.remain() };
                Err(GgufError::new(field(), self.offset(), problem))
            }
        }
    }

    /// A string: its length, then that many bytes, not yet known to be text.
    pub(crate) fn bytes(&mut self, limit: Limit, field: impl Fn() -> String) -> Result<&'a [u8]> {
        let offset = self.offset();
        let len = self.u64(&field)?;
        let len = self.within(len, limit, offset, || format!("{} length", field()))?;
        if len as u64 > self.remain() {
            let problem = Problem::ExceedsRemaining { need: len as u128, remain: self.remain() };
            return Err(GgufError::new(format!("{} length", field()), offset, problem));
        }
        self.take(len, field)
    }

    /// A string that must be UTF-8.
    pub(crate) fn text(&mut self, limit: Limit, field: impl Fn() -> String) -> Result<&'a str> {
        let offset = self.offset();
        let bytes = self.bytes(limit, &field)?;
        std::str::from_utf8(bytes)
            .map_err(|e| GgufError::new(field(), offset, Problem::NotUtf8 { at: e.valid_up_to() }))
    }

    fn within(&self, got: u64, limit: Limit, offset: u64, field: impl FnOnce() -> String) -> Result<usize> {
        if got > limit.max {
            return Err(GgufError::new(field(), offset, Problem::Limit { got, max: limit.max }));
        }
        usize::try_from(got).map_err(|_| GgufError::new("length", offset, Problem::Limit { got, max: limit.max }))
    }
}

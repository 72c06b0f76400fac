use std::ops::{Deref, Range};
use std::sync::Arc;

/// A shared, cheap-to-clone slice of somebody's memory: a file map, a `Vec`, or bytes compiled into the program.
///
/// Cloning and slicing never copy the data; the owner lives as long as any slice of it.
#[derive(Clone)]
pub struct Bytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

impl Bytes {
    /// Shares everything `owner` holds. The owner must give the same slice each time it is asked.
    pub fn new(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        let range = 0..owner.as_ref().len();
        Bytes { owner: Arc::new(owner), range }
    }

    /// A part of these bytes, or `None` when `range` does not lie inside them.
    pub fn slice(&self, range: Range<usize>) -> Option<Bytes> {
        if range.start > range.end || range.end > self.range.len() {
            return None;
        }
        let start = self.range.start + range.start;
        let end = self.range.start + range.end;
        Some(Bytes { owner: self.owner.clone(), range: start..end })
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.range.clone()]
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::new(bytes)
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bytes({} bytes)", self.range.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_share_and_stay_inside() {
        let all = Bytes::from((0..10).collect::<Vec<u8>>());
        let part = all.slice(2..6).unwrap();
        assert_eq!(&*part, [2, 3, 4, 5]);
        assert_eq!(&*part.slice(1..3).unwrap(), [3, 4]);
        assert!(part.slice(3..5).is_none());
        let (start, end) = (3, 2);
        assert!(part.slice(start..end).is_none());
    }
}

//! Byte pair encoding: join the neighbours whose merge comes first in the list, until none can be joined.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use phi_tensor::TokenId;

/// Which neighbours join, into what, and how soon: 12 bytes a merge, sorted, instead of a hash table of texts.
///
/// The merges of left piece `l` are `rows[starts[l]..starts[l + 1]]`, by right piece.
#[derive(Debug)]
pub(crate) struct Merges {
    starts: Box<[u32]>,
    rows: Box<[Row]>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    right: u32,
    /// Place in the list of merges: smaller joins first.
    rank: u32,
    joined: u32,
}

impl Merges {
    /// Merges `(left, right, joined)` in the order in which they apply. Of equal pairs the first counts.
    pub(crate) fn new(n_vocab: usize, list: impl Iterator<Item = (u32, u32, u32)>) -> Self {
        let mut sorted: Vec<(u32, Row)> =
            list.zip(0..).map(|((left, right, joined), rank)| (left, Row { right, rank, joined })).collect();
        sorted.sort_unstable_by_key(|&(left, row)| (left, row.right, row.rank));
        sorted.dedup_by_key(|&mut (left, row)| (left, row.right));
        let mut starts = Vec::with_capacity(n_vocab + 1);
        let mut at = 0;
        for left in 0..=n_vocab {
            at += sorted[at..].iter().take_while(|(l, _)| (*l as usize) < left).count();
            starts.push(at as u32);
        }
        Merges { starts: starts.into(), rows: sorted.into_iter().map(|(_, row)| row).collect() }
    }

    fn find(&self, left: u32, right: u32) -> Option<Row> {
        let left = left as usize;
        let rows = &self.rows[self.starts[left] as usize..self.starts[left + 1] as usize];
        rows.binary_search_by_key(&right, |row| row.right).ok().map(|i| rows[i])
    }
}

/// One word while its pieces join. Kept between words for its memory.
#[derive(Default)]
pub(crate) struct Word {
    pieces: Vec<Piece>,
    /// What could be joined now: rank, then place, so that the leftmost of equals joins first.
    queue: BinaryHeap<Reverse<(u32, u32, u32, u32)>>,
}

/// A piece and its neighbours. One that was joined into its left neighbour is [`GONE`].
#[derive(Clone, Copy)]
struct Piece {
    id: u32,
    before: u32,
    after: u32,
}

const GONE: u32 = u32::MAX;
const NOBODY: u32 = u32::MAX;

impl Word {
    /// Adds a piece behind the others.
    pub(crate) fn push(&mut self, id: u32) {
        let n = self.pieces.len() as u32;
        if let Some(last) = self.pieces.last_mut() {
            last.after = n;
        }
        self.pieces.push(Piece { id, before: n.wrapping_sub(1), after: NOBODY });
    }

    /// Joins what can be joined, appends the ids to `out`, and is empty again.
    pub(crate) fn merge(&mut self, merges: &Merges, out: &mut Vec<TokenId>) {
        for i in 1..self.pieces.len() as u32 {
            self.offer(merges, i - 1, i);
        }
        while let Some(Reverse((_, at, left, right))) = self.queue.pop() {
            let Piece { id, before, after } = self.pieces[at as usize];
            // Since it was queued, either of the two may have joined with somebody else.
            if id != left || after == NOBODY || self.pieces[after as usize].id != right {
                continue;
            }
            let Some(row) = merges.find(left, right) else { continue };
            let behind = self.pieces[after as usize].after;
            self.pieces[after as usize].id = GONE;
            self.pieces[at as usize] = Piece { id: row.joined, before, after: behind };
            if before != NOBODY {
                self.offer(merges, before, at);
            }
            if behind != NOBODY {
                self.pieces[behind as usize].before = at;
                self.offer(merges, at, behind);
            }
        }
        out.extend(self.pieces.iter().filter(|piece| piece.id != GONE).map(|piece| TokenId(piece.id)));
        self.pieces.clear();
    }

    fn offer(&mut self, merges: &Merges, at: u32, after: u32) {
        let (left, right) = (self.pieces[at as usize].id, self.pieces[after as usize].id);
        if let Some(row) = merges.find(left, right) {
            self.queue.push(Reverse((row.rank, at, left, right)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(merges: &Merges, ids: &[u32]) -> Vec<u32> {
        let mut word = Word::default();
        ids.iter().for_each(|&id| word.push(id));
        let mut out = Vec::new();
        word.merge(merges, &mut out);
        out.into_iter().map(|id| id.0).collect()
    }

    #[test]
    fn the_first_merge_wins_then_the_leftmost() {
        // 0 = a, 1 = b, 2 = ab, 3 = aa, 4 = aab
        let merges = Merges::new(5, [(0, 1, 2), (0, 0, 3), (0, 2, 4)].into_iter());
        assert_eq!(merged(&merges, &[0, 0, 1]), [4]);
        assert_eq!(merged(&merges, &[0, 0, 0]), [3, 0]);
        assert_eq!(merged(&merges, &[1, 0]), [1, 0]);
        assert_eq!(merged(&merges, &[]), [] as [u32; 0]);
    }

    #[test]
    fn a_long_word_takes_no_quadratic_time() {
        let merges = Merges::new(3, [(0, 0, 1), (1, 1, 2)].into_iter());
        assert_eq!(merged(&merges, &vec![0; 1 << 20]).len(), 1 << 18);
    }
}

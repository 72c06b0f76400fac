//! Attention of queries that share a KV head.
//!
//! ```text
//! s[r, j] = 2^(scale · q[r] · k[j] − max_j …),   out[r] = Σ_j s[r, j] · v[j] / Σ_j s[r, j]
//! ```
//!
//! Keys and values come a tile at a time, unpacked to floats once for all queries at hand. The softmax runs along: each
//! query keeps the largest score so far, the sum of its weights and the weighted sum of values, which shrink when a
//! tile brings a larger score. There are two ways through a tile.
//!
//! * [`many`], for prefill. Lanes are queries: a block of them is transposed once, and scores, weights and sums stay
//!   transposed until the end. So neither keys nor values need to be, nothing is summed across lanes, and both products
//!   are one kernel: vectors of queries times numbers of a key, or a value, that are broadcast.
//! * [`few`], for decode. Too few queries to fill the lanes, which are the values of a head instead.
//!
//! Tiles begin at multiples of their length, and a key that a query does not see adds nothing, not even a rounding. So
//! a query's result depends on its position and on the way taken, not on the queries computed with it. Where heads see
//! blocks of positions, tiles that none of the queries at hand sees are left out. Where a window moves over a ring, a tile
//! is where its first position is: the sums are those of a cache that keeps everything.

mod few;
mod many;

use std::ops::Range;

use bytemuck::{Pod, Zeroable};

pub(crate) use few::few;
pub(crate) use many::many;

use super::formats::Float;
use super::simd::Simd;
use super::{Rows, Unpack};
use crate::attention::{Blocks, MAX_HEAD_DIM};

/// Queries that [`few`] takes at most.
pub(crate) const FEW: usize = 16;

/// Keys of a tile of [`many`]: a multiple of the columns that its products take at once.
pub(crate) const KEYS: usize = 96;

/// Keys of a tile of [`few`]: with heads of 128 they fill half of the smallest first-level caches.
pub(crate) const FEW_KEYS: usize = 32;

/// Rows of a ring come in these: tiles begin at multiples of their length, so that none goes beyond its end.
pub(crate) const RING: usize = KEYS;
const _: () = assert!(RING.is_multiple_of(FEW_KEYS));

/// Heads are padded to whole vectors, of any instruction set.
const PAD: usize = 16;

/// Floats between rows of a tile, at most. A line more than a head has, or rows would crowd few sets of the cache.
const STRIDE: usize = MAX_HEAD_DIM + PAD;

/// Floats of a block of queries: 256 heads of 128, which with their sums are an eighth of a megabyte each.
const BLOCK: usize = 32 * 1024;

/// Queries of a block, however small the heads.
const MAX_ROWS: usize = 512;

/// Lanes of two vectors, at most.
const WIDE: usize = 32;

/// Queries of a block of [`many`].
pub(crate) fn block_rows(head_dim: usize) -> usize {
    (BLOCK / padded(head_dim) / WIDE * WIDE).min(MAX_ROWS)
}

fn padded(head_dim: usize) -> usize {
    head_dim.next_multiple_of(PAD)
}

/// One thread's room. What a smaller head does not need stays untouched.
#[derive(Clone, Copy, Zeroable, Pod)]
#[repr(C, align(64))]
pub(crate) struct Room {
    /// Scaled queries: of [`many`] `[panels, head_dim, lanes of two vectors]`, of [`few`] `[rows, head_dim]`.
    q: [f32; BLOCK],
    /// Weighted sums of values, like `q`.
    o: [f32; BLOCK],
    /// `[keys, head_dim]`, rows a stride apart.
    k: [f32; KEYS * STRIDE],
    /// Like `k`.
    v: [f32; KEYS * STRIDE],
    /// Of [`many`] `[keys, lanes of two vectors]`, of [`few`] `[rows, FEW_KEYS]`.
    scores: [f32; KEYS * WIDE],
    /// The largest score of each query so far.
    max: [f32; MAX_ROWS],
    /// The sum of its weights.
    sum: [f32; MAX_ROWS],
}

/// Queries that share a KV head.
#[derive(Clone)]
pub(crate) struct Queries<'a> {
    /// `[tokens, n_head, head_dim]`
    pub(crate) q: &'a [f32],
    /// Query heads.
    pub(crate) n_head: usize,
    /// Values in a head of queries and keys.
    pub(crate) head_dim: usize,
    /// Values in a head of values, no fewer.
    pub(crate) value_dim: usize,
    /// The first of the heads that share.
    pub(crate) head: usize,
    /// How far the next of them is.
    pub(crate) step: usize,
    /// How many share.
    pub(crate) group: usize,
    /// Position of the first token.
    pub(crate) first: usize,
    /// Keys a query sees.
    pub(crate) window: usize,
    /// Which of them, where not all.
    pub(crate) blocks: Option<Blocks>,
    /// Factor on the scores, which are exponents of 2.
    pub(crate) scale: f32,
    /// Which: row `r` is head `head + r % group · step` of token `r / group`.
    pub(crate) rows: Range<usize>,
}

impl<'a> Queries<'a> {
    /// Where the `i`th is in `[tokens, n_head]`.
    pub(crate) fn index(&self, i: usize) -> usize {
        let row = self.rows.start + i;
        row / self.group * self.n_head + self.head + row % self.group * self.step
    }

    /// The values of the `i`th.
    pub(crate) fn query(&self, i: usize) -> &'a [f32] {
        &self.q[self.index(i) * self.head_dim..][..self.head_dim]
    }

    /// The keys that the `i`th sees. Those of the next begin and end no earlier.
    pub(crate) fn sees(&self, i: usize) -> Range<usize> {
        let end = self.first + (self.rows.start + i) / self.group + 1;
        end.saturating_sub(self.window)..end
    }

    /// The position of the `i`th.
    pub(crate) fn position(&self, i: usize) -> usize {
        self.first + (self.rows.start + i) / self.group
    }

    /// The head that the `i`th is.
    pub(crate) fn head(&self, i: usize) -> usize {
        self.head + (self.rows.start + i) % self.group * self.step
    }

    /// Keys of a tile of [`many`]: whole blocks where some fit, so that those which no query sees are left out.
    fn tile_len(&self) -> usize {
        match self.blocks {
            Some(blocks) if blocks.len <= KEYS && self.window == usize::MAX => KEYS / blocks.len * blocks.len,
            _ => KEYS,
        }
    }

    /// Whether blocks leave one of `keys` to one of `rows`; not every such row need be told from the others.
    fn leave(&self, rows: Range<usize>, keys: Range<usize>) -> bool {
        let Some(blocks) = self.blocks else { return true };
        let mut far = keys.start / blocks.len..keys.end.div_ceil(blocks.len);
        keys.end > blocks.near(self.position(rows.start))
            || far.any(|b| rows.clone().take(self.group).any(|i| blocks.far(b, self.head(i))))
    }

    /// Calls `hide` with each part of `keys` that blocks hide from the `i`th.
    fn hidden(&self, i: usize, keys: Range<usize>, mut hide: impl FnMut(Range<usize>)) {
        let Some(blocks) = self.blocks else { return };
        let far = keys.start..keys.end.min(blocks.near(self.position(i)));
        for b in far.start / blocks.len..far.end.div_ceil(blocks.len) {
            if !blocks.far(b, self.head(i)) {
                hide(far.start.max(b * blocks.len)..far.end.min((b + 1) * blocks.len));
            }
        }
    }

    /// All keys that any of them sees.
    pub(crate) fn see(&self) -> Range<usize> {
        self.sees(0).start..self.sees(self.rows.len() - 1).end
    }
}

/// Keys, or values, of one head. Position `p` is row `p mod rows`.
#[derive(Clone, Copy)]
pub(crate) struct Cached<'a> {
    pub(crate) rows: Rows<'a>,
    pub(crate) unpack: Unpack,
}

impl Cached<'_> {
    /// Unpacks the rows of some positions of one tile, `stride` floats apart, and asks for those of the next tile, if there
    /// is one.
    fn tile(&self, positions: Range<usize>, last: bool, stride: usize, out: &mut [f32]) {
        let first = positions.start % self.rows.rows;
        let rows = self.rows.range(first..first + positions.len());
        (self.unpack)(rows, if last { 0 } else { rows.bytes.len() }, stride, out);
    }
}

/// Unpacks rows, `stride` floats apart, zeros behind them up to whole vectors. Asks for what lies `ahead` bytes further.
#[inline(always)]
pub(crate) fn unpack<S: Simd, F: Float>(s: S, rows: Rows<'_>, ahead: usize, stride: usize, out: &mut [f32]) {
    let decode = rows.decode();
    let whole = padded(rows.cols);
    for (bytes, out) in rows.bytes.chunks_exact(rows.row_bytes).zip(out.chunks_mut(stride)) {
        if ahead > 0 {
            s.prefetch_bytes(bytes.as_ptr().wrapping_add(ahead), rows.row_bytes);
        }
        F::decode(s, decode, bytes, &mut out[..rows.cols]);
        if whole > rows.cols {
            out[rows.cols..whole].fill(0.0);
        }
    }
}

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

use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use super::float::exp2;
use super::formats::Float;
use super::simd::Simd;
use super::{Rows, Unpack};
use crate::attention::{Blocks, MAX_HEAD_DIM};

/// Queries that [`few`] takes at most.
pub(crate) const FEW: usize = 16;

/// Keys of a tile of [`many`]: a multiple of the columns that [`products`] takes.
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

/// Bytes that the processor reads at once.
const LINE: usize = 64;

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
            let next = bytes.as_ptr().wrapping_add(ahead);
            for line in 0..rows.row_bytes.div_ceil(LINE) {
                s.prefetch(next.wrapping_add(line * LINE));
            }
        }
        F::decode(s, decode, bytes, &mut out[..rows.cols]);
        if whole > rows.cols {
            out[rows.cols..whole].fill(0.0);
        }
    }
}

/// At most [`block_rows`] queries through all keys they see. Calls `put` with each query's number and result.
#[inline(always)]
pub(crate) fn many<S: Simd>(
    s: S,
    queries: &Queries<'_>,
    k: Cached<'_>,
    v: Cached<'_>,
    room: &mut Room,
    put: &mut dyn FnMut(usize, &[f32]),
) {
    let (n, wide) = (queries.rows.len(), 2 * S::LANES);
    let (dim, value_dim) = (padded(queries.head_dim), padded(queries.value_dim));
    let (stride, value_stride) = (dim + PAD, value_dim + PAD);
    let (panel_len, value_len) = (wide * dim, wide * value_dim);
    let panels = n.div_ceil(wide);
    assert!(dim <= value_dim && panels * value_len <= BLOCK, "{n} queries fit a block");
    assert!(n <= MAX_ROWS && value_stride <= STRIDE, "{n} queries fit a block");
    let here = |panel: usize| panel * wide..n.min((panel + 1) * wide);

    for panel in 0..panels {
        let rows = &mut room.k[..wide * stride];
        for (i, row) in rows.chunks_exact_mut(stride).enumerate() {
            row.fill(0.0);
            if panel * wide + i < n {
                for (to, from) in row.iter_mut().zip(queries.query(panel * wide + i)) {
                    *to = from * queries.scale;
                }
            }
        }
        let to = &mut room.q[panel * panel_len..][..panel_len];
        for d in (0..dim).step_by(S::LANES) {
            for i in (0..wide).step_by(S::LANES) {
                let (from, to) = (rows[i * stride + d..].as_ptr(), to[d * wide + i..].as_mut_ptr());
                // SAFETY: both have a vector of vectors from there on: the panel is two wide, and `dim` a multiple.
                unsafe { s.transpose(from.cast(), 4 * stride, to.cast(), 4 * wide) };
            }
        }
    }
    room.o[..panels * value_len].fill(0.0);
    room.max.fill(f32::MIN);
    room.sum.fill(0.0);

    let (seen, len) = (queries.see(), queries.tile_len());
    for tile in seen.start / len..seen.end.div_ceil(len) {
        let keys = seen.start.max(tile * len)..seen.end.min((tile + 1) * len);
        if !queries.leave(0..n, keys.clone()) {
            continue;
        }
        let last = keys.end == seen.end;
        k.tile(keys.clone(), last, stride, &mut room.k);
        v.tile(keys.clone(), last, value_stride, &mut room.v);
        for panel in 0..panels {
            let rows = here(panel);
            let narrow = rows.len() <= S::LANES;
            // SAFETY: the panel is within the block, and the tile has these keys.
            unsafe {
                // As many columns as the registers hold; constants only through these arms.
                match (const { S::LANES }, narrow) {
                    (8, false) => through::<S, 2, 6>(s, queries, rows, keys.clone(), room),
                    (8, true) => through::<S, 1, 6>(s, queries, rows, keys.clone(), room),
                    (_, false) => through::<S, 2, 8>(s, queries, rows, keys.clone(), room),
                    (_, true) => through::<S, 1, 8>(s, queries, rows, keys.clone(), room),
                }
            };
        }
    }

    for panel in 0..panels {
        let rows = here(panel);
        let from = &mut room.o[panel * value_len..][..value_len];
        for i in (0..wide).step_by(S::LANES) {
            // SAFETY: every panel has two vectors' queries, and `wide` sums for each value of a head.
            unsafe {
                let factor = s.div(s.splat(1.0), s.load(room.sum.as_ptr().add(rows.start + i)));
                for d in 0..value_dim {
                    let at = from.as_mut_ptr().add(d * wide + i);
                    s.store(at, s.mul(s.load(at), factor));
                }
            }
        }
        let to = &mut room.k[..wide * value_stride];
        for d in (0..value_dim).step_by(S::LANES) {
            for i in (0..wide).step_by(S::LANES) {
                let (from, to) = (from[d * wide + i..].as_ptr(), to[i * value_stride + d..].as_mut_ptr());
                // SAFETY: as for the queries.
                unsafe { s.transpose(from.cast(), 4 * wide, to.cast(), 4 * value_stride) };
            }
        }
        for (row, i) in to.chunks_exact(value_stride).zip(rows) {
            put(i, &row[..queries.value_dim]);
        }
    }
}

/// One panel of queries through one tile of keys and values: `NV` vectors of the panel, `NC` keys or values at a time.
///
/// # Safety
/// The panel is packed in `room`, and the tile unpacked.
#[inline(always)]
unsafe fn through<S: Simd, const NV: usize, const NC: usize>(
    s: S,
    queries: &Queries<'_>,
    rows: Range<usize>,
    tile: Range<usize>,
    room: &mut Room,
) {
    let wide = 2 * S::LANES;
    let (dim, value_dim) = (padded(queries.head_dim), padded(queries.value_dim));
    let (stride, value_stride) = (dim + PAD, value_dim + PAD);
    let (earliest, latest) = (queries.sees(rows.start), queries.sees(rows.end - 1));
    let seen = tile.start.max(earliest.start)..tile.end.min(latest.end);
    if seen.is_empty() || !queries.leave(rows.clone(), seen.clone()) {
        return;
    }
    let keys = seen.start - tile.start..seen.end - tile.start;
    let masked = seen.start < latest.start || seen.end > earliest.end;
    let whole = keys.start.is_multiple_of(NC) && keys.end.is_multiple_of(NC);
    // Whether all scores are of keys that all queries see: their largest then comes out of registers.
    let plain = whole && !masked && queries.blocks.is_none();

    // Scores; behind the last key those of whatever the tile has there, which are not looked at. The largest begins as a
    // number, so that even where no key is seen yet nothing is ∞ − ∞.
    let (max, sum) = (room.max[rows.start..].as_mut_ptr(), room.sum[rows.start..].as_mut_ptr());
    let mut largest = [s.splat(0.0); NV];
    for v in 0..NV {
        // SAFETY: `max` has room for whole panels.
        largest[v] = unsafe { s.load(max.add(v * S::LANES)) };
    }
    let q = room.q[rows.start * dim..].as_ptr();
    for j in (keys.start / NC * NC..keys.end).step_by(NC) {
        let mut key = [q; NC];
        for (c, key) in key.iter_mut().enumerate() {
            *key = room.k[(j + c) * stride..].as_ptr();
        }
        // SAFETY: the caller's; a key has a float for each value of the head.
        unsafe {
            let scores = products::<S, NV, NC>(s, queries.head_dim, q, wide, key, 1, [[s.splat(0.0); NC]; NV]);
            for (v, scores) in scores.into_iter().enumerate() {
                for (c, score) in scores.into_iter().enumerate() {
                    s.store(room.scores[(j + c) * wide + v * S::LANES..].as_mut_ptr(), score);
                    if plain {
                        largest[v] = s.max(largest[v], score);
                    }
                }
            }
        }
    }
    if masked {
        for (lane, i) in rows.clone().enumerate() {
            let sees = queries.sees(i);
            let begin = sees.start.clamp(seen.start, seen.end) - tile.start;
            let end = sees.end.clamp(seen.start, seen.end) - tile.start;
            for j in (keys.start..begin).chain(end..keys.end) {
                room.scores[j * wide + lane] = f32::NEG_INFINITY;
            }
        }
    }
    if queries.blocks.is_some() {
        for (lane, i) in rows.clone().enumerate() {
            queries.hidden(i, seen.clone(), |hidden| {
                for j in hidden.start - tile.start..hidden.end - tile.start {
                    room.scores[j * wide + lane] = f32::NEG_INFINITY;
                }
            });
        }
    }

    // Weights.
    let scores = room.scores.as_mut_ptr();
    let mut shrink = [s.splat(1.0); NV];
    // SAFETY: every key has two vectors of scores; `max` and `sum` have room for whole panels.
    unsafe {
        if !plain {
            for j in keys.clone() {
                for v in 0..NV {
                    largest[v] = s.max(largest[v], s.load(scores.add(j * wide + v * S::LANES)));
                }
            }
        }
        let mut sums = [s.splat(0.0); NV];
        for v in 0..NV {
            shrink[v] = exp2(s, s.sub(s.load(max.add(v * S::LANES)), largest[v]));
            s.store(max.add(v * S::LANES), largest[v]);
            sums[v] = s.mul(s.load(sum.add(v * S::LANES)), shrink[v]);
        }
        for j in keys.clone() {
            for v in 0..NV {
                let at = scores.add(j * wide + v * S::LANES);
                let weight = exp2(s, s.sub(s.load(at), largest[v]));
                s.store(at, weight);
                sums[v] = s.add(sums[v], weight);
            }
        }
        for v in 0..NV {
            s.store(sum.add(v * S::LANES), sums[v]);
        }
    }

    // Values, those of the head that `NC` does not divide in smaller steps.
    let weights = room.scores[keys.start * wide..].as_ptr();
    let values = room.v[keys.start * value_stride..].as_ptr();
    let o = room.o[rows.start * value_dim..].as_mut_ptr();
    let (n, mut d) = (keys.len(), 0);
    // SAFETY: the caller's; `d + NC` values are within the head.
    unsafe {
        while d + NC <= queries.value_dim {
            weigh::<S, NV, NC>(s, n, weights, values.add(d), value_stride, shrink, o.add(d * wide));
            d += NC;
        }
        while d + 4 <= queries.value_dim {
            weigh::<S, NV, 4>(s, n, weights, values.add(d), value_stride, shrink, o.add(d * wide));
            d += 4;
        }
        while d < queries.value_dim {
            weigh::<S, NV, 1>(s, n, weights, values.add(d), value_stride, shrink, o.add(d * wide));
            d += 1;
        }
    }
}

/// `o[c, lanes] = o[c, lanes] · shrink[lanes] + Σ_j weights[j, lanes] · values[j, c]`
///
/// # Safety
/// `n` rows of weights and values are readable, `NC` rows of sums writable.
#[inline(always)]
unsafe fn weigh<S: Simd, const NV: usize, const NC: usize>(
    s: S,
    n: usize,
    weights: *const f32,
    values: *const f32,
    stride: usize,
    shrink: [S::F; NV],
    o: *mut f32,
) {
    let wide = 2 * S::LANES;
    let mut sums = [[s.splat(0.0); NC]; NV];
    let mut value = [values; NC];
    // SAFETY: the caller's.
    unsafe {
        for c in 0..NC {
            value[c] = values.add(c);
            for v in 0..NV {
                sums[v][c] = s.mul(s.load(o.add(c * wide + v * S::LANES)), shrink[v]);
            }
        }
        let sums = products::<S, NV, NC>(s, n, weights, wide, value, stride, sums);
        for (v, sums) in sums.into_iter().enumerate() {
            for (c, sum) in sums.into_iter().enumerate() {
                s.store(o.add(c * wide + v * S::LANES), sum);
            }
        }
    }
}

/// `sums[v][c][lane] + Σ_i a[i · a_step + v · LANES + lane] · b[c][i · b_step]`
///
/// # Safety
/// All of `n` steps is readable.
#[inline(always)]
unsafe fn products<S: Simd, const NV: usize, const NC: usize>(
    s: S,
    n: usize,
    a: *const f32,
    a_step: usize,
    b: [*const f32; NC],
    b_step: usize,
    mut sums: [[S::F; NC]; NV],
) -> [[S::F; NC]; NV] {
    let (mut a_at, mut b_at) = (0, 0);
    for _ in 0..n {
        // SAFETY: the caller's.
        unsafe {
            let mut rows = [s.splat(0.0); NV];
            for v in 0..NV {
                rows[v] = s.load(a.add(a_at + v * S::LANES));
            }
            for c in 0..NC {
                let x = s.splat(b[c].add(b_at).read());
                for v in 0..NV {
                    sums[v][c] = s.fma(rows[v], x, sums[v][c]);
                }
            }
        }
        (a_at, b_at) = (a_at + a_step, b_at + b_step);
    }
    sums
}

/// Takes a query's number, its largest score, the sum of its weights and the weighted sum of values.
pub(crate) type PutPart<'a> = &'a mut dyn FnMut(usize, f32, f32, &[f32]);

/// At most [`FEW`] queries through some of the keys they see. Calls `put` with each query's number, its largest score,
/// the sum of its weights and the weighted sum of values.
#[inline(always)]
pub(crate) fn few<S: Simd>(
    s: S,
    queries: &Queries<'_>,
    keys: Range<usize>,
    k: Cached<'_>,
    v: Cached<'_>,
    room: &mut Room,
    put: PutPart<'_>,
) {
    let n = queries.rows.len();
    let (dim, value_dim) = (padded(queries.head_dim), padded(queries.value_dim));
    let (stride, value_stride) = (dim + PAD, value_dim + PAD);
    assert!(n <= FEW && dim <= value_dim && value_stride <= STRIDE, "{n} queries are few");
    for (i, row) in room.q[..n * dim].chunks_exact_mut(dim).enumerate() {
        row.fill(0.0);
        for (to, from) in row.iter_mut().zip(queries.query(i)) {
            *to = from * queries.scale;
        }
    }
    room.o[..n * value_dim].fill(0.0);
    room.max[..n].fill(f32::MIN);
    room.sum[..n].fill(0.0);
    for tile in keys.start / FEW_KEYS..keys.end.div_ceil(FEW_KEYS) {
        let here = keys.start.max(tile * FEW_KEYS)..keys.end.min((tile + 1) * FEW_KEYS);
        if !queries.leave(0..n, here.clone()) {
            continue;
        }
        let last = here.end == keys.end;
        k.tile(here.clone(), last, stride, &mut room.k);
        let mut i = 0;
        while i < n {
            // SAFETY: `q` has the rows, and the tile its keys and more.
            i += unsafe {
                match n - i {
                    1 => scores_of::<S, 1>(s, dim, here.len(), i, room),
                    2 | 4 => scores_of::<S, 2>(s, dim, here.len(), i, room),
                    _ => scores_of::<S, 3>(s, dim, here.len(), i, room),
                }
            };
        }
        let mut shrink = [0.0; FEW];
        for i in 0..n {
            let scores: &mut [f32; FEW_KEYS] =
                room.scores[i * FEW_KEYS..].first_chunk_mut().expect("a row of scores for each query");
            let sees = queries.sees(i);
            let begin = sees.start.clamp(here.start, here.end) - here.start;
            let end = sees.end.clamp(here.start, here.end) - here.start;
            scores[..begin].fill(f32::NEG_INFINITY);
            scores[end..].fill(f32::NEG_INFINITY);
            queries.hidden(i, here.clone(), |hidden| {
                scores[hidden.start - here.start..hidden.end - here.start].fill(f32::NEG_INFINITY);
            });
            shrink[i] = weights_of(s, scores, &mut room.max[i], &mut room.sum[i]);
        }
        v.tile(here.clone(), last, value_stride, &mut room.v);
        let mut i = 0;
        while i < n {
            // SAFETY: `o` has the rows, and the tile its values.
            i += unsafe {
                match n - i {
                    1 => values_of::<S, 1>(s, value_dim, here.len(), i, &shrink, room),
                    2 | 4 => values_of::<S, 2>(s, value_dim, here.len(), i, &shrink, room),
                    _ => values_of::<S, 3>(s, value_dim, here.len(), i, &shrink, room),
                }
            };
        }
    }
    for (i, row) in room.o[..n * value_dim].chunks_exact(value_dim).enumerate() {
        put(i, room.max[i], room.sum[i], &row[..queries.value_dim]);
    }
}

/// Scores of `R` queries from the `i`th on with the tile's first `n` keys, and up to three more. Returns `R`.
#[inline(always)]
unsafe fn scores_of<S: Simd, const R: usize>(s: S, dim: usize, n: usize, i: usize, room: &mut Room) -> usize {
    const TOGETHER: usize = 4;
    let q = room.q[i * dim..].as_ptr();
    for j in (0..n).step_by(TOGETHER) {
        let k = room.k[j * (dim + PAD)..].as_ptr();
        let mut sums = [[s.splat(0.0); TOGETHER]; R];
        for d in (0..dim).step_by(S::LANES) {
            // SAFETY: queries and keys are padded to whole vectors, and the tile to a multiple of four keys.
            unsafe {
                let mut rows = [s.splat(0.0); R];
                for (r, row) in rows.iter_mut().enumerate() {
                    *row = s.load(q.add(r * dim + d));
                }
                for c in 0..TOGETHER {
                    let key = s.load(k.add(c * (dim + PAD) + d));
                    for r in 0..R {
                        sums[r][c] = s.fma(rows[r], key, sums[r][c]);
                    }
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            room.scores[(i + r) * FEW_KEYS + j..][..TOGETHER].copy_from_slice(&s.sum_each(sums));
        }
    }
    R
}

/// Turns a query's scores into weights. Returns what its sums so far shrink by.
#[inline(always)]
fn weights_of<S: Simd>(s: S, scores: &mut [f32; FEW_KEYS], max: &mut f32, sum: &mut f32) -> f32 {
    let scores = scores.as_mut_ptr();
    let mut largest = s.splat(*max);
    let mut sums = s.splat(0.0);
    let mut shrink = [0.0; PAD];
    // SAFETY: scores are a multiple of a vector, and `shrink` as many floats as the widest has.
    unsafe {
        for j in (0..FEW_KEYS).step_by(S::LANES) {
            largest = s.max(largest, s.load(scores.add(j)));
        }
        let largest = s.largest(largest);
        for j in (0..FEW_KEYS).step_by(S::LANES) {
            let weights = exp2(s, s.sub(s.load(scores.add(j)), s.splat(largest)));
            s.store(scores.add(j), weights);
            sums = s.add(sums, weights);
        }
        s.store(shrink.as_mut_ptr(), exp2(s, s.splat(*max - largest)));
        *max = largest;
    }
    *sum = shrink[0].mul_add(*sum, s.sum(sums));
    shrink[0]
}

/// Adds the tile's first `n` values, weighted, to the sums of `R` queries from the `i`th on. Returns `R`.
#[inline(always)]
unsafe fn values_of<S: Simd, const R: usize>(
    s: S,
    dim: usize,
    n: usize,
    i: usize,
    shrink: &[f32; FEW],
    room: &mut Room,
) -> usize {
    let mut d = 0;
    // SAFETY: heads are padded to whole vectors.
    unsafe {
        while d + 4 * S::LANES <= dim {
            vectors_of::<S, R, 4>(s, dim, n, i, d, shrink, room);
            d += 4 * S::LANES;
        }
        while d < dim {
            vectors_of::<S, R, 1>(s, dim, n, i, d, shrink, room);
            d += S::LANES;
        }
    }
    R
}

/// `NV` vectors of values from the `d`th value on.
#[inline(always)]
unsafe fn vectors_of<S: Simd, const R: usize, const NV: usize>(
    s: S,
    dim: usize,
    n: usize,
    i: usize,
    d: usize,
    shrink: &[f32; FEW],
    room: &mut Room,
) {
    let o = room.o[i * dim + d..].as_mut_ptr();
    let values = room.v[d..].as_ptr();
    let weights = room.scores[i * FEW_KEYS..].as_ptr();
    let mut sums = [[s.splat(0.0); NV]; R];
    // SAFETY: the caller's.
    unsafe {
        for (r, sums) in sums.iter_mut().enumerate() {
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = s.mul(s.splat(shrink[i + r]), s.load(o.add(r * dim + v * S::LANES)));
            }
        }
        for j in 0..n {
            let mut value = [s.splat(0.0); NV];
            for (v, value) in value.iter_mut().enumerate() {
                *value = s.load(values.add(j * (dim + PAD) + v * S::LANES));
            }
            for r in 0..R {
                let weight = s.splat(weights.add(r * FEW_KEYS + j).read());
                for v in 0..NV {
                    sums[r][v] = s.fma(weight, value[v], sums[r][v]);
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (v, sum) in sums.into_iter().enumerate() {
                s.store(o.add(r * dim + v * S::LANES), sum);
            }
        }
    }
}

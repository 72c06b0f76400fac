//! Prefill: lanes are queries.

use std::ops::Range;

use super::super::float::exp2;
use super::super::simd::Simd;
use super::{BLOCK, Cached, MAX_ROWS, PAD, Queries, Room, STRIDE, padded};

/// At most [`super::block_rows`] queries through all keys they see. Calls `put` with each query's number and result.
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

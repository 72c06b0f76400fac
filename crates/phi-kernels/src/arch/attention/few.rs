//! Decode: lanes are the values of a head.

use std::ops::Range;

use super::super::float::exp2;
use super::super::simd::Simd;
use super::{Cached, FEW, FEW_KEYS, PAD, Queries, Room, STRIDE, padded};

/// Takes a query's number, its largest score, the sum of its weights and the weighted sum of values.
type PutPart<'a> = &'a mut dyn FnMut(usize, f32, f32, &[f32]);

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

//! Every operation, plainly: the definition.

use std::ops::Range;

use super::float::{GELU_CUBE, GELU_LOGISTIC, SQRT_2_OVER_PI};
use super::formats::with_format;
use super::{Acts, Cached, Finish, GROUP, PAD, PANEL, Product, Queries, Rows, SIDE, Sums, Table, Target};
use crate::attention::{Blocks, MAX_HEAD_DIM};

pub(crate) static TABLE: Table = Table {
    product: |dtype| {
        let integer = with_format!(dtype, _F => true, _F => false);
        if integer {
            Product { integer, gemv: product::<true>, gemm: |w, acts, _, sums| tokens::<true>(w, acts, sums) }
        } else {
            Product { integer, gemv: product::<false>, gemm: |w, acts, _, sums| tokens::<false>(w, acts, sums) }
        }
    },
    bias: 0,
    peak: None,
    quantize,
    axpy,
    rms_norm,
    layer_norm,
    rope,
    silu_mul,
    gelu,
    gegelu,
    softmax,
    exp,
    scan,
    unpack: |_| |rows, _ahead, stride, out| unpack(rows, stride, out),
    attend: |queries, k, v, _, put| {
        for i in 0..queries.rows.len() {
            attend(queries, i, queries.sees(i), k, v, |_, sum, out| {
                out.iter_mut().for_each(|out| *out /= sum);
                put(i, out);
            });
        }
    },
    attend_few: |queries, keys, k, v, _, put| {
        for i in 0..queries.rows.len() {
            let sees = queries.sees(i);
            let keys = keys.start.max(sees.start)..keys.end.min(sees.end);
            attend(queries, i, keys, k, v, |max, sum, out| put(i, max, sum, out));
        }
    },
};

fn product<const INTEGER: bool>(w: Rows<'_>, acts: Acts<'_>, out: &mut [f32]) {
    for r in 0..w.rows {
        for c in 0..acts.n {
            out[(r / PANEL * acts.n + c) * PANEL + r % PANEL] = dot_row::<INTEGER>(w, r, acts, c);
        }
    }
}

fn tokens<const INTEGER: bool>(w: Rows<'_>, acts: Acts<'_>, sums: Sums<'_>) {
    for r in 0..w.rows {
        for c in 0..sums.columns {
            let sum = dot_row::<INTEGER>(w, r, acts, sums.first + c);
            let at = (r / PANEL * sums.columns.next_multiple_of(PAD) + c) * PANEL + r % PANEL;
            // SAFETY: the row and the column are within the task's target.
            let out = |target: Target| unsafe { &mut *target.out.add(c * target.width + r) };
            match sums.finish {
                Finish::Keep => sums.sums[at] = sum,
                Finish::Set(target) => *out(target) = sum,
                Finish::Add(target) => *out(target) += sum,
                Finish::Silu(up, target) => *out(target) = sum / (1.0 + (-sum).exp()) * up[at],
            }
        }
    }
}

/// `Σ_g d[g, c] · Σ_k w[r, k] · q[g, c, k]`, or `Σ_k w[r, k] · x[c, k]`
fn dot_row<const INTEGER: bool>(w: Rows<'_>, r: usize, acts: Acts<'_>, c: usize) -> f32 {
    let mut group = [0.0; GROUP];
    let mut total = 0.0;
    for (g, k) in (0..w.cols).step_by(GROUP).enumerate() {
        let group = &mut group[..GROUP.min(w.cols - k)];
        w.decode()(w.group(r, g), group);
        total += if INTEGER {
            let codes = &acts.q[(g * acts.n + c) * GROUP..][..GROUP];
            let sum: f32 = group.iter().zip(codes).map(|(w, &q)| w * f32::from(q)).sum();
            acts.side(g, c)[0] * sum
        } else {
            dot(group, &acts.x[c * w.cols + k..][..group.len()])
        };
    }
    total
}

/// `d = max |x| / 127`, `q = round(x · 127 / max |x|)`, ties to even; then sums of codes.
fn quantize(x: &[f32], bias: u8, q: &mut [i8; GROUP], side: &mut [f32; SIDE]) {
    let largest = x.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
    let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    q.fill(0);
    for (q, x) in q.iter_mut().zip(x) {
        *q = (x * inverse).round_ties_even() as i8;
    }
    side[0] = largest / 127.0;
    for j in 0..16 {
        side[9 + j] = q[16 * j..][..16].iter().map(|&q| f32::from(q)).sum();
    }
    for j in 0..8 {
        side[1 + j] = side[9 + 2 * j] + side[10 + 2 * j];
    }
    for q in q {
        *q = (*q as u8 ^ bias) as i8;
    }
}

/// Eight partial sums, so that a compiler may use vectors without changing the order of any of them.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 8;
    let (a8, a_rest) = a.as_chunks::<LANES>();
    let (b8, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a8.iter().zip(b8) {
        for i in 0..LANES {
            sums[i] += a[i] * b[i];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    let [s0, s1, s2, s3, s4, s5, s6, s7] = sums;
    ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7)) + rest
}

fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

fn rms_norm(x: &[f32], w: &[[u8; 4]], eps: f32, out: &mut [f32]) {
    let mean_square = dot(x, x) / x.len() as f32;
    let scale = 1.0 / (mean_square + eps).sqrt();
    for ((out, x), w) in out.iter_mut().zip(x).zip(w) {
        *out = x * scale * f32::from_le_bytes(*w);
    }
}

fn layer_norm(x: &[f32], w: &[[u8; 4]], b: &[[u8; 4]], eps: f32, out: &mut [f32]) {
    let n = x.len() as f32;
    let mean = x.iter().sum::<f32>() / n;
    for (out, x) in out.iter_mut().zip(x) {
        *out = x - mean;
    }
    let scale = 1.0 / (dot(out, out) / n + eps).sqrt();
    for ((out, w), b) in out.iter_mut().zip(w).zip(b) {
        *out = *out * scale * f32::from_le_bytes(*w) + f32::from_le_bytes(*b);
    }
}

fn rope(cos: &[f32], sin: &[f32], head_dim: usize, heads: &mut [f32]) {
    for head in heads.chunks_exact_mut(head_dim) {
        let (a, b) = head[..2 * cos.len()].split_at_mut(cos.len());
        for (((a, b), cos), sin) in a.iter_mut().zip(b).zip(cos).zip(sin) {
            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
        }
    }
}

fn silu_mul(up: &[f32], gate: &mut [f32]) {
    for (g, u) in gate.iter_mut().zip(up) {
        *g = *g / (1.0 + (-*g).exp()) * u;
    }
}

fn gelu(x: &mut [f32]) {
    for x in x {
        *x /= 1.0 + (-2.0 * SQRT_2_OVER_PI * (*x * (1.0 + GELU_CUBE * *x * *x))).exp();
    }
}

fn gegelu(limit: f32, up: &[f32], gate: &mut [f32]) {
    for (g, u) in gate.iter_mut().zip(up) {
        let odd = 0.0 * *g + 0.0 * *u;
        let (x, u) = (g.min(limit), u.clamp(-limit, limit));
        *g = x / (1.0 + (-GELU_LOGISTIC * x).exp()) * (u + 1.0) + odd;
    }
}

fn softmax(x: &mut [f32]) {
    let largest = x.iter().fold(f32::NEG_INFINITY, |m, &x| m.max(x));
    for x in &mut *x {
        *x = (*x - largest).exp();
    }
    let scale = 1.0 / x.iter().sum::<f32>();
    for x in x {
        *x *= scale;
    }
}

fn exp(x: &mut [f32]) {
    for x in x {
        *x = x.exp();
    }
}

fn scan(a: &[[u8; 4]], d: &[[u8; 4]], delta: &[f32], b_c: &[f32], x: &[f32], state: &mut [f32], y: &mut [f32]) {
    let (b, c) = b_c.split_at(b_c.len() / 2);
    let channels = state.chunks_exact_mut(b.len()).zip(a.chunks_exact(b.len())).zip(y).enumerate();
    for (i, ((state, a), y)) in channels {
        for ((s, a), b) in state.iter_mut().zip(a).zip(b) {
            *s = (delta[i] * f32::from_le_bytes(*a)).exp() * *s + delta[i] * x[i] * b;
        }
        *y = dot(c, state) + f32::from_le_bytes(d[i]) * x[i];
    }
}

fn unpack(rows: Rows<'_>, stride: usize, out: &mut [f32]) {
    let decode = rows.decode();
    for (bytes, out) in rows.bytes.chunks_exact(rows.row_bytes).zip(out.chunks_mut(stride)) {
        decode(bytes, &mut out[..rows.cols]);
    }
}

/// The `i`th query over some keys. Calls `put` with the largest score, the sum of weights and the weighted sum of values.
///
/// The softmax runs along with the sum: when a key brings a larger score, the sums so far shrink.
fn attend(
    queries: &Queries<'_>,
    i: usize,
    keys: Range<usize>,
    k: Cached<'_>,
    v: Cached<'_>,
    put: impl FnOnce(f32, f32, &mut [f32]),
) {
    let (mut row, mut out) = ([0.0; MAX_HEAD_DIM], [0.0; MAX_HEAD_DIM]);
    let out = &mut out[..queries.value_dim];
    let (mut max, mut sum) = (f32::MIN, 0.0);
    let (p, h) = (queries.position(i), queries.head(i));
    for j in keys {
        let seen =
            |b: Blocks| p / b.len - j / b.len < b.local || (j / b.len + h * b.shift + 1).is_multiple_of(b.stride);
        if !queries.blocks.is_none_or(seen) {
            continue;
        }
        let at = j % k.rows.rows;
        let key = &mut row[..queries.head_dim];
        unpack(k.rows.range(at..at + 1), key.len(), key);
        let score = dot(queries.query(i), key) * queries.scale;
        if score > max {
            let shrink = (max - score).exp2();
            sum *= shrink;
            out.iter_mut().for_each(|out| *out *= shrink);
            max = score;
        }
        let weight = (score - max).exp2();
        sum += weight;
        let value = &mut row[..queries.value_dim];
        unpack(v.rows.range(at..at + 1), value.len(), value);
        axpy(weight, value, out);
    }
    put(max, sum, out);
}

//! Decode: a few columns of activations against rows as they lie in the file.

use super::formats::{Float, Format};
use super::order::Order;
use super::simd::Simd;
use super::tile::{GROUP, PANEL, Scales};
use super::{Acts, Rows, SIDE};

/// `out[r / PANEL, c, r % PANEL] = Σ_k w[r, k] · a[c, k]`
///
/// # Safety
/// The rows have the format's bytes.
#[inline(always)]
pub(crate) unsafe fn gemv<S: Simd, F: Format>(s: S, w: Rows<'_>, acts: Acts<'_>, out: &mut [f32]) {
    let mut column = 0;
    while column < acts.n {
        // SAFETY: the caller's; the columns are below `acts.n`.
        column += unsafe {
            match acts.n - column {
                // Rows are computed together so that enough sums are under way to hide how long each addition takes.
                4.. => columns::<S, F, 2, 4>(s, w, acts, column, out),
                2.. => columns::<S, F, 2, 2>(s, w, acts, column, out),
                _ if const { S::ROWS == 4 } => columns::<S, F, 4, 1>(s, w, acts, column, out),
                _ => columns::<S, F, 2, 1>(s, w, acts, column, out),
            }
        };
    }
}

/// Columns `first` to `first + N − 1`; returns `N`.
#[inline(always)]
unsafe fn columns<S: Simd, F: Format, const R: usize, const N: usize>(
    s: S,
    w: Rows<'_>,
    acts: Acts<'_>,
    first: usize,
    out: &mut [f32],
) -> usize {
    // SAFETY: the caller's.
    unsafe {
        if s.pairs_rows(N, F::SUB) {
            all_rows::<S, F, R, N>(s, w, acts, first, out);
        } else {
            all_rows::<S, F, 1, N>(s, w, acts, first, out);
        }
    }
    N
}

/// All rows, `R` at a time, with columns `first` to `first + N − 1`.
///
/// # Safety
/// The rows have the format's bytes.
#[inline(always)]
unsafe fn all_rows<S: Simd, F: Format, const R: usize, const N: usize>(
    s: S,
    w: Rows<'_>,
    acts: Acts<'_>,
    first: usize,
    out: &mut [f32],
) {
    let order = Order::new::<S>(w.rows);
    for step in order.steps::<S, R>() {
        let mut now = order.rows::<S, R>(step);
        // The last runs may have fewer rows than the others, or none.
        now.iter_mut().for_each(|row| *row = (*row).min(w.rows - 1));
        // SAFETY: the caller's.
        unsafe { rows::<S, F, R, N>(s, w, acts, first, now, order.ahead::<S, R>(step), out) };
    }
}

/// Some rows; asks for those `ahead`, which need not be there.
#[inline(always)]
unsafe fn rows<S: Simd, F: Format, const R: usize, const N: usize>(
    s: S,
    w: Rows<'_>,
    acts: Acts<'_>,
    first: usize,
    rows: [usize; R],
    ahead: [usize; R],
    out: &mut [f32],
) {
    let base = w.bytes.as_ptr();
    let mut sums = [[s.zero_g(); R]; N];
    let mut scales = [const { [Scales::ZERO; R] }; 2];
    let whole = w.cols / GROUP;
    let groups = |b: usize| {
        let mut groups = [base; R];
        for (i, group) in groups.iter_mut().enumerate() {
            *group = base.wrapping_add(rows[i] * w.row_bytes + b * F::BYTES);
        }
        groups
    };
    if S::SCALES_AHEAD && whole > 0 {
        // SAFETY: the rows have a group.
        unsafe { all_scales::<S, F, R>(s, groups(0), &mut scales[0]) };
    }
    for b in 0..whole {
        for row in ahead {
            s.prefetch_bytes(base.wrapping_add(row * w.row_bytes + b * F::BYTES), F::BYTES);
        }
        // SAFETY: the rows have `whole` groups.
        unsafe {
            if S::SCALES_AHEAD {
                // They take a while until they can be multiplied with. And out of memory, where the index keeps them, a
                // scale comes to every lane by a load; out of the register it was computed in, by shuffles.
                all_scales::<S, F, R>(s, groups((b + 1).min(whole - 1)), &mut scales[(b + 1) % 2]);
                group::<S, F, R, N>(s, groups(b), &scales[b % 2], acts, first, b, &mut sums);
            } else {
                let mut scales = [const { Scales::ZERO }; R];
                all_scales::<S, F, R>(s, groups(b), &mut scales);
                group::<S, F, R, N>(s, groups(b), &scales, acts, first, b, &mut sums);
            }
        }
    }
    if !w.cols.is_multiple_of(GROUP) {
        let mut tails = [[0_u8; 512]; R];
        let mut groups = [base; R];
        for (i, tail) in tails.iter_mut().enumerate() {
            w.tail::<F>(rows[i], tail);
            groups[i] = tail.as_ptr();
        }
        // SAFETY: a tail has more bytes than any group.
        unsafe {
            all_scales::<S, F, R>(s, groups, &mut scales[0]);
            group::<S, F, R, N>(s, groups, &scales[0], acts, first, whole, &mut sums);
        }
    }
    for (c, sums) in sums.into_iter().enumerate() {
        for (row, sum) in rows.into_iter().zip(s.sum_rows(sums)) {
            out[(row / PANEL * acts.n + first + c) * PANEL + row % PANEL] = sum;
        }
    }
}

/// # Safety
/// Each group has the format's bytes.
#[inline(always)]
unsafe fn all_scales<S: Simd, F: Format, const R: usize>(s: S, groups: [*const u8; R], scales: &mut [Scales; R]) {
    let mut all = [const { Scales::ZERO }; R];
    // SAFETY: the caller's.
    unsafe { F::rows_scales(s, groups, &mut all) };
    for (scales, all) in scales.iter_mut().zip(all) {
        // Only what is asked for: the rest then is not even stored.
        if F::WHOLE && S::WHOLE {
            (scales.d, scales.whole) = (all.d, all.whole);
            if F::MIN {
                (scales.dmin, scales.whole_min) = (all.dmin, all.whole_min);
            }
        } else {
            let n = const { GROUP / F::SUB };
            scales.scale[..n].copy_from_slice(&all.scale[..n]);
            if F::MIN {
                scales.min[..n].copy_from_slice(&all.min[..n]);
            }
        }
    }
}

/// Adds what 256 values of each row give with each column.
#[inline(always)]
unsafe fn group<S: Simd, F: Format, const R: usize, const N: usize>(
    s: S,
    groups: [*const u8; R],
    scales: &[Scales; R],
    acts: Acts<'_>,
    first: usize,
    b: usize,
    sums: &mut [[S::G; R]; N],
) {
    let mut q = [acts.q.as_ptr(); N];
    let mut sides: [&[f32; SIDE]; N] = [acts.side(b, first); N];
    for c in 0..N {
        q[c] = acts.group(b, first + c);
        sides[c] = acts.side(b, first + c);
    }
    let mut g = [[s.zero_g(); R]; N];
    let vector = |c: usize, i: usize| q[c].wrapping_add(32 * S::RUNS * i).cast();
    // Written out, for the shifts to be constants.
    macro_rules! steps {
        ($($i:literal)*) => {$(
            // SAFETY: a column has 256 activations in each group, and the rest is the caller's.
            unsafe {
                let mut a = [s.splat_byte(0); N];
                for c in 0..N {
                    a[c] = s.load_bytes(vector(c, $i));
                }
                for r in 0..R {
                    let codes = F::codes(s, groups[r], $i);
                    for c in 0..N {
                        g[c][r] = s.dot::<F, $i>(g[c][r], codes, a[c], &scales[r]);
                    }
                }
            }
        )*};
    }
    macro_rules! pairs {
        ($($i:literal: $first:literal $second:literal,)*) => {$(
            // SAFETY: as above.
            unsafe {
                let mut codes = [[s.splat_byte(0); 2]; R];
                for r in 0..R {
                    codes[r] = F::halves(s, groups[r], $i);
                }
                let mut a = [[s.splat_byte(0); 2]; N];
                for c in 0..N {
                    a[c] = s.halves([s.load_bytes(vector(c, $first)), s.load_bytes(vector(c, $second))]);
                }
                for r in 0..R {
                    for c in 0..N {
                        g[c][r] = s.dot::<F, $first>(g[c][r], codes[r][0], a[c][0], &scales[r]);
                    }
                }
                for r in 0..R {
                    for c in 0..N {
                        g[c][r] = s.dot::<F, $second>(g[c][r], codes[r][1], a[c][1], &scales[r]);
                    }
                }
            }
        )*};
    }
    const { assert!(S::RUNS == 2 || !S::HALVES, "two pairs are a group") };
    if F::HALVES && S::HALVES {
        pairs!(0: 0 1, 1: 2 3,);
    } else {
        steps!(0 1 2 3);
        if S::RUNS == 1 {
            steps!(4 5 6 7);
        }
    }
    for c in 0..N {
        s.add_group::<F, R>(&mut sums[c], g[c], scales, sides[c]);
    }
}

/// [`Simd::add_group`] in floats.
#[inline(always)]
pub(super) fn add_group<S: Simd, F: Format, const R: usize>(
    s: S,
    sums: &mut [S::G; R],
    g: [S::G; R],
    scales: &[Scales; R],
    side: &[f32; SIDE],
) {
    for r in 0..R {
        let g = zero_points::<S, F>(s, g[r], &scales[r], side);
        sums[r] = s.scale_g(sums[r], g, side[0]);
    }
}

/// Adds what minima give, or takes off what the middle of the codes' range gave that stands for 0.
#[inline(always)]
pub(super) fn zero_points<S: Simd, F: Format>(s: S, g: S::G, scales: &Scales, side: &[f32; SIDE]) -> S::G {
    if F::MIN {
        sums_of_subs::<S, F>(s, g, &scales.min, side)
    } else if S::SIGNED_BYTES && F::BITS == 8 {
        g
    } else {
        let zero = sums_of_subs::<S, F>(s, s.zero_g(), &scales.scale, side);
        s.scale_g(g, zero, -((1_u32 << (F::BITS - 1)) as f32))
    }
}

/// `g + Σ_j factor[j] · sum[j]`, over the sums of activations that go with the format's sub-blocks.
#[inline(always)]
fn sums_of_subs<S: Simd, F: Format>(s: S, g: S::G, factor: &[f32; 16], side: &[f32; SIDE]) -> S::G {
    let factor = factor.as_chunks::<8>().0;
    if F::SUB == 32 {
        s.fma_g(g, &factor[0], side_sums32(side))
    } else {
        let [low, high] = side_sums16(side);
        s.fma_g(s.fma_g(g, &factor[0], low), &factor[1], high)
    }
}

#[inline(always)]
fn side_sums32(side: &[f32; SIDE]) -> &[f32; 8] {
    side[1..].first_chunk().expect("eight sums of 32 follow the scale")
}

#[inline(always)]
fn side_sums16(side: &[f32; SIDE]) -> [&[f32; 8]; 2] {
    let (sums, _) = side[9..].as_chunks::<8>();
    [&sums[0], &sums[1]]
}

/// [`gemv`] for formats that are read as floats.
#[inline(always)]
pub(crate) fn gemv_float<S: Simd, F: Float>(s: S, w: Rows<'_>, acts: Acts<'_>, out: &mut [f32]) {
    let order = Order::new::<S>(w.rows);
    for step in order.steps::<S, 1>() {
        let ([r], [ahead]) = (order.rows::<S, 1>(step), order.ahead::<S, 1>(step));
        if r >= w.rows {
            continue;
        }
        let (panel, lane) = (r / PANEL, r % PANEL);
        for c in 0..acts.n {
            out[(panel * acts.n + c) * PANEL + lane] = 0.0;
        }
        for (b, first) in (0..w.cols).step_by(GROUP).enumerate() {
            let len = GROUP.min(w.cols - first);
            let mut values = [0.0; GROUP];
            let bytes = w.group(r, b);
            let ahead = bytes.as_ptr().wrapping_sub(r * w.row_bytes).wrapping_add(ahead * w.row_bytes);
            s.prefetch_bytes(ahead, bytes.len());
            F::decode(s, w.decode(), bytes, &mut values[..len]);
            for c in 0..acts.n {
                let x = &acts.x[c * w.cols + first..][..len];
                out[(panel * acts.n + c) * PANEL + lane] += super::float::dot(s, &values[..len], x);
            }
        }
    }
}

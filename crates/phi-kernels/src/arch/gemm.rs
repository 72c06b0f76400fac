//! Prefill: many columns of activations against rows that are unpacked into tiles on the way.
//!
//! A tile holds 32 rows by 256 values, transposed: lanes are rows. An activation is broadcast to all lanes, and its
//! products with two vectors of rows and with several columns stay in registers until a sub-block is done; then they
//! become floats and take the sub-block's scale.

use super::formats::{Float, Format};
use super::simd::{Simd, TILE_STRIDE};
use super::sums::Sums;
use super::tile::{FloatTile, GROUP, PANEL, Scales, Tile};
use super::{Acts, Rows};

/// `sums[r / PANEL, c, r % PANEL] = Σ_k w[r, k] · a[first + c, k]`
///
/// # Safety
/// The rows have the format's bytes, at most `tiles.len()` panels of them, and the target is the task's own.
#[inline(always)]
pub(crate) unsafe fn gemm<S: Simd, F: Format>(
    s: S,
    w: Rows<'_>,
    acts: Acts<'_>,
    tiles: &mut [Tile],
    mut sums: Sums<'_>,
) {
    let tiles = &mut tiles[..w.rows.div_ceil(PANEL)];
    for b in 0..w.cols.div_ceil(GROUP) {
        for (p, tile) in tiles.iter_mut().enumerate() {
            // SAFETY: the caller's.
            unsafe { pack::<S, F>(s, w, p * PANEL, b, tile) };
        }
        for c in (0..sums.columns).step_by(S::NC) {
            // SAFETY: the caller's. `S::NC` is a constant here only through these arms.
            unsafe {
                match const { S::NC } {
                    6 => columns_of_tiles::<S, F, 6>(s, w, tiles, acts, b, c, &mut sums),
                    4 => columns_of_tiles::<S, F, 4>(s, w, tiles, acts, b, c, &mut sums),
                    _ => columns_of_tiles::<S, F, 3>(s, w, tiles, acts, b, c, &mut sums),
                }
            }
        }
    }
}

/// Adds the products of some columns, from `c` on, with all tiles of group `b`.
#[inline(always)]
unsafe fn columns_of_tiles<S: Simd, F: Format, const NC: usize>(
    s: S,
    w: Rows<'_>,
    tiles: &[Tile],
    acts: Acts<'_>,
    b: usize,
    c: usize,
    sums: &mut Sums<'_>,
) {
    // Behind the last column, the last one again.
    let mut a = [acts.q.as_ptr().cast::<u8>(); NC];
    let mut sides = [acts.side(b, sums.first + c); NC];
    for i in 0..NC {
        let column = sums.first + (c + i).min(sums.columns - 1);
        a[i] = acts.group(b, column).cast();
        sides[i] = acts.side(b, column);
    }
    for (p, tile) in tiles.iter().enumerate() {
        for v in (0..PANEL / S::LANES).step_by(2) {
            // SAFETY: the caller's; a column has 256 activations in each group.
            let mut dots = unsafe { products::<S, F, 2, NC>(s, tile, v, a) };
            if F::MIN {
                for j in 0..GROUP / F::SUB {
                    let row = tile.bias[j].as_ptr();
                    // SAFETY: two vectors of rows follow, as the panel is a multiple of them.
                    let bias = unsafe { [s.load(row.add(v * S::LANES)), s.load(row.add((v + 1) * S::LANES))] };
                    for i in 0..NC {
                        let sum = s.splat(if F::SUB == 32 { sides[i][1 + j] } else { sides[i][9 + j] });
                        dots[0][i] = s.fma(bias[0], sum, dots[0][i]);
                        dots[1][i] = s.fma(bias[1], sum, dots[1][i]);
                    }
                }
            }
            for i in 0..NC {
                let d = s.splat(sides[i][0]);
                dots[0][i] = s.mul(dots[0][i], d);
                dots[1][i] = s.mul(dots[1][i], d);
            }
            // SAFETY: there are sums of all these panels, and of columns up to a multiple of `NC`.
            unsafe { sums.add(s, b == 0, (p, v * S::LANES, c), dots) };
        }
    }
    if (b + 1) * GROUP >= w.cols {
        // SAFETY: the caller's.
        unsafe { sums.finish(s, w.rows, c, NC) };
    }
}

/// `start + Σ_j scale[j] · Σ_k codes[k] · a[k]`, for `NV` vectors of rows from the `v`th on.
///
/// # Safety
/// 256 activations are readable of each column.
#[inline(always)]
unsafe fn products<S: Simd, F: Format, const NV: usize, const NC: usize>(
    s: S,
    tile: &Tile,
    v: usize,
    a: [*const u8; NC],
) -> [[S::F; NC]; NV] {
    let mut sums = [[s.splat(0.0); NC]; NV];
    if S::BIAS != 0 {
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the panel is a multiple of `NV` vectors.
            *sums = [unsafe { s.load(tile.start.as_ptr().add((v + i) * S::LANES)) }; NC];
        }
    }
    let plane = tile.codes[0].len();
    let mut dots = [[s.zero_t(); NC]; NV];
    for j in 0..GROUP / F::SUB {
        let mut at = a;
        for at in &mut at {
            // SAFETY: within the column's 256 activations.
            *at = unsafe { at.add(j * F::SUB) };
        }
        if !S::RUNNING {
            dots = [[s.zero_t(); NC]; NV];
        }
        // SAFETY: within the tile, and the caller's.
        dots = unsafe {
            let codes = tile.codes[0].as_ptr().add(j * F::SUB / 4 * TILE_STRIDE + v * S::LANES * 4);
            // The number of steps and the width of codes are constants only through these arms.
            match (const { F::SUB }, const { F::BITS }) {
                (32, 0..=4) => s.panel_dot::<4, 8, NV, NC>(codes, plane, at, dots),
                (32, 5) => s.panel_dot::<5, 8, NV, NC>(codes, plane, at, dots),
                (32, _) => s.panel_dot::<8, 8, NV, NC>(codes, plane, at, dots),
                (_, 0..=4) => s.panel_dot::<4, 4, NV, NC>(codes, plane, at, dots),
                (_, _) => s.panel_dot::<6, 4, NV, NC>(codes, plane, at, dots),
            }
        };
        let floats = s.to_floats(dots);
        for i in 0..NV {
            // SAFETY: as above.
            let scale = unsafe { s.load(tile.scale[j].as_ptr().add((v + i) * S::LANES)) };
            for c in 0..NC {
                sums[i][c] = s.fma(floats[i][c], scale, sums[i][c]);
            }
        }
    }
    sums
}

/// Unpacks group `b` of up to 32 rows from `first` on.
#[inline(always)]
unsafe fn pack<S: Simd, F: Format>(s: S, w: Rows<'_>, first: usize, b: usize, tile: &mut Tile) {
    let rows = PANEL.min(w.rows - first);
    let half = 1_u32 << (F::BITS - 1);
    let center = s.splat_byte(half as u8);
    let mut scales = Scales::ZERO;
    for r in 0..PANEL {
        if r >= rows {
            // Codes of rows that are not there are whatever they were, times nothing.
            for j in 0..GROUP / F::SUB {
                (tile.scale[j][r], tile.bias[j][r]) = (0.0, 0.0);
            }
            continue;
        }
        let mut tail = [0_u8; 512];
        let group = if (b + 1) * GROUP <= w.cols {
            w.group(first + r, b).as_ptr()
        } else {
            w.tail::<F>(first + r, &mut tail);
            tail.as_ptr()
        };
        // SAFETY: the row has this group, or its tail was copied.
        unsafe { F::scales(s, group, &mut scales) };
        for j in 0..GROUP / F::SUB {
            let next = if S::RUNNING && j + 1 < GROUP / F::SUB { scales.scale[j + 1] } else { 0.0 };
            tile.scale[j][r] = scales.scale[j] - next;
            if F::MIN {
                tile.bias[j][r] = scales.min[j] + half as f32 * scales.scale[j];
            }
        }
        let row = tile.rows[r].as_mut_ptr();
        macro_rules! step {
            ($($i:literal)*) => {$(
                // SAFETY: as above; a row of the tile has 256 bytes.
                unsafe {
                    let codes = F::codes(s, group, $i);
                    s.store_bytes(row.add(32 * S::RUNS * $i).cast(), s.sub_bytes(codes, center));
                }
            )*};
        }
        step!(0 1 2 3);
        if S::RUNS == 1 {
            step!(4 5 6 7);
        }
    }
    // SAFETY: both have 32 rows of 64 words.
    unsafe {
        transpose_rows::<S, true>(s, tile.rows.as_ptr().cast(), GROUP, GROUP / 4, tile.codes[0].as_mut_ptr().cast())
    };
    if S::SPLIT && F::BITS == 8 {
        for i in (0..PANEL * GROUP).step_by(32 * S::RUNS) {
            // SAFETY: both planes have these bytes.
            unsafe { split(s, tile.codes[0].as_mut_ptr().add(i).cast(), tile.codes[1].as_mut_ptr().add(i).cast()) };
        }
    }
    if S::BIAS != 0 {
        // Biased activations that are all zero should give zero: what they give is the start, negated.
        static ZEROS: [u8; GROUP] = [128; GROUP];
        tile.start = [0.0; PANEL];
        for v in (0..PANEL / S::LANES).step_by(2) {
            // SAFETY: there are 256 of them, and the panel has these vectors.
            unsafe {
                let [[low], [high]] = products::<S, F, 2, 1>(s, tile, v, [ZEROS.as_ptr()]);
                let start = tile.start.as_mut_ptr().add(v * S::LANES);
                s.store(start, s.sub(s.splat(0.0), low));
                s.store(start.add(S::LANES), s.sub(s.splat(0.0), high));
            }
        }
    }
}

/// Splits a vector of signed codes: `16 · high + low`, with `low` from −8 to 7 and `high` from −8 to 8.
///
/// # Safety
/// A vector is readable and writable at `codes`, writable at `high`.
#[inline(always)]
unsafe fn split<S: Simd>(s: S, codes: *mut u8, high: *mut u8) {
    // With u = code + 128: low = (u + 8) % 16 − 8, and high = ⌊(u + 8) / 16⌋ − 8, halved first to stay in a byte.
    // SAFETY: the caller's.
    unsafe {
        let u = s.xor(s.load_bytes(codes), s.splat_byte(128));
        let low = s.and(s.sub_bytes(u, s.splat_byte(8_u8.wrapping_neg())), s.splat_byte(15));
        let halved = s.sub_bytes(s.and(s.shr(u, 1), s.splat_byte(0x7f)), s.splat_byte(4_u8.wrapping_neg()));
        let top = s.and(s.shr(halved, 3), s.splat_byte(0x1f));
        s.store_bytes(codes, s.sub_bytes(low, s.splat_byte(8)));
        s.store_bytes(high, s.sub_bytes(top, s.splat_byte(8)));
    }
}

/// Transposes 32 rows of `words` words: `dst[word, row] = src[row, word]`, or what of it is for `CODES`.
///
/// # Safety
/// `src` has 32 rows, `stride` bytes apart; `dst` has `words · 32` words, and words are a multiple of the vectors' lanes.
#[inline(always)]
unsafe fn transpose_rows<S: Simd, const CODES: bool>(s: S, src: *const u8, stride: usize, words: usize, dst: *mut u8) {
    for word in (0..words).step_by(S::LANES) {
        for r in (0..PANEL).step_by(S::LANES) {
            // SAFETY: the caller's.
            unsafe {
                let (src, dst) = (src.add(r * stride + 4 * word), dst.add((word * PANEL + r) * 4));
                if CODES {
                    s.transpose_codes(src, stride, dst, TILE_STRIDE);
                } else {
                    s.transpose(src, stride, dst, 4 * PANEL);
                }
            }
        }
    }
}

/// [`gemm`] for formats that are read as floats.
///
/// # Safety
/// The target is the task's own.
#[inline(always)]
pub(crate) unsafe fn gemm_float<S: Simd, F: Float>(
    s: S,
    w: Rows<'_>,
    acts: Acts<'_>,
    tile: &mut FloatTile,
    mut sums: Sums<'_>,
) {
    const NC: usize = 6;
    let columns = sums.columns;
    for p in 0..w.rows.div_ceil(PANEL) {
        let rows = PANEL.min(w.rows - p * PANEL);
        for (b, k) in (0..w.cols).step_by(GROUP).enumerate() {
            let len = GROUP.min(w.cols - k);
            for r in 0..rows {
                F::decode(s, w.decode(), w.group(p * PANEL + r, b), &mut tile.rows[r][..len]);
                tile.rows[r][len..].fill(0.0);
            }
            // SAFETY: both have 32 rows of 256 floats.
            unsafe {
                transpose_rows::<S, false>(
                    s,
                    tile.rows.as_ptr().cast(),
                    4 * GROUP,
                    GROUP,
                    tile.values.as_mut_ptr().cast(),
                )
            };
            for c in (0..columns).step_by(NC) {
                let mut a = [acts.x.as_ptr(); NC];
                for (i, a) in a.iter_mut().enumerate() {
                    *a = acts.x[(sums.first + (c + i).min(columns - 1)) * w.cols + k..].as_ptr();
                }
                for v in (0..PANEL).step_by(2 * S::LANES) {
                    let mut dots = [[s.splat(0.0); NC]; 2];
                    for (k, row) in tile.values[..len].iter().enumerate() {
                        // SAFETY: two vectors of rows fit from `v` on; each column has `len` values.
                        unsafe {
                            let low = s.load(row.as_ptr().add(v));
                            let high = s.load(row.as_ptr().add(v + S::LANES));
                            for i in 0..NC {
                                let x = s.splat(a[i].add(k).read());
                                dots[0][i] = s.fma(low, x, dots[0][i]);
                                dots[1][i] = s.fma(high, x, dots[1][i]);
                            }
                        }
                    }
                    // SAFETY: there are sums of all these panels, and of columns up to a multiple of `NC`.
                    unsafe { sums.add(s, b == 0, (p, v, c), dots) };
                }
            }
        }
    }
    // SAFETY: the caller's.
    unsafe { sums.finish(s, w.rows, 0, columns) };
}

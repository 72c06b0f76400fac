//! Activations as products take them: floats, and codes of 8 bits with what goes with them.

use crate::Kernels;
use crate::arch::{Acts, GROUP, SIDE};
use crate::pool::Shared;

/// Columns of activations from which weights are unpacked into tiles; fewer are multiplied with rows as they lie.
pub(crate) const MANY: usize = 12;

/// Rows of activations, and their codes.
///
/// ```text
/// x[t, k] ≈ d[t, g] · q[t, k],   g = k / 256,   d = max_k |x[t, k]| / 127
/// ```
#[derive(Clone, Copy)]
pub struct Activations<'a> {
    /// `[tokens, cols]`
    x: &'a [f32],
    /// `[groups, tokens, 256]`; of many tokens, with the bias the instruction set wants.
    codes: &'a [i8],
    /// `[groups, tokens, SIDE]`
    sides: &'a [f32],
    tokens: usize,
    cols: usize,
}

impl<'a> Activations<'a> {
    /// How many rows.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Values in a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes of codes, and floats beside them, that rows need; at most what there are numbers for.
    pub fn room(tokens: usize, cols: usize) -> (usize, usize) {
        let groups = cols.div_ceil(GROUP).saturating_mul(tokens);
        (groups.saturating_mul(GROUP), groups.saturating_mul(SIDE))
    }

    pub(crate) fn acts(&self) -> Acts<'a> {
        Acts { x: self.x, q: self.codes, side: self.sides, n: self.tokens }
    }
}

impl Kernels {
    /// Rounds rows of `cols` activations once, for all the matrices they are multiplied with.
    ///
    /// * `x`: `[tokens, cols]`
    /// * `codes`, `sides`: [`Activations::room`] or more, overwritten
    ///
    /// # Panics
    /// When the lengths do not fit.
    pub fn quantize<'a>(
        &self,
        x: &'a [f32],
        cols: usize,
        codes: &'a mut [i8],
        sides: &'a mut [f32],
    ) -> Activations<'a> {
        let tokens = x.len() / cols;
        assert_eq!(x.len(), tokens * cols, "x is [tokens, {cols}]");
        let (n_codes, n_sides) = Activations::room(tokens, cols);
        let (codes, sides) = (&mut codes[..n_codes], &mut sides[..n_sides]);
        let bias = if tokens >= MANY { self.table.bias } else { 0 };
        let group = |g: usize, codes: &mut [i8], sides: &mut [f32]| {
            let (codes, _) = codes.as_chunks_mut();
            let (sides, _) = sides.as_chunks_mut();
            for ((x, codes), sides) in x.chunks_exact(cols).zip(codes).zip(sides) {
                (self.table.quantize)(&x[g * GROUP..cols.min((g + 1) * GROUP)], bias, codes, sides);
            }
        };
        if tokens < MANY {
            let each = codes.chunks_exact_mut(tokens * GROUP).zip(sides.chunks_exact_mut(tokens * SIDE));
            each.enumerate().for_each(|(g, (codes, sides))| group(g, codes, sides));
        } else {
            let shared = Shared::new(&mut *sides);
            self.pool.chunks(codes, tokens * GROUP, |_, g, codes| {
                // SAFETY: each group has its own sides, and is one task.
                #[expect(unsafe_code, reason = "two buffers are cut alike")]
                let sides = unsafe { shared.slice(g * tokens * SIDE..(g + 1) * tokens * SIDE) };
                group(g, codes, sides);
            });
        }
        Activations { x, codes, sides, tokens, cols }
    }
}

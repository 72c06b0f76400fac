//! What a kernel needs of an instruction set. Each implements this once; the kernels are written once, for all.
//!
//! The implementing type is a proof: a value of it exists only on a machine that runs its instructions, which is why
//! arithmetic is safe. What remains unsafe are loads and stores through pointers. Every method is `inline(always)`
//! and without `target_feature` of its own, so that it becomes part of the kernel, whose outermost function enables
//! the features.

use super::SIDE;
use super::formats::Format;
use super::gemv::add_group;
use super::tile::{PANEL, Scales};

/// Bytes that the processor reads at once.
const LINE: usize = 64;

/// Runs of 32 bytes in any vector, at most.
pub(crate) const MAX_RUNS: usize = 2;

/// One instruction set.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// A vector of [`Simd::LANES`] floats.
    type F: Copy;
    /// Floats in a vector.
    const LANES: usize;

    fn splat(self, x: f32) -> Self::F;
    /// # Safety
    /// `LANES` floats are readable.
    unsafe fn load(self, p: *const f32) -> Self::F;
    /// # Safety
    /// `LANES` floats are writable.
    unsafe fn store(self, p: *mut f32, x: Self::F);
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a · b + c`, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    fn abs(self, a: Self::F) -> Self::F;
    /// To the nearest whole number, ties to even.
    fn round(self, a: Self::F) -> Self::F;
    /// `2^n` for whole `n` from −126 to 127, and 0 for −127.
    fn exp2i(self, n: Self::F) -> Self::F;
    /// The sum of all lanes.
    fn sum(self, a: Self::F) -> f32;
    /// The sums of all lanes of four vectors.
    fn sum_each(self, a: [Self::F; 4]) -> [f32; 4];
    /// The largest lane.
    fn largest(self, a: Self::F) -> f32;
    /// `LANES` half floats.
    ///
    /// # Safety
    /// `LANES` 16-bit values are readable.
    unsafe fn load_f16(self, p: *const u8) -> Self::F;
    /// `LANES` floats of 16 bits with the exponent of 32.
    ///
    /// # Safety
    /// `LANES` 16-bit values are readable.
    unsafe fn load_bf16(self, p: *const u8) -> Self::F;
    /// `LANES` signed bytes.
    ///
    /// # Safety
    /// `LANES` bytes are readable.
    unsafe fn load_i8(self, p: *const i8) -> Self::F;
    /// `LANES` floats, rounded to the nearest whole number (ties to even), as bytes. All are within ±127.
    ///
    /// # Safety
    /// `LANES` bytes are writable.
    unsafe fn store_i8(self, p: *mut i8, x: Self::F);
    /// `d · q[i]`, the scales of sub-blocks.
    #[inline(always)]
    fn scale_i8(self, d: f32, q: [i8; 8]) -> [f32; 8] {
        let mut scales = [0.0; 8];
        for i in 0..8 {
            scales[i] = d * f32::from(q[i]);
        }
        scales
    }
    /// `d · q[i]`, the scales of sub-blocks.
    #[inline(always)]
    fn scale_i16(self, d: f32, q: [i16; 8]) -> [f32; 8] {
        let mut scales = [0.0; 8];
        for i in 0..8 {
            scales[i] = d * f32::from(q[i]);
        }
        scales
    }
    /// Of each row eight scales and eight minima of 6 bits, in the 12 bytes from `p + 4` on: low ones as they lie, two bits
    /// of high ones above each low one.
    ///
    /// # Safety
    /// 16 bytes are readable at each.
    unsafe fn six_bits<const R: usize>(self, p: [*const u8; R]) -> [[[i16; 8]; R]; 2];
    /// Those at even and those at odd places.
    #[inline(always)]
    fn split(self, q: [[i8; 8]; 2]) -> [[i16; 8]; 2] {
        let q = q.as_flattened();
        [0, 1].map(|odd| std::array::from_fn(|i| i16::from(q[2 * i + odd])))
    }
    /// One half float.
    fn f16(self, bits: u16) -> f32;
    /// One half float in every lane.
    #[inline(always)]
    fn splat_f16(self, bits: u16) -> Self::F {
        self.splat(self.f16(bits))
    }
    /// Eight half floats, `STRIDE` bytes apart: the scales of eight blocks.
    ///
    /// # Safety
    /// Four bytes are readable at each; and all between the first and the last.
    unsafe fn f16x8<const STRIDE: usize>(self, p: *const u8) -> [f32; 8];

    /// Asks for the cache line at `p`, which may point anywhere.
    fn prefetch(self, p: *const u8);
    /// Asks for `n` bytes from `p` on, which may point anywhere.
    #[inline(always)]
    fn prefetch_bytes(self, p: *const u8, n: usize) {
        for line in 0..n.div_ceil(LINE) {
            self.prefetch(p.wrapping_add(LINE * line));
        }
    }

    /// Transposes `LANES × LANES` words of 32 bits: `dst[c, r] = src[r, c]`; strides are in bytes.
    ///
    /// # Safety
    /// `LANES` words are readable at each of the `LANES` rows of `src`, and writable at those of `dst`.
    unsafe fn transpose(self, src: *const u8, src_stride: usize, dst: *mut u8, dst_stride: usize);

    /// [`Simd::transpose`] for the codes of a tile: four codes are a word, and what is written is for
    /// [`Simd::panel_dot`] alone to read, so that an instruction set may place them as its products want them.
    ///
    /// # Safety
    /// That of `transpose`.
    #[inline(always)]
    unsafe fn transpose_codes(self, src: *const u8, src_stride: usize, dst: *mut u8, dst_stride: usize) {
        // SAFETY: the caller's.
        unsafe { self.transpose(src, src_stride, dst, dst_stride) }
    }

    /// Bytes: [`Simd::RUNS`] runs of 32.
    type B: Copy;
    /// Runs of 32 bytes in a vector of bytes, at most [`MAX_RUNS`]. Vector `i` is of runs `RUNS · i` on.
    const RUNS: usize;
    /// # Safety
    /// `32 · RUNS` bytes are readable.
    unsafe fn load_bytes(self, p: *const u8) -> Self::B;
    /// # Safety
    /// `32 · RUNS` bytes are writable.
    unsafe fn store_bytes(self, p: *mut u8, b: Self::B);
    /// Vector `i`: of each run the 32 bytes at `p + place(run).0`, shifted right by `place(run).1`, or left where that is
    /// below 0. The bits that come in are of a byte beside, for the caller to mask.
    ///
    /// # Safety
    /// 32 bytes are readable at each of the places.
    #[inline(always)]
    unsafe fn fields(self, p: *const u8, i: usize, place: impl Fn(usize) -> (usize, i32)) -> Self::B {
        const { assert!(Self::RUNS == 1, "two runs need not be side by side") };
        let (at, right) = place(i);
        // SAFETY: the caller's.
        let bytes = unsafe { self.load_bytes(p.add(at)) };
        match right {
            0 => bytes,
            1.. => self.shr(bytes, right.unsigned_abs()),
            _ => self.shl(bytes, right.unsigned_abs()),
        }
    }
    /// Vector `i`: of each run the low nibbles of the 16 bytes at `p + STRIDE · run`, then their high nibbles.
    ///
    /// # Safety
    /// 16 bytes are readable at each.
    unsafe fn nibbles<const STRIDE: usize>(self, p: *const u8, i: usize) -> Self::B;
    /// Vectors `2 i` and `2 i + 1` of [`Simd::nibbles`], as [`Simd::halves`] has them.
    ///
    /// # Safety
    /// 16 bytes are readable at each.
    #[inline(always)]
    unsafe fn nibble_halves<const STRIDE: usize>(self, p: *const u8, i: usize) -> [Self::B; 2] {
        // SAFETY: the caller's.
        unsafe { [self.nibbles::<STRIDE>(p, 2 * i), self.nibbles::<STRIDE>(p, 2 * i + 1)] }
    }
    /// Of two vectors the first halves of all runs, then the second ones; or both as they are without [`Simd::HALVES`].
    #[inline(always)]
    fn halves(self, two: [Self::B; 2]) -> [Self::B; 2] {
        two
    }
    /// Vector `i`: of each run 255 for each of the 32 bits at `p + STRIDE · run` that is set, else 0.
    ///
    /// # Safety
    /// 4 bytes are readable at each.
    unsafe fn mask_bits<const STRIDE: usize>(self, p: *const u8, i: usize) -> Self::B;
    fn splat_byte(self, b: u8) -> Self::B;
    fn and(self, a: Self::B, b: Self::B) -> Self::B;
    fn or(self, a: Self::B, b: Self::B) -> Self::B;
    fn xor(self, a: Self::B, b: Self::B) -> Self::B;
    fn sub_bytes(self, a: Self::B, b: Self::B) -> Self::B;
    /// Each byte shifted right by `n` below 8; the bits that come in are of the byte above, for the caller to mask.
    fn shr(self, a: Self::B, n: u32) -> Self::B;
    /// Each byte shifted left by `n` below 8; the bits that come in are of the byte below, for the caller to mask.
    fn shl(self, a: Self::B, n: u32) -> Self::B;
    /// `table[i]` for each byte `i` below 16.
    fn lookup(self, table: &[u8; 16], i: Self::B) -> Self::B;

    /// Places in a task's rows that decode reads from at the same time. What a processor fetches by itself it fetches for
    /// each place: one core of a Xeon read 12 GB/s from one, 17 from four and 18 from eight that are pages apart.
    const STREAMS: usize;
    /// Rows that are multiplied together with one column: 2 or 4.
    const ROWS: usize;
    /// Whether rows are multiplied together: with so many columns, and sub-blocks of so many values, their sums fit
    /// the registers.
    #[inline(always)]
    fn pairs_rows(self, _columns: usize, _sub: usize) -> bool {
        true
    }
    /// Whether decode has codes by halves, where a format has [`Format::HALVES`]: the products of a block's second half are
    /// added to those of its first before they are scaled. That takes more registers.
    const HALVES: bool = false;
    /// Whether [`Simd::dot`] and [`Simd::add_group`] want scales and minima as whole numbers, where a format has them so.
    const WHOLE: bool;
    /// Whether decode computes scales a group before they are multiplied with. That takes room in memory, which pays where
    /// they come to every lane by a load.
    const SCALES_AHEAD: bool;
    /// Running sums of a row's products, in lanes of floats; only their sum means something.
    type G: Copy;
    /// Whether [`Simd::dot`] takes codes of 8 bits as signed (less 128) or as they are.
    const SIGNED_BYTES: bool;
    fn zero_g(self) -> Self::G;
    /// Adds the products of a vector of a format's codes with as many signed activations, times the scales of their
    /// sub-blocks.
    ///
    /// A group is `8 / RUNS` calls, `STEP` from 0 on; the sums are whole after the last.
    fn dot<F: Format, const STEP: usize>(self, g: Self::G, codes: Self::B, a: Self::B, scales: &Scales) -> Self::G;
    /// After the last step, adds a group's sums `g` to those of the rows, with what minima give, or without what the
    /// middle of the codes' range gave that stands for 0; `side` is the scale of activations and their sums.
    #[inline(always)]
    fn add_group<F: Format, const R: usize>(
        self,
        sums: &mut [Self::G; R],
        g: [Self::G; R],
        scales: &[Scales; R],
        side: &[f32; SIDE],
    ) {
        add_group::<Self, F, R>(self, sums, g, scales, side);
    }
    /// `g + a[lane] · b[lane]`
    fn fma_g(self, g: Self::G, a: &[f32; 8], b: &[f32; 8]) -> Self::G;
    /// `sum + g · scale`
    fn scale_g(self, sum: Self::G, g: Self::G, scale: f32) -> Self::G;
    /// The sum of all lanes.
    fn sum_g(self, g: Self::G) -> f32;
    /// The sums of the rows that [`Simd::add_group`] added to.
    #[inline(always)]
    fn sum_rows<const R: usize>(self, sums: [Self::G; R]) -> [f32; R] {
        let mut out = [0.0; R];
        for (out, g) in out.iter_mut().zip(sums) {
            *out = self.sum_g(g);
        }
        out
    }

    /// What is added to activations so that they are unsigned: 128 where the instruction wants one operand unsigned.
    const BIAS: u8;
    /// Columns that [`Simd::panel_dot`] computes at a time, with two vectors of rows: as many as the registers hold.
    const NC: usize;
    /// Whether codes of 8 bits lie in a tile as two planes, `16 · high + low`.
    const SPLIT: bool;
    /// `LANES` integer sums.
    type T: Copy;
    /// Whether sums run on through a tile instead of beginning anew in each sub-block; the scales then are the
    /// differences of neighbours: `Σ_j scale[j] · dot[j] = Σ_j (scale[j] − scale[j + 1]) · Σ_{i ≤ j} dot[i]`.
    const RUNNING: bool;
    fn zero_t(self) -> Self::T;
    /// `sums[v][c][lane] + Σ_k w[k, v · LANES + lane] · a[c][k]`, `k` below `4 · K4`, in whatever order of lanes
    /// [`Simd::to_floats`] undoes.
    ///
    /// * `w`: `[K4, PANEL, 4]` signed codes below `2^(BITS − 1)`, from a row that is a multiple of `LANES` on; with
    ///   [`Simd::SPLIT`] and 8 bits, `plane` bytes further the other plane
    /// * `a`: for each column `4 · K4` activations, with [`Simd::BIAS`]
    ///
    /// # Safety
    /// The codes and activations are readable.
    unsafe fn panel_dot<const BITS: u32, const K4: usize, const NV: usize, const NC: usize>(
        self,
        w: *const i8,
        plane: usize,
        a: [*const u8; NC],
        sums: [[Self::T; NC]; NV],
    ) -> [[Self::T; NC]; NV];
    /// What [`Simd::panel_dot`] has added up, as floats.
    fn to_floats<const NV: usize, const NC: usize>(self, sums: [[Self::T; NC]; NV]) -> [[Self::F; NC]; NV];
}

/// Bytes between the codes of four values and those of the next four in a tile.
pub(crate) const TILE_STRIDE: usize = 4 * PANEL;

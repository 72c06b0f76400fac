use std::ops::Range;

use phi_quant::codec;
use phi_tensor::{DType, Matrix};

use crate::Kernels;
use crate::arch::{Cached, FEW, Queries, RING, Rows, block_rows};
use crate::pool::Shared;

/// The largest head that a thread has room for. Real ones have 64 to 256.
pub const MAX_HEAD_DIM: usize = 512;

/// Positions of the smallest chunk that decode gives a task: 64 KiB of F16 keys with heads of 128, and as much of values.
const CHUNK: usize = 256;

/// Tasks that decode is cut into at most, where the context is long: as many cores find some, and what they leave to be
/// merged stays small.
const TASKS: usize = 128;

/// Blocks of queries for each thread, where prefill has queries enough; the later ones see more keys than the first.
const BLOCKS: usize = 4;

/// Queries of the smallest block, for which unpacking keys and values is a tenth of the work.
const MIN_BLOCK: usize = 96;

/// The sizes of one attention.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Query heads.
    pub n_head: usize,
    /// Key and value heads; each serves `n_head / n_head_kv` query heads.
    pub n_head_kv: usize,
    /// Values in a head.
    pub head_dim: usize,
    /// Factor on each score.
    pub scale: f32,
    /// How many keys a query sees, itself included, and at least that; all when `None`.
    pub window: Option<usize>,
    /// Which of them each head sees, by blocks; all when `None`.
    pub blocks: Option<Blocks>,
    /// Whether heads come in pairs, as differential attention has them: query heads `2j` and `2j + 1` ask key heads `2m`
    /// and `2m + 1`, with `m = j / (n_head / n_head_kv)`, and each takes the values of both, one behind the other. What
    /// comes out is then twice as wide.
    pub paired: bool,
}

/// Blocks of positions. Every head sees those nearest to a query, and from afar only every `stride`th, each head others.
///
/// ```text
/// seen(p, j, h) = p / len − j / len < local  or  (j / len + h · shift + 1) mod stride = 0
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Blocks {
    /// Positions of a block, at least one.
    pub len: usize,
    /// Blocks that count as near, the query's own included: at least one.
    pub local: usize,
    /// Of those before, one in so many is seen.
    pub stride: usize,
    /// By how many blocks what a head sees lies before what the head before it sees.
    pub shift: usize,
}

impl Blocks {
    /// The first position of the blocks that are near to position `p`. That of the next is no earlier.
    pub(crate) fn near(&self, p: usize) -> usize {
        (p / self.len + 1).saturating_sub(self.local) * self.len
    }

    /// Whether head `h` sees block `b` from afar.
    pub(crate) fn far(&self, b: usize, h: usize) -> bool {
        (b + h * self.shift + 1).is_multiple_of(self.stride)
    }
}

/// One layer's keys, or values: row `g · n_rows + p mod n_rows` is that of head `g` and position `p`,
/// `[n_head_kv, n_rows, head_dim]`, packed. What a task reads of a head lies in one piece, or, in a ring, in two.
pub type KvRows<'a> = Matrix<'a>;

impl Attention {
    /// Query heads that share a key head.
    fn group(&self) -> usize {
        self.n_head / self.n_head_kv
    }

    /// Values that a query takes from a position.
    pub fn value_dim(&self) -> usize {
        if self.paired { 2 * self.head_dim } else { self.head_dim }
    }

    /// Heads of values.
    fn n_head_value(&self) -> usize {
        if self.paired { self.n_head_kv / 2 } else { self.n_head_kv }
    }

    /// The first of the query heads that share key head `g`, and how far apart they are.
    fn heads_of(&self, g: usize) -> (usize, usize) {
        if self.paired { (g / 2 * 2 * self.group() + g % 2, 2) } else { (g * self.group(), 1) }
    }

    /// Whether so few tokens are computed that keys are read row by row, instead of in tiles for many queries at once.
    fn few(&self, tokens: usize) -> bool {
        tokens == 1 || tokens * self.group() <= FEW
    }

    /// Chunks that positions are cut into, at most.
    fn chunks(&self) -> usize {
        (TASKS / self.n_head_kv).clamp(1, TASKS / 4)
    }

    /// Rows of a head's keys, and of its values, for contexts of `n_ctx` and batches of `n_batch`: one for each position, or,
    /// where a window leaves most of them out, a ring for those that a batch sees.
    pub fn cache_rows(&self, n_ctx: usize, n_batch: usize) -> usize {
        let Some(window) = self.window else { return n_ctx };
        // What the first of a batch sees, itself included, and the others.
        let seen = window.saturating_add(n_batch.max(1) - 1);
        n_ctx.min(seen.checked_next_multiple_of(RING).unwrap_or(usize::MAX))
    }

    /// Whether `n_rows` rows hold all that `tokens` tokens from position `first` on see.
    fn is_held(&self, n_rows: usize, first: usize, tokens: usize) -> bool {
        first + tokens <= n_rows
            || self
                .window
                .is_some_and(|window| (window - 1).saturating_add(tokens) <= n_rows && n_rows.is_multiple_of(RING))
    }

    /// Keys that are read to compute one token alone at position `p`, those of all key heads together.
    pub fn keys_read(&self, p: usize) -> usize {
        let seen = self.window.map_or(0, |window| (p + 1).saturating_sub(window))..p + 1;
        let Some(blocks) = self.blocks else { return self.n_head_kv.saturating_mul(seen.len()) };
        let near = blocks.near(p).max(seen.start);
        let far = (seen.start / blocks.len..near.div_ceil(blocks.len)).map(|b| {
            let sees = |g: usize| (g * self.group()..(g + 1) * self.group()).any(|h| blocks.far(b, h));
            let keys = near.min((b + 1) * blocks.len) - seen.start.max(b * blocks.len);
            keys * (0..self.n_head_kv).filter(|&g| sees(g)).count()
        });
        self.n_head_kv * (seen.end - near) + far.sum::<usize>()
    }

    /// Floats that [`Kernels::attention`] needs beside its output: the partial sums of each chunk of positions, for
    /// contexts of `n_ctx` and batches of `n_batch`.
    pub fn room(&self, n_ctx: usize, n_batch: usize) -> usize {
        let tokens = n_batch.min(FEW / self.group()).max(1);
        let chunks = self.chunks().min(n_ctx.div_ceil(CHUNK));
        if chunks > 1 { tokens * self.n_head * chunks * (self.value_dim() + 2) } else { 0 }
    }
}

impl Kernels {
    /// Packs `rows` behind the rows already there: position `first + t` of the cache becomes `rows[t]`. In a ring, it takes
    /// the place of a position that no window reaches any more.
    ///
    /// * `rows`: `[tokens, n_head_kv, head_dim]`
    /// * `cache`: `[n_head_kv, n_rows, head_dim]` in `dtype`
    ///
    /// # Panics
    /// When the cache has not the rows for it, or the type cannot be written.
    pub fn append(&self, a: Attention, dtype: DType, first: usize, rows: &[f32], cache: &mut [u8]) {
        self.append_heads(a, (a.n_head_kv, a.head_dim), dtype, first, rows, cache);
    }

    /// [`Kernels::append`] for values, whose heads are fewer and wider than those of keys where they are paired.
    ///
    /// * `rows`: `[tokens, n_head_kv, head_dim]`, in either case
    ///
    /// # Panics
    /// Those of `append`.
    pub fn append_values(&self, a: Attention, dtype: DType, first: usize, rows: &[f32], cache: &mut [u8]) {
        self.append_heads(a, (a.n_head_value(), a.value_dim()), dtype, first, rows, cache);
    }

    fn append_heads(
        &self,
        a: Attention,
        (n_head, dim): (usize, usize),
        dtype: DType,
        first: usize,
        rows: &[f32],
        cache: &mut [u8],
    ) {
        let encode =
            codec(dtype).and_then(|codec| codec.encode).expect("a cache is only planned in types that can be written");
        let row_bytes = dim / dtype.block_len() * dtype.block_bytes();
        let tokens = rows.len() / (n_head * dim);
        let head_bytes = cache.len() / n_head;
        let n_rows = head_bytes / row_bytes;
        assert!(a.is_held(n_rows, first, tokens), "{n_rows} rows hold {tokens} tokens from position {first} on");
        let append = |g: usize, head: &mut [u8]| {
            for t in 0..tokens {
                let bytes = &mut head[(first + t) % n_rows * row_bytes..][..row_bytes];
                encode(&rows[(t * n_head + g) * dim..][..dim], None, bytes);
            }
        };
        if a.few(tokens) {
            cache.chunks_exact_mut(head_bytes).enumerate().for_each(|(g, head)| append(g, head));
        } else {
            self.pool.chunks(cache, head_bytes, |_, g, head| append(g, head));
        }
    }

    /// Causal attention of new tokens over everything cached, themselves included.
    ///
    /// ```text
    /// out[t, h] = Σ_j softmax_j(scale · q[t, h] · k[j, g]) · v[j, g],   j ≤ p,  p − j < window,  p = first + t
    /// ```
    ///
    /// with `g = h / (n_head / n_head_kv)` (or as [`paired`](Attention::paired) heads have it), and only where
    /// `seen(p, j, h)` if there are [`Blocks`]. Scores are never stored: the softmax runs along with the sums.
    ///
    /// Few tokens (decode) are cut into chunks of positions, whose sums are merged in their order; of many tokens
    /// (prefill) blocks of queries share each key. Both cut where positions say so, and neither asks how many threads
    /// there are: the same call gives the same bits. Between the two ways the last bits may differ.
    ///
    /// * `q`: `[tokens, n_head, head_dim]`
    /// * `k`, `v`: the caches, positions `first + t` already appended
    /// * `room`: [`Attention::room`] or more, overwritten
    /// * `out`: `[tokens, n_head, value_dim]`, overwritten
    ///
    /// # Panics
    /// When the lengths do not fit, a head is larger than [`MAX_HEAD_DIM`], or blocks have no positions.
    #[expect(clippy::too_many_arguments, reason = "inputs, room and output of one equation")]
    pub fn attention(
        &self,
        a: Attention,
        first: usize,
        q: &[f32],
        k: KvRows<'_>,
        v: KvRows<'_>,
        room: &mut [f32],
        out: &mut [f32],
    ) {
        let tokens = q.len() / (a.n_head * a.head_dim);
        assert_eq!(out.len(), tokens * a.n_head * a.value_dim(), "out is [tokens, {}, {}]", a.n_head, a.value_dim());
        assert_eq!(q.len(), tokens * a.n_head * a.head_dim, "q is [tokens, {}, {}]", a.n_head, a.head_dim);
        assert!(a.value_dim() <= MAX_HEAD_DIM, "heads of {} are larger than {MAX_HEAD_DIM}", a.value_dim());
        assert!(a.n_head.is_multiple_of(a.n_head_kv), "{} heads share {} evenly", a.n_head, a.n_head_kv);
        assert!(!a.paired || a.n_head_kv.is_multiple_of(2), "{} heads are pairs", a.n_head_kv);
        for (cache, heads, dim) in [(k, a.n_head_kv, a.head_dim), (v, a.n_head_value(), a.value_dim())] {
            assert_eq!(cache.cols(), dim, "a cache is [{heads}, n_rows, {dim}]");
            let n_rows = cache.rows() / heads;
            assert!(a.is_held(n_rows, first, tokens), "{n_rows} rows hold {tokens} tokens from position {first} on");
        }
        assert!(a.blocks.is_none_or(|b| b.len > 0 && b.local > 0), "a query sees its own block");
        let call = Call { kernels: self, a, tokens, first, q, k, v };
        if tokens == 0 {
            // Nothing asks, nothing answers.
        } else if a.few(tokens) {
            call.few(room, out);
        } else {
            call.many(out);
        }
    }
}

/// One attention.
#[derive(Clone, Copy)]
struct Call<'a> {
    kernels: &'a Kernels,
    a: Attention,
    tokens: usize,
    first: usize,
    q: &'a [f32],
    k: KvRows<'a>,
    v: KvRows<'a>,
}

impl<'a> Call<'a> {
    /// Some of the queries of those heads that share key head `g`: of all, or of some.
    fn queries(&self, g: usize, sharers: Range<usize>, rows: Range<usize>) -> Queries<'a> {
        let Attention { n_head, head_dim, scale, window, blocks, .. } = self.a;
        let (first, step) = self.a.heads_of(g);
        Queries {
            q: self.q,
            n_head,
            head_dim,
            value_dim: self.a.value_dim(),
            head: first + step * sharers.start,
            step,
            group: sharers.len(),
            first: self.first,
            window: window.unwrap_or(usize::MAX),
            blocks,
            scale: scale * std::f32::consts::LOG2_E,
            rows,
        }
    }

    /// Head `g` of the keys, and the values that belong to it.
    fn cached(&self, g: usize) -> (Cached<'a>, Cached<'a>) {
        let head = |cache: KvRows<'a>, heads: usize| {
            let n_rows = cache.rows() / heads;
            let g = g * heads / self.a.n_head_kv;
            let (dtype, row_bytes, cols) = (cache.dtype(), cache.row_bytes(), cache.cols());
            let bytes = cache.slice_rows(g * n_rows, n_rows).bytes();
            let rows = Rows { bytes, row_bytes, rows: n_rows, cols, dtype };
            Cached { rows, unpack: (self.kernels.table.unpack)(dtype) }
        };
        (head(self.k, self.a.n_head_kv), head(self.v, self.a.n_head_value()))
    }

    /// Tasks are heads × chunks of positions.
    fn few(&self, room: &mut [f32], out: &mut [f32]) {
        let (a, kernels) = (self.a, self.kernels);
        let group = a.group();
        let rows = self.tokens * group;
        let see = self.queries(0, 0..group, 0..rows).see();
        let begin = see.start / CHUNK;
        let pieces = see.end.div_ceil(CHUNK) - begin;
        let chunk = pieces.div_ceil(a.chunks());
        let n_chunks = pieces.div_ceil(chunk);
        // One token's heads may be more than a task takes.
        let blocks = rows.div_ceil(FEW);
        let dim = a.value_dim();
        let part = dim + 2;
        let n_heads = self.tokens * a.n_head;
        let parts = if n_chunks > 1 { &mut room[..n_heads * n_chunks * part] } else { &mut [] };
        let (shared, shared_parts) = (Shared::new(&mut *out), Shared::new(&mut *parts));
        kernels.pool.run(a.n_head_kv * blocks * n_chunks, |thread, task| {
            let (c, block, g) = (task % n_chunks, task / n_chunks % blocks, task / n_chunks / blocks);
            let keys = see.start.max((begin + c * chunk) * CHUNK)..see.end.min((begin + (c + 1) * chunk) * CHUNK);
            let queries = self.queries(g, 0..group, block * FEW..rows.min((block + 1) * FEW));
            let (k, v) = self.cached(g);
            (kernels.table.attend_few)(
                &queries,
                keys,
                k,
                v,
                &mut kernels.room(thread)[0].attention,
                &mut |i, max, sum, values| {
                    let at = queries.index(i);
                    if n_chunks == 1 {
                        // SAFETY: each query has a task, and its own values.
                        #[expect(unsafe_code, reason = "tasks write heads of several tokens")]
                        let out = unsafe { shared.slice(at * dim..(at + 1) * dim) };
                        let factor = 1.0 / sum;
                        out.iter_mut().zip(values).for_each(|(out, value)| *out = value * factor);
                    } else {
                        let at = at * n_chunks + c;
                        // SAFETY: each chunk of a query has a task, and its own part.
                        #[expect(unsafe_code, reason = "tasks write parts of several tokens")]
                        let part = unsafe { shared_parts.slice(at * part..(at + 1) * part) };
                        (part[0], part[1]) = (max, sum);
                        part[2..].copy_from_slice(values);
                    }
                },
            );
        });
        if n_chunks > 1 {
            for (out, parts) in out.chunks_exact_mut(dim).zip(parts.chunks_exact(n_chunks * part)) {
                let parts = || parts.chunks_exact(part);
                let max = parts().fold(f32::MIN, |max, part| max.max(part[0]));
                let sum: f32 = parts().map(|part| (part[0] - max).exp2() * part[1]).sum();
                out.fill(0.0);
                for part in parts() {
                    (kernels.table.axpy)((part[0] - max).exp2() / sum, &part[2..], out);
                }
            }
        }
    }

    /// Tasks are heads × blocks of queries, those that see most first. Heads that share keys are one, unless each sees others.
    fn many(&self, out: &mut [f32]) {
        let (a, kernels) = (self.a, self.kernels);
        let parts = if a.blocks.is_some() { a.group() } else { 1 };
        let (group, heads) = (a.group() / parts, a.n_head_kv * parts);
        let rows = self.tokens * group;
        // Queries do not know which others are in their block: its size may depend on the threads.
        let fair = (rows * heads).div_ceil(BLOCKS * kernels.threads());
        let block = fair.max(MIN_BLOCK).next_multiple_of(32).min(block_rows(a.value_dim()));
        let blocks = rows.div_ceil(block);
        let out = Shared::new(out);
        kernels.pool.run(blocks * heads, |thread, task| {
            let (b, g, part) = (blocks - 1 - task / heads, task % heads / parts, task % parts);
            let sharers = part * group..(part + 1) * group;
            let queries = self.queries(g, sharers, b * block..rows.min((b + 1) * block));
            let (k, v) = self.cached(g);
            (kernels.table.attend)(&queries, k, v, &mut kernels.room(thread)[0].attention, &mut |i, values| {
                let at = queries.index(i) * a.value_dim();
                // SAFETY: each query is in one block, and has its own values.
                #[expect(unsafe_code, reason = "tasks write heads of several tokens")]
                unsafe { out.slice(at..at + a.value_dim()) }.copy_from_slice(values);
            });
        });
    }
}

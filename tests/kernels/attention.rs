//! Attention, and the cache that it reads.

use phi_kernels::{Attention, Blocks, Isa, Kernels};
use phi_tensor::{DType, Matrix};
use phi_testkit::Rng;

use super::{EPSILON, decoded, each_isa, matrix};

/// One attention: what is cached in which type, the window, and the positions that ask.
struct Asked {
    k: DType,
    v: DType,
    /// Key heads, queries of each, values of a head.
    heads: (usize, usize, usize),
    window: Option<usize>,
    blocks: Option<Blocks>,
    first: usize,
    tokens: usize,
}

impl Asked {
    /// Compares every instruction set and number of threads with the equation in f64, and threads with each other.
    fn check(&self) {
        let &Asked { k, v, heads: (n_head_kv, group, head_dim), window, blocks, first, tokens } = self;
        let (n_head, n_ctx) = (n_head_kv * group, first + tokens + 3);
        let mut rng = Rng::new(head_dim as u64);
        let (k, v) =
            (matrix(k, n_head_kv * n_ctx, head_dim, &mut rng), matrix(v, n_head_kv * n_ctx, head_dim, &mut rng));
        let (keys, values) = (decoded(k.matrix()), decoded(v.matrix()));
        let q = rng.normals(tokens * n_head * head_dim, 1.0);
        let scale = 1.0 / (head_dim as f32).sqrt();
        let a = Attention { n_head, n_head_kv, head_dim, scale, window, blocks, paired: false };

        let row = |list: &[f32], g: usize, p: usize| {
            list[(g * n_ctx + p) * head_dim..][..head_dim].iter().map(|&x| f64::from(x)).collect::<Vec<_>>()
        };
        let (mut want, mut tolerances) = (Vec::new(), Vec::new());
        for (i, q) in q.chunks_exact(head_dim).enumerate() {
            let (p, h, g) = (first + i / n_head, i % n_head, i % n_head / group);
            let in_blocks = |j: &usize| {
                blocks.is_none_or(|b| {
                    p / b.len < j / b.len + b.local || (j / b.len + h * b.shift + 1).is_multiple_of(b.stride)
                })
            };
            let from = window.map_or(0, |window| (p + 1).saturating_sub(window));
            let seen: Vec<usize> = (from..=p).filter(in_blocks).collect();
            let scores = seen.iter().map(|&j| {
                let products = q.iter().zip(row(&keys, g, j)).map(|(&q, k)| f64::from(q) * k * f64::from(scale));
                products.fold((0.0, 0.0), |(sum, size), x| (sum + x, size + x.abs()))
            });
            let scores: Vec<(f64, f64)> = scores.collect();
            let weights: Vec<f64> = scores.iter().map(|(score, _)| score.exp()).collect();
            let sum: f64 = weights.iter().sum();
            let mut out = vec![0.0; head_dim];
            let mut size: f64 = 0.0;
            for (&j, weight) in seen.iter().zip(&weights) {
                for (out, v) in out.iter_mut().zip(row(&values, g, j)) {
                    *out += weight / sum * v;
                    size = size.max(v.abs());
                }
            }
            // A score is off by the roundings of its sum, and once more when the exponential takes its multiple; a
            // weight by as much, relatively, and by its own; sums of weights and of values by those of all terms.
            let score = scores.iter().fold(0.0_f64, |m, (_, size)| m.max(*size)) * (head_dim as f64 + 4.0) * EPSILON;
            tolerances.push(size * (2.0 * score + 2.0 * (weights.len() as f64 + 8.0) * EPSILON));
            want.push(out);
        }

        for isa in Isa::available() {
            let outs = [1, 2, 3].map(|threads| {
                let kernels = Kernels::new(isa, threads).expect("threads start");
                let mut out = vec![f32::NAN; q.len()];
                let mut room = vec![f32::NAN; a.room(n_ctx, tokens)];
                kernels.attention(a, first, &q, k.matrix(), v.matrix(), &mut room, &mut out);
                out
            });
            assert!(outs.iter().all(|out| *out == outs[0]), "{isa}: threads make a difference");
            for ((got, want), tolerance) in outs[0].chunks_exact(head_dim).zip(&want).zip(&tolerances) {
                for (got, want) in got.iter().zip(want) {
                    assert!(
                        (f64::from(*got) - want).abs() <= *tolerance,
                        "{isa} {a:?} of {tokens} tokens from {first}: {got}, {want} ± {tolerance}"
                    );
                }
            }
        }
    }
}

#[test]
fn attention_is_softmax_of_scores_times_values() {
    use DType::{BF16, F16, F32, Q4_0, Q8_0};
    let shapes = [(2, 3, 32), (1, 1, 64), (2, 4, 80), (3, 1, 96), (2, 3, 128), (1, 2, 256)];
    let types = [(F32, F32), (F16, F16), (Q8_0, Q8_0), (Q4_0, Q4_0), (Q8_0, F16), (F16, Q4_0), (BF16, F32)];
    // One token and a few, enough for tiles of queries; at the start, and across tiles and chunks of positions.
    let mut asked = vec![(0, 1), (0, 17), (0, 130), (300, 1), (300, 3), (301, 64), (1100, 2)];
    if cfg!(miri) {
        asked = vec![(3, 2)];
    }
    let windows = [None, None, Some(7), Some(40), Some(1), Some(257)];
    let mut n = 0;
    for (i, &(k, v)) in types.iter().enumerate() {
        for (j, &(first, tokens)) in asked.iter().enumerate() {
            let heads = shapes[(i + j) % shapes.len()];
            if heads.2 % k.block_len() == 0 && heads.2 % v.block_len() == 0 {
                Asked { k, v, heads, window: windows[(i + 2 * j) % windows.len()], blocks: None, first, tokens }
                    .check();
                n += 1;
            }
        }
    }
    assert!(n == 44 || cfg!(miri), "heads of 80 are not for blocks of 32");
    // Every head with every group, across the ends of vectors and tiles.
    let mut asked = vec![(0, 3), (0, 64), (300, 17), (300, 130)];
    if cfg!(miri) {
        asked = vec![(5, 2)];
    }
    for (i, head_dim) in [32, 64, 80, 96, 128, 256].into_iter().enumerate() {
        for (j, group) in [1, 3, 4].into_iter().enumerate() {
            let (first, tokens) = asked[(i + j) % asked.len()];
            let window = windows[(i + 4 * j) % windows.len()];
            Asked { k: F16, v: F16, heads: (2, group, head_dim), window, blocks: None, first, tokens }.check();
        }
    }
}

#[test]
fn attention_has_no_favourite_sizes() {
    let check = |heads, window, first, tokens| {
        Asked { k: DType::F16, v: DType::F16, heads, window, blocks: None, first, tokens }.check();
    };
    // Heads that no vector divides, more heads than a task takes, the largest head, one key.
    check((5, 1, 7), None, 70, 40);
    check((1, 3, 100), Some(33), 120, 33);
    check((1, 40, 32), None, 600, 1);
    check((1, 40, 32), None, 20, 30);
    check((1, 2, 512), None, 250, 1);
    check((1, 2, 512), None, 30, 70);
    check((2, 2, 64), None, 0, 1);
    // More positions than smallest chunks; and windows that leave most of them out.
    check((1, 2, 16), None, 9000, 1);
    check((1, 2, 16), Some(700), 9000, 2);
    check((1, 2, 16), Some(8), 3000, 300);
}

/// Blocks of a tile's length, of less and of more, and none of the ends in step with each other.
#[test]
fn heads_see_their_blocks() {
    let small = Blocks { len: 64, local: 16, stride: 8, shift: 1 };
    let all = [
        small,
        Blocks { local: 2, ..small },
        Blocks { len: 8, local: 1, stride: 4, shift: 1 },
        Blocks { len: 100, local: 1, stride: 3, shift: 2 },
        Blocks { len: 7, local: 3, stride: 5, shift: 0 },
        // More keys than a tile has, that nobody sees.
        Blocks { len: 200, local: 1, stride: 8, shift: 1 },
        Blocks { len: 1, local: 1, stride: 2, shift: 1 },
    ];
    // One token, a few, a block of queries; chunks of positions in which some head sees nothing.
    let asked = [(0, 1), (0, 130), (700, 1), (1503, 3), (300, 150), (2000, 40)];
    let mut n = 0;
    for (i, blocks) in all.into_iter().enumerate() {
        for (j, (first, tokens)) in asked.into_iter().enumerate() {
            let heads = [(2, 4, 16), (1, 3, 20), (8, 1, 32)][(i + j) % 3];
            let window = (j % 3 == 2).then_some(333);
            let (k, v) = (DType::F16, DType::F32);
            Asked { k, v, heads, window, blocks: Some(blocks), first, tokens }.check();
            n += 1;
        }
    }
    assert_eq!(n, 42);
}

/// Counted one by one.
#[test]
fn keys_are_read_where_a_head_sees_them() {
    let a = Attention { n_head: 8, n_head_kv: 2, head_dim: 16, scale: 1.0, window: None, blocks: None, paired: false };
    let blocks = Some(Blocks { len: 8, local: 2, stride: 8, shift: 1 });
    for (window, blocks) in [(None, None), (Some(20), None), (None, blocks), (Some(50), blocks)] {
        let a = Attention { window, blocks, ..a };
        for p in 0..200 {
            let sees = |j: usize, h: usize| {
                window.is_none_or(|window| p - j < window)
                    && blocks.is_none_or(|b| p / 8 - j / 8 < 2 || (j / 8 + h + 1).is_multiple_of(b.stride))
            };
            let read = |g: usize| (0..=p).filter(|&j| (4 * g..4 * g + 4).any(|h| sees(j, h))).count();
            assert_eq!(a.keys_read(p), read(0) + read(1), "{a:?} at {p}");
        }
    }
}

/// The same bits, whichever way and in whichever type.
#[test]
fn a_ring_gives_what_a_full_cache_gives() {
    const N_CTX: usize = 1000;
    let mut rng = Rng::new(8);
    let tokens = [40, 1, 1, 3, 90, 17, 1, 100, 64, 1, 100, 100, 2, 96];
    let cases = [
        (DType::F32, 32, Some(1), None),
        (DType::F16, 40, Some(50), None),
        (DType::Q8_0, 64, Some(97), None),
        (DType::Q4_0, 32, Some(190), None),
        (DType::F16, 16, Some(100), Some(Blocks { len: 8, local: 2, stride: 4, shift: 1 })),
    ];
    for (dtype, head_dim, window, blocks) in cases {
        let a = Attention { n_head: 6, n_head_kv: 2, head_dim, scale: 0.3, window, blocks, paired: false };
        let rows = [a.cache_rows(N_CTX, 100), N_CTX];
        assert!(rows[0] <= window.unwrap_or(0) + 99 + 95 && rows[0].is_multiple_of(96), "{rows:?}");
        let row_bytes = head_dim / dtype.block_len() * dtype.block_bytes();
        let total: usize = tokens.iter().sum();
        let new = |rng: &mut Rng, heads: usize| rng.normals(total * heads * head_dim, 1.0);
        let (q, k, v) = (new(&mut rng, 6), new(&mut rng, 2), new(&mut rng, 2));
        each_isa(|kernels| {
            let outs = rows.map(|n_rows| {
                // What was never written is no number.
                let [mut keys, mut values] = [(); 2].map(|()| vec![0xff; 2 * n_rows * row_bytes]);
                let mut room = vec![0.0; a.room(N_CTX, 100)];
                let (mut first, mut out) = (0, vec![0.0; q.len()]);
                for n in tokens {
                    let of = |heads: usize| first * heads * head_dim..(first + n) * heads * head_dim;
                    kernels.append(a, dtype, first, &k[of(2)], &mut keys);
                    kernels.append(a, dtype, first, &v[of(2)], &mut values);
                    let [keys, values] = [&keys, &values]
                        .map(|bytes| Matrix::new(dtype, 2 * n_rows, head_dim, bytes).expect("the size is right"));
                    kernels.attention(a, first, &q[of(6)], keys, values, &mut room, &mut out[of(6)]);
                    first += n;
                }
                out
            });
            assert!(outs[0].iter().all(|x| x.is_finite()));
            assert!(outs[0] == outs[1], "{kernels:?} {a:?}");
        });
    }
}

/// Of pairs, each half of what comes out is what heads alone give that have the same queries, keys, and half of the values.
#[test]
fn paired_heads_take_the_values_of_both() {
    let mut rng = Rng::new(9);
    for (dtype, group, head_dim, window, first, tokens) in [
        (DType::F32, 2, 16, None, 0, 1),
        (DType::F16, 2, 64, Some(70), 600, 1),
        (DType::F16, 1, 20, None, 300, 5),
        (DType::Q8_0, 2, 64, None, 40, 150),
        (DType::F16, 3, 7, Some(33), 100, 130),
        (DType::F32, 2, 256, None, 0, 40),
    ] {
        let (n_head_kv, n_rows) = (4, first + tokens);
        let n_head = n_head_kv * group;
        let alone = Attention { n_head, n_head_kv, head_dim, scale: 0.2, window, blocks: None, paired: false };
        let pairs = Attention { paired: true, ..alone };
        let q = rng.normals(tokens * n_head * head_dim, 1.0);
        let rows = [(); 2].map(|()| rng.normals(n_rows * n_head_kv * head_dim, 1.0));
        let bytes = n_head_kv * n_rows * (head_dim / dtype.block_len()) * dtype.block_bytes();
        // Head `g` asks key head `g / group`, so those that ask the same have to stand together.
        let asks = |h: usize| (h / group / 2 * group + h % group) * 2 + h / group % 2;
        let q_alone: Vec<f32> = q
            .chunks_exact(n_head * head_dim)
            .flat_map(|q| (0..n_head).flat_map(move |h| q[asks(h) * head_dim..][..head_dim].to_vec()))
            .collect();
        each_isa(|kernels| {
            let [mut k, mut v, mut half] = [(); 3].map(|()| vec![0; bytes]);
            kernels.append(alone, dtype, 0, &rows[0], &mut k);
            kernels.append_values(pairs, dtype, 0, &rows[1], &mut v);
            let mut room = vec![0.0; pairs.room(n_rows, tokens)];
            let mut got = vec![0.0; 2 * q.len()];
            let keys = Matrix::new(dtype, n_head_kv * n_rows, head_dim, &k).expect("the size is right");
            let values = Matrix::new(dtype, n_head_kv / 2 * n_rows, 2 * head_dim, &v).expect("the size is right");
            kernels.attention(pairs, first, &q, keys, values, &mut room, &mut got);
            for side in [0, 1] {
                let of_side = rows[1].chunks_exact(2 * head_dim);
                let of_side: Vec<f32> =
                    of_side.flat_map(|pair| [&pair[side * head_dim..][..head_dim]; 2].concat()).collect();
                kernels.append(alone, dtype, 0, &of_side, &mut half);
                let mut want = vec![0.0; q.len()];
                let values = Matrix::new(dtype, n_head_kv * n_rows, head_dim, &half).expect("the size is right");
                kernels.attention(alone, first, &q_alone, keys, values, &mut room, &mut want);
                for t in 0..tokens {
                    for h in 0..n_head {
                        let want = &want[(t * n_head + h) * head_dim..][..head_dim];
                        let got = &got[((t * n_head + asks(h)) * 2 + side) * head_dim..][..head_dim];
                        assert!(got == want, "{kernels:?} {pairs:?}: token {t}, head {h}, side {side}");
                    }
                }
            }
        });
    }
}

#[test]
fn pairs_of_rows_differ() {
    let x = Rng::new(11).normals(2 * 100 * 24, 1.0);
    each_isa(|kernels| {
        let mut out = vec![0.0; 100 * 24];
        kernels.differ(0.7, 24, &x, &mut out);
        for (r, out) in out.chunks_exact(24).enumerate() {
            for (i, got) in out.iter().enumerate() {
                assert_eq!(*got, x[2 * r * 24 + i] - 0.7 * x[(2 * r + 1) * 24 + i]);
            }
        }
    });
}

#[test]
fn what_is_appended_is_what_is_read() {
    let rows = Rng::new(4).normals(3 * 2 * 32, 1.0);
    let a = Attention { n_head: 2, n_head_kv: 2, head_dim: 32, scale: 1.0, window: None, blocks: None, paired: false };
    each_isa(|kernels| {
        let mut cache = vec![0xff; 2 * 10 * 32 * 4];
        kernels.append(a, DType::F32, 4, &rows, &mut cache);
        let cached = Matrix::new(DType::F32, 2 * 10, 32, &cache).expect("the size is right");
        for head in [0, 1] {
            let got = decoded(cached.slice_rows(head * 10 + 4, 3));
            let want: Vec<f32> = rows.chunks_exact(64).flat_map(|row| row[head * 32..][..32].to_vec()).collect();
            assert_eq!(got, want);
            let untouched = cached.row(head * 10 + 3).iter().chain(cached.row(head * 10 + 7));
            assert!(untouched.into_iter().all(|&byte| byte == 0xff));
        }
    });
}

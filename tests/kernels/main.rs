//! Every instruction set computes what the equations say, in f64 and without haste.
//!
//! Tolerances are derived: a sum of `n` products in f32, in any order, is off by at most `n · ε · Σ|a·b|`.

use phi_kernels::{Activations, Attention, Blocks, Isa, Kernels, Scan};
use phi_quant::codec;
use phi_tensor::{DType, Matrix, Shape, Tensor, TokenId};
use phi_testkit::Rng;

const EPSILON: f64 = f32::EPSILON as f64;

fn each_isa(mut check: impl FnMut(&Kernels)) {
    for isa in Isa::available() {
        for threads in [1, 3] {
            check(&Kernels::new(isa, threads).expect("threads start"));
        }
    }
}

/// Random rows in `dtype`. Types that are not written get random bytes: any bytes are blocks. Kept are those whose values
/// neither overflow nor underflow when they are multiplied.
fn matrix(dtype: DType, rows: usize, cols: usize, rng: &mut Rng) -> Tensor {
    let mut bytes = vec![0; rows * cols / dtype.block_len() * dtype.block_bytes()];
    let codec = codec(dtype).expect("a type with a codec");
    match codec.encode {
        Some(encode) => encode(&rng.normals(rows * cols, 1.0), None, &mut bytes),
        None => {
            let mut values = vec![0.0_f32; dtype.block_len()];
            let usual = |x: &f32| *x == 0.0 || (1e-20..1e30).contains(&x.abs());
            for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
                loop {
                    block.iter_mut().for_each(|byte| *byte = rng.below(256) as u8);
                    (codec.decode)(block, &mut values);
                    if values.iter().all(usual) {
                        break;
                    }
                }
            }
        }
    }
    Tensor::new(dtype, Shape::matrix(rows, cols), bytes.into()).expect("the size is right")
}

fn decoded(matrix: Matrix<'_>) -> Vec<f32> {
    let mut values = vec![0.0; matrix.rows() * matrix.cols()];
    (codec(matrix.dtype()).expect("a type with a codec").decode)(matrix.bytes(), &mut values);
    values
}

/// What a matrix of integer codes is multiplied with: each group of 256 activations rounded to 127 steps.
fn rounded(x: &[f32], cols: usize) -> Vec<f64> {
    let groups = x.chunks_exact(cols).flat_map(|row| row.chunks(256));
    groups
        .flat_map(|group| {
            let largest = group.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
            let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
            group.iter().map(move |x| f64::from((x * inverse).round_ties_even()) * f64::from(largest / 127.0))
        })
        .collect()
}

/// Activations of one kind, as a pass would have them.
struct Input {
    codes: Vec<i8>,
    sides: Vec<f32>,
}

impl Input {
    fn new(tokens: usize, cols: usize) -> Input {
        let (codes, sides) = Activations::room(tokens, cols);
        Input { codes: vec![0; codes], sides: vec![0.0; sides] }
    }

    fn of<'a>(&'a mut self, kernels: &Kernels, x: &'a [f32], cols: usize) -> Activations<'a> {
        kernels.quantize(x, cols, &mut self.codes, &mut self.sides)
    }
}

/// Products of floats in any order, of `n` terms whose magnitudes add up to `size`, are off by at most `n · ε · size`.
///
/// Products of codes are exact within a sub-block of at least 16; what is rounded are sums of sub-blocks, of codes moved
/// to the middle of their range (never more than the row's largest weight away) with activations moved by 128 steps.
#[test]
fn matmul_is_the_sum_of_products() {
    for &dtype in DType::ALL.iter().filter(|&&dtype| codec(dtype).is_some()) {
        // One block, an odd number of them, more than a tile, rows that no task divides; few columns and many.
        for (rows, blocks, tokens) in
            [(1, 1, 1), (5, 3, 1), (67, 9, 2), (33, 1, 7), (161, 5, 4), (67, 9, 13), (33, 3, 40)]
        {
            let cols = blocks * dtype.block_len();
            let mut rng = Rng::new(cols as u64);
            let w = matrix(dtype, rows, cols, &mut rng);
            let (values, x) = (decoded(w.matrix()), rng.normals(tokens * cols, 1.0));
            let integer = Kernels::rounds_activations(dtype);
            let used: Vec<f64> = if integer { rounded(&x, cols) } else { x.iter().map(|&x| f64::from(x)).collect() };
            each_isa(|kernels| {
                let mut out = vec![f32::NAN; tokens * rows];
                let mut input = Input::new(tokens, cols);
                kernels.matmul(w.matrix(), input.of(kernels, &x, cols), &mut out);
                for (i, &got) in out.iter().enumerate() {
                    let (t, r) = (i / rows, i % rows);
                    let (row, x) = (&values[r * cols..][..cols], &used[t * cols..][..cols]);
                    let terms = || row.iter().zip(x).map(|(&w, &x)| (f64::from(w), x));
                    let want: f64 = terms().map(|(w, x)| w * x).sum();
                    let tolerance = if integer {
                        let largest = row.iter().fold(0.0_f64, |m, &w| m.max(f64::from(w).abs()));
                        let step = x.iter().fold(0.0_f64, |m, x| m.max(x.abs())) / 127.0;
                        let size: f64 = terms().map(|(w, x)| (w.abs() + largest) * (x.abs() + 128.0 * step)).sum();
                        (2.0 * cols as f64 / 16.0 + 8.0) * EPSILON * size
                    } else {
                        cols as f64 * EPSILON * terms().map(|(w, x)| (w * x).abs()).sum::<f64>()
                    };
                    assert!(
                        (f64::from(got) - want).abs() <= tolerance,
                        "{kernels:?} {dtype} [{rows}, {cols}] × {tokens}, row {r}, token {t}: {got}, {want}"
                    );
                }
            });
        }
    }
}

#[test]
fn embedding_copies_rows() {
    let w = matrix(DType::Q8_0, 10, 64, &mut Rng::new(1));
    let values = decoded(w.matrix());
    each_isa(|kernels| {
        let mut out = vec![0.0; 2 * 64];
        kernels.embed(w.matrix(), &[TokenId(9), TokenId(0)], &mut out);
        assert_eq!((&out[..64], &out[64..]), (&values[9 * 64..], &values[..64]));
    });
}

#[test]
fn norms_rotations_and_gates_are_their_equations() {
    let mut rng = Rng::new(2);
    let (n, eps) = (100, 1e-5);
    let w = matrix(DType::F32, 1, n, &mut rng);
    let (weights, x) = (decoded(w.matrix()), rng.normals(3 * n, 2.0));
    let (cos, sin) = (rng.normals(3 * 6, 1.0), rng.normals(3 * 6, 1.0));
    each_isa(|kernels| {
        let mut out = vec![f32::NAN; 3 * n];
        kernels.rms_norm(&x, w.matrix(), eps, &mut out);
        for (t, row) in x.chunks_exact(n).enumerate() {
            let mean = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n as f64;
            for i in 0..n {
                let want = f64::from(row[i]) / (mean + f64::from(eps)).sqrt() * f64::from(weights[i]);
                // The mean is off by n·ε at most, its root by half of that, and three roundings follow.
                let tolerance = (n as f64 / 2.0 + 3.0) * EPSILON * want.abs();
                assert!((f64::from(out[t * n + i]) - want).abs() <= tolerance);
            }
        }

        // Heads of 20 of which 12 values turn.
        let mut turned = x.clone();
        kernels.rope(&cos, &sin, 6, 20, &mut turned);
        for (i, &got) in turned.iter().enumerate() {
            let (t, d) = (i / n, i % 20);
            let (x, pair) = (|i: usize| f64::from(x[i]), t * 6 + d % 6);
            let (c, s) = (f64::from(cos[pair]), f64::from(sin[pair]));
            let terms = match d {
                0..6 => [x(i) * c, -x(i + 6) * s],
                6..12 => [x(i) * c, x(i - 6) * s],
                _ => [x(i), 0.0],
            };
            let tolerance = 2.0 * EPSILON * (terms[0].abs() + terms[1].abs());
            assert!((f64::from(got) - terms[0] - terms[1]).abs() <= tolerance, "value {i}");
        }

        let mut turned = x.clone();
        kernels.rope_neighbours(&cos, &sin, 6, 20, &mut turned);
        for (i, &got) in turned.iter().enumerate() {
            let (t, d) = (i / n, i % 20);
            let (x, pair) = (|i: usize| f64::from(x[i]), t * 6 + d / 2 % 6);
            let (c, s) = (f64::from(cos[pair]), f64::from(sin[pair]));
            let terms = match (d < 12, d % 2) {
                (true, 0) => [x(i) * c, -x(i + 1) * s],
                (true, _) => [x(i) * c, x(i - 1) * s],
                (false, _) => [x(i), 0.0],
            };
            let tolerance = 2.0 * EPSILON * (terms[0].abs() + terms[1].abs());
            assert!((f64::from(got) - terms[0] - terms[1]).abs() <= tolerance, "value {i} beside its neighbour");
        }

        let mut gate = x.clone();
        kernels.silu_mul(&out, &mut gate);
        for ((&got, &g), &u) in gate.iter().zip(&x).zip(&out) {
            let want = f64::from(g) / (1.0 + (-f64::from(g)).exp()) * f64::from(u);
            assert!((f64::from(got) - want).abs() <= 8.0 * EPSILON * want.abs(), "silu({g}) · {u}");
        }
    });
}

#[test]
fn layer_norms_are_their_equation() {
    let eps = 1e-5;
    for n in [1, 7, 64, 100, 3000] {
        let mut rng = Rng::new(5);
        let (w, b) = (matrix(DType::F32, 1, n, &mut rng), matrix(DType::F32, 1, n, &mut rng));
        let (weights, biases) = (decoded(w.matrix()), decoded(b.matrix()));
        // Enough rows for threads, and a mean that is not small.
        let x: Vec<f32> = rng.normals(11 * n, 2.0).iter().map(|x| x + 3.0).collect();
        each_isa(|kernels| {
            let mut out = vec![f32::NAN; x.len()];
            kernels.layer_norm(&x, w.matrix(), b.matrix(), eps, &mut out);
            for (t, row) in x.chunks_exact(n).enumerate() {
                let row: Vec<f64> = row.iter().map(|&x| f64::from(x)).collect();
                let mean = row.iter().sum::<f64>() / n as f64;
                let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
                let scale = 1.0 / (variance + f64::from(eps)).sqrt();
                let size = row.iter().map(|x| x.abs()).sum::<f64>() / n as f64;
                for i in 0..n {
                    let (w, b) = (f64::from(weights[i]), f64::from(biases[i]));
                    let normed = (row[i] - mean) * scale;
                    // The mean is off by (n + 2) · ε of the mean magnitude, and so is what it is taken from; the scale by
                    // half of n · ε and by what a shifted mean adds to the variance, which is less.
                    let shifted = (n as f64 + 2.0) * EPSILON * size * scale * w.abs();
                    let rounded = (n as f64 + 4.0) * EPSILON * ((normed * w).abs() + b.abs());
                    let (got, want) = (f64::from(out[t * n + i]), normed * w + b);
                    assert!((got - want).abs() <= 2.0 * (shifted + rounded), "{kernels:?}, {n}: {got}, {want}");
                }
            }
        });
    }
}

/// Distance in units of the last place that `want` has as an `f32`.
fn ulps(got: f32, want: f64) -> f64 {
    let place = (want.abs() as f32).max(f32::MIN_POSITIVE);
    (f64::from(got) - want).abs() / f64::from(f32::from_bits(place.to_bits() + 1) - place)
}

#[test]
fn powers_of_e_are_off_by_two_units_at_most() {
    // Every 509th float from 0 to 88.7 and to −104, and what is special.
    let between = |from: f32, to: f32| (from.to_bits()..to.to_bits()).step_by(509).map(f32::from_bits);
    let x: Vec<f32> = between(1e-9, 88.72).chain(between(1e-9, 104.0).map(|x| -x)).chain([0.0, -0.0]).collect();
    each_isa(|kernels| {
        let mut out = x.clone();
        kernels.exp(&mut out);
        for (&x, &got) in x.iter().zip(&out) {
            let want = f64::from(x).exp();
            assert!(ulps(got, want) <= 2.0, "{kernels:?}: e^{x} = {got}, {want}");
        }
        let inf = f32::INFINITY;
        let mut special = [f32::NAN, inf, f32::NEG_INFINITY, 89.0, 1e30, -104.5, -1e30, 0.0];
        kernels.exp(&mut special);
        assert!(special[0].is_nan(), "{kernels:?}");
        assert_eq!(special[1..], [inf, 0.0, inf, inf, 0.0, 0.0, 1.0], "{kernels:?}");
    });
}

#[test]
fn gates_and_shares_are_their_equations() {
    let x: Vec<f32> = Rng::new(6).normals(40_003, 3.0);
    each_isa(|kernels| {
        let mut out = x.clone();
        kernels.gelu(&mut out);
        for (&x, &got) in x.iter().zip(&out) {
            let x = f64::from(x);
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            // e^(−2 · inner) is off by a few ε of its exponent, relatively.
            let want = x / (1.0 + (-2.0 * inner).exp());
            let tolerance = (8.0 + 8.0 * inner.abs()) * EPSILON * want.abs() + 1e-37;
            assert!((f64::from(got) - want).abs() <= tolerance, "{kernels:?}: gelu({x}) = {got}, {want}");
        }
        let limit = 2.5_f32;
        let mut out = x.clone();
        let up: Vec<f32> = x.iter().rev().copied().collect();
        kernels.gegelu(limit, &up, &mut out);
        for ((&x, &u), &got) in x.iter().zip(&up).zip(&out) {
            let (g, u) = (f64::from(x.min(limit)), f64::from(u.max(-limit).min(limit)));
            let want = g / (1.0 + (-1.702 * g).exp()) * (u + 1.0);
            // Of the sum `u + 1` the rounding stays, even where next to nothing of it does.
            let tolerance = (12.0 + 4.0 * g.abs()) * EPSILON * (want.abs() + g.abs());
            assert!((f64::from(got) - want).abs() <= tolerance, "{kernels:?}: gegelu({x}, {u}) = {got}, {want}");
        }
        for n in [1, 5, 16, 40, 1000] {
            let x = &x[..40_000];
            let mut out = x.to_vec();
            kernels.softmax(n, &mut out);
            for (row, got) in x.chunks_exact(n).zip(out.chunks_exact(n)) {
                let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
                for (&x, &got) in row.iter().zip(got) {
                    let want = f64::from(x).exp() / sum;
                    // Exponents are at most 40, rounded once; then e^x, a sum of n, and two roundings.
                    let tolerance = (40.0 + n as f64 + 8.0) * EPSILON * want;
                    assert!((f64::from(got) - want).abs() <= tolerance, "{kernels:?}, {n}: {got}, {want}");
                }
            }
        }
    });
}

/// Limits hide no infinity, and nothing that is no number.
#[test]
fn a_limit_hides_no_fault() {
    const INFINITY: f32 = f32::INFINITY;
    each_isa(|kernels| {
        for (gate, up) in [(INFINITY, 1.0), (-INFINITY, 1.0), (f32::NAN, 1.0), (1.0, INFINITY), (1.0, -INFINITY)] {
            // In the middle of vectors, and behind them.
            for at in [3, 40] {
                let (mut gates, mut ups) = ([0.5; 41], [0.5; 41]);
                (gates[at], ups[at]) = (gate, up);
                kernels.gegelu(20.0, &ups, &mut gates);
                let odd: Vec<usize> = (0..41).filter(|&i| !gates[i].is_finite()).collect();
                assert_eq!(odd, [at], "{kernels:?}: {gate}, {up}");
            }
        }
    });
}

#[test]
fn biases_and_factors_are_added_and_multiplied() {
    let mut rng = Rng::new(8);
    let (n, tokens) = (100, 30);
    let b = matrix(DType::F32, 1, n, &mut rng);
    let (biases, x) = (decoded(b.matrix()), rng.normals(tokens * n, 1.0));
    each_isa(|kernels| {
        let mut out = x.clone();
        kernels.add_bias(b.matrix(), &mut out);
        assert!(out.iter().enumerate().all(|(i, &got)| got == x[i] + biases[i % n]), "{kernels:?}");
        kernels.scale(0.125, &mut out);
        assert!(out.iter().enumerate().all(|(i, &got)| got == 0.125 * (x[i] + biases[i % n])), "{kernels:?}");
    });
}

#[test]
fn some_rows_are_taken_out_and_added_back() {
    let mut rng = Rng::new(11);
    let (n, all) = (200, 150);
    let x = rng.normals(all * n, 1.0);
    for step in [1, 3, 40, 151] {
        let tokens: Vec<u32> = (0..all as u32).skip(step / 2).step_by(step).collect();
        let shares = rng.normals(tokens.len(), 1.0);
        each_isa(|kernels| {
            let mut rows = vec![f32::NAN; tokens.len() * n];
            kernels.gather(&x, n, &tokens, &mut rows);
            for (row, &token) in rows.chunks_exact(n).zip(&tokens) {
                assert_eq!(row, &x[token as usize * n..][..n], "{kernels:?}");
            }
            let mut sums = x.clone();
            kernels.scatter_add(&rows, n, &tokens, &shares, &mut sums);
            for (t, (got, x)) in sums.chunks_exact(n).zip(x.chunks_exact(n)).enumerate() {
                let share = tokens.iter().position(|&token| token as usize == t).map_or(0.0, |i| f64::from(shares[i]));
                for (&got, &x) in got.iter().zip(x) {
                    let want = f64::from(x) + share * f64::from(x);
                    let tolerance = 2.0 * EPSILON * (1.0 + share.abs()) * f64::from(x.abs());
                    assert!((f64::from(got) - want).abs() <= tolerance, "{kernels:?}, {t}: {got}, {want}");
                }
            }
        });
    }
}

#[test]
#[should_panic(expected = "tokens ascend")]
fn a_row_is_not_added_twice() {
    let kernels = Kernels::new(Isa::Scalar, 1).expect("one thread");
    kernels.scatter_add(&[1.0; 4], 2, &[1, 1], &[1.0; 2], &mut [0.0; 4]);
}

/// Computes some rows in place: of `x`, with `up` and `angles` of the same tokens.
type OnRows<'a> = &'a dyn Fn(&[f32], &[f32], &[f32], &mut [f32]);

#[test]
fn many_rows_are_what_single_rows_are() {
    let mut rng = Rng::new(7);
    let (n, tokens) = (96, 150);
    let (w, x, up) = (matrix(DType::F32, 1, n, &mut rng), rng.normals(tokens * n, 1.0), rng.normals(tokens * n, 1.0));
    let angles = rng.normals(tokens * 12, 1.0);
    each_isa(|kernels| {
        let of = |f: OnRows<'_>| {
            let mut together = x.clone();
            f(&x, &up, &angles, &mut together);
            let mut apart = x.clone();
            for (t, out) in apart.chunks_exact_mut(n).enumerate() {
                f(&x[t * n..][..n], &up[t * n..][..n], &angles[t * 12..][..12], out);
            }
            assert_eq!(together, apart, "{kernels:?}");
        };
        of(&|x, _, _, out| kernels.rms_norm(x, w.matrix(), 1e-5, out));
        of(&|x, _, _, out| kernels.layer_norm(x, w.matrix(), w.matrix(), 1e-5, out));
        of(&|_, _, angles, out| kernels.rope(angles, angles, 12, 32, out));
        of(&|_, _, angles, out| kernels.rope_neighbours(angles, angles, 12, 32, out));
        of(&|_, up, _, out| kernels.silu_mul(up, out));
        of(&|_, up, _, out| kernels.add(up, out));
        of(&|_, up, _, out| kernels.gegelu(1.5, up, out));
        of(&|_, _, _, out| kernels.add_bias(w.matrix(), out));
        of(&|_, _, _, out| kernels.scale(0.3, out));
        of(&|_, _, _, out| kernels.gelu(out));
        of(&|_, _, _, out| kernels.softmax(n, out));
    });
}

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
    let asked = [(0, 1), (0, 17), (0, 130), (300, 1), (300, 3), (301, 64), (1100, 2)];
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
    assert_eq!(n, 44, "heads of 80 are not for blocks of 32");
    // Every head with every group, across the ends of vectors and tiles.
    let asked = [(0, 3), (0, 64), (300, 17), (300, 130)];
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

/// The equations in f64; and that batches leave no trace in what is kept.
#[test]
fn recurrences_are_their_equations() {
    let mut rng = Rng::new(10);
    for (channels, n_state, width, tokens) in [(5, 16, 4, 7), (64, 16, 4, 1), (130, 32, 2, 20), (70, 48, 1, 12)] {
        let negative = rng.normals(channels * n_state, 1.0).iter().map(|x| -x.abs()).collect::<Vec<_>>();
        let tensor = |values: &[f32], shape| {
            let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
            Tensor::new(DType::F32, shape, bytes.into()).expect("the size is right")
        };
        let mut normals = |n: usize| rng.normals(n, 1.0);
        let (d, w, bias) = (normals(channels), normals(channels * width), normals(channels));
        let (input, b_c, mut delta) =
            (normals(tokens * channels), normals(tokens * 2 * n_state), normals(tokens * channels));
        let (state, before) = (normals(channels * n_state), normals((width - 1) * channels));
        delta[0] = 40.0;
        let steps: Vec<f64> = delta.iter().map(|&x| f64::from(x).exp().ln_1p()).collect();

        let at = |x: &[f32], i: usize| f64::from(x[i]);
        let convolved: Vec<f64> = (0..tokens * channels)
            .map(|i| {
                let (t, c) = (i / channels, i % channels);
                let all = [&before[..], &input[..]].concat();
                let taps = (0..width).map(|k| at(&w, c * width + k) * at(&all, (t + k) * channels + c));
                let sum: f64 = at(&bias, c) + taps.sum::<f64>();
                sum / (1.0 + (-sum).exp())
            })
            .collect();
        let mut kept: Vec<f64> = state.iter().map(|&x| f64::from(x)).collect();
        let mut scanned = Vec::new();
        for t in 0..tokens {
            for c in 0..channels {
                let (step, x) = (steps[t * channels + c], f64::from(convolved[t * channels + c] as f32));
                let mut sum = at(&d, c) * x;
                for j in 0..n_state {
                    let s = &mut kept[c * n_state + j];
                    *s = (step * at(&negative, c * n_state + j)).exp() * *s + step * x * at(&b_c, t * 2 * n_state + j);
                    sum += at(&b_c, (2 * t + 1) * n_state + j) * *s;
                }
                scanned.push(sum);
            }
        }

        let (a, d) = (tensor(&negative, Shape::matrix(channels, n_state)), tensor(&d, Shape::vector(channels)));
        let (w, bias) = (tensor(&w, Shape::matrix(channels, width)), tensor(&bias, Shape::vector(channels)));
        each_isa(|kernels| {
            let run = |batch: usize| {
                let (mut state, mut before) = (state.clone(), before.clone());
                let (mut conv, mut out) = (vec![f32::NAN; input.len()], vec![f32::NAN; input.len()]);
                let mut delta = delta.clone();
                kernels.softplus(&mut delta);
                for (i, x) in input.chunks(batch * channels).enumerate() {
                    let from = i * batch * channels;
                    let conv = &mut conv[from..][..x.len()];
                    kernels.convolve(w.matrix(), bias.matrix(), x, &mut before, conv);
                    let b_c = &b_c[i * batch * 2 * n_state..][..x.len() / channels * 2 * n_state];
                    let (a, d, delta) = (a.matrix(), d.matrix(), &delta[from..][..x.len()]);
                    kernels.scan(Scan { a, d, delta, b_c, x: conv }, &mut state, &mut out[from..][..x.len()]);
                }
                (conv, out, state, before)
            };
            let (conv, out, left, before) = run(tokens);
            for batch in [1, 2, 5] {
                assert!(run(batch) == (conv.clone(), out.clone(), left.clone(), before.clone()), "{kernels:?}");
            }
            let all = [conv, out, left].concat();
            let want = convolved.iter().chain(&scanned).chain(&kept);
            for (got, want) in all.iter().zip(want) {
                assert!((f64::from(*got) - want).abs() <= 1e-4 * (1.0 + want.abs()), "{kernels:?}: {got}, {want}");
            }
            let last: Vec<f32> = input[input.len().saturating_sub(before.len())..].to_vec();
            assert_eq!(before[before.len() - last.len()..], last, "the last inputs are kept");
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

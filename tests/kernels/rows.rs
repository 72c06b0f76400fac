//! Norms, rotations, activations and sums, row by row.

use phi_kernels::{Isa, Kernels};
use phi_tensor::DType;
use phi_testkit::Rng;

use super::{EPSILON, decoded, each_isa, matrix};

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

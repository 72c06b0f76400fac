//! Recurrences over channels.

use phi_kernels::Scan;
use phi_tensor::{DType, Shape, Tensor};
use phi_testkit::Rng;

use super::each_isa;

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

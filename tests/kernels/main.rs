//! Every instruction set computes what the equations say, in f64 and without haste.
//!
//! Tolerances are derived: a sum of `n` products in f32, in any order, is off by at most `n · ε · Σ|a·b|`.

mod attention;
mod recurrence;
mod rows;

use phi_kernels::{Activations, Isa, Kernels};
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
/// neither overflow nor underflow when they are multiplied. So it is for all blocks of 256 under Miri, where encoding them
/// takes minutes.
fn matrix(dtype: DType, rows: usize, cols: usize, rng: &mut Rng) -> Tensor {
    let mut bytes = vec![0; rows * cols / dtype.block_len() * dtype.block_bytes()];
    let codec = codec(dtype).expect("a type with a codec");
    match codec.encode {
        Some(encode) if !cfg!(miri) || dtype.block_len() <= 32 => {
            encode(&rng.normals(rows * cols, 1.0), None, &mut bytes)
        }
        _ => {
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
    // One block, an odd number of them, more than a tile, rows that no task divides; few columns and many.
    let mut sizes = vec![(1, 1, 1), (5, 3, 1), (67, 9, 2), (33, 1, 7), (161, 5, 4), (67, 9, 13), (33, 3, 40)];
    if cfg!(miri) {
        sizes = vec![(3, 1, 1), (1, 1, 13)];
    }
    for &dtype in DType::ALL.iter().filter(|&&dtype| codec(dtype).is_some()) {
        for &(rows, blocks, tokens) in &sizes {
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

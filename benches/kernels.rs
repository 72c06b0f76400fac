//! Matrices times activations, for each format, instruction set and phase: bytes of weights a second in decode (from the
//! caches: from memory it is the memory that is measured), multiply-adds a second in prefill, beside what the machine's
//! instruction does alone.

#![allow(missing_docs, reason = "the harness generates its own main")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use phi_kernels::{Activations, Isa, Kernels};
use phi_quant::{codec, encode_plainly};
use phi_tensor::{DType, Shape, Tensor};
use phi_testkit::Rng;

const ROWS: usize = 1024;
const COLS: usize = 2048;
const THREADS: usize = 2;

/// Tokens of a decode step, of a few sequences, and of a prompt.
const PHASES: [(&str, usize); 3] = [("decode", 1), ("few", 4), ("prefill", 256)];

fn matmul(c: &mut Criterion) {
    use DType::{BF16, F16, F32, IQ4_NL, IQ4_XS, Q2_K, Q3_K, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0};
    let mut random = Rng::new(1);
    let values = random.normals(ROWS * COLS, 1.0);
    for isa in Isa::available() {
        let kernels = Kernels::new(isa, THREADS).expect("two threads start");
        if let Some(peak) = kernels.peak_dot() {
            println!("{isa}: products alone, {THREADS} threads: {:.0} G/s", peak / 1e9);
        }
        for dtype in [Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, F16, BF16, F32] {
            let encode = codec(dtype).and_then(|codec| codec.encode).expect("a type that can be written");
            let mut bytes = vec![0; ROWS * COLS / dtype.block_len() * dtype.block_bytes()];
            let row_bytes = bytes.len() / ROWS;
            for (row, bytes) in values.chunks_exact(COLS).zip(bytes.chunks_exact_mut(row_bytes)) {
                encode(row, None, bytes);
            }
            let n_bytes = bytes.len() as u64;
            let w = Tensor::new(dtype, Shape::matrix(ROWS, COLS), bytes.into()).expect("the size is right");
            // Plain code is the definition: once is enough to see that it runs.
            for (phase, tokens) in PHASES.into_iter().take(if isa == Isa::Scalar { 1 } else { PHASES.len() }) {
                let x = &values[..tokens * COLS];
                let (codes, sides) = Activations::room(tokens, COLS);
                let (mut codes, mut sides, mut out) = (vec![0; codes], vec![0.0; sides], vec![0.0; tokens * ROWS]);
                let mut group = c.benchmark_group(format!("{phase}/{isa}"));
                group.throughput(match phase {
                    "prefill" => Throughput::Elements((tokens * ROWS * COLS) as u64),
                    _ => Throughput::Bytes(n_bytes),
                });
                group.bench_function(BenchmarkId::from_parameter(dtype), |b| {
                    b.iter(|| {
                        let x = kernels.quantize(x, COLS, &mut codes, &mut sides);
                        kernels.matmul(w.matrix(), x, &mut out);
                    });
                });
            }
        }
    }
}

/// Packing one row, on one thread, with the instruction set of this machine and with that of any.
fn encode(c: &mut Criterion) {
    let values = Rng::new(2).normals(COLS, 0.02);
    let mut group = c.benchmark_group("encode");
    group.throughput(Throughput::Elements(COLS as u64));
    for &dtype in DType::ALL {
        let Some(encode) = codec(dtype).and_then(|codec| codec.encode) else { continue };
        let mut bytes = vec![0; COLS / dtype.block_len() * dtype.block_bytes()];
        group.bench_function(BenchmarkId::new("here", dtype), |b| b.iter(|| encode(&values, None, &mut bytes)));
        group.bench_function(BenchmarkId::new("anywhere", dtype), |b| {
            b.iter(|| encode_plainly(dtype, &values, None, &mut bytes));
        });
    }
}

criterion_group!(benches, matmul, encode);
criterion_main!(benches);

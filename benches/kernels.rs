//! Matrix × vector and matrix × matrix, for each format and instruction set: bytes of weights a second.

#![allow(missing_docs, reason = "the harness generates its own main")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use phi_kernels::{Isa, Kernels};
use phi_quant::{codec, encode_plainly};
use phi_tensor::{DType, Shape, Tensor};
use phi_testkit::Rng;

const ROWS: usize = 1024;
const COLS: usize = 2048;

fn matmul(c: &mut Criterion) {
    let mut random = Rng::new(1);
    let values = random.normals(ROWS * COLS, 1.0);
    for isa in Isa::available() {
        let kernels = Kernels::new(isa, 2).expect("two threads start");
        for dtype in [DType::F32, DType::F16, DType::BF16, DType::Q8_0, DType::Q4_0] {
            let encode = codec(dtype).and_then(|codec| codec.encode).expect("a type that can be written");
            let mut bytes = vec![0; ROWS * COLS / dtype.block_len() * dtype.block_bytes()];
            encode(&values, None, &mut bytes);
            let n_bytes = bytes.len() as u64;
            let w = Tensor::new(dtype, Shape::matrix(ROWS, COLS), bytes.into()).expect("the size is right");
            for tokens in [1, 32] {
                let (x, mut out) = (&values[..tokens * COLS], vec![0.0; tokens * ROWS]);
                let mut group = c.benchmark_group(format!("matmul/{isa}/{tokens}"));
                group.throughput(Throughput::Bytes(n_bytes));
                group.bench_function(BenchmarkId::from_parameter(dtype), |b| {
                    b.iter(|| kernels.matmul(w.matrix(), x, &mut out));
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

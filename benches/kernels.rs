//! Matrices times activations, for each format, instruction set and phase: bytes of weights a second in decode (from the
//! caches: from memory it is the memory that is measured), multiply-adds a second in prefill, beside what the machine's
//! instruction does alone. Attention likewise, with the caches of two models.

#![allow(missing_docs, reason = "the harness generates its own main")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use phi_kernels::{Activations, Attention, Blocks, Isa, Kernels};
use phi_quant::{codec, encode_plainly};
use phi_tensor::{DType, Matrix, Shape, Tensor};
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

/// Attention at the end of 4096 positions: bytes of keys and values a second in decode, from memory; multiply-adds a
/// second in prefill, softmax included.
fn attention(c: &mut Criterion) {
    const N_CTX: usize = 4096;
    const N_BATCH: usize = 512;
    /// Bytes of all layers' caches: more than the processor's caches hold.
    const CACHE_BYTES: usize = 256 << 20;
    // The sparse layers of Phi-3-small beside its dense ones: what leaving blocks out saves.
    let sparse = Blocks { len: 64, local: 16, stride: 8, shift: 1 };
    // Heads, key heads, values in a head.
    for (model, n_head, n_head_kv, head_dim, blocks) in [
        ("phi-4-mini", 24, 8, 128, None),
        ("phi-3-mini", 32, 32, 96, None),
        ("phi-3-small", 32, 8, 128, None),
        ("phi-3-small sparse", 32, 8, 128, Some(sparse)),
    ] {
        let scale = 1.0 / (head_dim as f32).sqrt();
        let a = Attention { n_head, n_head_kv, head_dim, scale, window: None, blocks, paired: false };
        let mut random = Rng::new(3);
        let rows = random.normals(N_CTX * n_head_kv * head_dim, 1.0);
        let q = random.normals(N_BATCH * n_head * head_dim, 1.0);
        for dtype in [DType::F16, DType::Q8_0] {
            let encode = codec(dtype).and_then(|codec| codec.encode).expect("a type that can be written");
            let mut bytes = vec![0; rows.len() / dtype.block_len() * dtype.block_bytes()];
            encode(&rows, None, &mut bytes);
            let layers = vec![(bytes.clone(), bytes.clone()); CACHE_BYTES.div_ceil(2 * bytes.len())];
            let matrix = |bytes| Matrix::new(dtype, n_head_kv * N_CTX, head_dim, bytes).expect("the size is right");
            for isa in Isa::available().into_iter().filter(|&isa| isa != Isa::Scalar) {
                let kernels = Kernels::new(isa, THREADS).expect("two threads start");
                for (phase, tokens) in [("decode", 1), ("prefill", N_BATCH)] {
                    let first = N_CTX - tokens;
                    let q = &q[..tokens * n_head * head_dim];
                    let mut room = vec![0.0; a.room(N_CTX, tokens)];
                    let mut out = vec![0.0; q.len()];
                    let mut group = c.benchmark_group(format!("attention/{model}/{phase}/{isa}"));
                    group.sample_size(20);
                    group.throughput(if tokens == 1 {
                        Throughput::Bytes((2 * a.keys_read(first) * bytes.len() / (n_head_kv * N_CTX)) as u64)
                    } else {
                        let each = Attention { n_head_kv: n_head, ..a };
                        let seen: usize = (first..N_CTX).map(|p| each.keys_read(p)).sum();
                        Throughput::Elements((2 * seen * head_dim) as u64)
                    });
                    let mut turn = layers.iter().cycle();
                    group.bench_function(BenchmarkId::from_parameter(dtype), |b| {
                        b.iter(|| {
                            let (k, v) = turn.next().expect("layers follow each other");
                            kernels.attention(a, first, q, matrix(k), matrix(v), &mut room, &mut out);
                        });
                    });
                }
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

criterion_group!(benches, matmul, attention, encode);
criterion_main!(benches);

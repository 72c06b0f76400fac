//! Published arithmetic, to the byte: weights by mixture, caches by type and context.

use phi_convert::{FileType, Rule};
use phi_plan::{Asked, MIXES, Quant, Subject};
use phi_runtime::{DType, RunOptions};

/// Bytes of all tensors, in the order of [`MIXES`].
const WEIGHTS: &[(&str, [u64; 8])] = &[
    (
        "phi-4",
        [
            29_319_843_840,
            15_576_944_640,
            12_026_695_680,
            10_496_184_320,
            9_055_703_040,
            8_379_863_040,
            7_369_543_680,
            5_912_432_640,
        ],
    ),
    (
        "phi-4-mini",
        [
            7_672_443_264,
            4_076_360_064,
            3_147_371_904,
            2_806_453_632,
            2_485_589_376,
            2_316_899_712,
            2_113_213_824,
            1_725_502_848,
        ],
    ),
    (
        "phi-3.5-moe",
        [
            83_752_285_952,
            44_499_007_232,
            34_358_576_896,
            29_715_341_056,
            25_345_236_736,
            23_597_784_832,
            20_031_960_832,
            15_264_378_624,
        ],
    ),
    (
        "phi-3-small",
        [
            14_788_362_240,
            7_859_896_320,
            6_070_042_624,
            5_321_359_360,
            4_616_716_288,
            4_270_686_208,
            3_792_535_552,
            3_069_018_112,
        ],
    ),
];

/// The same of older files, in MiB, where they differ: Q5_K_M, Q4_K_M, Q3_K_M, Q2_K.
const CLASSIC: &[(&str, [f64; 4])] = &[
    ("phi-4", [10_109.55, 8630.33, 7018.77, 5286.97]),
    ("phi-4-mini", [2708.32, 2368.57, 2011.57, 1596.82]),
    ("phi-3-small", [5125.84, 4399.84, 3610.84, 2746.84]),
];

/// Bytes that a position takes in a cache of f16, q8_0 and q4_0.
const CACHES: &[(&str, [u64; 3])] = &[
    ("phi-4", [204_800, 108_800, 57_600]),
    ("phi-4-mini", [131_072, 69_632, 36_864]),
    ("phi-3-small", [131_072, 69_632, 36_864]),
    ("phi-3.5-moe", [131_072, 69_632, 36_864]),
];

#[test]
fn weights_are_to_the_byte() {
    for (name, want) in WEIGHTS {
        let subject = Subject::known(name).unwrap();
        let got: Vec<_> = MIXES.iter().map(|&mix| subject.weights(Quant::of(mix)).bytes).collect();
        assert_eq!(got, want, "{name}");
    }
    let mixes = [FileType::Q5_K_M, FileType::Q4_K_M, FileType::Q3_K_M, FileType::Q2_K];
    for (name, want) in CLASSIC {
        let subject = Subject::known(name).unwrap();
        for (mix, want) in mixes.into_iter().zip(want) {
            let mib = subject.weights(Quant::Mix(mix, Rule::Classic)).bytes as f64 / f64::from(1 << 20);
            assert_eq!(format!("{mib:.2}"), format!("{want:.2}"), "{name} {mix:?}");
        }
    }
}

#[test]
fn parts_are_the_whole() {
    let subject = Subject::known("phi-4").unwrap();
    let weights = subject.weights(Quant::of(FileType::Q4_K_M));
    assert_eq!((weights.embedding, weights.head, weights.tied), (289_013_760, 421_478_400, false));
    // Two kinds of layers, and a norm.
    let mut kinds = weights.layers.clone();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(
        kinds.iter().map(|&b| format!("{:.2}", b as f64 / 1_048_576.0)).collect::<Vec<_>>(),
        ["182.85", "215.08"]
    );
    assert_eq!(weights.layers.iter().sum::<u64>() + weights.embedding + weights.head + 5120 * 4, weights.bytes);
    assert_eq!(weights.types.iter().map(|(_, n, _)| n).sum::<usize>(), 243);
}

/// Of 16 experts a token uses two: all are mapped, and fewer are read.
#[test]
fn experts_that_are_not_used_are_not_read() {
    let subject = Subject::known("phi-3.5-moe").unwrap();
    let need = subject.need(&Asked::new(Quant::of(FileType::F16)).with_ctx(4096)).unwrap();
    let idle = 2 * 32 * 14 * 3 * 4096 * 6400;
    assert_eq!((need.weights, need.parts.idle), (need.parts.bytes, idle));
    assert_eq!(need.token_bytes(), need.weights - idle - 2 * 32_064 * 4096 + 131_072 * 4096);
    // What is published: 6.6 billion of 42 are active.
    let vectors_and_routers = 2 * (32_064 + 2 * 4096 + 2 * 64 + 32 * (6 * 4096 + 2 * 1024 + 16 * 4096));
    assert_eq!((need.weights - idle - vectors_and_routers) / 2, 6_640_999_744 + 2 * 64);
    let dense = Subject::known("phi-4").unwrap();
    assert_eq!(dense.need(&Asked::new(Quant::of(FileType::Q4_K_M))).unwrap().parts.idle, 0);
}

#[test]
fn caches_are_to_the_byte() {
    for (name, want) in CACHES {
        let subject = Subject::known(name).unwrap();
        for mix in MIXES {
            for n_ctx in (11..=17).map(|log| 1 << log) {
                for (kv, per_token) in [DType::F16, DType::Q8_0, DType::Q4_0].into_iter().zip(want) {
                    let asked = Asked::new(Quant::of(*mix)).with_ctx(n_ctx).with_kv(kv);
                    let need = subject.need(&asked).unwrap();
                    assert_eq!((need.kv, need.kv_per_token), (per_token * n_ctx as u64, *per_token), "{name} {kv}");
                    let buffers: u64 = need.plan.rows().iter().map(|row| row.bytes).sum();
                    assert_eq!(need.total(), need.weights + buffers + need.base, "the plan is what is allocated");
                }
            }
        }
    }
    let subject = Subject::known("phi-4").unwrap();
    let four = Asked { sequences: 4, ..Asked::new(Quant::of(FileType::Q4_K_M)) };
    assert_eq!(subject.need(&four).unwrap().kv, 4 * 204_800 * 4096);
}

#[test]
fn batches_and_logits_are_what_compute_is() {
    let subject = Subject::known("phi-4-mini").unwrap();
    let of = |n_batch, all_logits| {
        let run = RunOptions { n_batch, all_logits, ..RunOptions::default() };
        subject.need(&Asked { run, ..Asked::new(Quant::of(FileType::Q4_0)) }).unwrap().compute
    };
    let (small, large) = (of(32, false), of(512, false));
    assert!(small < large / 4, "{small} {large}");
    // One row of logits is there already.
    assert_eq!(of(512, true) - large, 511 * 200_064 * 4);
}

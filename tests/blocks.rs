//! Blocks against ggml's own functions: what its C code reads and writes, ours reads and writes to the bit.
//!
//! The cases and their origin are described in `fixtures/README.md`.

use phi_quant::{Codec, codec, encode_plainly};
use phi_tensor::DType;
use phi_testkit::run_cases;
use phi_tests::fixture;
use serde_json::Value;

/// One line of `blocks.json`, with its bytes.
struct Case {
    name: String,
    dtype: DType,
    rows: usize,
    input: Vec<u8>,
    output: Vec<u8>,
    weights: Option<Vec<u8>>,
}

#[test]
fn decoding_is_exact() {
    let cases = cases("decode");
    for &dtype in DType::ALL.iter().filter(|&&dtype| dtype != DType::F32 && codec(dtype).is_some()) {
        assert!(cases.iter().any(|(_, (case, _))| case.dtype == dtype), "no case for {dtype}");
    }
    run_cases(cases, |(case, codec)| {
        let mut x = vec![0.0; case.output.len() / 4];
        (codec.decode)(&case.input, &mut x);
        let width = x.len() / case.rows;
        same(&floats(&case.output), &x, width, |a, b| a.to_bits() == b.to_bits())
    });
}

#[test]
fn every_type_is_read() {
    let missing: Vec<&DType> = DType::ALL.iter().filter(|&&dtype| codec(dtype).is_none()).collect();
    assert!(missing.is_empty(), "no codec for {missing:?}");
}

#[test]
fn encoding_is_exact() {
    let mut cases = cases("encode");
    cases.retain(|(_, (_, codec))| codec.encode.is_some());
    for &dtype in DType::ALL.iter().filter(|&&dtype| dtype != DType::F32) {
        let written = codec(dtype).is_some_and(|codec| codec.encode.is_some());
        assert!(!written || cases.iter().any(|(_, (case, _))| case.dtype == dtype), "no case for {dtype}");
    }
    run_cases(cases, |(case, codec)| {
        let encode = codec.encode.ok_or("there is no encoder")?;
        let (x, weights) = (floats(&case.input), case.weights.as_deref().map(floats));
        let width = case.output.len() / case.rows;
        let mut bytes = vec![0xaa; case.output.len()];
        // A row at a time: some encoders weigh a value by the size of its row.
        for (x, bytes) in x.chunks_exact(x.len() / case.rows).zip(bytes.chunks_exact_mut(width)) {
            encode(x, weights.as_deref(), bytes);
            let mut plain = vec![0x55; bytes.len()];
            encode_plainly(case.dtype, x, weights.as_deref(), &mut plain);
            same(bytes, &plain, width, |a, b| a == b).map_err(|e| format!("on any machine: {e}"))?;
        }
        same(&case.output, &bytes, width, |a, b| a == b)
    });
}

/// The cases of one operation whose type we read, where `gguf-py` disagrees (the sign of the scale of an all-zero Q4_0
/// block) those of the C code.
fn cases(op: &str) -> Vec<(String, (Case, &'static Codec))> {
    let list = std::fs::read(fixture("blocks.json")).expect("the fixture is there");
    let list: Value = serde_json::from_slice(&list).expect("the fixture is JSON");
    let bytes = std::fs::read(fixture("blocks.bin")).expect("the fixture is there");
    let all = list["cases"].as_array().expect("a list of cases");
    all.iter()
        .filter(|case| case["op"] == op && case["oracle"] != "gguf-py")
        .filter_map(|case| {
            let text = |key: &str| case[key].as_str().expect("a text").to_string();
            let number = |value: &Value| value.as_u64().expect("a number") as usize;
            let range = |key: &str| {
                let [start, len] = [0, 1].map(|i| number(&case[key][i]));
                bytes[start..][..len].to_vec()
            };
            let dtype = DType::from_name(&text("type")).expect("a type of ggml");
            let weights = case.get("weights").map(|_| range("weights"));
            let (rows, input, output) = (number(&case["rows"]), range("input"), range("output"));
            let case = Case { name: text("name"), dtype, rows, input, output, weights };
            Some((format!("{op} {dtype} {}", case.name), (case, codec(dtype)?)))
        })
        .collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// Compares rows of `width`.
fn same<T: std::fmt::Debug>(want: &[T], got: &[T], width: usize, same: impl Fn(&T, &T) -> bool) -> Result<(), String> {
    if want.len() != got.len() {
        return Err(format!("{} values, expected {}", got.len(), want.len()));
    }
    let differing: Vec<usize> = (0..want.len()).filter(|&i| !same(&want[i], &got[i])).collect();
    let Some(&i) = differing.first() else { return Ok(()) };
    Err(format!(
        "{} of {} differ, first [{}][{}]: {:?}, expected {:?}",
        differing.len(),
        want.len(),
        i / width,
        i % width,
        got[i],
        want[i]
    ))
}

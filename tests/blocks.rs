//! Blocks against ggml's own functions: what its C code reads and writes, ours reads and writes to the bit.
//!
//! The cases and their origin are described in `fixtures/README.md`.

use phi_quant::{Codec, codec};
use phi_tensor::DType;
use phi_testkit::run_cases;
use phi_tests::fixture;
use serde_json::Value;

/// One line of `blocks.json`, with its bytes.
struct Case {
    name: String,
    dtype: DType,
    oracle: String,
    input: Vec<u8>,
    output: Vec<u8>,
}

#[test]
fn decoding_is_exact() {
    let cases = cases("decode");
    for dtype in [DType::Q4_0, DType::Q4_K, DType::Q6_K, DType::Q8_0] {
        assert!(cases.iter().any(|(_, (case, _))| case.dtype == dtype), "no case for {dtype}");
    }
    run_cases(cases, |(case, codec)| {
        let mut x = vec![0.0; case.output.len() / 4];
        (codec.decode)(&case.input, &mut x);
        same(&floats(&case.output), &x, |a, b| a.to_bits() == b.to_bits())
    });
}

#[test]
fn encoding_is_exact() {
    // In these formats each value has one right code. K-quants search for scales: below.
    let exact = [DType::F16, DType::BF16, DType::Q8_0, DType::Q4_0];
    let mut cases = cases("encode");
    // Where two references disagree (the sign of the scale of an all-zero Q4_0 block), the C code is ours.
    cases.retain(|(_, (case, _))| exact.contains(&case.dtype) && case.oracle == "ggml");
    let n = run_cases(cases, |(case, codec)| {
        let mut bytes = vec![0xaa; case.output.len()];
        let encode = codec.encode.ok_or("there is no encoder")?;
        encode(&floats(&case.input), None, &mut bytes);
        same(&case.output, &bytes, |a, b| a == b)
    });
    assert_eq!(n, 62, "16 cases of F16 and BF16 each, 15 of Q8_0 and Q4_0 each");
}

#[test]
fn searched_scales_are_as_good() {
    let mut cases = cases("encode");
    cases.retain(|(_, (case, codec))| case.dtype.block_len() == 256 && codec.encode.is_some());
    run_cases(cases, |(case, codec)| {
        let x = floats(&case.input);
        let error = |bytes: &[u8]| {
            let mut back = vec![0.0; x.len()];
            (codec.decode)(bytes, &mut back);
            x.iter().zip(back).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>()
        };
        let mut bytes = vec![0xaa; case.output.len()];
        codec.encode.ok_or("there is no encoder")?(&x, None, &mut bytes);
        let (ours, theirs) = (error(&bytes), error(&case.output));
        // A tie that falls the other way moves the sum a little.
        if ours <= 1.01 * theirs { Ok(()) } else { Err(format!("squared error {ours}, ggml's {theirs}")) }
    });
}

/// The cases of one operation whose type we read.
fn cases(op: &str) -> Vec<(String, (Case, &'static Codec))> {
    let list = std::fs::read(fixture("blocks.json")).expect("the fixture is there");
    let list: Value = serde_json::from_slice(&list).expect("the fixture is JSON");
    let bytes = std::fs::read(fixture("blocks.bin")).expect("the fixture is there");
    let all = list["cases"].as_array().expect("a list of cases");
    all.iter()
        .filter(|case| case["op"] == op)
        .filter_map(|case| {
            let text = |key: &str| case[key].as_str().expect("a text").to_string();
            let range = |key: &str| {
                let [start, len] = [0, 1].map(|i| case[key][i].as_u64().expect("a number") as usize);
                bytes[start..][..len].to_vec()
            };
            let dtype = DType::from_name(&text("type")).expect("a type of ggml");
            let (input, output) = (range("input"), range("output"));
            let case = Case { name: text("name"), dtype, oracle: text("oracle"), input, output };
            Some((format!("{op} {dtype} {}", case.name), (case, codec(dtype)?)))
        })
        .collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn same<T: std::fmt::Debug>(want: &[T], got: &[T], same: impl Fn(&T, &T) -> bool) -> Result<(), String> {
    let differs = |(want, got): (&T, &T)| !same(want, got);
    match want.iter().zip(got).position(differs) {
        _ if want.len() != got.len() => Err(format!("{} values, expected {}", got.len(), want.len())),
        None => Ok(()),
        Some(i) => {
            let count = want.iter().zip(got).filter(|&pair| differs(pair)).count();
            Err(format!("{count} of {} differ, first [{i}]: {:?}, expected {:?}", want.len(), got[i], want[i]))
        }
    }
}

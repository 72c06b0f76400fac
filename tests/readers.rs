//! What we write, read by somebody else's reader.

use std::path::Path;

use phi_gguf::{Array, Blueprint, Header, Strings, Value, WriteOptions, Writer};
use phi_tensor::{DType, Shape};
use phi_testkit::run_cases;
use phi_tests::models::Converted;
use phi_tests::{fixture, workspace};

/// What gguf-rs 0.1.8 reads is what we wrote: names, shapes, types, offsets, metadata.
///
/// Sizes are compared where gguf-rs is right. It counts 256 values to a block in every type from Q2_K on, so sizes of the
/// plain types I8 to F64 and BF16 and of the 32-value types IQ4_NL and MXFP4 are wrong; so is Q8_1, for which it counts
/// two sums. It does not know the types from NVFP4 on and panics at the first. It shows NaN and infinity as null, and
/// strings with characters replaced where they are not UTF-8; neither is written here.
#[test]
fn another_reader_agrees() {
    let mut file = Blueprint::new();
    file.set("general.architecture", "phi3");
    file.set("general.alignment", 64_u32);
    let scalars: [Value; 11] = [
        250_u8.into(),
        (-100_i8).into(),
        65_000_u16.into(),
        (-32_000_i16).into(),
        4_000_000_000_u32.into(),
        (-2_000_000_000_i32).into(),
        1e-5_f32.into(),
        u64::MAX.into(),
        i64::MIN.into(),
        std::f64::consts::PI.into(),
        true.into(),
    ];
    scalars.into_iter().enumerate().for_each(|(i, value)| file.set(&format!("x.{i}"), value));
    file.set("x.text", "naïve ▁ 模型");
    file.set("x.counts", vec![1_i32, -2, 3]);
    file.set("x.bools", Value::Array(Array::Bool(vec![true, false])));
    file.set("tokenizer.ggml.tokens", ["<s>", "▁a", "b"].iter().collect::<Strings>());
    file.set("tokenizer.ggml.scores", vec![0.5_f32, -1.25, 3e-7]);
    for &dtype in DType::ALL.iter().filter(|dtype| dtype.id() < DType::NVFP4.id()) {
        file.tensor(format!("t.{dtype}"), dtype, Shape::new(&[2, 3, 2 * dtype.block_len() as u64]).expect("small"));
    }

    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("all.gguf");
    let mut writer = Writer::create(&path, file.clone(), &WriteOptions::default()).expect("nothing is in the way");
    for tensor in file.tensors() {
        writer.write(&vec![0; tensor.bytes() as usize]).expect("room");
    }
    writer.finish().expect("room");
    compare(&path, 64);
}

/// A folder that transformers saved, converted: random weights in every type we write, and phi-tiny with all its words.
#[test]
fn another_reader_agrees_on_models() {
    let sharded = fixture("phi3-sharded");
    for dtype in ["F32", "F16", "BF16", "Q8_0", "Q4_0"] {
        compare(&Converted::from(&sharded, dtype).path(), 32);
    }
    compare(&Converted::from(&workspace().join("tools/phi-tiny/phi-tiny"), "Q8_0").path(), 32);
}

/// Types whose size gguf-rs gets wrong.
const WRONG_SIZE: [DType; 9] = {
    use DType::{BF16, F64, I8, I16, I32, I64, IQ4_NL, MXFP4, Q8_1};
    [I8, I16, I32, I64, F64, BF16, IQ4_NL, MXFP4, Q8_1]
};

fn compare(path: &Path, alignment: u64) {
    let header = Header::parse(&std::fs::read(path).expect("the file is there")).expect("we read what we write");
    let mut theirs = gguf_rs::get_gguf_container_array_size(path.to_str().expect("a plain path"), u64::MAX)
        .expect("gguf-rs opens the file");
    let theirs = theirs.decode().expect("gguf-rs reads the file");

    assert_eq!(theirs.get_version(), "v3");
    assert_eq!((theirs.alignment(), theirs.data_offset()), (alignment, header.data_start));
    assert_eq!(theirs.tensors().len(), header.tensors.len());
    run_cases(header.tensors.iter().zip(theirs.tensors()).map(|pair| (&pair.0.name, pair)), |(ours, theirs)| {
        let fastest_first: Vec<u64> = ours.shape.dims().iter().rev().copied().collect();
        assert_eq!((&theirs.name, theirs.kind, &theirs.shape), (&ours.name, ours.dtype.id(), &fastest_first));
        assert_eq!(header.data_start + theirs.offset, ours.start);
        if !WRONG_SIZE.contains(&ours.dtype) {
            assert_eq!(theirs.size, ours.bytes);
        }
        Ok(())
    });
    assert_eq!(theirs.metadata().len(), header.metadata.entries().len());
    run_cases(header.metadata.entries().iter().map(|entry| (&entry.key, entry)), |entry| {
        let theirs = theirs.metadata().get(&entry.key).ok_or("is not there")?;
        if agrees(&entry.value, theirs) { Ok(()) } else { Err(format!("{:?} is {theirs}", entry.value)) }
    });
}

fn agrees(ours: &Value, theirs: &serde_json::Value) -> bool {
    let integer = |x: i128| theirs.as_number().and_then(|y| y.as_i128()) == Some(x);
    match ours {
        Value::U8(x) => integer((*x).into()),
        Value::I8(x) => integer((*x).into()),
        Value::U16(x) => integer((*x).into()),
        Value::I16(x) => integer((*x).into()),
        Value::U32(x) => integer((*x).into()),
        Value::I32(x) => integer((*x).into()),
        Value::U64(x) => integer((*x).into()),
        Value::I64(x) => integer((*x).into()),
        // They show the shortest decimal that leads back.
        Value::F32(x) => theirs.as_f64().is_some_and(|y| y as f32 == *x),
        Value::F64(x) => theirs.as_f64() == Some(*x),
        Value::Bool(x) => theirs.as_bool() == Some(*x),
        Value::String(x) => theirs.as_str() == Some(x),
        Value::Array(array) => theirs.as_array().is_some_and(|theirs| {
            let element = |i| array.value(i).expect("an element");
            theirs.len() == array.len() && theirs.iter().enumerate().all(|(i, theirs)| agrees(&element(i), theirs))
        }),
    }
}

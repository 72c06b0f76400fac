//! Files that lie, each in one way: a row of the table says what is wrong with a valid model, and what we say about it.
//!
//! Every message names the field's path, the byte where a byte exists to point at, the value and the limit. No row takes
//! a megabyte. Rows 86 to 120, of words and templates, and 123 to 126, which need a forward pass, are tested
//! where those are.

mod header;
mod model;
mod row;
mod tensors;

use std::sync::LazyLock;

use phi_testkit::{RawGguf, RawValue, TinyPhi3, caught, run_cases};
use phi_tests::heap::{self, Counting};

use row::load;

#[global_allocator]
static HEAP: Counting = Counting;

/// The contract allows 64 MiB beyond the file; no lie in the table is worth one.
const HEAP_BYTES: i64 = 1 << 20;

/// What every row changes in one place.
static VALID: LazyLock<RawGguf> = LazyLock::new(|| TinyPhi3::default().gguf());

/// Files that lie, and what we answer.
#[test]
fn every_lie_has_its_answer() {
    let rows = [
        header::header(),
        header::metadata(),
        tensors::tensors(),
        model::hyper_parameters(),
        tensors::splits(),
        model::numbers(),
    ]
    .concat();
    let n = run_cases(rows.iter().map(|row| (format!("{} ({})", row.id, row.what), row)), |row| {
        let bytes = (row.make)(VALID.clone());
        let file_bytes = bytes.len() as u64;
        let (answer, heap) = heap::of_this_thread(|| load(bytes));
        if heap.peak > HEAP_BYTES {
            return Err(format!("took {heap:?}"));
        }
        row.judge(answer, file_bytes)
    });
    assert_eq!(n, 95, "rows 00 to 85, 121, 122, 127, 128, and five of our own");
}

/// A file cut anywhere in its header is refused, and one cut in its data too.
#[test]
fn a_file_may_end_anywhere() {
    let (header_len, bytes) = swept();
    let data_len = bytes.len() - header_len;
    let cuts = (0..header_len).chain((0..64).map(|i| header_len + i * data_len / 64));
    let n = run_cases(cuts.map(|cut| (format!("cut at {cut}"), cut)), |cut| {
        let (answer, heap) = heap::of_this_thread(|| load(bytes[..cut].to_vec()).err());
        match answer {
            None => Err("was accepted".into()),
            Some(_) if heap.peak > HEAP_BYTES => Err(format!("{heap:?}")),
            Some(_) => Ok(()),
        }
    });
    assert_eq!(n, header_len + 64);
}

/// Whatever single bit of the header is wrong, there is an answer: a model, or an error that can be printed.
#[test]
fn any_bit_may_be_wrong() {
    let (header_len, bytes) = swept();
    let n = run_cases((0..8 * header_len).map(|bit| (format!("byte {} bit {}", bit / 8, bit % 8), bit)), |bit| {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        has_an_answer(flipped)
    });
    assert_eq!(n, 8 * header_len);
}

/// Whatever number stands anywhere in the header, there is an answer.
#[test]
fn any_number_may_be_extreme() {
    const NUMBERS: [u64; 8] = [0, 1, u32::MAX as u64, 1 << 31, 1 << 32, 1 << 60, 1 << 63, u64::MAX];
    let (header_len, bytes) = swept();
    let places = (0..header_len).flat_map(|at| NUMBERS.map(|number| (at, number)));
    let n = run_cases(places.map(|(at, number)| (format!("{number} at {at}"), (at, number))), |(at, number)| {
        let mut changed = bytes.clone();
        changed[at..][..8].copy_from_slice(&number.to_le_bytes());
        has_an_answer(changed)
    });
    assert_eq!(n, NUMBERS.len() * header_len);
}

fn has_an_answer(bytes: Vec<u8>) -> Result<(), String> {
    let (answer, heap) = heap::of_this_thread(|| caught(|| load(bytes)));
    match answer? {
        _ if heap.peak > HEAP_BYTES => Err(format!("{heap:?}")),
        Err(refusal) if refusal.text.is_empty() => Err("refused without a word".into()),
        _ => Ok(()),
    }
}

/// The smallest model, with a value of each type: the length of its header, and the file.
fn swept() -> (usize, Vec<u8>) {
    let mut file = TinyPhi3::smallest().gguf();
    file.set("x.u8", 1_u8);
    file.set("x.i16", -1_i16);
    file.set("x.u64", 1_u64);
    file.set("x.f64", 1.0_f64);
    file.set("x.bool", true);
    file.set("x.strings", RawValue::strings(["ab", "", "c"]));
    file.set("x.bools", RawValue::array(7, 3, &[0, 1, 1]));
    file.set("x.i8s", vec![1_i8, 2]);
    file.set("x.f32s", vec![1.0_f32, 2.0]);
    file.set("x.i64s", vec![1_i64, 2]);
    (file.header_bytes().len(), file.bytes())
}

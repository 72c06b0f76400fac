//! Files that lie, each in one way: a row of the table says what is wrong with a valid model, and what we say about it.
//!
//! Every message names the field's path, the byte where a byte exists to point at, the value and the limit. No row takes
//! a megabyte. Rows 86 to 120, of words and templates, and 123 to 126, which need a forward pass, are tested
//! where those are.

use std::sync::LazyLock;

use phi_gguf::Gguf;
use phi_model::Model;
use phi_testkit::{RawEntry, RawGguf, RawTensor, RawValue, TinyPhi3, caught, run_cases};
use phi_tests::heap::{self, Counting};

#[global_allocator]
static HEAP: Counting = Counting;

/// The contract allows 64 MiB beyond the file; no lie in the table is worth one.
const HEAP_BYTES: i64 = 1 << 20;

/// Files that lie, and what we answer.
#[test]
fn every_lie_has_its_answer() {
    let rows = [header(), metadata(), tensors(), hyper_parameters(), splits(), numbers()].concat();
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

static VALID: LazyLock<RawGguf> = LazyLock::new(|| TinyPhi3::default().gguf());

/// Which door a file failed at.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Door {
    /// It is no sound container.
    File,
    /// It is one, but no model we can run.
    Model,
}

struct Refusal {
    door: Door,
    /// The message, and the hint where there is one.
    text: String,
}

/// Reads a file as far as it goes; returns the warnings.
fn load(bytes: Vec<u8>) -> Result<Vec<String>, Refusal> {
    let gguf = Gguf::from_bytes(bytes.into()).map_err(|e| {
        let hint = e.hint().map_or(String::new(), |hint| format!("\nhint: {hint}"));
        Refusal { door: Door::File, text: format!("{e}{hint}") }
    })?;
    let model = Model::bind(&gguf).map_err(|e| Refusal { door: Door::Model, text: e.to_string() })?;
    let of_file = gguf.warnings().iter().map(ToString::to_string);
    Ok(of_file.chain(model.unused_tensors().iter().map(|name| format!("{name} is not used"))).collect())
}

#[derive(Clone)]
struct Row {
    id: &'static str,
    what: &'static str,
    make: fn(RawGguf) -> Vec<u8>,
    answer: Answer,
}

#[derive(Clone)]
enum Answer {
    Loads,
    /// Loads, with one warning that contains this.
    Warns(&'static str),
    /// Refused with a message that names the field, the place, and all of these facts.
    Refused(Door, &'static str, At, &'static [&'static str]),
}

/// Where a message points.
#[derive(Clone, Copy)]
enum At {
    Byte(u64),
    /// At some byte of the file.
    SomeByte,
    /// At none: what is missing has no place.
    NoByte,
}

use Answer::{Loads, Refused, Warns};
use At::{Byte, NoByte, SomeByte};

fn row(id: &'static str, what: &'static str, make: fn(RawGguf) -> Vec<u8>, answer: Answer) -> Row {
    Row { id, what, make, answer }
}

fn file(field: &'static str, at: At, facts: &'static [&'static str]) -> Answer {
    Refused(Door::File, field, at, facts)
}

fn model(field: &'static str, at: At, facts: &'static [&'static str]) -> Answer {
    Refused(Door::Model, field, at, facts)
}

impl Row {
    fn judge(&self, answer: Result<Vec<String>, Refusal>, file_bytes: u64) -> Result<(), String> {
        match (&self.answer, answer) {
            (Loads, Ok(warnings)) if warnings.is_empty() => Ok(()),
            (Warns(text), Ok(warnings)) if warnings.len() == 1 && warnings[0].contains(text) => Ok(()),
            (Loads | Warns(_), Ok(warnings)) => Err(format!("loads with {warnings:?}")),
            (Loads | Warns(_), Err(refusal)) => Err(format!("refused: {}", refusal.text)),
            (Refused(..), Ok(warnings)) => Err(format!("was accepted with {warnings:?}")),
            (&Refused(door, field, at, facts), Err(refusal)) => {
                let text = &refusal.text;
                let said = match at {
                    NoByte => text.contains(&format!("{field}: ")),
                    Byte(n) => text.contains(&format!("{field} at {n}: ")),
                    SomeByte => some_byte(text, field).is_some_and(|n| n < file_bytes),
                };
                let missing = facts.iter().find(|fact| !text.contains(**fact));
                match missing {
                    _ if refusal.door != door => Err(format!("refused as a {:?}: {text}", refusal.door)),
                    _ if !said => Err(format!("does not say `{field}` and where: {text}")),
                    Some(fact) => Err(format!("does not say `{fact}`: {text}")),
                    None => Ok(()),
                }
            }
        }
    }
}

/// The number in `FIELD at NUMBER: `.
fn some_byte(text: &str, field: &str) -> Option<u64> {
    let rest = text.split_once(&format!("{field} at "))?.1;
    rest.split_once(": ")?.0.parse().ok()
}

/// Puts the key `x` second.
fn second(mut file: RawGguf, value: impl Into<RawValue>) -> Vec<u8> {
    file.entries.insert(1, RawEntry::new("x", value));
    file.bytes()
}

/// Puts a key first.
fn first_key(mut file: RawGguf, key: &[u8], key_len: Option<u64>) -> Vec<u8> {
    file.entries.insert(0, RawEntry { key_len, ..RawEntry::new(key, 1_u32) });
    file.bytes()
}

fn with(mut file: RawGguf, key: &str, value: impl Into<RawValue>) -> Vec<u8> {
    file.set(key, value);
    file.bytes()
}

/// Changes the first tensor.
fn first_tensor(mut file: RawGguf, change: impl FnOnce(&mut RawTensor)) -> Vec<u8> {
    change(&mut file.tensors[0]);
    file.bytes()
}

fn header() -> Vec<Row> {
    vec![
        row("00", "control", |f| f.bytes(), Loads),
        row("01", "0 bytes", |_| Vec::new(), file("header", NoByte, &["file has 0 bytes, need 24"])),
        row("02", "4 bytes", |_| b"GGUF".to_vec(), file("header.version", Byte(4), &["end of file"])),
        row(
            "03",
            "magic FUGG",
            |f| RawGguf { magic: *b"FUGG", ..f }.bytes(),
            file("header.magic", Byte(0), &["\"FUGG\"", "hint: this looks like a byte-swapped"]),
        ),
        row(
            "04",
            "magic of an interrupted write",
            |f| RawGguf { magic: [0; 4], ..f }.bytes(),
            file("header.magic", Byte(0), &["all zero", "hint: writing this file was interrupted"]),
        ),
        row(
            "05",
            "version 0",
            |f| RawGguf { version: 0, ..f }.bytes(),
            file("header.version", Byte(4), &["0, supported 2..=3"]),
        ),
        row(
            "06",
            "version 1",
            |f| RawGguf { version: 1, ..f }.bytes(),
            file("header.version", Byte(4), &["1, supported 2..=3", "hint: version 1 files"]),
        ),
        row(
            "07",
            "version 4",
            |f| RawGguf { version: 4, ..f }.bytes(),
            file("header.version", Byte(4), &["4, newer than this program"]),
        ),
        row(
            "08",
            "version of the other byte order",
            |f| RawGguf { version: 0x0300_0000, ..f }.bytes(),
            file("header.version", Byte(4), &["0x03000000", "hint: this is a big-endian file"]),
        ),
        row(
            "09",
            "n_tensors = 2^64-1",
            |f| RawGguf { n_tensors: Some(u64::MAX), ..f }.bytes(),
            file(
                "header.tensor_count",
                Byte(8),
                &["18446744073709551615 needs at least 442721857769029238760 bytes", " remain"],
            ),
        ),
        row(
            "10",
            "n_tensors = 2^55",
            |f| RawGguf { n_tensors: Some(1 << 55), ..f }.bytes(),
            file("header.tensor_count", Byte(8), &["36028797018963968 needs at least", " remain"]),
        ),
        row(
            "11",
            "n_kv = 2^64-1",
            |f| RawGguf { n_kv: Some(u64::MAX), ..f }.bytes(),
            file("header.kv_count", Byte(16), &["18446744073709551615 needs at least", " remain"]),
        ),
        row(
            "12",
            "n_kv = 5e8 in a short file",
            |f| RawGguf { n_kv: Some(500_000_000), tensors: Vec::new(), ..f }.bytes(),
            file("header.kv_count", Byte(16), &["500000000 needs at least 6500000000 bytes", " remain"]),
        ),
        row(
            "13",
            "n_kv one less than present",
            |f| RawGguf { n_kv: Some(f.entries.len() as u64 - 1), ..f }.bytes(),
            file("tensor[0] \"tokenizer.ggml.add_bos_token\".n_dims", SomeByte, &["7 dims, expected 1 to 4"]),
        ),
        row(
            "14",
            "n_tensors one less than present",
            |f| RawGguf { n_tensors: Some(f.tensors.len() as u64 - 1), ..f }.bytes(),
            model("output_norm.weight", NoByte, &["missing, required by phi3"]),
        ),
        row("15", "cut inside n_kv", |f| f.bytes()[..20].to_vec(), file("header.kv_count", Byte(16), &["end of file"])),
    ]
}

fn metadata() -> Vec<Row> {
    vec![
        row(
            "16",
            "key length 2^64-1",
            |f| first_key(f, b"x", Some(u64::MAX)),
            file("kv[0].key length", Byte(24), &["18446744073709551615 exceeds 65535"]),
        ),
        row(
            "17",
            "key length 2^31",
            |f| first_key(f, b"x", Some(1 << 31)),
            file("kv[0].key length", Byte(24), &["2147483648 exceeds 65535"]),
        ),
        row("18", "key length 0", |f| first_key(f, b"", None), file("kv[0].key", Byte(24), &["empty"])),
        row(
            "19",
            "key not UTF-8",
            |f| first_key(f, b"\xff\xfe", None),
            file("kv[0].key", Byte(24), &["not UTF-8 at byte 0"]),
        ),
        row(
            "20",
            "key with NUL",
            |f| first_key(f, b"a\0b", None),
            file("kv[0].key \"a\\u{0}b\"", Byte(24), &["control character"]),
        ),
        row(
            "20b",
            "key beyond ASCII",
            |f| first_key(f, "schlüssel".as_bytes(), None),
            Warns("key \"schlüssel\" is not ASCII"),
        ),
        row(
            "21",
            "key of 70000 bytes",
            |f| first_key(f, &[b'k'; 70_000], None),
            file("kv[0].key length", Byte(24), &["70000 exceeds 65535"]),
        ),
        row(
            "22",
            "duplicate key",
            |mut f| {
                f.entries.push(RawEntry::new("general.alignment", 64_u32));
                f.bytes()
            },
            file("kv[21].key general.alignment", SomeByte, &["duplicate of kv[1]"]),
        ),
        row(
            "23",
            "value type 13",
            |f| second(f, RawValue { ty: 13, bytes: vec![0; 4] }),
            file("kv[1] x", SomeByte, &["value type 13 unknown"]),
        ),
        row(
            "24",
            "value type 2^32-1",
            |f| second(f, RawValue { ty: u32::MAX, bytes: vec![0; 4] }),
            file("kv[1] x", SomeByte, &["value type 4294967295 unknown"]),
        ),
        row(
            "25",
            "string length 2^64-1",
            |f| second(f, RawValue::string(u64::MAX, b"a")),
            file("kv[1] x length", SomeByte, &["18446744073709551615 exceeds 16777216"]),
        ),
        row(
            "26",
            "string length 1 GiB",
            |f| second(f, RawValue::string(1 << 30, b"a")),
            file("kv[1] x length", SomeByte, &["1073741824 exceeds 16777216"]),
        ),
        row(
            "26b",
            "string length 16 MiB, the limit",
            |f| second(f, RawValue::string(16 << 20, b"a")),
            file("kv[1] x length", SomeByte, &["length 16777216 exceeds the", "bytes that remain"]),
        ),
        row(
            "27",
            "string length 2^63",
            |f| second(f, RawValue::string(1 << 63, b"a")),
            file("kv[1] x length", SomeByte, &["9223372036854775808 exceeds 16777216"]),
        ),
        row(
            "28",
            "u8 array of 2^64-1",
            |f| second(f, RawValue::array(0, u64::MAX, b"a")),
            file("kv[1] x array length", SomeByte, &["18446744073709551615 needs at least", "remain"]),
        ),
        row(
            "29",
            "u64 array of 2^61, whose size wraps",
            |f| second(f, RawValue::array(10, 1 << 61, b"a")),
            file(
                "kv[1] x array length",
                SomeByte,
                &["2305843009213693952 needs at least 18446744073709551616 bytes", "remain"],
            ),
        ),
        row(
            "30",
            "string array of 2^40",
            |f| second(f, RawValue::array(8, 1 << 40, b"a")),
            file("kv[1] x array length", SomeByte, &["1099511627776 needs at least 8796093022208 bytes", "remain"]),
        ),
        row(
            "31",
            "2^60 elements of an unknown type",
            |f| second(f, RawValue::array(99, 1 << 60, b"a")),
            file("kv[1] x", SomeByte, &["array element type 99 unknown"]),
        ),
        row(
            "32",
            "arrays nested 5000 deep",
            |f| {
                let level = [&9_u32.to_le_bytes()[..], &1_u64.to_le_bytes()].concat();
                second(f, RawValue { ty: 9, bytes: level.repeat(5000) })
            },
            file("kv[1] x", SomeByte, &["nested arrays are not supported"]),
        ),
        row(
            "33",
            "bool of 2",
            |f| second(f, RawValue { ty: 7, bytes: vec![2] }),
            file("kv[1] x", SomeByte, &["bool must be 0 or 1, not 2"]),
        ),
        row(
            "34",
            "alignment 0",
            |f| with(f, "general.alignment", 0_u32),
            file("general.alignment", SomeByte, &["0 is not a power of two"]),
        ),
        row(
            "35",
            "alignment 13",
            |f| with(f, "general.alignment", 13_u32),
            file("general.alignment", SomeByte, &["13 is not a power of two"]),
        ),
        row(
            "36",
            "alignment 2^31",
            |f| with(f, "general.alignment", 1_u32 << 31),
            file("general.alignment", SomeByte, &["2147483648 exceeds 4096"]),
        ),
        row(
            "37",
            "alignment of type i32",
            |f| with(f, "general.alignment", 32_i32),
            file("general.alignment", SomeByte, &["type i32, expected u32"]),
        ),
        row(
            "38",
            "alignment of type string",
            |f| with(f, "general.alignment", "32"),
            file("general.alignment", SomeByte, &["type str, expected u32"]),
        ),
    ]
}

fn tensors() -> Vec<Row> {
    vec![
        row(
            "39",
            "tensor name of 100 bytes",
            |f| first_tensor(f, |t| t.name = vec![b'n'; 100]),
            file("tensor[0].name length", SomeByte, &["100 exceeds 63"]),
        ),
        row(
            "40",
            "two tensors of one name",
            |mut f| {
                f.tensors[1].name = f.tensors[0].name.clone();
                f.bytes()
            },
            file("tensor[1] \"token_embd.weight\".name", SomeByte, &["duplicate of tensor[0]"]),
        ),
        row(
            "41",
            "empty tensor name",
            |mut f| {
                f.tensors[1].name.clear();
                f.bytes()
            },
            file("tensor[1].name", SomeByte, &["empty"]),
        ),
        row(
            "42",
            "n_dims 5",
            |f| first_tensor(f, |t| t.n_dims = Some(5)),
            file("tensor[0] \"token_embd.weight\".n_dims", SomeByte, &["5 dims, expected 1 to 4"]),
        ),
        row(
            "43",
            "n_dims 2^32-1",
            |f| first_tensor(f, |t| t.n_dims = Some(u32::MAX)),
            file("tensor[0] \"token_embd.weight\".n_dims", SomeByte, &["4294967295 dims, expected 1 to 4"]),
        ),
        row(
            "44",
            "n_dims 0",
            |mut f| {
                f.tensor_mut("output_norm.weight").dims.clear();
                f.bytes()
            },
            file("tensor[14] \"output_norm.weight\".n_dims", SomeByte, &["0 dims, expected 1 to 4"]),
        ),
        row(
            "45",
            "dimension -1",
            |f| first_tensor(f, |t| t.dims[1] = u64::MAX),
            file("tensor[0] \"token_embd.weight\".dims", SomeByte, &["dim[1] = 18446744073709551615 overflows"]),
        ),
        row(
            "46",
            "dimension 0",
            |f| first_tensor(f, |t| t.dims[1] = 0),
            file("tensor[0] \"token_embd.weight\".dims", SomeByte, &["dim[1] = 0"]),
        ),
        row(
            "47",
            "(2^63-1, 2) of I8",
            |f| first_tensor(f, |t| (t.dims, t.ty) = (vec![(1 << 63) - 1, 2], 24)),
            file(
                "tensor[0] \"token_embd.weight\".type",
                SomeByte,
                &["byte size of I8 [2, 9223372036854775807] overflows"],
            ),
        ),
        row(
            "48",
            "2^64-16 bytes, and padding",
            |f| first_tensor(f, |t| t.dims = vec![4, (1 << 30) - 1, (1 << 30) + 1]),
            file("tensor[0] \"token_embd.weight\".type", SomeByte, &["byte size of F32", "overflows"]),
        ),
        row(
            "49",
            "(2^40, 2^40)",
            |f| first_tensor(f, |t| t.dims = vec![1 << 40, 1 << 40]),
            file("tensor[0] \"token_embd.weight\".dims", SomeByte, &["element count overflows"]),
        ),
        row(
            "50",
            "2^42+1 rows, so that a stride wraps",
            |f| first_tensor(f, |t| t.dims[1] = (1 << 42) + 1),
            file("tensor[0] \"token_embd.weight\".offset", SomeByte, &["needs bytes", "file ends at"]),
        ),
        row(
            "51",
            "two tensors of 2^63-64, whose total wraps",
            |mut f| {
                let large = (1_u64 << 63) - 64;
                for (i, t) in f.tensors.iter_mut().take(2).enumerate() {
                    (t.dims, t.ty, t.offset) = (vec![large], 24, Some(i as u64 * large));
                }
                f.bytes()
            },
            file("tensor[0] \"token_embd.weight\".offset", SomeByte, &["needs bytes", "file ends at"]),
        ),
        row(
            "51b",
            "a tensor of 2^63-64 behind 2^63",
            |f| first_tensor(f, |t| (t.dims, t.ty, t.offset) = (vec![(1 << 63) - 64], 24, Some(1 << 63))),
            file(
                "tensor[0] \"token_embd.weight\".offset",
                SomeByte,
                &["offset 9223372036854775808 with 9223372036854775744 bytes overflows"],
            ),
        ),
        row(
            "52",
            "tensor type 200",
            |f| first_tensor(f, |t| t.ty = 200),
            file("tensor[0] \"token_embd.weight\".type", SomeByte, &["type 200 unknown"]),
        ),
        row(
            "53",
            "tensor type 4, removed",
            |f| first_tensor(f, |t| t.ty = 4),
            file("tensor[0] \"token_embd.weight\".type", SomeByte, &["type 4 (removed)"]),
        ),
        row(
            "54",
            "tensor type -1",
            |f| first_tensor(f, |t| t.ty = u32::MAX),
            file("tensor[0] \"token_embd.weight\".type", SomeByte, &["type 4294967295 unknown"]),
        ),
        row(
            "55",
            "Q4_K with rows of 64",
            |f| first_tensor(f, |t| t.ty = 12),
            file("tensor[0] \"token_embd.weight\".dims", SomeByte, &["row 64 not a multiple of 256 (Q4_K)"]),
        ),
        row(
            "56",
            "offset 2^64-1",
            |f| first_tensor(f, |t| t.offset = Some(u64::MAX)),
            file(
                "tensor[0] \"token_embd.weight\".offset",
                SomeByte,
                &["offset 18446744073709551615 with 67072 bytes overflows"],
            ),
        ),
        row(
            "57",
            "offset 1",
            |mut f| {
                f.tensors[1].offset = Some(1);
                f.bytes()
            },
            file("tensor[1] \"output.weight\".offset", SomeByte, &["1 is not a multiple of 32"]),
        ),
        row(
            "58",
            "two tensors at one offset",
            |mut f| {
                f.tensors[1].offset = Some(0);
                f.bytes()
            },
            file("tensor[1] \"output.weight\".offset", SomeByte, &["overlaps tensor[0] \"token_embd.weight\""]),
        ),
        row(
            "59",
            "last tensor behind the end",
            |mut f| {
                f.tensor_mut("output_norm.weight").offset = Some(1 << 40);
                f.bytes()
            },
            file("tensor[14] \"output_norm.weight\".offset", SomeByte, &["needs bytes 1099511", "file ends at"]),
        ),
        row(
            "60",
            "cut in the middle of the data",
            |f| {
                let bytes = f.bytes();
                bytes[..bytes.len() / 2].to_vec()
            },
            file(
                "tensor[6] \"blk.0.ffn_up.weight\".offset",
                SomeByte,
                &["needs bytes", "the download may be incomplete"],
            ),
        ),
        row(
            "61",
            "ends behind the tensor table",
            |f| f.header_bytes(),
            file(
                "tensor[0] \"token_embd.weight\".offset",
                SomeByte,
                &["needs bytes", "the download may be incomplete"],
            ),
        ),
        row(
            "62",
            "1 MiB of trailing bytes",
            |f| [f.bytes(), vec![7; 1 << 20]].concat(),
            Warns("1048576 trailing bytes"),
        ),
    ]
}

fn hyper_parameters() -> Vec<Row> {
    vec![
        row(
            "63",
            "no layers",
            |f| with(f, "phi3.block_count", 0_u32),
            model("phi3.block_count", SomeByte, &["0, must not be 0"]),
        ),
        row(
            "64",
            "2^32-1 layers",
            |f| with(f, "phi3.block_count", u32::MAX),
            model("phi3.block_count", SomeByte, &["4294967295, exceeds 1024"]),
        ),
        row(
            "65",
            "layers as text",
            |f| with(f, "phi3.block_count", "2"),
            model("phi3.block_count", SomeByte, &["type str, expected u32"]),
        ),
        row(
            "66",
            "a layer more than tensors",
            |f| with(f, "phi3.block_count", 3_u32),
            model("blk.2.attn_norm.weight", NoByte, &["missing, required by phi3", "and 1 more"]),
        ),
        row(
            "67",
            "no heads",
            |f| with(f, "phi3.attention.head_count", 0_u32),
            model("phi3.attention.head_count", SomeByte, &["0, must not be 0"]),
        ),
        row(
            "68",
            "no key heads",
            |f| with(f, "phi3.attention.head_count_kv", 0_u32),
            model("phi3.attention.head_count_kv", SomeByte, &["0, must not be 0"]),
        ),
        row(
            "69",
            "3 key heads for 2 heads",
            |f| with(f, "phi3.attention.head_count_kv", 3_u32),
            model("phi3.attention.head_count", SomeByte, &["2, not a multiple of head_count_kv 3"]),
        ),
        row(
            "70",
            "no width",
            |f| with(f, "phi3.embedding_length", 0_u32),
            model("phi3.embedding_length", SomeByte, &["0, must not be 0"]),
        ),
        row(
            "71",
            "width 96, tensors of 64",
            |f| with(f, "phi3.embedding_length", 96_u32),
            model("token_embd.weight", SomeByte, &["shape [262, 64], expected [262, 96]"]),
        ),
        row(
            "72",
            "feed-forward 64, tensors of 128",
            |f| with(f, "phi3.feed_forward_length", 64_u32),
            model("blk.0.ffn_down.weight", SomeByte, &["shape [64, 128], expected [64, 64]"]),
        ),
        row(
            "73",
            "31 rotated values",
            |f| with(f, "phi3.rope.dimension_count", 31_u32),
            model("phi3.rope.dimension_count", SomeByte, &["31, must be even"]),
        ),
        row(
            "74",
            "4096 rotated values",
            |f| with(f, "phi3.rope.dimension_count", 4096_u32),
            model("phi3.rope.dimension_count", SomeByte, &["4096, exceeds the head size 32"]),
        ),
        row(
            "75",
            "epsilon NaN",
            |f| with(f, "phi3.attention.layer_norm_rms_epsilon", f32::NAN),
            model("phi3.attention.layer_norm_rms_epsilon", SomeByte, &["NaN, must be finite", "to 1e0"]),
        ),
        row(
            "76",
            "rotation base 0",
            |f| with(f, "phi3.rope.freq_base", 0.0_f32),
            model("phi3.rope.freq_base", SomeByte, &["0, must be finite, from 1e0"]),
        ),
        row(
            "77",
            "no context",
            |f| with(f, "phi3.context_length", 0_u32),
            model("phi3.context_length", SomeByte, &["0, must not be 0"]),
        ),
        row("78", "a context of 2^32-1", |f| with(f, "phi3.context_length", u32::MAX), Loads),
        row(
            "79",
            "unknown architecture",
            |f| with(f, "general.architecture", "zzz"),
            model("general.architecture", Byte(24), &["\"zzz\" is not supported", "phi3"]),
        ),
        row(
            "80",
            "no architecture",
            |mut f| {
                f.remove("general.architecture");
                f.bytes()
            },
            model("general.architecture", NoByte, &["missing"]),
        ),
        row(
            "81",
            "architecture as a number",
            |f| with(f, "general.architecture", 3_u32),
            model("general.architecture", Byte(24), &["type u32, expected str"]),
        ),
        row(
            "82",
            "600 head counts",
            |f| with(f, "phi3.attention.head_count", vec![2_i32; 600]),
            model("phi3.attention.head_count", SomeByte, &["type array<i32>, expected u32"]),
        ),
        row(
            "83",
            "no output norm",
            |mut f| {
                f.tensors.retain(|t| t.name != b"output_norm.weight");
                f.bytes()
            },
            model("output_norm.weight", NoByte, &["missing, required by phi3"]),
        ),
        row(
            "84",
            "an extra tensor",
            |mut f| {
                f.tensor("blk.0.extra.weight", &[4], &[0.0; 4]);
                f.bytes()
            },
            Warns("blk.0.extra.weight"),
        ),
        row(
            "85",
            "swapped dimensions",
            |mut f| {
                f.tensor_mut("blk.0.ffn_down.weight").dims.reverse();
                f.bytes()
            },
            model("blk.0.ffn_down.weight", SomeByte, &["shape [128, 64], expected [64, 128]"]),
        ),
        row(
            "85b",
            "a longrope factor of 0",
            |mut f| {
                f.tensor("rope_factors_long.weight", &[16], &[1.0; 16]);
                f.tensor("rope_factors_short.weight", &[16], &[[1.0; 15].as_slice(), &[0.0]].concat());
                f.bytes()
            },
            model("rope_factors_short.weight", SomeByte, &["factor 15 is 0, must be above 0"]),
        ),
    ]
}

fn splits() -> Vec<Row> {
    vec![
        row(
            "121",
            "one of 65535 parts",
            |f| with(f, "split.count", u16::MAX),
            file("split.count", SomeByte, &["65535 parts", "NAME-00001-of-65535.gguf"]),
        ),
        row(
            "122",
            "part 5 in the first file",
            |mut f| {
                f.set("split.count", 9_u16);
                f.set("split.no", 5_u16);
                f.bytes()
            },
            file("split.no 5", SomeByte, &["a later part", "hint: open the first part"]),
        ),
    ]
}

fn numbers() -> Vec<Row> {
    const UP: &str = "blk.0.ffn_up.weight";
    /// All blocks of the tensor with this scale, an f16.
    fn scaled(mut file: RawGguf, scale: u16) -> Vec<u8> {
        let tensor = file.tensor_mut(UP);
        let blocks = tensor.data.len() / 4 / 32;
        let block = [&scale.to_le_bytes()[..], &[1; 32]].concat();
        (tensor.ty, tensor.data) = (8, block.repeat(blocks));
        file.bytes()
    }
    vec![
        row(
            "127",
            "block scales of infinity",
            |f| scaled(f, 0x7c00),
            model(UP, SomeByte, &["row 0, column 0: value inf"]),
        ),
        row("128", "block scales of NaN", |f| scaled(f, 0x7e00), model(UP, SomeByte, &["row 0, column 0: value NaN"])),
        row("128b", "block scales of 1", |f| scaled(f, 0x3c00), Loads),
    ]
}

//! What a file begins with: the header and the metadata.

use phi_testkit::{RawEntry, RawGguf, RawValue};

use super::row::{Byte, Loads, NoByte, Row, SomeByte, Warns, file, first_key, model, row, second, with};

pub(crate) fn header() -> Vec<Row> {
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

pub(crate) fn metadata() -> Vec<Row> {
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

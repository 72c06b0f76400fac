//! Tensors and the parts of a split model.

use super::row::{Row, SomeByte, Warns, file, first_tensor, row, with};

pub(crate) fn tensors() -> Vec<Row> {
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

pub(crate) fn splits() -> Vec<Row> {
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

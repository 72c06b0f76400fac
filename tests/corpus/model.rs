//! Sound files that are no model: hyper-parameters, and values that are no numbers.

use phi_testkit::RawGguf;

use super::row::{Byte, Loads, NoByte, Row, SomeByte, Warns, model, row, with};

pub(crate) fn hyper_parameters() -> Vec<Row> {
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

pub(crate) fn numbers() -> Vec<Row> {
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

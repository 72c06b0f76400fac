"""Block formats: encoded bytes for chosen rows, decoded values for random blocks.

Writes `tests/fixtures/blocks.json` (an index) and `tests/fixtures/blocks.bin`.
See `tests/fixtures/README.md`.

    python tests/oracle/blocks.py [--ggml PATH/libggml-base.so] [--out DIR]

With a ggml library the results are those of its C reference functions, and
`gguf-py` is compared with them: where it differs, its answer is a case of its
own. Without a library everything comes from `gguf-py`, which cannot encode
K-quants.
"""

import argparse
import ctypes
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as Type, quants

from common import FIXTURES, write_json

SEED = 20
SIMPLE = [Type.Q8_0, Type.Q4_0, Type.BF16, Type.F16]
K_ENCODED = [Type.Q4_K, Type.Q5_K, Type.Q6_K]
DECODED = [
    Type.Q8_0, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1,
    Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q5_K, Type.Q6_K, Type.IQ4_NL, Type.IQ4_XS,
]  # fmt: skip
#: Byte offsets of the f16 scales inside one block.
SCALES = {
    Type.Q8_0: [0], Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2],
    Type.Q2_K: [80, 82], Type.Q3_K: [108], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208],
    Type.IQ4_NL: [0], Type.IQ4_XS: [0],
}  # fmt: skip


def rng_for(name):
    return np.random.Generator(np.random.PCG64([SEED, *name.encode()]))


def rows_to_encode():
    """Name → rows of f32 whose width is a multiple of 32."""
    f32 = np.float32
    noise = lambda name, *shape: rng_for(name).standard_normal(shape).astype(f32)
    rows = {
        "normal": noise("normal", 16, 64),
        "weights": f32(0.02) * noise("weights", 16, 64),
        "heavy-tails": noise("heavy-tails", 8, 64) ** 5,
        "zeros": np.stack([np.zeros(64, f32), np.full(64, -0.0, f32)]),
        "large": f32(1e4) * noise("large", 4, 64),
        # |max| up to 127 · 65504 = 8.3e6 keeps Q8_0's scale finite; beyond, it becomes infinite.
        "scale-overflow": f32(1e7) * noise("scale-overflow", 4, 64),
        "f32-limits": np.where(noise("f32-limits", 4, 64) > 0, f32(3.4e38), f32(-3.4e38)) * f32(0.5),
        # The scale rounds to a subnormal or to zero in f16 while the integers are still defined.
        "scale-subnormal": f32(1e-5) * noise("scale-subnormal", 4, 64),
        "scale-underflow": f32(1e-12) * noise("scale-underflow", 4, 64),
        "alternating": np.stack([np.tile([f32(v), f32(-v)], 32) for v in (1.0, 0.1, 7.0, 1 / 3)]),
    }

    # One largest value, of either sign, at every position of a block.
    peaks = f32(0.3) * noise("peaks", 64, 32)
    for i in range(64):
        peaks[i, i % 32] = 2.5 if i < 32 else -2.5
    rows["peak-positions"] = peaks.reshape(32, 64)

    # The largest magnitude occurs with both signs: the first one decides Q4_0's scale.
    both = f32(0.3) * noise("both-signs", 16, 32)
    for i, (a, b) in enumerate(rng_for("both-at").permuted(np.tile(np.arange(32), (16, 1)), axis=1)[:, :2]):
        both[i, a], both[i, b] = 1.75, -1.75
    rows["both-signs"] = both.reshape(8, 64)

    # Exact halves after scaling: Q8_0 with d = 1, Q4_0 with d = ±1.
    q8 = np.arange(-64, 64, dtype=f32).reshape(4, 32) + f32(0.5)
    q8[:, 0] = 127
    rows["halves-of-127"] = q8
    q4 = np.tile(np.linspace(-7.5, 7.5, 31, dtype=f32), (2, 1))
    rows["halves-of-8"] = np.concatenate([[[-8.0], [8.0]], q4], axis=1).astype(f32)

    # Neighbours of ties, one unit in the last place either way.
    near = np.concatenate([np.nextafter(q8, f32(-np.inf)), np.nextafter(q8, f32(np.inf))])
    near[:, 0] = 127
    rows["near-halves"] = near
    return {name: np.ascontiguousarray(r, dtype=f32) for name, r in rows.items()}


def values_to_round():
    """Rows for F16 and BF16 only: every rounding situation, infinities and NaN."""
    f32 = np.float32
    bits = rng_for("bits").integers(0, 2**32, 512, dtype=np.uint32)
    bits = bits[(bits & 0x7F800000) != 0x7F800000][:448]
    half = np.arange(0, 0x7C00, 67, dtype=np.uint16).view(np.float16).astype(f32)
    between = (half[:-1] + half[1:]) / 2
    ulp = (np.arange(0x0001, 0x7C00, 259, dtype=np.uint16).view(np.float16)).astype(f32)
    step = (np.arange(0x0002, 0x7C01, 259, dtype=np.uint16).view(np.float16)).astype(f32)
    ties = np.where(np.isfinite(step), (ulp + step) / 2, f32(65520))
    special = np.array(
        [0.0, -0.0, np.inf, -np.inf, np.nan, 65504, 65519.996, 65520, 65536, -65520, 2**-24, 2**-25,
         np.nextafter(f32(2**-25), f32(1)), 2**-26, 2**-14, 2**-14 - 2**-25, 1e-45, -1e-45, 1e-38,
         3.4028235e38, -3.4028235e38, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-11, 1 + 3 * 2**-11, 3.39e38],
        dtype=f32,
    )  # fmt: skip
    values = np.concatenate([bits.view(f32), between, ties, -ties, special])
    pad = -len(values) % 32
    return {"rounding": np.concatenate([values, np.ones(pad, f32)]).reshape(-1, 32).astype(f32)}


def k_rows():
    f32 = np.float32
    rng = rng_for("k-rows")
    rows = rng.standard_normal((8, 256)).astype(f32)
    rows[1] *= f32(0.02)
    rows[2] = rows[2] ** 3
    rows[3] = np.abs(rows[3])
    rows[4] = -np.abs(rows[4])
    rows[5] = 0
    rows[6, 32:] = 0
    rows[7] = f32(0.25)
    return {"k-rows": rows}


def random_blocks(kind):
    """Random bytes with finite scales of useful and of extreme size."""
    rng = rng_for(f"decode-{kind.name}")
    width, size = GGML_QUANT_SIZES[kind]
    count = 32 if width == 32 else 12
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    fixed = [0x0000, 0x8000, 0x0001, 0x03FF, 0x7BFF, 0xFBFF, 0x3C00, 0xBC00]
    for n, offset in enumerate(SCALES[kind]):
        scales = (0.05 * rng.standard_normal(count)).astype(np.float16).view(np.uint16)
        scales[: len(fixed)] = np.roll(fixed, 3 * n)
        blocks[:, offset : offset + 2] = scales[:, None].view(np.uint8)
    return blocks


class Ggml:
    """The C reference functions of a built ggml library."""

    def __init__(self, path):
        self.lib = ctypes.CDLL(str(path))
        self.lib.ggml_quantize_chunk.restype = ctypes.c_size_t

    def encode(self, rows, kind):
        width, size = GGML_QUANT_SIZES[kind]
        out = np.zeros((rows.shape[0], rows.shape[1] // width * size), np.uint8)
        if kind == Type.BF16:
            self.lib.ggml_fp32_to_bf16_row_ref(
                rows.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(rows.size)
            )
            return out
        written = self.lib.ggml_quantize_chunk(
            ctypes.c_int(kind.value),
            rows.ctypes.data_as(ctypes.c_void_p),
            out.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_int64(0),
            ctypes.c_int64(rows.shape[0]),
            ctypes.c_int64(rows.shape[1]),
            None,
        )
        assert written == out.nbytes, (kind, written, out.nbytes)
        return out

    def decode(self, blocks, kind):
        width, size = GGML_QUANT_SIZES[kind]
        out = np.zeros((blocks.shape[0], blocks.shape[1] // size * width), np.float32)
        name = kind.name if kind.name[-1] == "K" else kind.name.lower()
        getattr(self.lib, f"dequantize_row_{name.replace('Q', 'q')}")(
            blocks.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(out.size)
        )
        return out


class Fixture:
    """The growing `.bin` file and its index."""

    def __init__(self):
        self.blob = bytearray()
        self.cases = []
        self.known = {}

    def place(self, array):
        data = array.tobytes()
        if data not in self.known:
            self.known[data] = len(self.blob)
            self.blob += data
        return self.known[data], len(data)

    def case(self, op, name, kind, oracle, shape, source, result):
        input_at, input_len = self.place(source)
        output_at, output_len = self.place(result)
        self.cases.append(
            {
                "op": op, "name": name, "type": kind.name, "oracle": oracle, "rows": shape[0], "cols": shape[1],
                "input": [input_at, input_len], "output": [output_at, output_len],
            }
        )  # fmt: skip


def python_encode(rows, kind):
    with np.errstate(all="ignore"):
        return np.ascontiguousarray(quants.quantize(rows, kind)).view(np.uint8).reshape(rows.shape[0], -1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ggml", type=Path, help="libggml-base of a llama.cpp build")
    parser.add_argument("--out", type=Path, default=FIXTURES)
    args = parser.parse_args()
    ggml = Ggml(args.ggml) if args.ggml else None
    fixture = Fixture()

    rows = rows_to_encode()
    for kind in SIMPLE:
        for name, values in (rows | (values_to_round() if kind in (Type.F16, Type.BF16) else {})).items():
            theirs = python_encode(values, kind)
            ours = ggml.encode(values, kind) if ggml else theirs
            fixture.case("encode", name, kind, "ggml" if ggml else "gguf-py", values.shape, values, ours)
            if not np.array_equal(ours, theirs):
                print(f"{kind.name} {name}: gguf-py differs from ggml in {(ours != theirs).sum()} bytes")
                fixture.case("encode", name, kind, "gguf-py", values.shape, values, theirs)
    for kind in K_ENCODED if ggml else []:
        for name, values in k_rows().items():
            fixture.case("encode", name, kind, "ggml", values.shape, values, ggml.encode(values, kind))
    for kind in DECODED:
        blocks = random_blocks(kind)
        width, _ = GGML_QUANT_SIZES[kind]
        with np.errstate(all="ignore"):
            theirs = np.ascontiguousarray(quants.dequantize(blocks, kind), dtype=np.float32)
        ours = ggml.decode(blocks, kind) if ggml else theirs
        assert np.isfinite(ours).all(), kind
        fixture.case("decode", "random", kind, "ggml" if ggml else "gguf-py", (len(blocks), width), blocks, ours)
        if not np.array_equal(ours, theirs):
            worst = np.abs(ours - theirs).max()
            print(f"{kind.name}: decoding differs by up to {worst}")
            fixture.case("decode", "random", kind, "gguf-py", (len(blocks), width), blocks, theirs)

    (args.out / "blocks.bin").write_bytes(fixture.blob)
    write_json(args.out / "blocks.json", {"cases": fixture.cases})
    print(f"{len(fixture.cases)} cases, {len(fixture.blob)} bytes")


if __name__ == "__main__":
    main()

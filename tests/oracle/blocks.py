"""Block formats: encoded bytes for chosen rows, decoded values for random blocks.

Writes `tests/fixtures/blocks.json` (an index) and `tests/fixtures/blocks.bin`.
See `tests/fixtures/README.md`.

    python tests/oracle/blocks.py [--ggml PATH/libggml-base.so] [--out DIR]

With a ggml library the results are those of its C reference functions, and
`gguf-py` is compared with them: where it differs, its answer is a case of its
own. Without a library everything comes from `gguf-py`, which cannot encode
formats that search for their scales, and does not know every format.
"""

import argparse
import ctypes
from pathlib import Path
from typing import NamedTuple

import numpy as np
from gguf import GGMLQuantizationType as Type, quants

from common import FIXTURES, write_json

SEED = 20


class Kind(NamedTuple):
    """A block format: ggml's name and number, values and bytes of a block, byte offsets of its f16 scales."""

    name: str
    id: int
    width: int
    size: int
    scales: tuple = ()

    @property
    def python(self):
        """The same type in `gguf-py`, or None."""
        kind = Type(self.id) if self.id in Type._value2member_map_ else None
        return kind if kind in quants._type_traits else None


KINDS = {
    kind.name: kind
    for kind in [
        Kind("F16", 1, 1, 2), Kind("BF16", 30, 1, 2),
        Kind("Q8_0", 8, 32, 34, (0,)), Kind("Q4_0", 2, 32, 18, (0,)), Kind("Q4_1", 3, 32, 20, (0, 2)),
        Kind("Q5_0", 6, 32, 22, (0,)), Kind("Q5_1", 7, 32, 24, (0, 2)), Kind("Q8_1", 9, 32, 36, (0, 2)),
        Kind("Q2_K", 10, 256, 84, (80, 82)), Kind("Q3_K", 11, 256, 110, (108,)), Kind("Q4_K", 12, 256, 144, (0, 2)),
        Kind("Q5_K", 13, 256, 176, (0, 2)), Kind("Q6_K", 14, 256, 210, (208,)), Kind("Q8_K", 15, 256, 292),
        Kind("IQ4_NL", 20, 32, 18, (0,)), Kind("IQ4_XS", 23, 256, 136, (0,)),
        Kind("IQ2_XXS", 16, 256, 66, (0,)), Kind("IQ2_XS", 17, 256, 74, (0,)), Kind("IQ2_S", 22, 256, 82, (0,)),
        Kind("IQ3_XXS", 18, 256, 98, (0,)), Kind("IQ3_S", 21, 256, 110, (0,)),
        Kind("IQ1_S", 19, 256, 50, (0,)), Kind("IQ1_M", 29, 256, 56),
        Kind("TQ1_0", 34, 256, 54, (52,)), Kind("TQ2_0", 35, 256, 66, (64,)),
        Kind("MXFP4", 39, 32, 17), Kind("NVFP4", 40, 64, 36),
        Kind("Q1_0", 41, 128, 18, (0,)), Kind("Q2_0", 42, 64, 18, (0,)),
        Kind("I8", 24, 1, 1), Kind("I16", 25, 1, 2), Kind("I32", 26, 1, 4), Kind("I64", 27, 1, 8), Kind("F64", 28, 1, 8),
    ]
}  # fmt: skip
SIMPLE = ["Q8_0", "Q4_0", "BF16", "F16"]
K_ENCODED = ["Q4_K", "Q5_K", "Q6_K"]
#: Formats whose encoder chooses by the importance of each value, and those it makes no difference to.
WEIGHED = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"]
UNWEIGHED = ["Q8_0", "TQ1_0", "TQ2_0", "MXFP4", "NVFP4", "Q1_0", "Q2_0"]
#: The names of plain numbers, which ggml only stores.
PLAIN = {"I8": "<i1", "I16": "<i2", "I32": "<i4", "I64": "<i8", "F64": "<f8"}
#: The points of each codebook.
POINTS = {"IQ2_XXS": 256, "IQ2_XS": 512, "IQ2_S": 1024, "IQ3_XXS": 256, "IQ3_S": 512, "IQ1_S": 2048}


def rng_for(name):
    return np.random.Generator(np.random.PCG64([SEED, *name.encode()]))


def noise(name, *shape):
    return rng_for(name).standard_normal(shape).astype(np.float32)


def rows_to_encode():
    """Name → rows of f32 whose width is a multiple of 32."""
    f32 = np.float32
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


def rows_to_search():
    """Name → rows of 256 or 512 columns, for formats that search for their scales and for the rest."""
    f32 = np.float32
    rows = {}
    a = noise("search", 4, 256)
    a[1] *= f32(0.02)
    a[2] = f32(0.01) * a[2] ** 3
    a[3] = a[3] ** 5
    rows["normal-256"] = a

    # What a whole row says about a block: blocks of one row differ in size.
    b = noise("two-blocks", 3, 512)
    b[1] *= np.repeat(f32(10) ** rng_for("sizes").uniform(-4, 2, 16).astype(f32), 32)
    b[2] *= np.repeat(np.array([1, 0.001], f32), 256)
    rows["two-blocks"] = b

    c = noise("zeros-within", 5, 256)
    c[0] = 0
    c[1] = -0.0
    c[2, 16:] = 0
    for at in (3, 4):
        c[at] *= np.repeat(rng_for(f"zeros-{at}").random(16) < 0.5, 16)
        c[at] *= np.where(rng_for(f"zeros-every-{at}").random(256) < 0.3, f32(0), f32(1))
    rows["zeros-within"] = c

    d = noise("signs", 6, 256)
    d[0] = 0.25
    d[1] = -3.3
    d[2] = np.abs(d[2])
    d[3] = -np.abs(d[3])
    d[4] = np.tile([f32(0.7), f32(-0.7)], 128)
    d[5] = np.abs(d[5]) + np.repeat(np.tile([f32(2), f32(-8)], 8), 16)
    rows["signs"] = d

    # Exact halves and quarters after scaling, and largest values that occur with both signs.
    e = np.zeros((3, 256), f32)
    e[0] = np.resize(np.arange(-16, 16, dtype=f32) / 2, 256)
    e[1] = rng_for("quarters").integers(-24, 25, 256) / f32(4)
    e[2] = rng_for("integers").integers(-127, 128, 256)
    rows["halves"] = e

    # Largest values at and next to powers of two, where a logarithm may round up.
    f = f32(0.3) * noise("powers", 1, 256)
    exponents = np.array([0, 2, -3, -20, 10, 5, -12, 7])
    f *= np.repeat(f32(2) ** exponents.astype(f32), 32)
    powers = f32(2) ** exponents.astype(f32)
    for at, power in enumerate(powers):
        block = f[0, 32 * at :][:32]
        np.clip(block, -power / 2, power / 2, out=block)
        block[3 * at] = [power, -power, np.nextafter(power, f32(0)), np.nextafter(power, f32(np.inf))][at % 4]
    rows["powers"] = f

    g = noise("large", 2, 256) * f32(1e4)
    g[1] = np.clip(noise("large-tails", 256) ** 5, -6, 6) * f32(1e4)
    rows["large-256"] = g
    h = noise("small", 3, 256) * f32([[1e-6], [1e-12], [1e-20]])
    rows["small"] = h

    # Numbers below 2^-126 beside others: not alone in a block, for then some C functions divide by them.
    i = noise("subnormals", 1, 256) * f32(1e-39)
    i[0, ::16] = noise("among-subnormals", 16)
    rows["among-subnormals"] = i
    rows["subnormals"] = noise("only-subnormals", 1, 256) * f32(1e-40)
    return {name: np.ascontiguousarray(r, dtype=f32) for name, r in rows.items()}


#: The formats for which C defines what becomes of a block of nothing but subnormals. The reciprocal of its scale is
#: infinite, and elsewhere an infinity is made an integer (or fails an assertion of a debug build), in MXFP4 a negative
#: exponent a byte. -fsanitize=undefined,float-cast-overflow finds nothing else in these cases.
DEFINED_FOR_SUBNORMALS = ["Q3_K", "Q6_K", "IQ4_NL", "IQ4_XS", "NVFP4", "Q1_0"]


def importance(cols):
    """Name → a weight for each column, as an importance matrix has them: averages of squares; and the rows to try."""
    f32 = np.float32
    size = np.exp(rng_for(f"importance-{cols}").normal(-2, 2, cols)).astype(f32)
    square = noise(f"importance-squares-{cols}", cols) ** 2
    gaps = size * (rng_for(f"importance-gaps-{cols}").random(cols) < 0.6)
    gaps[64:96] = 0
    few = ["normal-256", "zeros-within", "signs"]
    return {
        "importance": (size * square, rows_to_search()),
        "gaps": (gaps.astype(f32), [*few, "two-blocks", "halves"]),
        "nothing": (np.zeros(cols, f32), few),
    }


def random_blocks(kind):
    """Random bytes with finite scales of useful and of extreme size."""
    rng = rng_for(f"decode-{kind.name}")
    count = {"IQ2_XS": 16, "IQ2_S": 32, "IQ1_S": 64, "MXFP4": 256, "NVFP4": 64, "Q1_0": 12, "Q2_0": 12}.get(kind.name)
    count = count or (32 if kind.width == 32 else 12)
    blocks = rng.integers(0, 256, (count, kind.size), dtype=np.uint8)
    fixed = np.array([0x0000, 0x8000, 0x0001, 0x03FF, 0x7BFF, 0xFBFF, 0x3C00, 0xBC00], np.uint16)
    for n, offset in enumerate(kind.scales):
        scales = (0.05 * rng.standard_normal(count)).astype(np.float16).view(np.uint16)
        scales[: len(fixed)] = np.roll(fixed, 3 * n)
        blocks[:, offset : offset + 2] = scales[:, None].view(np.uint8)
    match kind.name:
        case "Q8_K":
            scales = (0.05 * rng.standard_normal(count)).astype(np.float32)
            scales[:6] = [0, -0.0, 1e-42, 1e30, -1, 2**-126]
            blocks[:, :4] = scales[:, None].view(np.uint8)
        case "IQ1_M":
            # The four nibbles of the scale are the top ones of four words.
            scales = (0.05 * rng.standard_normal(count)).astype(np.float16).view(np.uint16)
            scales[: len(fixed)] = fixed
            for word in range(4):
                high = blocks[:, 48 + 2 * word + 1]
                high[:] = high & 15 | ((scales >> 4 * word & 15) << 4).astype(np.uint8)
        case "MXFP4":
            blocks[:, 0] = np.arange(256)
        case "NVFP4":
            blocks[:, :4] = np.arange(256).reshape(64, 4)
    place_points(kind, blocks, rng)
    return blocks


def place_points(kind, blocks, rng):
    """Makes every point of a codebook occur."""
    if kind.name not in POINTS:
        return
    count, points = len(blocks), POINTS[kind.name]
    per_block = 64 if kind.name.startswith("IQ3") else 32
    index = np.resize(rng.permutation(points), (count, per_block)).astype(np.uint16)
    codes = lambda n: index.reshape(count, 8, n)
    low = (index & 255).astype(np.uint8)
    match kind.name:
        case "IQ2_XXS":
            blocks[:, 2:].reshape(count, 8, 8)[:, :, :4] = codes(4)
        case "IQ2_XS":
            words = blocks[:, 2:66].copy().view("<u2")
            blocks[:, 2:66] = (words & 0xFE00 | index).astype("<u2").view(np.uint8)
        case "IQ2_S":
            blocks[:, 2:34] = low
            blocks[:, 66:74] = ((codes(4) >> 8) << np.uint16([0, 2, 4, 6])).sum(axis=2)
        case "IQ3_XXS":
            blocks[:, 2:66] = low
        case "IQ3_S":
            blocks[:, 2:66] = low
            blocks[:, 66:74] = ((codes(8) >> 8) << np.arange(8, dtype=np.uint16)).sum(axis=2)
        case "IQ1_S":
            blocks[:, 2:34] = low
            words = blocks[:, 34:50].copy().view("<u2")
            high = ((codes(4) >> 8) << np.uint16([0, 3, 6, 9])).sum(axis=2)
            blocks[:, 34:50] = (words & 0xF000 | high).astype("<u2").view(np.uint8)


def numbers(kind):
    """One row of plain numbers and the singles nearest to them."""
    dtype = np.dtype(PLAIN[kind.name])
    rng = rng_for(f"decode-{kind.name}")
    if dtype.kind == "i":
        limits = np.iinfo(dtype)
        values = rng.integers(limits.min, limits.max, 64, dtype=dtype, endpoint=True)
        values >>= rng.integers(0, limits.bits, 64).astype(dtype)
        odd = [v for v in (2**24 + 1, 2**24 + 3, -(2**24) - 1, 2**53 + 1, 2**62 + 2**38) if limits.min <= v <= limits.max]
        special = [0, 1, -1, limits.min, limits.max, *odd]
    else:
        values = rng.standard_normal(64) * 10.0 ** rng.integers(-44, 38, 64)
        special = [0.0, -0.0, np.inf, -np.inf, 1 + 2**-24, 1 + 3 * 2**-24, 2**-149, 2**-150, 1e39, 1e-60, 0.1, -1 / 3]
    values[: len(special)] = special
    with np.errstate(over="ignore"):
        return values.reshape(1, -1), values.astype(np.float32).reshape(1, -1)


class Ggml:
    """The C reference functions of a built ggml library."""

    def __init__(self, path):
        self.lib = ctypes.CDLL(str(path))
        self.lib.ggml_quantize_chunk.restype = ctypes.c_size_t

    def encode(self, rows, kind, weights=None):
        out = np.zeros((rows.shape[0], rows.shape[1] // kind.width * kind.size), np.uint8)
        if kind.name == "BF16":
            self.lib.ggml_fp32_to_bf16_row_ref(pointer(rows), pointer(out), ctypes.c_int64(rows.size))
            return out
        written = self.lib.ggml_quantize_chunk(
            ctypes.c_int(kind.id),
            pointer(rows),
            pointer(out),
            ctypes.c_int64(0),
            ctypes.c_int64(rows.shape[0]),
            ctypes.c_int64(rows.shape[1]),
            None if weights is None else pointer(weights),
        )
        assert written == out.nbytes, (kind, written, out.nbytes)
        return out

    def decode(self, blocks, kind):
        out = np.zeros((blocks.shape[0], blocks.shape[1] // kind.size * kind.width), np.float32)
        name = kind.name if kind.name[-1] == "K" else kind.name.lower()
        name = f"dequantize_row_{name.replace('Q', 'q')}"
        match kind.name:
            case "F16" | "BF16":
                name = f"ggml_{kind.name.lower().replace('f16', 'fp16' if kind.name == 'F16' else 'f16')}_to_fp32_row"
            case "Q8_1":
                # ggml never reads it back: it is Q8_0 with a sum after the scale.
                name = "dequantize_row_q8_0"
                blocks = np.ascontiguousarray(np.delete(blocks, [2, 3], axis=1))
        getattr(self.lib, name)(pointer(blocks), pointer(out), ctypes.c_int64(out.size))
        return out


def pointer(array):
    assert array.flags.c_contiguous
    return array.ctypes.data_as(ctypes.c_void_p)


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

    def case(self, op, name, kind, oracle, shape, source, result, weights=None):
        parts = {"input": source, "output": result} | ({} if weights is None else {"weights": weights})
        self.cases.append(
            {"op": op, "name": name, "type": kind.name, "oracle": oracle, "rows": shape[0], "cols": shape[1]}
            | {part: list(self.place(array)) for part, array in parts.items()}
        )


def python_encode(rows, kind):
    with np.errstate(all="ignore"):
        packed = quants.quantize(rows, Type(kind.id))
    return np.ascontiguousarray(packed).view(np.uint8).reshape(rows.shape[0], -1)


def python_decode(blocks, kind):
    with np.errstate(all="ignore"):
        return np.ascontiguousarray(quants.dequantize(blocks, kind.python), dtype=np.float32)


def encode_cases(fixture, ggml):
    rows = rows_to_encode()
    for kind in map(KINDS.get, SIMPLE):
        for name, values in (rows | (values_to_round() if kind.name in ("F16", "BF16") else {})).items():
            theirs = python_encode(values, kind)
            ours = ggml.encode(values, kind) if ggml else theirs
            fixture.case("encode", name, kind, "ggml" if ggml else "gguf-py", values.shape, values, ours)
            if not np.array_equal(ours, theirs):
                print(f"{kind.name} {name}: gguf-py differs from ggml in {(ours != theirs).sum()} bytes")
                fixture.case("encode", name, kind, "gguf-py", values.shape, values, theirs)
    if not ggml:
        return
    for kind in map(KINDS.get, K_ENCODED):
        for name, values in k_rows().items():
            fixture.case("encode", name, kind, "ggml", values.shape, values, ggml.encode(values, kind))
    for kind in map(KINDS.get, WEIGHED + UNWEIGHED):
        for name, values in rows_to_search().items():
            if name == "subnormals" and kind.name not in DEFINED_FOR_SUBNORMALS:
                continue
            fixture.case("encode", name, kind, "ggml", values.shape, values, ggml.encode(values, kind))
            for weight, (weights, names) in importance(values.shape[1]).items():
                if kind.name in UNWEIGHED and (name, weight) != ("normal-256", "importance"):
                    continue
                if name not in names:
                    continue
                output = ggml.encode(values, kind, weights)
                fixture.case("encode", f"{name} {weight}", kind, "ggml", values.shape, values, output, weights)


def decode_cases(fixture, ggml):
    for kind in KINDS.values():
        if kind.name in PLAIN:
            values, singles = numbers(kind)
            fixture.case("decode", "numbers", kind, "numpy", values.shape, values, singles)
            continue
        if not ggml and not kind.python:
            continue
        blocks = halves(kind) if kind.width == 1 else random_blocks(kind)
        theirs = python_decode(blocks, kind) if kind.python else None
        ours = ggml.decode(blocks, kind) if ggml else theirs
        assert not np.isnan(ours).any() or kind.width == 1, kind
        shape = (len(blocks), ours.shape[1])
        fixture.case("decode", "random", kind, "ggml" if ggml else "gguf-py", shape, blocks, ours)
        if theirs is not None and not np.array_equal(ours.view(np.uint32), theirs.view(np.uint32)):
            differ = ours.view(np.uint32) != theirs.view(np.uint32)
            print(f"{kind.name}: decoding differs in {differ.sum()} values, {ours[differ][:3]} and {theirs[differ][:3]}")
            fixture.case("decode", "random", kind, "gguf-py", shape, blocks, theirs)


def halves(kind):
    """One row of 16-bit numbers: some of every exponent, subnormals, infinities."""
    bits = np.arange(0, 0x10000, 251, dtype=np.uint16)
    infinity = 0x7C00 if kind.name == "F16" else 0x7F80
    bits = bits[bits & infinity != infinity]
    bits = np.concatenate([bits, np.array([0, 0x8000, 1, 0x3FF, infinity, 0x8000 | infinity], np.uint16)])
    return np.ascontiguousarray(bits.reshape(1, -1).view(np.uint8))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ggml", type=Path, help="libggml-base of a llama.cpp build")
    parser.add_argument("--out", type=Path, default=FIXTURES)
    args = parser.parse_args()
    ggml = Ggml(args.ggml) if args.ggml else None
    fixture = Fixture()
    encode_cases(fixture, ggml)
    decode_cases(fixture, ggml)
    (args.out / "blocks.bin").write_bytes(fixture.blob)
    write_json(args.out / "blocks.json", {"cases": fixture.cases})
    print(f"{len(fixture.cases)} cases, {len(fixture.blob)} bytes")


if __name__ == "__main__":
    main()

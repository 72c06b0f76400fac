"""Checksums of what llama-quantize makes of two small models.

    phi-quantize synth tests/fixtures/reference/plain/config.json BF16 PLAIN.gguf
    phi-quantize synth tests/fixtures/reference/odd/config.json BF16 ODD.gguf
    python tests/oracle/reference.py PLAIN.gguf ODD.gguf --llama-quantize PATH

Writes `tests/fixtures/reference/expected.json` and the importance matrices
`plain/imatrix.gguf`, `plain/imatrix.dat`. llama-quantize is that of llama.cpp as
shipped in llama-cpp-python 0.3.36.
"""

import argparse
import hashlib
import json
import struct
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from gguf import GGUFReader, GGUFWriter

from common import FIXTURES, write_json

FOLDER = FIXTURES / "reference"
TYPES = (
    "Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K "
    "IQ4_NL IQ4_XS TQ1_0 TQ2_0"
).split()
OPTIONS = [
    ["Q4_K_M", "--pure"],
    ["Q2_K", "--leave-output-tensor"],
    ["Q4_K_S", "--output-tensor-type", "q5_0", "--token-embedding-type", "q3_k"],
    ["Q5_0", "--tensor-type", "ffn_down=q8_0", "--tensor-type", r"blk\.[0-3]\.attn_qkv=q5_1"],
    ["Q4_0", "--tensor-type", "ffn_up=mxfp4"],
    ["Q6_K", "--override-kv", "phi3.context_length=int:2048", "--override-kv", "some.text=str:hello"],
]


def imatrix(model):
    """Two files that say the same, with a matrix missing and zeros in others."""
    rng = np.random.default_rng(7)
    writer = GGUFWriter(str(FOLDER / "plain/imatrix.gguf"), "imatrix")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["some text.txt"])
    writer.add_uint32("imatrix.chunk_count", 12)
    writer.add_uint32("imatrix.chunk_size", 512)
    old, count = b"", 0
    for tensor in GGUFReader(model).tensors:
        cols, name = int(tensor.shape[0]), tensor.name
        if len(tensor.shape) < 2 or name in ("token_embd.weight", "blk.3.ffn_down.weight"):
            continue
        # Small integers over a power of two: both files give the same quotients.
        means = (rng.integers(0, 4000, cols) / 512).astype(np.float32)
        means[rng.integers(0, cols, 5)] = 0
        writer.add_tensor(name + ".in_sum2", (means * np.float32(1024)).reshape(1, -1))
        writer.add_tensor(name + ".counts", np.array([[1024]], np.float32))
        text = name.encode()
        old += struct.pack("<i", len(text)) + text + struct.pack("<ii", 16, cols)
        old += (means * np.float32(16)).tobytes()
        count += 1
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    text = b"some text.txt"
    end = struct.pack("<ii", 12, len(text)) + text
    (FOLDER / "plain/imatrix.dat").write_bytes(struct.pack("<i", count) + old + end)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plain", type=Path)
    parser.add_argument("odd", type=Path)
    parser.add_argument("--llama-quantize", type=Path, required=True)
    args = parser.parse_args()
    imatrix(args.plain)
    cases = []

    def case(name, model, words, whole=True):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out.gguf"
            command = [args.llama_quantize, *words[1:], model, out, words[0], "2"]
            subprocess.run(command, check=True, capture_output=True)
            data = out.read_bytes()
            # A file that an importance matrix went into has its path among its keys.
            start = 0 if whole else GGUFReader(out).data_offset
            cases.append({"model": name, "args": words, "whole": whole, "sha256": hashlib.sha256(data[start:]).hexdigest()})

    for kind in TYPES:
        case("plain", args.plain, [kind])
        case("odd", args.odd, [kind])
    for words in OPTIONS:
        case("plain", args.plain, words)
    for kind in [t for t in TYPES if not t.startswith("TQ")]:
        matrix = FOLDER / "plain/imatrix.gguf"
        case("plain", args.plain, [kind, "--imatrix", str(matrix)], whole=False)
        cases[-1]["args"] = [kind, "--imatrix", "imatrix.gguf"]
    models = {n: hashlib.sha256(p.read_bytes()).hexdigest() for n, p in (("plain", args.plain), ("odd", args.odd))}
    write_json(FOLDER / "expected.json", {"models": models, "cases": cases})
    print(json.dumps(models), len(cases), "cases")


if __name__ == "__main__":
    main()

"""Reads a GGUF file with `gguf-py` and, given the source folder, checks its tensors.

    python tests/oracle/gguf_check.py FILE.gguf [--hf FOLDER] [--quiet] [--values]

Prints one JSON object: `metadata`, `tensors` and, with `--hf`, `problems`. The
exit status is 1 when there is a problem. With `--hf` (a Phi-3 folder, one file or
shards) names and shapes must correspond, F32 must be exact (as must F16 and BF16,
rounded to nearest even), Q8_0 and Q4_0 must be the bytes that `gguf-py` makes, and
other types must lie within a relative error.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import numpy as np
from gguf import GGUFReader, GGMLQuantizationType as Type, quants
from safetensors import safe_open

NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
LAYER_NAMES = {
    "input_layernorm.weight": "attn_norm.weight",
    "self_attn.qkv_proj.weight": "attn_qkv.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "mlp.gate_up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
}
EXACT = (Type.F32, Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0)
#: Largest root-mean-square error relative to the tensor's own root mean square.
RELATIVE_ERROR = {2: 0.35, 3: 0.2, 4: 0.1, 5: 0.06, 6: 0.03}


def gguf_name(name):
    """The GGUF name of a Phi-3 safetensors tensor."""
    if name in NAMES:
        return NAMES[name]
    layer, rest = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", name).groups()
    return f"blk.{layer}.{LAYER_NAMES[rest]}"


def read_folder(folder):
    """GGUF name → f32 array for every tensor of a Hugging Face folder, and the factor lists."""
    folder = Path(folder)
    tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as source:
            for name in source.keys():
                tensors[gguf_name(name)] = source.get_tensor(name).float().numpy()
    config = json.loads((folder / "config.json").read_text())
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    for length in ("long", "short"):
        if rope.get(f"{length}_factor"):
            tensors[f"rope_factors_{length}.weight"] = np.array(rope[f"{length}_factor"], dtype=np.float32)
    return tensors


def compare(name, tensor, source):
    """What is wrong with one tensor, or None."""
    shape = tuple(int(d) for d in reversed(tensor.shape))
    if shape != source.shape:
        return f"{name}: shape {shape}, source {source.shape}"
    kind = tensor.tensor_type
    stored = tensor.data.reshape(-1).view(np.uint8)
    if kind in EXACT:
        wanted = np.ascontiguousarray(quants.quantize(source, kind)).reshape(-1).view(np.uint8)
        if not np.array_equal(stored, wanted):
            first = int(np.argmax(stored != wanted)) if stored.size == wanted.size else -1
            return f"{name}: {kind.name} bytes differ, {int((stored != wanted).sum())} of {stored.size}, first at {first}"
        return None
    error = quants.dequantize(tensor.data, kind).reshape(shape) - source
    relative = float(np.sqrt((error**2).mean() / max((source**2).mean(), 1e-30)))
    allowed = RELATIVE_ERROR[int(re.search(r"\d", kind.name).group())]
    return None if relative <= allowed else f"{name}: {kind.name} relative error {relative:.4f} > {allowed}"


def describe(reader, values):
    """Metadata and tensors as plain JSON values."""
    metadata = {}
    for field in reader.fields.values():
        content = field.contents()
        if isinstance(content, list) and len(content) > 16 and not values:
            content = {"length": len(content), "head": content[:8]}
        metadata[field.name] = {"type": "/".join(t.name for t in field.types), "value": content}
    tensors = []
    for tensor in reader.tensors:
        flat = quants.dequantize(tensor.data, tensor.tensor_type).reshape(-1)
        tensors.append(
            {
                "name": tensor.name,
                "type": tensor.tensor_type.name,
                "shape": [int(d) for d in tensor.shape],
                "offset": int(tensor.data_offset) - int(reader.data_offset),
                "bytes": int(tensor.n_bytes),
                "min": float(flat.min()),
                "max": float(flat.max()),
                "rms": float(np.sqrt(np.square(flat, dtype=np.float64).mean())),
            }
        )
    return metadata, tensors


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--hf", type=Path, help="the folder that the file was made from")
    parser.add_argument("--values", action="store_true", help="print long arrays in full")
    parser.add_argument("--quiet", action="store_true", help="print only the problems")
    args = parser.parse_args()

    reader = GGUFReader(args.file)
    report = {}
    if not args.quiet:
        report["metadata"], report["tensors"] = describe(reader, args.values)
    if args.hf:
        source = read_folder(args.hf)
        stored = {t.name: t for t in reader.tensors}
        report["problems"] = [f"{n}: missing" for n in sorted(source.keys() - stored.keys())]
        report["problems"] += [f"{n}: not in the source" for n in sorted(stored.keys() - source.keys())]
        checked = (compare(n, stored[n], source[n]) for n in sorted(source.keys() & stored.keys()))
        report["problems"] += [problem for problem in checked if problem]
    json.dump(report, sys.stdout, ensure_ascii=False, indent=1)
    print()
    sys.exit(1 if report.get("problems") else 0)


if __name__ == "__main__":
    main()

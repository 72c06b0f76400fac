"""Small helpers shared by the fixture generators in this folder."""

import json
import shutil
import zlib
from pathlib import Path

import numpy as np

#: Where every generator writes, unless told otherwise.
FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"


def write_json(path, value):
    """Writes `value` as UTF-8 JSON with one line per top-level list entry."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_render(value) + "\n", encoding="utf-8")


def _render(value):
    """Compact JSON, broken into lines where a list of objects begins."""
    if isinstance(value, list) and value and all(isinstance(v, dict) for v in value):
        return "[\n" + ",\n".join(_compact(v) for v in value) + "\n]"
    if isinstance(value, dict):
        parts = [f"{_compact(k)}: {_render(v)}" for k, v in value.items()]
        return "{\n" + ",\n".join(parts) + "\n}"
    return _compact(value)


def _compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "))


def write_npy(path, array):
    """Writes a 2-D array as a little-endian f32 `.npy` file in C order."""
    array = np.ascontiguousarray(np.asarray(array), dtype="<f4")
    assert array.ndim == 2, array.shape
    assert np.isfinite(array).all()
    np.save(Path(path), array)


def noise(name, seed, shape):
    """Normal numbers. Every tensor has a generator of its own, keyed by its name, so that models that share a seed
    share the tensors they have in common."""
    rng = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))
    return rng.standard_normal(shape).astype(np.float32)


def weights(name, seed, shape):
    """Matrices 0.15·noise, norms 1 + 0.2·noise, biases 0.2·noise: large enough that a wrong one shows."""
    value = noise(name, seed, shape)
    if name.endswith(".bias"):
        return np.float32(0.2) * value
    return 1 + np.float32(0.2) * value if len(shape) == 1 else np.float32(0.15) * value


def prompt(length, seed, vocab):
    """`length` token ids without the special ids 0…3."""
    rng = np.random.Generator(np.random.PCG64([seed, length]))
    return rng.integers(4, vocab, length).tolist()


class Folder:
    """Collects the cases of one model and writes them beside it."""

    def __init__(self, root, name):
        self.path = Path(root) / name
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        self.expected = {"cases": []}

    def case(self, name, tokens, values, positions="all"):
        rows = values if positions == "all" else values[-1:]
        write_npy(self.path / f"{name}.npy", rows)
        self.expected["cases"].append(
            {"name": name, "tokens": tokens, "logits": f"{name}.npy", "positions": positions}
        )

    def finish(self):
        for shard in self.path.glob("*.safetensors"):
            shard.chmod(0o644)
        write_json(self.path / "expected.json", self.expected)

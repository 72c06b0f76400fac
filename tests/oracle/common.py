"""Small helpers shared by the fixture generators in this folder."""

import json
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

"""A tiny random model of Phi-4-mini-flash's kind with the logits that its equations give, in f64.

The published code runs on GPUs only, so this is the reference: each step as the paper would have it, whole matrices where
tokens do not depend on each other, token by token where they do, no cache, no skipping. Becomes the folder
`tests/fixtures/phi4flash/`. See `tests/fixtures/README.md`.

    python tests/oracle/phi4flash.py [--out DIR]
"""

import argparse
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from common import FIXTURES, Folder, noise, prompt, weights


def config(**overrides):
    """The fields of the published config, with small numbers."""
    fields = {
        "architectures": ["Phi4FlashForCausalLM"],
        "model_type": "phi4flash",
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": 32,
        "intermediate_size": 48,
        "layer_norm_eps": 1e-5,
        "mamba_conv_bias": True,
        "mamba_d_conv": 4,
        "mamba_d_state": 16,
        "mamba_dt_rank": 3,
        "mamba_expand": 2,
        "mamba_proj_bias": False,
        "max_position_embeddings": 512,
        "mb_per_layer": 2,
        "num_attention_heads": 8,
        "num_hidden_layers": 12,
        "num_key_value_heads": 4,
        "pad_token_id": 0,
        "sliding_window": 8,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "vocab_size": 96,
    }
    return fields | overrides


def tensors_of(c, seed):
    """Name → weights, in the layout that is published. Steps are small, so that states remember."""
    hidden, ff, layers = c["hidden_size"], c["intermediate_size"], c["num_hidden_layers"]
    inner, state, conv, rank = c["mamba_expand"] * hidden, c["mamba_d_state"], c["mamba_d_conv"], c["mamba_dt_rank"]
    heads, kv_heads = c["num_attention_heads"], c["num_key_value_heads"]
    head, half = hidden // heads, layers // 2
    shapes = {"model.embed_tokens.weight": (c["vocab_size"], hidden)}
    norms = ["model.final_layernorm"]
    for layer in range(layers):
        at = f"model.layers.{layer}"
        norms += [f"{at}.input_layernorm", f"{at}.post_attention_layernorm"]
        shapes |= {f"{at}.mlp.fc1.weight": (2 * ff, hidden), f"{at}.mlp.fc2.weight": (hidden, ff)}
        at += ".attn"
        if layer % 2 == 1:
            rows = (heads + 2 * kv_heads if layer <= half + 1 else heads) * head
            shapes |= {f"{at}.Wqkv.weight": (rows, hidden), f"{at}.Wqkv.bias": (rows,)}
            shapes |= {f"{at}.out_proj.weight": (hidden, hidden), f"{at}.out_proj.bias": (hidden,)}
            shapes |= {f"{at}.inner_cross_attn.subln.weight": (2 * head,)}
            shapes |= {f"{at}.inner_cross_attn.lambda_{part}": (head,) for part in ("q1", "k1", "q2", "k2")}
        elif layer <= half:
            shapes |= {
                f"{at}.in_proj.weight": (2 * inner, hidden), f"{at}.conv1d.weight": (inner, 1, conv),
                f"{at}.conv1d.bias": (inner,), f"{at}.x_proj.weight": (rank + 2 * state, inner),
                f"{at}.dt_proj.weight": (inner, rank), f"{at}.dt_proj.bias": (inner,), f"{at}.A_log": (inner, state),
                f"{at}.D": (inner,), f"{at}.out_proj.weight": (hidden, inner),
            }  # fmt: skip
        else:
            shapes |= {f"{at}.in_proj.weight": (inner, hidden), f"{at}.out_proj.weight": (hidden, inner)}
    for norm in norms:
        shapes |= {f"{norm}.weight": (hidden,), f"{norm}.bias": (hidden,)}
    tensors = {}
    for name, shape in shapes.items():
        random = noise(name, seed, shape)
        if name.endswith("A_log"):
            value = np.log(np.arange(1, state + 1, dtype=np.float32))[None] + np.float32(0.2) * random
        elif name.endswith("dt_proj.bias"):
            value = -2 + np.float32(0.5) * random
        elif "lambda" in name:
            value = np.float32(0.5) * random
        elif name.endswith("conv1d.weight"):
            value = np.float32(0.5) * random
        elif name.endswith(("Wqkv.weight", "embed_tokens.weight", "x_proj.weight")):
            value = np.float32(2) * weights(name, seed, shape)
        else:
            value = weights(name, seed, shape)
        tensors[name] = value.astype(np.float32)
    return tensors


def layer_norm(x, weight, bias, eps):
    centered = x - x.mean(-1, keepdims=True)
    return centered / np.sqrt((centered**2).mean(-1, keepdims=True) + eps) * weight + bias


def silu(x):
    return x / (1 + np.exp(-x))


def softmax(scores):
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


def mamba(c, w, h, wrong):
    """The output, and the memory: what is read of the state before it is gated."""
    inner, state, rank = c["mamba_expand"] * c["hidden_size"], c["mamba_d_state"], c["mamba_dt_rank"]
    width, length = c["mamba_d_conv"], len(h)
    x, z = np.split(h @ w["in_proj.weight"].T, 2, -1)
    if "halves" in wrong:
        x, z = z, x
    taps = w["conv1d.weight"][:, 0]
    if "taps" in wrong:
        taps = taps[:, ::-1]
    padded = np.concatenate([np.zeros((width - 1, inner)), x])
    x = silu(sum(padded[k : k + length] * taps[:, k] for k in range(width)) + w["conv1d.bias"])
    dt, b, into = np.split(x @ w["x_proj.weight"].T, [rank, rank + state], -1)
    if "b_c" in wrong:
        b, into = into, b
    bias = 0 if "dt_bias" in wrong else w["dt_proj.bias"]
    step = np.log1p(np.exp(dt @ w["dt_proj.weight"].T + bias))
    a = -np.exp(w["A_log"])
    s, y = np.zeros((inner, state)), np.zeros((length, inner))
    for t in range(length):
        s = np.exp(step[t][:, None] * a) * s + (step[t] * x[t])[:, None] * b[t]
        y[t] = s @ into[t]
    memory = y if "memory_d" in wrong else y + w["D"] * x
    gated = (y + w["D"] * x) * silu(z)
    return gated @ w["out_proj.weight"].T, gated if "memory_gated" in wrong else memory


def difference(c, w, layer, q, k, v, wrong):
    """q: [length, heads, head], k and v: [length, kv_heads, head]"""
    length, heads, head = q.shape
    group = heads // c["num_key_value_heads"]
    half = c["num_hidden_layers"] // 2
    i, j = np.arange(length)[:, None], np.arange(length)[None]
    visible = j <= i
    if layer <= half:
        visible &= i - j < c["sliding_window"] + ("window" in wrong)
    number = layer + ("depth" in wrong)
    first = 0.8 - 0.6 * np.exp(-0.3 * number)
    part = lambda name: w[f"inner_cross_attn.lambda_{name}"]  # noqa: E731
    scale = np.exp(part("q1") @ part("k1")) - np.exp(part("q2") @ part("k2")) + first
    if "lambda" in wrong:
        scale = first
    out = np.zeros((length, heads, head))
    for pair in range(heads // 2):
        m = pair % (heads // 2 // group) if "groups" in wrong else pair // group
        share = lambda side: softmax(  # noqa: E731
            np.where(visible, q[:, 2 * pair + side] @ k[:, 2 * m + side].T / np.sqrt(head), -np.inf)  # noqa: B023
        )
        both = np.concatenate([v[:, 2 * m], v[:, 2 * m + 1]], -1)
        a = share(0) @ both - scale * share(1) @ both
        if "sub_norm" not in wrong:
            a = a / np.sqrt((a**2).mean(-1, keepdims=True) + 1e-5) * w["inner_cross_attn.subln.weight"]
        a = a if "share" in wrong else a * (1 - first)
        out[:, 2 * pair], out[:, 2 * pair + 1] = a[:, :head], a[:, head:]
    return out.reshape(length, -1) @ w["out_proj.weight"].T + w["out_proj.bias"]


def logits(c, tensors, tokens, wrong=()):
    """Logits at all positions. `wrong` names what is done as it should not be."""
    everything = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
    heads, kv_heads, eps = c["num_attention_heads"], c["num_key_value_heads"], c["layer_norm_eps"]
    head, half = c["hidden_size"] // heads, c["num_hidden_layers"] // 2
    norm = lambda x, name: layer_norm(x, everything[f"{name}.weight"], everything[f"{name}.bias"], eps)  # noqa: E731
    x = everything["model.embed_tokens.weight"][tokens]
    length, shared, memory = len(tokens), None, None
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        w = {name.removeprefix(f"{at}.attn."): t for name, t in everything.items() if name.startswith(f"{at}.attn.")}
        h = norm(x, f"{at}.input_layernorm")
        if layer % 2 == 1:
            rows = h @ w["Wqkv.weight"].T + w["Wqkv.bias"]
            q, rest = np.split(rows, [heads * head], -1)
            q = q.reshape(length, heads, head)
            if layer <= half + 1:
                kv = tuple(part.reshape(length, kv_heads, head) for part in np.split(rest, 2, -1))
            if layer == half + 1 or ("first_keys" in wrong and layer == 1):
                shared = kv if shared is None else shared
            mixed = difference(c, w, layer, q, *(kv if layer <= half + 1 else shared), wrong)
        elif layer <= half:
            mixed, new = mamba(c, w, h, wrong)
            memory = memory if "first_memory" in wrong and memory is not None else new
        else:
            mixed = (silu(h @ w["in_proj.weight"].T) * memory) @ w["out_proj.weight"].T
        x = x + mixed
        h = norm(x, f"{at}.post_attention_layernorm")
        gate, up = np.split(h @ everything[f"{at}.mlp.fc1.weight"].T, 2, -1)
        if "gate_up" in wrong:
            gate, up = up, gate
        x = x + (silu(gate) * up) @ everything[f"{at}.mlp.fc2.weight"].T
    out = norm(x, "model.final_layernorm") @ everything["model.embed_tokens.weight"].T
    assert np.abs(out).max() <= 20.0, np.abs(out).max()
    return out


#: What might be done wrong, and the first position that shows it. At the first, input and output weights of a state only
#: meet in their product.
WRONG = {
    "halves": 0, "taps": 0, "b_c": 1, "dt_bias": 0, "memory_d": 0, "memory_gated": 0, "first_memory": 0, "gate_up": 0,
    "groups": 0, "lambda": 0, "depth": 0, "sub_norm": 0, "share": 0, "first_keys": 0, "window": 8,
}  # fmt: skip


def check(c, tensors, tokens, values):
    """That what might be wrong shows."""
    for how, position in WRONG.items():
        differs = np.abs(logits(c, tensors, tokens, (how,)) - values).max(-1) > 1e-3
        assert differs.any() and differs.argmax() == position, (how, differs.argmax())
    # And that states and the one full attention remember the beginning.
    other = [tokens[0] + 1 if tokens[0] < c["vocab_size"] - 1 else tokens[0] - 1, *tokens[1:]]
    assert np.abs(logits(c, tensors, other) - values)[-1].max() > 1e-2


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FIXTURES)
    args = parser.parse_args()
    c, seed = config(), 8
    out = Folder(args.out, "phi4flash")
    tensors = tensors_of(c, seed)
    # So many that a ring of the window turns.
    tokens = prompt(150, seed, c["vocab_size"])
    values = logits(c, tensors, tokens)
    check(c, tensors, tokens, values)
    out.case("all", tokens, values)
    save_file(tensors, out.path / "model.safetensors", metadata={"format": "pt"})
    (out.path / "config.json").write_text(json.dumps(c, indent=2) + "\n")
    out.finish()
    print(f"phi4flash: logits up to {np.abs(values).max():.2f}")


if __name__ == "__main__":
    main()

"""Tiny random models of Phi-3-small's kind with the logits that its equations give, in f64.

The published code runs on GPUs only, so this is the reference: each step as the paper would have it, whole matrices,
no cache. Becomes the folders `tests/fixtures/phi3small-*/`. See `tests/fixtures/README.md`.

    python tests/oracle/phi3small.py [--out DIR]
"""

import argparse
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from common import FIXTURES, Folder, prompt, weights

#: The logit of a token that must not come: the least f32.
MASKED = np.finfo(np.float32).min


def config(**overrides):
    """The fields of the published config, with small numbers. The limit is so small that values reach it."""
    fields = {
        "architectures": ["Phi3SmallForCausalLM"],
        "model_type": "phi3small",
        "blocksparse_block_size": 8,
        "blocksparse_homo_head_pattern": False,
        "blocksparse_num_local_blocks": 2,
        "blocksparse_triton_kernel_block_size": 64,
        "blocksparse_vert_stride": 4,
        "bos_token_id": 1,
        "dense_attention_every_n_layers": 2,
        "dummy_token_indices": [0, 17, 95],
        "eos_token_id": 2,
        "ff_intermediate_size": 96,
        "gegelu_limit": 1.0,
        "hidden_act": "gegelu",
        "hidden_size": 64,
        "layer_norm_epsilon": 1e-5,
        "max_position_embeddings": 256,
        "mup_attn_multiplier": 1.0,
        "mup_embedding_multiplier": 10.0,
        "mup_use_scaling": True,
        "mup_width_multiplier": 8.0,
        "num_attention_heads": 8,
        "num_hidden_layers": 3,
        "num_key_value_heads": 2,
        "original_max_position_embeddings": 256,
        "rope_embedding_base": 1000000,
        "rope_position_scale": 1.0,
        "rope_scaling": None,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "vocab_size": 96,
    }
    return fields | overrides


def tensors_of(c, seed):
    """Name → weights, in the layout that is published. Scores and logits are divided by more than usual, so queries, keys
    and the embedding are larger."""
    hidden, ff = c["hidden_size"], c["ff_intermediate_size"]
    head = hidden // c["num_attention_heads"]
    rows = (c["num_attention_heads"] + 2 * c["num_key_value_heads"]) * head
    shapes = {"model.embed_tokens.weight": (c["vocab_size"], hidden)}
    norms = ["model.final_layernorm"]
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        norms += [f"{at}.input_layernorm", f"{at}.post_attention_layernorm"]
        for name, out, width in [
            ("self_attn.query_key_value", rows, hidden), ("self_attn.dense", hidden, hidden),
            ("mlp.up_proj", 2 * ff, hidden), ("mlp.down_proj", hidden, ff),
        ]:  # fmt: skip
            shapes |= {f"{at}.{name}.weight": (out, width), f"{at}.{name}.bias": (out,)}
    for norm in norms:
        shapes |= {f"{norm}.weight": (hidden,), f"{norm}.bias": (hidden,)}
    larger = {"query_key_value.weight": 3, "embed_tokens.weight": 8}
    tensors = {}
    for name, shape in shapes.items():
        factor = next((factor for end, factor in larger.items() if name.endswith(end)), 1)
        tensors[name] = np.float32(factor) * weights(name, seed, shape)
    return tensors


def layer_norm(x, weight, bias, eps):
    centered = x - x.mean(-1, keepdims=True)
    return centered / np.sqrt((centered**2).mean(-1, keepdims=True) + eps) * weight + bias


def angles(c, length, head):
    """cos and sin, [length, head], both halves alike."""
    inverse = 1.0 / c["rope_embedding_base"] ** (np.arange(0, head, 2) / head)
    scaling, factor = c["rope_scaling"], 1.0
    if scaling:
        original = c["original_max_position_embeddings"]
        inverse = inverse / np.array(scaling["long_factor" if length > original else "short_factor"])
        factor = np.sqrt(1 + np.log(c["max_position_embeddings"] / original) / np.log(original))
    turns = np.outer(np.arange(length), inverse)
    turns = np.concatenate([turns, turns], -1)
    return factor * np.cos(turns), factor * np.sin(turns)


def rotate(x, cos, sin):
    first, second = np.split(x, 2, -1)
    return x * cos + np.concatenate([-second, first], -1) * sin


def visible(c, layer, length):
    """[heads, query, key]"""
    i, j = np.arange(length)[:, None], np.arange(length)[None]
    causal = j <= i
    heads = c["num_attention_heads"]
    if (layer + 1) % c["dense_attention_every_n_layers"] == 0:
        return np.repeat(causal[None], heads, 0)
    size, stride = c["blocksparse_block_size"], c["blocksparse_vert_stride"]
    step = 0 if c["blocksparse_homo_head_pattern"] else max(1, stride // heads)
    near = i // size - j // size < c["blocksparse_num_local_blocks"]
    return np.stack([causal & (near | ((j // size + h * step + 1) % stride == 0)) for h in range(heads)])


def gegelu(u, limit):
    """Even columns are gated by themselves, odd ones are linear."""
    g, t = np.minimum(u[:, 0::2], limit), np.clip(u[:, 1::2], -limit, limit)
    return g / (1 + np.exp(-1.702 * g)) * (t + 1)


def grouped(qkv, heads, kv_heads, head):
    """Query, key and value heads, [heads, length, head] each: of each key head its queries, itself, its value."""
    share = heads // kv_heads
    parts = qkv.reshape(len(qkv), kv_heads, share + 2, head).transpose(1, 2, 0, 3)
    q = parts[:, :share].reshape(heads, len(qkv), head)
    return q, parts[:, share], parts[:, share + 1]


def logits(c, tensors, tokens, split=grouped, activation=gegelu, mask=visible, norm=layer_norm, scale=None):
    """Logits at all positions. What comes after `tokens` is how it might be done wrong."""
    w = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
    heads, kv_heads, eps = c["num_attention_heads"], c["num_key_value_heads"], c["layer_norm_epsilon"]
    head = c["hidden_size"] // heads
    cos, sin = angles(c, len(tokens), head)
    linear = lambda x, name: x @ w[f"{name}.weight"].T + w[f"{name}.bias"]  # noqa: E731
    x = c["mup_embedding_multiplier"] * w["model.embed_tokens.weight"][tokens]
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        normed = lambda name: norm(x, w[f"{at}.{name}.weight"], w[f"{at}.{name}.bias"], eps)  # noqa: B023, E731
        q, k, v = split(linear(normed("input_layernorm"), f"{at}.self_attn.query_key_value"), heads, kv_heads, head)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        k, v = np.repeat(k, heads // kv_heads, 0), np.repeat(v, heads // kv_heads, 0)
        scores = q @ k.transpose(0, 2, 1) * (scale or c["mup_attn_multiplier"] / head)
        scores = np.where(mask(c, layer, len(tokens)), scores, -np.inf)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        attended = (shares @ v).transpose(1, 0, 2).reshape(len(tokens), -1)
        x = x + linear(attended, f"{at}.self_attn.dense")
        u = linear(normed("post_attention_layernorm"), f"{at}.mlp.up_proj")
        x = x + linear(activation(u, c["gegelu_limit"]), f"{at}.mlp.down_proj")
    x = norm(x, w["model.final_layernorm.weight"], w["model.final_layernorm.bias"], eps)
    out = x @ w["model.embed_tokens.weight"].T / c["mup_width_multiplier"]
    assert np.abs(out).max() <= 20.0, np.abs(out).max()
    out[:, c["dummy_token_indices"]] = MASKED
    return out


def first_difference(a, b):
    differs = np.abs(a - b).max(-1) > 1e-3
    return int(differs.argmax()) if differs.any() else None


def check(c, tensors, tokens, values):
    """That what might be wrong shows."""
    wrong = lambda **how: logits(c, tensors, tokens, **how)  # noqa: E731
    local = c["blocksparse_num_local_blocks"] * c["blocksparse_block_size"]
    dense = wrong(mask=lambda c, layer, length: visible(c, 1, length))
    assert first_difference(values, dense) == local, first_difference(values, dense)
    off_by_one = [
        c | {"blocksparse_num_local_blocks": c["blocksparse_num_local_blocks"] + 1},
        c | {"blocksparse_homo_head_pattern": True},
        c | {"dense_attention_every_n_layers": 3},
    ]
    for other in off_by_one:
        assert first_difference(values, logits(other, tensors, tokens)) is not None, other

    def in_order(qkv, heads, kv_heads, head):
        parts = qkv.reshape(len(qkv), -1, head).transpose(1, 0, 2)
        return np.split(parts, [heads, heads + kv_heads])

    def halves(u, limit):
        return gegelu(np.stack(np.split(u, 2, -1), -1).reshape(u.shape), limit)

    def swapped(u, limit):
        return gegelu(u.reshape(len(u), -1, 2)[:, :, ::-1].reshape(u.shape), limit)

    def both_ends(u, limit):
        return gegelu(np.clip(u, -limit, limit), limit)

    def free(u, limit):
        return gegelu(u, np.inf)

    def rms(x, weight, bias, eps):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * weight + bias

    head = c["hidden_size"] // c["num_attention_heads"]
    for how in [
        {"split": in_order}, {"activation": halves}, {"activation": swapped}, {"activation": both_ends},
        {"activation": free}, {"norm": rms}, {"scale": 1 / np.sqrt(head)},
    ]:  # fmt: skip
        assert first_difference(values, wrong(**how)) == 0 or "scale" in how, how
        assert first_difference(values, wrong(**how)) is not None, how


def write(root, name, c, seed, lengths):
    out = Folder(root, name)
    tensors = tensors_of(c, seed)
    for length in lengths:
        tokens = prompt(max(lengths), seed, c["vocab_size"])[:length]
        values = logits(c, tensors, tokens)
        out.case(f"all-{length}", tokens, values)
    check(c, tensors, tokens, values)
    save_file(tensors, out.path / "model.safetensors", metadata={"format": "pt"})
    (out.path / "config.json").write_text(json.dumps(c, indent=2) + "\n")
    out.finish()
    print(f"{name}: logits up to {np.abs(values[values > MASKED]).max():.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FIXTURES)
    args = parser.parse_args()
    write(args.out, "phi3small-8k", config(), 6, [100])
    # Factors that change with the length.
    scaling = {"type": "su", "short_factor": [1.0, 1.1, 1.3, 1.6], "long_factor": [1.0, 2.0, 6.0, 12.0]}
    small = dict(hidden_size=32, num_attention_heads=4, num_key_value_heads=2, ff_intermediate_size=48, num_hidden_layers=2)
    long = config(**small, max_position_embeddings=1024, original_max_position_embeddings=64, rope_scaling=scaling)
    write(args.out, "phi3small-128k", long, 7, [64, 90])


if __name__ == "__main__":
    main()

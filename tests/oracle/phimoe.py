"""Tiny random models of Phi-3.5-MoE's kind with the logits that `transformers` computes for them.

Each becomes a folder `tests/fixtures/phimoe*/`. See `tests/fixtures/README.md`.

    python tests/oracle/phimoe.py [--out DIR]

A router picks, and a score that comes close to where it picks otherwise might make two right programs differ. So prompts
are tried until every score on the way keeps its distance.
"""

import argparse
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import PhimoeConfig, PhimoeForCausalLM
from transformers.models.phimoe import modeling_phimoe as phimoe

import common
from common import FIXTURES, Folder
from tiny import logits, model_of, quiet

VOCAB = 96
ORIGINAL, LONGEST = 32, 512
SHORT = [1.0, 1.02, 1.05, 1.1, 1.2, 1.35, 1.5, 1.7]
LONG = [1.5, 2.25, 3.5, 6.0, 11.0, 24.0, 30.0, 31.0]
#: Not what follows from the lengths, √(1 + ln 16 / ln 32) = 1.34.
MSCALE = 1.2
WINDOW = 8
SPARSEMIXER = phimoe.sparsemixer


@torch.no_grad()
def rotary(self, x, position_ids=None):
    """The rotation as it was before 5.x and as the model was trained. In 5.23 the factors stay short past the original
    context, and only the scale becomes that of the long ones."""
    rope, length = self.config.rope_parameters, int(position_ids.max()) + 1
    if rope["rope_type"] == "default":
        inv_freq, scale = self.rope_init_fn(self.config)
    else:
        inv_freq, _ = self.rope_init_fn(self.config, seq_len=length)
        long = length > rope["original_max_position_embeddings"]
        scale = rope["long_mscale" if long else "short_mscale"]
    turns = position_ids[..., None].float() * inv_freq.float()
    turns = torch.cat((turns, turns), dim=-1)
    return (turns.cos() * scale).to(x.dtype), (turns.sin() * scale).to(x.dtype)


PUBLISHED_ROTARY = phimoe.PhimoeRotaryEmbedding.forward
phimoe.PhimoeRotaryEmbedding.forward = rotary


def longrope(**overrides):
    fields = dict(
        rope_type="longrope",
        rope_theta=10000.0,
        short_factor=SHORT,
        long_factor=LONG,
        original_max_position_embeddings=ORIGINAL,
        short_mscale=MSCALE,
        long_mscale=MSCALE,
    )
    return fields | overrides


def config(**overrides):
    """The published model made small."""
    fields = dict(
        vocab_size=VOCAB,
        hidden_size=64,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=8,
        num_experts_per_tok=2,
        max_position_embeddings=LONGEST,
        rms_norm_eps=1e-5,
        hidden_act="silu",
        router_jitter_noise=0.01,
        input_jitter_noise=0.01,
        attention_bias=True,
        lm_head_bias=True,
        tie_word_embeddings=False,
        sliding_window=None,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        rope_parameters=longrope(),
        attn_implementation="eager",
    )
    return PhimoeConfig(**(fields | overrides))


def slim_config(**overrides):
    """What is different in the models made from it: a window, no longrope, heads that are not a part of the width. And no
    biases in attention, which the config may say."""
    fields = dict(
        hidden_size=32,
        head_dim=16,
        num_attention_heads=4,
        num_key_value_heads=1,
        num_local_experts=6,
        max_position_embeddings=128,
        sliding_window=WINDOW,
        attention_bias=False,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    )
    return config(**(fields | overrides))


@torch.no_grad()
def close(cfg, seed):
    """A model whose scores are a few percent apart: some within the two that count, some without."""
    model = model_of(PhimoeForCausalLM, cfg, seed)
    for name, tensor in model.named_parameters():
        noise = torch.from_numpy(common.noise(name, seed, tuple(tensor.shape)))
        if name.endswith("router.weight"):
            tensor.copy_(0.05 + 0.015 * noise)
        elif name.endswith("post_attention_layernorm.bias"):
            tensor.copy_(1 + 0.3 * noise)
    return model


@torch.no_grad()
def apart(cfg, seed):
    """A model whose scores are far apart."""
    model = model_of(PhimoeForCausalLM, cfg, seed)
    for name, tensor in model.named_parameters():
        if name.endswith("router.weight"):
            tensor.mul_(4)
    return model


@contextmanager
def routed_by(mixer):
    phimoe.sparsemixer = mixer
    try:
        yield
    finally:
        phimoe.sparsemixer = SPARSEMIXER


class Watch:
    """sparsemixer, and how close its scores came to being taken otherwise: in parts of a score, and as they are. Also how
    many experts each layer used at least."""

    def __init__(self):
        self.margin, self.distance, self.shared, self.tokens, self.experts = np.inf, np.inf, 0, 0, 99

    def __call__(self, scores, jitter_eps, training, top_k=2):
        all_scores = scores.double().numpy()
        self.tokens += len(all_scores)
        for row in all_scores:
            left, shared = np.sort(row)[::-1], False
            for _ in range(2):
                larger = np.maximum(np.abs(left[1:]), left[0])
                behind = (left[0] - left[1:]) / larger
                from_edge = np.abs(behind - 2 * jitter_eps)
                self.margin = min(self.margin, behind[0], from_edge.min())
                self.distance = min(self.distance, left[0] - left[1], (from_edge * larger).min())
                shared |= bool((behind <= 2 * jitter_eps).any())
                left = left[1:]
            self.shared += shared
        shares, experts = SPARSEMIXER(scores, jitter_eps, training, top_k)
        self.experts = min(self.experts, len(experts.unique()))
        return shares, experts


def softmax_of_two(scores, jitter_eps, training, top_k=2):
    """What other runtimes do: softmax over all, the best two, made to sum to 1."""
    shares, experts = torch.softmax(scores, -1).topk(2, -1)
    return shares / shares.sum(-1, keepdim=True), experts


def in_full(scores, jitter_eps, training, top_k=2):
    """The best two, each counted in full: sparsemixer without its band."""
    experts = scores.topk(2, -1).indices
    return torch.ones_like(experts, dtype=scores.dtype), experts


def exchanged(scores, jitter_eps, training, top_k=2):
    shares, experts = SPARSEMIXER(scores, jitter_eps, training, top_k)
    return shares.flip(-1), experts


def next_experts(scores, jitter_eps, training, top_k=2):
    shares, experts = SPARSEMIXER(scores, jitter_eps, training, top_k)
    return shares, (experts + 1) % scores.shape[-1]


class RmsNorm(nn.Module):
    """With a bias, as llama.cpp computes these models."""

    def __init__(self, norm):
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight + self.bias


def with_rms_norm(model):
    model.model.norm = RmsNorm(model.model.norm)
    for layer in model.model.layers:
        layer.input_layernorm = RmsNorm(layer.input_layernorm)
        layer.post_attention_layernorm = RmsNorm(layer.post_attention_layernorm)
    return model


@torch.no_grad()
def gate_and_up_exchanged(model):
    for layer in model.model.layers:
        gate, up = layer.mlp.experts.gate_up_proj.chunk(2, dim=1)
        layer.mlp.experts.gate_up_proj.copy_(torch.cat((up, gate), dim=1))
    return model


def differ(values, others, least=1e-2):
    """That what might be done wrong shows."""
    assert np.abs(values - others).max() > least, np.abs(values - others).max()


def greedy(model, tokens, new):
    """Greedy ids from a fresh pass over everything at each step, and the smallest gap between the best two logits."""
    tokens, gaps = list(tokens), []
    for _ in range(new):
        best = np.sort(logits(model, tokens)[-1])[::-1]
        gaps.append(float(best[0] - best[1]))
        tokens.append(int(logits(model, tokens)[-1].argmax()))
    return tokens[-new:], min(gaps)


def whole(root):
    out, seed, new = Folder(root, "phimoe"), 21, 10
    model = close(config(), seed)
    with torch.no_grad():
        for trial in count():
            tokens = common.prompt(48, trial, VOCAB)
            prompt = common.prompt(ORIGINAL - 4, 1000 + trial, VOCAB)
            watch = Watch()
            with routed_by(watch):
                fresh = {length: logits(model, tokens[:length]) for length in (24, ORIGINAL, ORIGINAL + 1, 48)}
                if watch.margin < 2e-5 or watch.experts < 5:
                    continue
                ids, gap = greedy(model, prompt, new)
            short_only = greedy(close(config(rope_parameters=longrope(long_factor=SHORT)), seed), prompt, new)[0]
            long_only = greedy(close(config(rope_parameters=longrope(short_factor=LONG)), seed), prompt, new)[0]
            if watch.margin > 2e-5 and gap > 1e-2 and ids != short_only and ids != long_only:
                break
    print(f"prompt {trial}: {watch.shared} of {watch.tokens} tokens share, margin {watch.margin:.1e}, gap {gap:.3f}")
    assert 0.2 < watch.shared / watch.tokens < 0.9

    for length, values in fresh.items():
        out.case(f"all-{length}", tokens[:length], values)
    # Up to the original context nothing but what comes before counts; one token more changes everything.
    assert np.abs(fresh[ORIGINAL][:24] - fresh[24]).max() < 1e-4
    differ(fresh[ORIGINAL + 1][1:ORIGINAL], fresh[ORIGINAL][1:])
    values = fresh[48]
    for mixer in (softmax_of_two, in_full, exchanged, next_experts):
        with routed_by(mixer):
            differ(values, logits(model, tokens))
    differ(values, logits(with_rms_norm(close(config(), seed)), tokens))
    differ(values, logits(gate_and_up_exchanged(close(config(), seed)), tokens))
    computed = float(np.sqrt(1 + np.log(LONGEST / ORIGINAL) / np.log(ORIGINAL)))
    for mscale in (1.0, computed):
        rope = longrope(short_mscale=mscale, long_mscale=mscale)
        differ(values, logits(close(config(rope_parameters=rope), seed), tokens))
    phimoe.PhimoeRotaryEmbedding.forward = PUBLISHED_ROTARY
    differ(values, logits(model, tokens))
    assert np.abs(fresh[ORIGINAL] - logits(model, tokens[:ORIGINAL])).max() < 1e-5
    phimoe.PhimoeRotaryEmbedding.forward = rotary

    out.expected["generations"] = [
        {"name": "cross-boundary", "prompt": prompt, "output_ids": ids, "smallest_gap": round(gap, 6)}
    ]
    model.save_pretrained(out.path)
    out.finish()


def slim(root):
    out, seed = Folder(root, "phimoe-slim"), 22
    model = apart(slim_config(), seed)
    for trial in count():
        tokens, watch = common.prompt(16, trial, VOCAB), Watch()
        with routed_by(watch):
            values = logits(model, tokens)
        # So far apart that weights of 8 bits take the same way.
        if watch.distance > 0.1:
            break
    print(f"prompt {trial}: {watch.shared} of {watch.tokens} tokens share, distance {watch.distance:.2f}")
    assert watch.shared == 0
    unlimited = logits(apart(slim_config(sliding_window=None), seed), tokens)
    differs = np.abs(values - unlimited).max(axis=1) > 1e-4
    assert int(differs.argmax()) == WINDOW, differs
    with routed_by(softmax_of_two):
        differ(values, logits(model, tokens), 0.5)
    out.case("all", tokens, values)
    model.save_pretrained(out.path)
    out.finish()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FIXTURES)
    args = parser.parse_args()
    quiet()
    whole(args.out)
    slim(args.out)


if __name__ == "__main__":
    main()

"""Tiny random Phi-3 models with the logits that `transformers` computes for them.

Each variant becomes a folder `tests/fixtures/phi3-*/` in the usual Hugging Face
layout, plus `expected.json` and `.npy` files. See `tests/fixtures/README.md`.

    python tests/oracle/phi3.py [--out DIR] [variant ...]

Everything is seeded; the weights are the same on every machine, the logits are
the same up to the rounding of f32 sums.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import Phi3Config, Phi3ForCausalLM

import common
import tiny
from common import FIXTURES, Folder
from tiny import logits, quiet

VOCAB, HIDDEN, LAYERS, HEADS, KV_HEADS, FF = 256, 64, 3, 4, 2, 96
HEAD_DIM = HIDDEN // HEADS
WINDOW = 8
ORIGINAL, LONGEST = 256, 4096
PARTIAL = 0.75
ROT_PAIRS = int(HEAD_DIM * PARTIAL) // 2
SHORT = [1.0, 1.02, 1.05, 1.1, 1.2, 1.35][:ROT_PAIRS]
LONG = [1.5, 2.25, 3.5, 6.0, 11.0, 24.0][:ROT_PAIRS]


def config(**overrides):
    """The shape shared by all variants, in transformers-5 spelling."""
    fields = dict(
        vocab_size=VOCAB,
        hidden_size=HIDDEN,
        intermediate_size=FF,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=512,
        original_max_position_embeddings=512,
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
        sliding_window=None,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0},
        attn_implementation="eager",
    )
    fields.update(overrides)
    return Phi3Config(**fields)


def model_of(cfg, seed):
    return tiny.model_of(Phi3ForCausalLM, cfg, seed)


def prompt(length, seed):
    return common.prompt(length, seed, VOCAB)


@torch.no_grad()
def greedy(model, tokens, count):
    """`generate` without stopping; also the smallest gap between best and second best logit."""
    saved, model.generation_config = model.generation_config, transformers.GenerationConfig(
        pad_token_id=0,
        do_sample=False,
        max_new_tokens=count,
        output_logits=True,
        return_dict_in_generate=True,
    )
    out = model.generate(
        torch.tensor([tokens]), attention_mask=torch.ones(1, len(tokens), dtype=torch.long)
    )
    model.generation_config = saved
    gaps = [float(torch.topk(step[0], 2).values.diff().abs()) for step in out.logits]
    return out.sequences[0, len(tokens) :].tolist(), min(gaps)


def recomputed(model, tokens, count):
    """Greedy ids from a fresh pass over everything at each step."""
    tokens = list(tokens)
    start = len(tokens)
    for _ in range(count):
        tokens.append(int(logits(model, tokens)[-1].argmax()))
    return tokens[start:]


def base(root):
    out = Folder(root, "phi3-base")
    model = model_of(config(), seed=1)
    tokens = prompt(24, seed=11)
    out.case("all", tokens, logits(model, tokens))
    model.save_pretrained(out.path)
    out.finish()


def partial_tied(root):
    out = Folder(root, "phi3-partial-tied")
    rope = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": PARTIAL}
    model = model_of(config(rope_parameters=rope, tie_word_embeddings=True), seed=2)
    tokens = prompt(24, seed=12)
    out.case("all", tokens, logits(model, tokens))
    model.save_pretrained(out.path)
    out.finish()


def window(root):
    out = Folder(root, "phi3-window")
    model = model_of(config(sliding_window=WINDOW), seed=3)
    tokens = prompt(24, seed=13)
    values = logits(model, tokens)
    unlimited = logits(model_of(config(), seed=3), tokens)
    differs = np.abs(values - unlimited).max(axis=1) > 1e-4
    assert differs.argmax() == WINDOW and differs[WINDOW:].all(), differs
    out.case("all", tokens, values)
    # Long enough for a ring of the window and a batch to turn several times.
    tokens = prompt(300, seed=13)
    out.case("last-300", tokens, logits(model, tokens), "last")
    model.save_pretrained(out.path)
    out.finish()


def longrope_config(**extra):
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "partial_rotary_factor": PARTIAL,
        "short_factor": SHORT,
        "long_factor": LONG,
        "original_max_position_embeddings": ORIGINAL,
    }
    rope.update(extra)
    return config(
        rope_parameters=rope,
        max_position_embeddings=LONGEST,
        original_max_position_embeddings=ORIGINAL,
    )


def v4_spelling(fields, kind):
    """The same configuration with the keys that transformers 4 wrote."""
    fields = dict(fields)
    rope = fields.pop("rope_parameters")
    fields["rope_theta"] = rope["rope_theta"]
    fields["partial_rotary_factor"] = rope["partial_rotary_factor"]
    fields["original_max_position_embeddings"] = rope["original_max_position_embeddings"]
    fields["rope_scaling"] = {
        "type": kind,
        "short_factor": rope["short_factor"],
        "long_factor": rope["long_factor"],
    }
    fields["torch_dtype"] = fields.pop("dtype")
    fields["transformers_version"] = "4.43.0"
    return dict(sorted(fields.items()))


def longrope(root):
    out = Folder(root, "phi3-longrope")
    seed = 4
    model = model_of(longrope_config(), seed)
    fresh = {}
    for length in (200, 256, 257, 300):
        tokens = prompt(300, seed=14)[:length]
        fresh[length] = logits(model, tokens)
        out.case(f"last-{length}", tokens, fresh[length], positions="last")
    # One choice of factors for a whole pass: the first 200 rows of the pass over 256
    # tokens agree with those of 200 tokens, and none agrees with the pass over 257.
    assert np.abs(fresh[256][:200] - fresh[200]).max() < 1e-4
    assert (np.abs(fresh[257][1:256] - fresh[256][1:]).max(axis=1) > 1e-2).all()

    # Greedy decoding from 250 tokens, so that the eighth new token is the first to need the
    # long factors. The ids must be those of recomputing everything at each step, and
    # must not be those of a runtime that stays short or forgets to recompute.
    tokens, count = prompt(250, seed=25), 20
    ids, gap = greedy(model, tokens, count)
    assert ids == recomputed(model, tokens, count)
    assert gap > 1e-2, gap
    short_only = model_of(longrope_config(long_factor=SHORT), seed)
    assert ids[:7] == greedy(short_only, tokens, count)[0][:7]
    assert ids[7:] != greedy(short_only, tokens, count)[0][7:]
    long_only = model_of(longrope_config(short_factor=LONG), seed)
    assert ids[:7] != greedy(long_only, tokens, count)[0][:7]
    assert ids != kept_cache(model, tokens, count)
    out.expected["generations"] = [
        {"name": "cross-boundary", "prompt": tokens, "output_ids": ids, "smallest_gap": round(gap, 6)}
    ]

    model.save_pretrained(out.path)
    fields = json.loads((out.path / "config.json").read_text())
    for file, kind in (("config.v4.json", "longrope"), ("config.v4-su.json", "su")):
        spelled = v4_spelling(fields, kind)
        (out.path / file).write_text(json.dumps(spelled, indent=2) + "\n")
        if kind == "su":
            continue  # transformers 5.23 means to accept the old name, but its own check refuses it
        same = model_of(Phi3Config.from_dict(spelled, attn_implementation="eager"), seed)
        for length in (200, 300):
            assert np.array_equal(logits(same, prompt(300, seed=14)[:length]), fresh[length])
    out.finish()


@torch.no_grad()
def kept_cache(model, tokens, count):
    """What a runtime gets that switches factors but keeps the old cache."""
    cache, ids, new = None, list(tokens), []
    for _ in range(count):
        feed = ids if cache is None else ids[-1:]
        where = torch.arange(len(ids) - len(feed), len(ids))[None]
        step = model(torch.tensor([feed]), position_ids=where, past_key_values=cache, use_cache=True)
        cache = step.past_key_values
        ids.append(int(step.logits[0, -1].argmax()))
        new.append(ids[-1])
    return new


def sharded(root):
    out = Folder(root, "phi3-sharded")
    model = model_of(config(), seed=1)
    model.to(torch.bfloat16).save_pretrained(out.path, max_shard_size=90_000)
    index = json.loads((out.path / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) >= 3
    # Loaded again, not cast back: casting would also have rounded the rotary frequencies.
    model = Phi3ForCausalLM.from_pretrained(out.path, dtype=torch.float32, attn_implementation="eager")
    tokens = prompt(24, seed=11)
    out.case("all", tokens, logits(model.eval(), tokens))
    out.finish()


VARIANTS = {
    "phi3-base": base,
    "phi3-partial-tied": partial_tied,
    "phi3-window": window,
    "phi3-longrope": longrope,
    "phi3-sharded": sharded,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FIXTURES)
    parser.add_argument("variants", nargs="*", default=list(VARIANTS), metavar="variant")
    args = parser.parse_args()
    quiet()
    for name in args.variants:
        VARIANTS[name](args.out)
        print(name, "written")


if __name__ == "__main__":
    main()

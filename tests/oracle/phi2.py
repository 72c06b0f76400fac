"""A tiny random model of Phi-2's kind with the logits that `transformers` computes for it.

Becomes the folder `tests/fixtures/phi2/`. See `tests/fixtures/README.md`.

    python tests/oracle/phi2.py [--out DIR]
"""

import argparse
from pathlib import Path

import numpy as np
from transformers import PhiConfig, PhiForCausalLM

from common import FIXTURES, Folder, prompt
from tiny import logits, model_of, quiet

VOCAB, HIDDEN = 160, 64
SEED = 5


def config(**overrides):
    """Half of each head is rotated, and the feed-forward is four times the width, as in the published models."""
    fields = dict(
        vocab_size=VOCAB,
        hidden_size=HIDDEN,
        intermediate_size=4 * HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        layer_norm_eps=1e-5,
        hidden_act="gelu_new",
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
        attn_implementation="eager",
    )
    fields.update(overrides)
    return PhiConfig(**fields)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FIXTURES)
    args = parser.parse_args()
    quiet()
    out = Folder(args.out, "phi2")
    model = model_of(PhiForCausalLM, config(), SEED)
    tokens = prompt(32, SEED, VOCAB)
    values = logits(model, tokens)
    # What a runtime might get wrong is far from right: the exact GELU, and all of a head rotated.
    exact = logits(model_of(PhiForCausalLM, config(hidden_act="gelu"), SEED), tokens)
    assert np.abs(values - exact).max() > 1e-3, np.abs(values - exact).max()
    whole = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0}
    whole = logits(model_of(PhiForCausalLM, config(rope_parameters=whole), SEED), tokens)
    assert np.abs(values - whole).max() > 1e-1
    out.case("all", tokens, values)
    model.save_pretrained(out.path)
    out.finish()
    print("phi2 written")


if __name__ == "__main__":
    main()

"""A tiny random model of Phi-4-multimodal's kind with the logits that `transformers` computes for text alone.

It becomes the folder `tests/fixtures/phi4mm/`, with the names that the published folder has: each linear of the decoder
is a `base_layer` beside LoRA branches for images and speech, and the encoders stand among the rest. `transformers` has
neither in its own class, which is what answers for text. See `tests/fixtures/README.md`.

    python tests/oracle/phi4mm.py [--out DIR]
"""

import argparse
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from transformers import Phi4MultimodalConfig, Phi4MultimodalForCausalLM

import common
from common import FIXTURES, Folder
from phi3 import LONG, LONGEST, ORIGINAL, PARTIAL, SHORT, VOCAB
from tiny import logits, model_of, quiet

#: Rank of the LoRA branches.
RANKS = {"vision": 8, "speech": 4}
LINEARS = ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj")
ENCODERS = "model.embed_tokens_extend."
#: What is left of the encoders, which nobody reads: two tensors each.
KEPT = ("audio_embed.down_proj_for_speech", "image_embed.img_projection_down")


def config():
    """The text decoder as published, made small, beside the smallest encoders that their class accepts."""
    return Phi4MultimodalConfig(
        vocab_size=VOCAB,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=LONGEST,
        original_max_position_embeddings=ORIGINAL,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        sliding_window=None,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "partial_rotary_factor": PARTIAL,
            "short_factor": SHORT,
            "long_factor": LONG,
            "original_max_position_embeddings": ORIGINAL,
        },
        vision_config={
            "hidden_size": 8,
            "intermediate_size": 8,
            "num_hidden_layers": 2,
            "num_attention_heads": 1,
            "image_size": 28,
            "patch_size": 14,
            "crop_size": 28,
            "image_token_id": VOCAB - 2,
        },
        audio_config={
            "hidden_size": 8,
            "intermediate_size": 8,
            "num_blocks": 2,
            "num_attention_heads": 1,
            "ext_pw_out_channel": 8,
            "depthwise_separable_out_channel": 8,
            "nemo_conv_channels": 8,
            "bias_max_distance": 8,
            "audio_token_id": VOCAB - 1,
        },
        attn_implementation="eager",
    )


def published(cfg):
    """The `config.json` of the published folder, as far as text goes, with what it says of the branches."""
    rope = cfg.rope_parameters
    fields = {
        "architectures": ["Phi4MMForCausalLM"],
        "model_type": "phi4mm",
        "attention_bias": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "embd_layer": {"embedding_cls": "image_audio"},
        "hidden_act": "silu",
        "hidden_size": cfg.hidden_size,
        "intermediate_size": cfg.intermediate_size,
        "lm_head_bias": False,
        "max_position_embeddings": cfg.max_position_embeddings,
        "mlp_bias": False,
        "num_attention_heads": cfg.num_attention_heads,
        "num_hidden_layers": cfg.num_hidden_layers,
        "num_key_value_heads": cfg.num_key_value_heads,
        "original_max_position_embeddings": cfg.original_max_position_embeddings,
        "partial_rotary_factor": rope["partial_rotary_factor"],
        "rms_norm_eps": cfg.rms_norm_eps,
        "rope_scaling": {"long_factor": rope["long_factor"], "short_factor": rope["short_factor"], "type": "longrope"},
        "rope_theta": rope["rope_theta"],
        "sliding_window": None,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "vocab_size": cfg.vocab_size,
    }
    for branch, rank in RANKS.items():
        fields[f"{branch}_lora"] = {"dp": 0.0, "lora_alpha": 2 * rank, "r": rank}
    return fields


def tensors(model, seed):
    """The weights under the names of the published folder. The branches are as large as the rest: who added one to a
    `base_layer`, or took it for one, would see it."""
    out = {}
    for name, tensor in model.named_parameters():
        value = tensor.detach().numpy()
        if name.startswith(ENCODERS) and not name.removeprefix(ENCODERS).startswith(KEPT):
            continue
        stem = name.removesuffix(".weight")
        if not stem.endswith(LINEARS):
            out[name] = value
            continue
        out[f"{stem}.base_layer.weight"] = value
        rows, columns = value.shape
        for branch, rank in RANKS.items():
            for part, shape in (("A", (rank, columns)), ("B", (rows, rank))):
                lora = f"{stem}.lora_{part}.{branch}.weight"
                out[lora] = common.weights(lora, seed, shape)
    return {name: np.ascontiguousarray(value) for name, value in out.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FIXTURES)
    args = parser.parse_args()
    quiet()
    seed = 71
    out = Folder(args.out, "phi4mm")
    model = model_of(Phi4MultimodalForCausalLM, config(), seed)
    for length in (24, ORIGINAL + 1):
        tokens = common.prompt(length, seed, VOCAB - 2)
        out.case(f"last-{length}", tokens, logits(model, tokens), "last")
    stored = tensors(model, seed)
    assert any(name.startswith(ENCODERS) for name in stored) and sum("lora_" in name for name in stored) == 32
    save_file(stored, out.path / "model.safetensors", metadata={"format": "pt"})
    (out.path / "config.json").write_text(json.dumps(published(model.config), indent=2) + "\n")
    out.finish()
    print("phi4mm written")


if __name__ == "__main__":
    main()

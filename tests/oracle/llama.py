"""Tiny random Llama models as GGUF, with the logits that `transformers` computes for them.

The files are as llama.cpp's converter would write them, and as Phi-4 is found on the web: query, key and value apart,
gate and up apart, and the rows of queries and keys in pairs of neighbours. Each becomes a folder
`tests/fixtures/llama*/` with `model.gguf`, `expected.json` and `.npy` files. See `tests/fixtures/README.md`.

    python tests/oracle/llama.py [--out DIR]
"""

import argparse
from pathlib import Path

import numpy as np
from gguf import GGUFWriter
from transformers import LlamaConfig, LlamaForCausalLM

from common import FIXTURES, Folder, prompt
from tiny import logits, model_of, quiet

VOCAB = 96

NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
    "input_layernorm.weight": "attn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
}


def config(**overrides):
    fields = dict(
        vocab_size=VOCAB,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=128,
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        rope_parameters={"rope_type": "default", "rope_theta": 250000.0},
        attn_implementation="eager",
    )
    fields.update(overrides)
    return LlamaConfig(**fields)


def neighbours(rows, head_dim):
    """Within each head, rows `i` and `i + head_dim / 2` become rows `2i` and `2i + 1`."""
    heads = rows.reshape(-1, 2, head_dim // 2, rows.shape[-1])
    return heads.transpose(0, 2, 1, 3).reshape(rows.shape)


def write_gguf(path, model, factors):
    cfg = model.config
    out = GGUFWriter(path, "llama")
    out.add_context_length(cfg.max_position_embeddings)
    out.add_embedding_length(cfg.hidden_size)
    out.add_feed_forward_length(cfg.intermediate_size)
    out.add_block_count(cfg.num_hidden_layers)
    out.add_head_count(cfg.num_attention_heads)
    out.add_head_count_kv(cfg.num_key_value_heads)
    out.add_layer_norm_rms_eps(cfg.rms_norm_eps)
    out.add_rope_dimension_count(cfg.head_dim)
    out.add_rope_freq_base(cfg.rope_parameters["rope_theta"])
    if cfg.head_dim * cfg.num_attention_heads != cfg.hidden_size:
        out.add_key_length(cfg.head_dim)
        out.add_value_length(cfg.head_dim)
    out.add_tokenizer_model("no_vocab")
    out.add_vocab_size(cfg.vocab_size)
    if factors is not None:
        out.add_tensor("rope_freqs.weight", factors)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and cfg.tie_word_embeddings:
            continue
        values = tensor.float().numpy()
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            values = neighbours(values, cfg.head_dim)
        if name.startswith("model.layers."):
            _, _, layer, rest = name.split(".", 3)
            name = f"blk.{layer}.{NAMES[rest]}"
        else:
            name = NAMES[name]
        out.add_tensor(name, np.ascontiguousarray(values))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def write(root, name, cfg, seed, factors=None):
    out = Folder(root, name)
    model = model_of(LlamaForCausalLM, cfg, seed)
    tokens = prompt(40, seed, VOCAB)
    out.case("all", tokens, logits(model, tokens))
    write_gguf(out.path / "model.gguf", model, factors)
    out.finish()
    print(name, "written")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FIXTURES)
    args = parser.parse_args()
    quiet()
    write(args.out, "llama", config(), 8)
    # Heads that are not a part of the width, a head that is the embedding, and frequencies with factors.
    rope = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64}  # fmt: skip
    cfg = config(hidden_size=32, head_dim=24, num_hidden_layers=1, tie_word_embeddings=True, rope_parameters=rope)
    plain = 1.0 / 10000.0 ** (np.arange(0, 24, 2) / 24)
    scaled = LlamaForCausalLM(cfg).model.rotary_emb.inv_freq.numpy()
    factors = (plain / scaled).astype(np.float32)
    assert factors[0] == 1 and factors[-1] > 7.9, factors
    write(args.out, "llama-factors", cfg, 9, factors)


if __name__ == "__main__":
    main()

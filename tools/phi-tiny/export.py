"""Turns a training checkpoint into a Hugging Face folder in BF16: python export.py --work DIR --out phi-tiny

The folder is loaded again with transformers and its logits are compared with those of the training model.
"""

import argparse
import random
import shutil
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, Phi3ForCausalLM

import data
from model import Phi3, phi3_config


def export(work, out):
    tokenizer = Tokenizer.from_file(str(work / "tokenizer" / "tokenizer.json"))
    config = phi3_config(tokenizer)
    ours = Phi3(config)
    ours.load_state_dict(torch.load(work / "checkpoint.pt", weights_only=True)["model"])

    theirs = Phi3ForCausalLM(config)
    missing, unexpected = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert set(missing) <= {"lm_head.weight"} and not unexpected, (missing, unexpected)
    theirs.tie_weights()
    theirs.generation_config = GenerationConfig(
        do_sample=False,
        bos_token_id=config.bos_token_id,
        eos_token_id=[tokenizer.token_to_id("<|end|>"), config.eos_token_id],
        pad_token_id=config.pad_token_id,
    )
    theirs.to(torch.bfloat16).save_pretrained(out)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(work / "tokenizer" / name, out / name)
    (out / "model.safetensors").chmod(0o644)
    return ours


@torch.no_grad()
def compare(ours, out):
    """The folder as others will load it, against our own mathematics on the same rounded weights."""
    theirs = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    ours.load_state_dict({name: value.to(torch.bfloat16) for name, value in ours.state_dict().items()})
    tokenizer = AutoTokenizer.from_pretrained(out)
    messages = data.draw_chat(random.Random("export"), max_turns=20)
    rendered = tokenizer.apply_chat_template(messages, tokenize=False)
    assert rendered == data.render(messages), rendered
    ids = tokenizer(rendered, return_tensors="pt").input_ids
    assert ids.tolist() == [Tokenizer.from_file(str(out / "tokenizer.json")).encode(rendered).ids]
    difference = (theirs(ids).logits[0] - ours(ids, torch.arange(ids.shape[1]))).abs().max().item()
    print(f"{ids.shape[1]} tokens, largest difference of a logit: {difference:.2e}")
    assert difference < 1e-3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    compare(export(arguments.work, arguments.out), arguments.out)


if __name__ == "__main__":
    main()

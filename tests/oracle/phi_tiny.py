"""Greedy answers of the phi-tiny checkpoint, as `transformers` generates them.

    python tests/oracle/phi_tiny.py [--checkpoint DIR] [--out FILE] [--limit N]

Reads a Hugging Face folder (default `tools/phi-tiny/phi-tiny`), renders each
conversation with the folder's chat template, decodes greedily in f32 with eager
attention and writes `tests/fixtures/phi-tiny-greedy.json`. See
`tests/fixtures/README.md`.
"""

import argparse
import json
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from common import FIXTURES, write_json

CHECKPOINT = Path(__file__).resolve().parents[2] / "tools" / "phi-tiny" / "phi-tiny"
MAX_NEW_TOKENS = 160

QUESTIONS = [
    # arithmetic
    "What is 2 + 2?", "What is 7 + 5?", "What is 13 - 6?", "What is 4 times 6?", "What is 20 divided by 5?", "9+8=",
    # capitals
    "What is the capital of France?", "What is the capital of Japan?", "Name the capital of Italy.",
    "Which city is the capital of Egypt?", "Paris is the capital of which country?",
    # opposites
    "What is the opposite of hot?", "What is the opposite of big?", "Give me the opposite of early.",
    # days and months
    "What day comes after Monday?", "What day comes before Sunday?", "Which month comes after March?",
    "How many days are in a week?", "List the days of the week.",
    # spelling and words
    "Spell the word cat.", "Spell the word house.", "How many letters are in the word apple?",
    "What is the first letter of banana?", "Write the word dog backwards.",
    # counting
    "Count from 1 to 5.", "Count from 3 to 10.", "Count down from 5 to 1.", "What number comes after 19?",
    # stories
    "Tell me a story about a cat.", "Tell me a short story about a brave girl.", "Write a story about a lost dog.",
    # small talk
    "Hello!", "Hi, how are you?", "Good morning.", "Thank you.", "Who are you?", "What is your name?", "What can you do?",
    # things it cannot know, and odd input
    "What is my name?", "What will the weather be tomorrow?", "Who won the match yesterday?", "asdf qwer zxcv", "?",
]  # fmt: skip

CONVERSATIONS = [
    [("user", "My name is Anna."), ("assistant", "Nice to meet you, Anna!"), ("user", "What is my name?")],
    [("user", "What is the capital of Spain?"), ("assistant", "The capital of Spain is Madrid."), ("user", "And of Germany?")],
    [("user", "What is 3 + 4?"), ("assistant", "3 + 4 = 7."), ("user", "Now add 2.")],
    [("system", "You are a helpful assistant."), ("user", "What color is the sky?")],
    [("system", "You answer in one word."), ("user", "What is the opposite of up?")],
    [("system", "You are a pirate."), ("user", "Hello, who are you?")],
    [("system", "You are a helpful assistant."), ("user", "Hello!"), ("assistant", "Hello! How can I help you?"),
     ("user", "Tell me a story about the moon.")],
]  # fmt: skip


def conversations():
    single = [[{"role": "user", "content": q}] for q in QUESTIONS]
    return single + [[{"role": r, "content": c} for r, c in turns] for turns in CONVERSATIONS]


def stop_ids(folder, tokenizer):
    """Every id that ends an answer: the configured ones and the usual end tokens."""
    ids = set()
    for file in ("generation_config.json", "config.json"):
        path = Path(folder) / file
        eos = json.loads(path.read_text())["eos_token_id"] if path.is_file() else None
        ids.update(eos if isinstance(eos, list) else [] if eos is None else [eos])
    vocab = tokenizer.get_vocab()
    ids.update(vocab[t] for t in ("<|end|>", "<|endoftext|>", "<|im_end|>") if t in vocab)
    return sorted(ids)


@torch.no_grad()
def answer(model, tokenizer, messages, stops):
    rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    prompt = tokenizer.encode(rendered, add_special_tokens=False)
    out = model.generate(torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long))
    ids = out.sequences[0, len(prompt) :].tolist()
    gaps = [float(torch.topk(step[0], 2).values.diff().abs()) for step in out.logits]
    stopped = bool(ids) and ids[-1] in stops
    visible = ids[:-1] if stopped else ids
    return {
        "messages": messages,
        "rendered": rendered,
        "prompt_ids": prompt,
        "output_ids": ids,
        "stopped": stopped,
        "text": tokenizer.decode(visible, skip_special_tokens=True, clean_up_tokenization_spaces=False),
        "smallest_gap": round(min(gaps), 6),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--out", type=Path, default=FIXTURES / "phi-tiny-greedy.json")
    parser.add_argument("--limit", type=int, help="only the first N conversations")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()

    tokenizer = AutoTokenizer.from_pretrained(args.checkpoint)
    model = AutoModelForCausalLM.from_pretrained(args.checkpoint, dtype=torch.float32, attn_implementation="eager").eval()
    stops = stop_ids(args.checkpoint, tokenizer)
    model.generation_config = GenerationConfig(
        do_sample=False,
        max_new_tokens=MAX_NEW_TOKENS,
        eos_token_id=stops,
        pad_token_id=stops[0],
        output_logits=True,
        return_dict_in_generate=True,
    )
    # Whatever class `transformers` picked, its ids must be those of the plain file.
    plain = None
    if (args.checkpoint / "tokenizer.json").is_file():
        from tokenizers import Tokenizer

        plain = Tokenizer.from_file(str(args.checkpoint / "tokenizer.json"))

    results = []
    for messages in conversations()[: args.limit]:
        found = answer(model, tokenizer, messages, stops)
        if plain:
            assert plain.encode(found["rendered"], add_special_tokens=False).ids == found["prompt_ids"], found["rendered"]
        results.append(found)
    write_json(args.out, results)
    print(f"{len(results)} conversations, {sum(r['stopped'] for r in results)} of them stopped by themselves")
    print(f"smallest gap between the best two logits: {min(r['smallest_gap'] for r in results)}")


if __name__ == "__main__":
    main()

"""Trains phi-tiny: python train.py --work DIR --tokens N [--decay-tokens N]

The run can be stopped and started again at any time. The schedule is warm-up, constant, linear decay, so the length
may be decided late: stop the run, start it again with another --tokens.
"""

import argparse
import json
import os
import random
import signal
import threading
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

import data
from model import Phi3, phi3_config

STEP_TOKENS = 4096
# Most batches are short, because most chats are; every eighth is long, so that long chats do not break down.
SHORT, LONG, LONG_EVERY = 128, 680, 8
WARMUP_TOKENS = 400_000
MUON_RATE, ADAM_RATE = 0.02, 0.003
CHECKPOINT_SECONDS = 240
# What the user says is as good as random: a tenth of it is enough to learn its distribution.
USER_TEXT_SHARE = 0.1


class Stream:
    """Batch i depends on the seed and on i alone, so a position in the stream is just a number."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.assistant = tokenizer.token_to_id("<|assistant|>")
        self.end = tokenizer.token_to_id("<|end|>")
        self.end_of_text = tokenizer.token_to_id("<|endoftext|>")

    def _row(self, rng, length, max_turns):
        """Whole chats one after the other, the last one cut off; one token more than the model reads."""
        row = []
        while len(row) <= length:
            row += self.tokenizer.encode(data.render(data.draw_chat(rng, max_turns=max_turns))).ids
        return row[: length + 1]

    def _picked(self, rng, row):
        """Which targets count: all that the assistant says, the end of the chat, some of the rest."""
        picked, speaking = [], False
        for position, token in enumerate(row[1:]):
            speaking = row[position] == self.assistant or (speaking and row[position] != self.end)
            if speaking or token == self.end_of_text or rng.random() < USER_TEXT_SHARE:
                picked.append(position)
        return picked

    def batch(self, index):
        rng = random.Random(f"{data.SEED}:train:{index}")
        length, max_turns = (LONG, 30) if index % LONG_EVERY == 0 else (SHORT, 4)
        rows = [self._row(rng, length, max_turns) for _ in range(STEP_TOKENS // length)]
        picked = [number * length + p for number, row in enumerate(rows) for p in self._picked(rng, row)]
        rows, picked = torch.tensor(rows), torch.tensor(picked)
        return rows[:, :-1], rows[:, 1:].flatten()[picked], picked


def schedule(seen, total, decay):
    return min(1.0, (seen + STEP_TOKENS) / WARMUP_TOKENS, (total - seen) / decay)


def optimizers(model):
    """Muon for the matrices of the layers, AdamW for the embedding and the norms."""
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.dim() != 2 or "embed" in name]
    return [
        torch.optim.Muon(matrices, lr=MUON_RATE, momentum=0.95, weight_decay=0.02),
        torch.optim.AdamW(others, lr=ADAM_RATE, betas=(0.9, 0.98), weight_decay=0.0, foreach=True),
    ]


def save(path, state):
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder with tokenizer/, for checkpoints and the log")
    parser.add_argument("--tokens", type=int, default=40_000_000)
    parser.add_argument("--decay-tokens", type=int, default=10_000_000)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    tokenizer = Tokenizer.from_file(str(arguments.work / "tokenizer" / "tokenizer.json"))
    stream = Stream(tokenizer)
    model = Phi3(phi3_config(tokenizer))
    steppers = optimizers(model)
    rates = [[group["lr"] for group in stepper.param_groups] for stepper in steppers]
    checkpoint = arguments.work / "checkpoint.pt"
    step, seen, seconds = 0, 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        step, seen, seconds = state["step"], state["seen"], state["seconds"]
        model.load_state_dict(state["model"])
        for stepper, saved in zip(steppers, state["optimizers"], strict=True):
            stepper.load_state_dict(saved)

    # In place, so that the parameter names stay; one graph for each of the two lengths.
    model.model.compile(dynamic=False)

    def snapshot():
        save(checkpoint, {
            "step": step,
            "seen": seen,
            "seconds": seconds + time.monotonic() - started,
            "model": model.state_dict(),
            "optimizers": [stepper.state_dict() for stepper in steppers],
        })

    # A polite stop loses nothing: the loop ends after the current step and the checkpoint is written.
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())

    log = (arguments.work / "log.jsonl").open("a")
    started = saved_at = time.monotonic()
    mean_loss = None
    while seen < arguments.tokens and not stop.is_set():
        ids, targets, picked = stream.batch(step)
        factor = schedule(seen, arguments.tokens, arguments.decay_tokens)
        for stepper, initial in zip(steppers, rates, strict=True):
            for group, rate in zip(stepper.param_groups, initial, strict=True):
                group["lr"] = rate * factor
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(ids, picked)
        loss = F.cross_entropy(logits.float(), targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for stepper in steppers:
            stepper.step()
            stepper.zero_grad()
        step += 1
        seen += ids.numel()
        mean_loss = loss.item() if mean_loss is None else 0.98 * mean_loss + 0.02 * loss.item()
        if step % 50 == 0:
            elapsed = seconds + time.monotonic() - started
            record = {"tokens": seen, "loss": round(mean_loss, 4), "rate": round(factor, 4), "seconds": round(elapsed)}
            print(json.dumps(record), file=log, flush=True)
        if time.monotonic() - saved_at > CHECKPOINT_SECONDS:
            snapshot()
            saved_at = time.monotonic()
    snapshot()


if __name__ == "__main__":
    main()

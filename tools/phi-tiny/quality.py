"""What quantization costs phi-tiny: python quality.py --bin ../../target/release [--count 30] [--out quality.json]

For every type: bits per weight and relative error as `phi-quantize --stats` counts them, perplexity of the held-out text,
KL divergence from the BF16 model and agreement of the likeliest token as `phi-run perplexity` measures them, and the
part of held-out questions that `phi-run` answers letter by letter. Prints the rows of the README's table.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

from evaluate import QUESTION_KINDS, held_out_questions

HERE = Path(__file__).parent
TYPES = (
    "BF16 Q8_0 Q6_K Q5_K_M Q5_K_S Q5_1 Q5_0 Q4_K_M Q4_K_S Q4_1 IQ4_NL Q4_0 IQ4_XS Q3_K_L Q3_K_M Q3_K_S Q2_K TQ2_0"
).split()


def run(*words):
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True).stdout


def exact(phi_run, model, questions):
    answers = (run(phi_run, model, "-p", question, "--temp", "0", "-n", "64").rstrip("\n") for question, _ in questions)
    return sum(answer == right for answer, (_, right) in zip(answers, questions, strict=True)) / len(questions)


def line(row):
    """A row of the README's table."""
    made, measured = row["made"], row["measured"]
    ppl = measured["ppl"]
    cells = [
        row["type"],
        f"{made['bits_per_weight']:.2f}",
        f"{100 * made['relative']:.1f} %",
        f"{ppl:.4f}" if ppl < 100 else f"{ppl:.0f}",
    ]
    if "kld" in measured:
        divergence = measured["kld"]["mean"]
        cells += [f"{divergence:.5f}" if divergence < 1 else f"{divergence:.2f}", f"{100 * measured['same_top']:.1f} %"]
    else:
        cells += ["–", "–"]
    return "| " + " | ".join([*cells, f"{100 * row['exact']:.1f} %"]) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=Path, required=True, help="where phi-quantize and phi-run are")
    parser.add_argument("--count", type=int, default=30, help="questions of each kind")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    phi_quantize, phi_run = args.bin / "phi-quantize", args.bin / "phi-run"
    questions = [pair for kind in QUESTION_KINDS for pair in held_out_questions(kind, args.count)]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base"
        for kind in TYPES:
            model = Path(folder) / f"{kind}.gguf"
            made = json.loads(run(phi_quantize, HERE / "phi-tiny", model, kind, "--stats", "--json"))
            text = ["perplexity", model, "-f", HERE / "heldout.txt", "--special", "-c", 512, "--kv", "f32", "--json"]
            measured = json.loads(run(phi_run, *text, "--kl-divergence-base", base, *(["--kl-divergence"] if rows else [])))
            rows.append({"type": kind, "made": made, "measured": measured, "exact": exact(phi_run, model, questions)})
            print(line(rows[-1]), flush=True)
    if args.out:
        args.out.write_text(json.dumps({"questions": len(questions), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()

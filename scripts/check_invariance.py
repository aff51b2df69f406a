#!/usr/bin/env python3
"""What must not change a run does not change it: threads, recomputation, accumulation, packing.

Shows, on any Hugging Face folder and on random tokens made here:

    threads        weights and optimizer state after a few steps are the same bytes with 1 and with 2 threads
    recompute      … and with `train.recompute` "none", "selective" and "block"
    accumulation   4 batches of 2 rows a step against 1 batch of 8: losses within 1e-5, gradients of step 1 within 1e-5
                   of their norm (f32 sums in another order; masks of different length, so the division is under test)
    packing        log-probabilities of responses scored all together and one at a time: within 1e-5

    python scripts/check_invariance.py --model tests/golden/llama_tiny/tied
    python scripts/check_invariance.py --model MODEL --tokens 64 --steps 2

ALBACORE or `--albacore` names the binary. The exit status is the number of failed lines.

Needs: pip install numpy safetensors.
"""
import argparse
import hashlib
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

import numpy
from safetensors.numpy import load_file

failures = 0


def line(what, worst, allowed, note=""):
    global failures
    good = worst <= allowed
    failures += not good
    print(f"{what:52} worst {worst:<9.3g} allowed {allowed:<7.3g} {'ok' if good else 'FAILED'}  {note}", flush=True)


def albacore(arguments, *command):
    command = [str(arguments.albacore), *map(str, command), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\nexit status {done.returncode}\n{done.stdout}{done.stderr}")


def write_rows(arguments, path, random_numbers):
    """Rows of equal length, so that the same eight are in a step either way; prompts of different length."""
    vocabulary = json.loads((arguments.model / "config.json").read_text())["vocab_size"]
    rows = []
    for _ in range(8 * arguments.steps):
        ids = [random_numbers.randrange(3, vocabulary) for _ in range(arguments.tokens)]
        prompt = random_numbers.randint(1, arguments.tokens - 2)
        rows.append({"input_ids": ids, "labels": [-100] * prompt + ids[prompt:]})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


def train(arguments, name, threads=2, recompute="none", rows=8, steps=None):
    """Trains and returns (losses, moments, digests of the checkpoint's tensors)."""
    steps = steps or arguments.steps
    config = arguments.work / f"{name}.toml"
    config.write_text(f"""\
[run]
dir = {json.dumps(str(arguments.work))}
name = "{name}"
[model]
path = {json.dumps(str(arguments.model))}
[data]
template = "none"
max_tokens = {arguments.tokens}
tokens_per_batch = {rows * arguments.tokens}
shuffle = false
[[data.sources]]
path = {json.dumps(str(arguments.work / "rows.jsonl"))}
format = "tokens"
[optim]
learning_rate = 1e-4
[schedule]
kind = "constant"
warmup_steps = 0
[train]
steps = {steps}
batches_per_step = {8 // rows}
recompute = "{recompute}"
[checkpoint]
every = 1000000
keep_last = 1
""")
    albacore(arguments, "train", config, "--resume", "never", "--threads", threads)
    run = arguments.work / name
    losses = [json.loads(row)["loss"] for row in (run / "metrics.jsonl").read_text().splitlines()]
    checkpoint = max(path for path in (run / "checkpoints").iterdir() if path.suffix == "")
    digests = {file: hashlib.sha256((checkpoint / file).read_bytes()).hexdigest() for file in ("model.safetensors", "optimizer.safetensors")}
    moments = {key: value for key, value in load_file(checkpoint / "optimizer.safetensors").items() if key.startswith("m.")}
    for path in checkpoint.iterdir():
        path.unlink()  # large, and no longer needed
    return losses, moments, digests


def check_bytes(what, one, two):
    different = [file for file in one[2] if one[2][file] != two[2][file]]
    line(what, len(different) + (one[0] != two[0]), 0, " ".join(different) or "weights, moments and losses, byte for byte")


def score(arguments, rows):
    """Token log-probabilities of each row."""
    source, target = arguments.work / "score.jsonl", arguments.work / "scores.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    albacore(arguments, "score", arguments.model, "--input", source, "--output", target, "--template", "none")
    return [json.loads(text)["token_logprobs"] for text in target.read_text().splitlines()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=96, help="a row")
    parser.add_argument("--albacore", type=pathlib.Path, default=os.environ.get("ALBACORE", "target/release/albacore"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        arguments.work = pathlib.Path(temporary)
        rows = write_rows(arguments, arguments.work / "rows.jsonl", random.Random(0))
        base = train(arguments, "base")
        check_bytes("threads: 1 against 2", base, train(arguments, "one_thread", threads=1))
        for recompute in ("selective", "block"):
            check_bytes(f"recompute: {recompute} against none", base, train(arguments, recompute, recompute=recompute))
        losses, _, _ = train(arguments, "four_by_two", rows=2)
        line("accumulation: loss of a step, 4 x 2 against 1 x 8", max(abs(a - b) for a, b in zip(losses, base[0])), 1e-5, f"{len(losses)} steps")
        _, one, _ = train(arguments, "first_one_by_eight", steps=1)
        _, four, _ = train(arguments, "first_four_by_two", rows=2, steps=1)
        errors = {key: float(numpy.linalg.norm(one[key] - four[key]) / numpy.linalg.norm(one[key])) for key in one}
        worst = max(errors, key=errors.get)
        line("accumulation: gradient of a parameter at step 1", errors[worst], 1e-5, worst.removeprefix("m."))
        cut = [len(row["input_ids"]) - sum(label != -100 for label in row["labels"]) for row in rows]
        pairs = [{"id": at, "prompt_ids": row["input_ids"][:at_cut], "response_ids": row["input_ids"][at_cut:]}
                 for at, (row, at_cut) in enumerate(zip(rows, cut))]
        together = score(arguments, pairs)
        alone = [score(arguments, [pair])[0] for pair in pairs[:6]]
        worst = max(abs(a - b) for one, two in zip(together, alone) for a, b in zip(one, two))
        line("packing: log-probability of a token, together and alone", worst, 1e-5, f"{sum(map(len, alone))} tokens")
    sys.exit(failures)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Holds albacore's ranking steps to a plain PyTorch loop on a real model, in f32 on the CPU.

Shows ten `tuna` steps: the loss of each and its two parts within 1e-4 of a loop on padded batches and the logits of all
positions (scripts/torch_tuna.py), on the same groups with the same optimizer; and the same ten steps of albacore with a
copy of the prompt before each response, which must give the same up to rounding.

    python scripts/check_ranking.py --model MODEL --records alpaca.json

MODEL is a Hugging Face folder in f32, alpaca.json a list (or lines) of {instruction, input, output}. A group's candidates
are a record's own output and those of other records; scores fall, and some are tied. `--work DIR` keeps what is written.
ALBACORE or `--albacore` names the binary. The exit status is the number of failed lines.

Needs: pip install torch==2.15.0 transformers==5.23.0. 6 GB of memory, some minutes on two cores.

The loop takes its log-softmax in f64: over 49,152 tokens PyTorch's f32 loses 1e-5 (see check_smollm2.py), and the row of the
pad token, which is that of EOS here, keeps its gradient (`padding_idx = None`).
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import torch_tuna

STEPS, GROUPS, CANDIDATES, LONGEST = 10, 2, 4, 48
OPTIMIZER = {"learning_rate": 5e-5, "betas": [0.9, 0.999], "epsilon": 1e-8, "weight_decay": 0.0, "max_grad_norm": 1.0}
failures = 0


def line(what, worst, allowed, note=""):
    global failures
    failures += not worst <= allowed
    print(f"{what:58} worst {worst:<9.3g} allowed {allowed:<7.3g} {'ok' if worst <= allowed else 'FAILED'}  {note}", flush=True)


def make_records(tokenizer, path):
    """Tuna records, and the same as ids: prompt and response apart, the end of sequence after each response."""
    text = pathlib.Path(path).read_text(encoding="utf-8")
    rows = json.loads(text) if text.lstrip().startswith("[") else [json.loads(row) for row in text.splitlines() if row.strip()]
    prompts = ["Instruction: " + row["instruction"] + ("\n" + row["input"] if row.get("input") else "") + "\nResponse:" for row in rows]
    outputs = [" " + row["output"].strip() for row in rows if row["output"].strip()]
    ids = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]
    short = [(text, ids(text)) for text in outputs if 1 < len(ids(text)) < LONGEST]
    records, groups = [], []
    for at, prompt in enumerate(prompts):
        if len(groups) == STEPS * GROUPS:
            return records, groups
        if len(ids(prompt)) > LONGEST:
            continue
        chosen = [short[(at * 31 + 7919 * rank) % len(short)] for rank in range(CANDIDATES)]
        scores = [-0.5, -0.25, -0.25, -1.5] if at % 3 else [3, 2, 1, 0]
        records.append({"id": f"r{at}", "instruction": prompt, "output": [text for text, _ in chosen], "score": scores})
        groups.append({"prompt": ids(prompt), "responses": [found + [tokenizer.eos_token_id] for _, found in chosen], "scores": scores})
    sys.exit(f"{path} has {len(groups)} records that are short enough, wanted {STEPS * GROUPS}")


def train(arguments, name, share):
    """Runs albacore and returns the lines of its metrics."""
    tables = {
        "run": {"dir": str(arguments.work), "name": name},
        "model": {"path": str(arguments.model)},
        "data": {"tokens_per_batch": 250, "max_tokens": 128, "shuffle": False},
        "[data.sources]": {"path": str(arguments.work / "groups.jsonl"), "format": "tuna"},
        "objective": {"kind": "tuna"},
        "optim": {"kind": "adamw", **OPTIMIZER},
        "schedule": {"kind": "constant"},
        "train": {"steps": STEPS, "groups_per_step": GROUPS, "share_prompts": share},
        "checkpoint": {"every": 1_000_000, "keep_last": 1},
    }
    config = arguments.work / f"{name}.toml"
    config.write_text("".join(f"[{table}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items()) for table, keys in tables.items()))
    command = [str(arguments.albacore), "train", str(config), "--resume", "never", "--threads", str(arguments.threads), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\nexit status {done.returncode}\n{done.stdout}{done.stderr}")
    return [json.loads(row) for row in (arguments.work / name / "metrics.jsonl").read_text().splitlines()]


def check(arguments):
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    records, groups = make_records(tokenizer, arguments.records)
    (arguments.work / "groups.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    found, copied = train(arguments, "shared", True), train(arguments, "copied", False)

    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).train()
    model.get_input_embeddings().padding_idx = None
    optimizer = torch_tuna.adamw(model, OPTIMIZER)
    wanted = []
    for step in range(STEPS):
        batch = groups[step * GROUPS:(step + 1) * GROUPS]
        wanted.append(torch_tuna.step(model, optimizer, [batch], tokenizer.eos_token_id, softmax=torch.float64))
        print(f"  step {step + 1:2}  PyTorch {wanted[-1][0]:.6f}  albacore {found[step]['loss']:.6f}  with copies {copied[step]['loss']:.6f}", flush=True)
    tokens = [sum(len(response) for group in groups[at:at + GROUPS] for response in group["responses"]) for at in range(0, len(groups), GROUPS)]
    line("steps with another number of supervised tokens", sum(row["supervised_tokens"] != count for row, count in zip(found, tokens)), 0)
    for place, key in enumerate(["loss", "loss_ranking", "loss_mle"]):
        line(f"`{key}` of a step", max(abs(row[key] - values[place]) for row, values in zip(found, wanted)), 1e-4, f"{STEPS} steps of {GROUPS} x {CANDIDATES}")
    line("loss with a copy of the prompt for each response", max(abs(one["loss"] - two["loss"]) for one, two in zip(found, copied)), 1e-4, "against shared prompts")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--records", type=pathlib.Path, required=True)
    parser.add_argument("--albacore", type=pathlib.Path, default=os.environ.get("ALBACORE", "target/release/albacore"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=pathlib.Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as temporary:
        arguments.work = arguments.work or pathlib.Path(temporary)
        arguments.work.mkdir(parents=True, exist_ok=True)
        check(arguments)
    sys.exit(failures)


if __name__ == "__main__":
    main()

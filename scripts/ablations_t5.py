#!/usr/bin/env python3
"""The ablations of the Flan paper in small, on a tiny T5: what more tasks, a larger model, reasoning and exemplars do.

Shows: exact match, and the loss, on examples that a run has not seen, by kind (tasks that it never trains on, without and with
exemplars; sums, whose answer is reasoned out; the tasks that it trains on), for runs that differ in one thing each.

    python scripts/ablations_t5.py --albacore target/release/albacore --output ablations.json

Every run trains on the tasks of configs/quickstart-t5.toml from data/quickstart-t5, with its settings, and measures the first kind; the
others are measured before the first step of a run that starts from what it has made.

Needs: Python alone. 10 minutes on 2 free CPU cores.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import quickstart_tasks

FAMILY = {"wants": "reading", "count": "reading", "who": "reading", "follows": "nli", "alike": "paraphrase", "opinion": "sentiment", "kind": "topic",
          "choose": "multiple_choice", "sums": "cot", "short": "summarization", "facts": "data_to_text", "where": "reading", "gives": "reading", "gets": "nli"}
OTHERS = ["follows", "alike", "opinion", "kind", "choose", "short", "facts"]
ALL = ["wants", "count", "who", *OTHERS, "sums"]
UNSEEN = ["where", "gives", "gets"]
# A name, the tasks that are trained on, the exemplars before these, and the width of a model of random weights.
RUNS = [
    ("1 task", ["who"], "zero", None),
    ("3 tasks", ["who", "wants", "follows"], "zero", None),
    ("6 tasks", ["who", "wants", "follows", "count", "alike", "kind"], "zero", None),
    ("11 tasks", ALL, "zero", None),
    ("11 tasks without sums", [task for task in ALL if task != "sums"], "zero", None),
    ("11 tasks, exemplars", ALL, "same", None),
    ("11 tasks, with and without exemplars", ALL, "both", None),
    ("11 tasks, random weights, width 64", ALL, "zero", 64),
    ("11 tasks, random weights, width 192", ALL, "zero", 192),
]
# What is measured: its tasks, and the exemplars before them.
KINDS = {"unseen tasks": (UNSEEN, "zero"), "unseen tasks, exemplars": (UNSEEN, "same"), "sums": (["sums"], "zero"), "seen tasks": (["who", "wants", "follows"], "zero")}


def write_fresh(folder):
    """Records of every task that no run trains on: drawn by another seed, those that are trained on left out."""
    import random

    functions = {task.__name__: task for task, _ in quickstart_tasks.TASKS}
    for name, function in functions.items():
        known = set((quickstart_tasks.OUT / f"{name}.jsonl").read_text().splitlines())
        draw, fresh = random.Random(f"ablations {name}"), {}
        for _ in range(20_000):
            line = json.dumps(function(draw))
            if line not in known:
                fresh[line] = None
            if len(fresh) == 100:
                break
        (folder / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in fresh))


def source(path, task, shots, held_out):
    keys = {"path": str(path), "format": "task", "family": FAMILY[task]}
    if shots != "zero":
        keys["shots"] = shots
    return keys | ({"held_out": True} if held_out else {"weight": 1})


def base(folder, width):
    """A folder with the quickstart's tokenizer and a configuration of another width, for random weights."""
    model = folder / f"width-{width}"
    if not model.exists():
        model.mkdir()
        quickstart = quickstart_tasks.OUT.parent
        config = json.loads((quickstart / "config.json").read_text())
        config |= {"d_model": width, "d_ff": 2 * width, "num_heads": width // 32, "d_kv": 32}
        (model / "config.json").write_text(json.dumps(config))
        for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
            (model / name).write_text((quickstart / name).read_text())
    return model


def run(arguments, work, number, kind, trained=None):
    """Trains, or measures what is `trained` already; tells the kind's numbers before and after."""
    _, tasks, shots, width = RUNS[number]
    measured, measured_shots = KINDS[kind]
    sources = [source(quickstart_tasks.OUT / f"{task}.jsonl", task, shots, False) for task in tasks]
    sources += [source(work / "fresh" / f"{task}.jsonl", task, measured_shots, True) for task in measured]
    model = {"path": str(base(work, width)), "init": "random"} if width else {"path": str(quickstart_tasks.OUT.parent)}
    model = {"path": str(trained)} if trained else model
    values = {
        "run": {"dir": str(work), "name": folder_of(number, kind) + ("-nothing" if trained == quickstart_tasks.OUT.parent else "")},
        "model": model,
        "data": {"template": "none", "max_tokens": 512, "tokens_per_batch": 2048},
        "optim": {"kind": "adafactor", "learning_rate": 1e-2, "max_grad_norm": 0},
        "schedule": {"kind": "cosine", "warmup_steps": 20},
        "train": {"steps": 1 if trained else arguments.steps},
        "eval": {"metrics": ["loss", "exact_match"], "samples": 0, "max_new_tokens": 40},
        "checkpoint": {"every": 1_000_000, "keep_last": 1},
    }
    text = "".join(f"[{table}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items()) for table, keys in values.items())
    for keys in sources:
        text += "[[data.sources]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
    config = work / "ablation.toml"
    config.write_text(text)
    command = [str(arguments.albacore), "train", str(config), "--json", "--quiet", "--threads", str(arguments.threads)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    summary = json.loads(done.stdout.strip().splitlines()[-1])
    return {when: {key: summary[when][f"held_out_{key}"] for key in ("loss", "exact_match")} for when in ("before", "after")}


def folder_of(number, kind):
    return f"{number}-{kind.replace(' ', '-').replace(',', '')}"


def row(name, found):
    cells = [f"{found[kind]['exact_match']:.1f} % ({found[kind]['loss']:.2f})" for kind in KINDS]
    print(f"| {name} | {' | '.join(cells)} |", flush=True)
    return {"trained on": name, "found": found}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--albacore", type=pathlib.Path, default=os.environ.get("ALBACORE", "target/release/albacore"))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=pathlib.Path)
    arguments = parser.parse_args()
    print("| trained on | " + " | ".join(KINDS) + " |\n| --- |" + " --- |" * len(KINDS))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        (work / "fresh").mkdir()
        write_fresh(work / "fresh")
        for number, (name, *_) in enumerate(RUNS):
            first, *others = KINDS
            if not rows:
                untrained = {kind: run(arguments, work, number, kind, quickstart_tasks.OUT.parent)["before"] for kind in others}
            made = run(arguments, work, number, first)
            trained = work / folder_of(number, first)
            found = {first: made["after"]} | {kind: run(arguments, work, number, kind, trained)["before"] for kind in others}
            if not rows:
                rows.append(row("nothing (as it lies there)", {first: made["before"]} | untrained))
            rows.append(row(name, found))
            if arguments.output:
                arguments.output.write_text(json.dumps({"steps": arguments.steps, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()

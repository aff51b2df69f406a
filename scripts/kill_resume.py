#!/usr/bin/env python3
"""Kills a training run again and again, and shows that nothing of it can be told from the result.

Shows: a run that is SIGKILLed at 25 random moments (while it starts or resumes, inside a step, inside a save) and
started again each time with the same command ends with the same bytes of weights and optimizer state, the same losses
and the same learning rates as a run that was never stopped.

    python scripts/kill_resume.py --model tests/golden/llama_tiny/tied --steps 3000 --every 25
    python scripts/kill_resume.py --model MODEL --steps 40 --every 2 --rows 4 --tokens 128     # a real one
    python scripts/kill_resume.py --config my.toml                                             # any config

MODEL is a Hugging Face folder; it is trained on random tokens made here. A config is run as it is, in run folders of
its own under `--work` (a temporary folder unless given). ALBACORE or `--albacore` names the binary.

Needs: Python alone, Linux. Takes about five times the uninterrupted run, and two runs' space on the disk.

How moments are chosen. One in three is a random time after the start of the process, up to twice what starting takes,
one in three a random time after a random number of further steps, and one in three a random time after a save has
begun: something that is not a sealed checkpoint has appeared under `checkpoints`. A kill counts as inside a save if
that is still there afterwards. A run that ends before its moment has not been killed: another moment is tried.
"""
import argparse
import hashlib
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import time

SEALED = re.compile(r"step-\d+")
TIMES = {"elapsed_s", "tokens_per_second"}  # of a line of metrics: they differ between any two runs
COMPARED = ["model.safetensors", "model.safetensors.index.json", "optimizer.safetensors"]


def write_config(arguments, random_numbers):
    """A small run over random tokens, in an order that depends on the seed, with everything that has a state."""
    vocabulary = json.loads((arguments.model / "config.json").read_text())["vocab_size"]
    data = arguments.work / "tokens.jsonl"
    with open(data, "w") as file:
        for _ in range(arguments.rows * 37):  # 37: an epoch does not end with a checkpoint
            ids = [random_numbers.randrange(3, vocabulary) for _ in range(random_numbers.randint(arguments.tokens // 3, arguments.tokens))]
            file.write(json.dumps({"input_ids": ids, "labels": [-100] * (len(ids) // 4) + ids[len(ids) // 4:]}) + "\n")
    config = arguments.work / "kill_resume.toml"
    config.write_text(f"""\
[model]
path = {json.dumps(str(arguments.model))}
[data]
template = "none"
max_tokens = {arguments.tokens}
tokens_per_batch = {arguments.rows * arguments.tokens}
[[data.sources]]
path = {json.dumps(str(data))}
format = "tokens"
[optim]
learning_rate = 1e-4
weight_decay = 0.1
[schedule]
kind = "cosine"
warmup_steps = {arguments.steps // 10}
[train]
steps = {arguments.steps}
batches_per_step = 2
[checkpoint]
every = {arguments.every}
keep_last = 2
""")
    return config


class Run:
    """One run folder, and the process that works on it."""

    def __init__(self, arguments, name):
        self.folder = arguments.work / name
        self.log = arguments.work / f"{name}.log"
        quoted = [f"run.dir={json.dumps(str(arguments.work))}", f"run.name={json.dumps(name)}"]
        self.command = [str(arguments.albacore), "train", str(arguments.config), "--quiet", "--threads", str(arguments.threads)]
        for setting in quoted:
            self.command += ["--set", setting]

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=subprocess.STDOUT)

    def finish(self):
        """Waits for the end of the process; returns whether it ended by itself and well."""
        status = self.process.wait()
        if status not in (0, -signal.SIGKILL):
            sys.exit(f"{' '.join(self.command)}\nexit status {status}\n{self.log.read_text()[-3000:]}")
        return status == 0

    def alive(self):
        return self.process.poll() is None

    def steps(self):
        try:
            return (self.folder / "metrics.jsonl").read_bytes().count(b"\n")
        except FileNotFoundError:
            return 0

    def unsealed(self):
        """Names under `checkpoints` that are not finished checkpoints."""
        try:
            return {path.name for path in (self.folder / "checkpoints").iterdir() if not SEALED.fullmatch(path.name)}
        except FileNotFoundError:
            return set()

    def metrics(self):
        lines = [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]
        return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]

    def last_checkpoint(self):
        return max(path for path in (self.folder / "checkpoints").iterdir() if SEALED.fullmatch(path.name))


def uninterrupted(arguments):
    """Runs to the end; returns the run, seconds to its first step, seconds a step, and of a save."""
    run, begin = Run(arguments, "whole"), time.monotonic()
    run.start()
    first = saving = None
    saves = []
    while run.alive():
        now = time.monotonic()
        if first is None and run.steps():
            first = now - begin
        inside = bool(run.unsealed())
        if inside and saving is None:
            saving = now
        if not inside and saving is not None:
            saves.append(now - saving)
            saving = None
        time.sleep(0.0005)
    run.finish()
    steps = run.steps()
    seconds = (time.monotonic() - begin - (first or 0)) / max(steps - 1, 1)
    return run, first or 0.1, seconds, max(saves, default=0.001)


def wait_until(run, condition):
    while run.alive():
        if condition():
            return
        time.sleep(0.0002)


def kill_once(run, kind, random_numbers, first, step, save, limit):
    """Starts the run and kills it at a moment of this kind; returns a note, or None if it had ended before."""
    before, had = run.steps(), run.unsealed()
    run.start()
    if kind == "start":
        delay = random_numbers.uniform(0, 2 * first)
    elif kind == "step":
        further = random_numbers.randint(1, limit)
        wait_until(run, lambda: run.steps() > 0 and run.steps() != before)  # the resumed run has cut or added lines
        resumed = run.steps()
        wait_until(run, lambda: run.steps() >= resumed + further)
        delay = random_numbers.uniform(0, step)
    else:
        passing = random_numbers.randint(0, 2)  # saves that are let through
        seen = set(had)
        for _ in range(passing + 1):
            wait_until(run, lambda: run.unsealed() - seen)
            seen |= run.unsealed()
        delay = random_numbers.uniform(0, save)
    time.sleep(delay)
    run.process.send_signal(signal.SIGKILL)
    if run.finish():
        return None
    inside = "inside a save" if run.unsealed() - had else ""
    return f"{kind:6} {delay * 1000:8.1f} ms later, at step {run.steps()} {inside}"


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def compare(whole, killed):
    """Names what differs."""
    one, two = whole.last_checkpoint(), killed.last_checkpoint()
    print(f"compared: {one.name} and {two.name}")
    problems = [] if one.name == two.name else [f"last checkpoint {one.name} and {two.name}"]
    for name in COMPARED:
        if not (one / name).exists() and not (two / name).exists():
            continue
        if not (one / name).exists() or not (two / name).exists() or digest(one / name) != digest(two / name):
            problems.append(name)
        else:
            print(f"  {name:32} {digest(one / name)[:16]} {(one / name).stat().st_size:>12} bytes  the same")
    if whole.metrics() != killed.metrics():
        at = next((line["step"] for line, other in zip(whole.metrics(), killed.metrics()) if line != other), "the end")
        problems.append(f"metrics.jsonl from step {at}")
    else:
        print(f"  {'metrics.jsonl':32} {len(whole.metrics())} steps, all but {' and '.join(sorted(TIMES))}  the same")
    if left := killed.unsealed():
        print(f"  left under checkpoints: {', '.join(sorted(left))}")
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--config", type=pathlib.Path, help="instead of --model: any config")
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--every", type=int, default=25, help="steps between checkpoints")
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--albacore", type=pathlib.Path, default=os.environ.get("ALBACORE", "target/release/albacore"))
    parser.add_argument("--work", type=pathlib.Path)
    arguments = parser.parse_args()
    if (arguments.model is None) == (arguments.config is None):
        parser.error("one of --model and --config is needed")
    with tempfile.TemporaryDirectory() as temporary:
        arguments.work = (arguments.work or pathlib.Path(temporary)).absolute()
        arguments.work.mkdir(parents=True, exist_ok=True)
        if (arguments.work / "killed").exists() or (arguments.work / "whole").exists():
            sys.exit(f"{arguments.work} has runs already: give an empty folder")
        random_numbers = random.Random(arguments.seed)
        arguments.config = arguments.config or write_config(arguments, random_numbers)
        whole, first, step, save = uninterrupted(arguments)
        steps = whole.steps()
        print(f"uninterrupted: {steps} steps, first after {first:.2f} s, {step * 1000:.1f} ms a step, longest save {save * 1000:.1f} ms", flush=True)
        killed, kills, inside, tries = Run(arguments, "killed"), 0, 0, 0
        limit = max(1, 2 * steps // arguments.kills)  # further steps: kills must fit before the end
        while kills < arguments.kills:
            tries += 1
            note = kill_once(killed, ("start", "step", "save")[tries % 3], random_numbers, first, step, save, limit)
            if note is None and killed.steps() >= steps:
                sys.exit(f"the run ended after {kills} kills: give it more --steps or another --seed")
            if note:
                kills += 1
                inside += "inside a save" in note
                print(f"kill {kills:2}: {note}", flush=True)
        killed.start()
        killed.finish()
        problems = compare(whole, killed)
    print(f"{kills} kills, {inside} inside a save; " + (f"DIFFERENT: {', '.join(problems)}" if problems else "nothing differs"))
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""How long one waits for small things: `--help`, a config error, loading a model.

Shows: the middle and the slowest of `--runs` processes each, from start to end.

    python benches/startup.py --model MODEL

MODEL is a Hugging Face folder. ALBACORE or `--albacore` names the binary. Needs: Python alone.

Loading is the process of `albacore complete` for one new token after a prompt of one: reading the tokenizer and one
pass over the weights are in it, so the weights alone take less. The first run, which is not counted, warms the file cache.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time


def measure(name, command, runs, status):
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        times.append((time.perf_counter() - start) * 1000)
        assert done.returncode == status, f"{command}: exit status {done.returncode}, wanted {status}\n{done.stderr}"
    print(f"| {name} | {statistics.median(times[1:]):.1f} | {max(times[1:]):.1f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--albacore", type=pathlib.Path, default=os.environ.get("ALBACORE", "target/release/albacore"))
    arguments = parser.parse_args()
    print("| what | middle (ms) | slowest (ms) |\n| --- | --- | --- |")
    measure("--help", [arguments.albacore, "--help"], arguments.runs, 0)
    measure("train --help", [arguments.albacore, "train", "--help"], arguments.runs, 0)
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder) / "wrong.toml"
        config.write_text(f"[model]\npath = {json.dumps(str(arguments.model.absolute()))}\n[optim]\nlearning_rat = 1e-5\n"
                          "[[data.sources]]\npath = \"nowhere.jsonl\"\n")
        measure("a config with a misspelt key and a missing file", [arguments.albacore, "train", config], arguments.runs, 2)
    command = [arguments.albacore, "complete", arguments.model, "--prompt", "A", "--template", "none", "--max-new-tokens", 1,
               "--threads", arguments.threads, "--quiet"]
    measure("complete, one token", command, arguments.runs, 0)


if __name__ == "__main__":
    main()

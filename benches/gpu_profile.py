#!/usr/bin/env python3
"""Where albacore's step goes on this GPU, and whether the memory it foretells is the memory it takes.

Shows:

    profile  every kernel and every size of matrix product of ten steps: time, share, and what it reaches of the card's
             memory bandwidth or of its bf16 rate. The bytes of a kernel are those that it must move (listed in BYTES and
             FLOPS below, from the model's shape), not those it does: caches can make it look better than the card.
    memory   the peak that the driver reports for the process, less what a run of a model of some kilobytes holds (the
             context and the libraries), beside what `albacore train --dry-run` foretells: within 10 % is asked

    python benches/gpu_profile.py --albacore target/gpu/albacore --output profile.json [--only profile,memory]
    python benches/gpu_profile.py --from profile.json            # the tables again, without a GPU

Random weights in the shapes of SmolLM2-135M (32 x 1024 tokens a step, by AdamW and by Adafactor) and Llama-3.2-1B (8 x
2048), bf16 with f32 masters, loss on every token. Two events stand around each launch: kernels of a few microseconds look longer than they
are. Needs: pip install torch transformers nvidia-ml-py; 6 GB on the disk; about two minutes.
"""
import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "scripts"))
from watched import Card, Failure, PeakMemory, finish, start, write_config, write_lines

PEAKS = {"H100": (3.35e12, 989e12), "H200": (4.8e12, 989e12), "A100": (2.04e12, 312e12), "4090": (1.01e12, 165e12)}  # bytes/s, bf16 FLOP/s
WORK = {"smollm2": ("smollm2-135m", 32, 1024), "smollm2_adafactor": ("smollm2-135m", 32, 1024), "llama1b": ("llama-3.2-1b", 8, 2048)}
OPTIM = {"smollm2_adafactor": {"kind": "adafactor", "learning_rate": 1e-3, "max_grad_norm": 0}}  # of the others AdamW
BF16, F32 = 2, 4


class Step:
    """A step's sizes, under the names that the crates use."""

    def __init__(self, config, rows, tokens):
        self.length, self.t = tokens, rows * tokens
        self.c, self.f, self.v = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
        self.layers, heads, groups = config["num_hidden_layers"], config["num_attention_heads"], config["num_key_value_heads"]
        width = config.get("head_dim") or self.c // heads
        self.attended, self.turned = heads * width, (heads + groups) * width
        self.parameters = self.layers * (self.c * (self.attended * 2 + 2 * groups * width) + 3 * self.c * self.f + 2 * self.c) + self.c * (self.v + 1)


# Bytes that all calls of a step must move together: each operand once, a sum that is added to twice.
BYTES = {
    "rms_norm_forward": lambda s, calls: calls * 2 * s.t * s.c * BF16,
    "rms_norm_backward": lambda s, calls: calls * 4 * s.t * s.c * BF16,
    "rms_norm_weight_gradient": lambda s, calls: calls * 2 * s.t * s.c * BF16,
    "swiglu_forward": lambda s, calls: calls * 3 * s.t * s.f * BF16,
    "swiglu_backward": lambda s, calls: calls * 5 * s.t * s.f * BF16,
    "rope": lambda s, calls: calls * 2 * s.t * s.turned * BF16,
    "gather": lambda s, calls: calls * 2 * s.t * s.c * BF16,
    "attention_row_products": lambda s, calls: calls * 2 * s.t * s.attended * BF16,
    "head_logprob": lambda s, calls: s.t * s.v * F32,  # all chunks together
    "head_gradient": lambda s, calls: s.t * s.v * (F32 + BF16),
    "squares": lambda s, calls: s.parameters * F32,
    "adamw": lambda s, calls: s.parameters * (7 * F32 + BF16),  # gradient; master and moments both ways; the rounded weight
    "adafactor_squares": lambda s, calls: s.parameters * 2 * F32,  # gradient and master
    "adafactor_lengths": lambda s, calls: s.parameters * F32,
    "adafactor_means": lambda s, calls: 2 * s.parameters / 256 * F32,  # the sums of tiles
    "adafactor": lambda s, calls: s.parameters * (3 * F32 + BF16),  # gradient; master both ways; the rounded weight
}
# A causal product of queries with keys: 2 L²/2 D of each head and sequence.
FLOPS = {
    "attention_forward": lambda s, calls: calls * 2 * s.t * s.length * s.attended,
    "attention_backward_queries": lambda s, calls: calls * 3 * s.t * s.length * s.attended,
    "attention_backward_keys": lambda s, calls: calls * 4 * s.t * s.length * s.attended,
}


def rate_of(kernel, step, calls, seconds, peaks):
    """What a kernel reaches, as text."""
    known = [(name, table) for table in (BYTES, FLOPS) for name in table if kernel["name"] == name or kernel["name"].startswith(f"{name}_bf16")]
    if kernel["operations"]:
        work, peak, unit, scale = kernel["operations_a_step"], peaks[1], "TFLOP/s", 1e12
    elif known:
        name, table = known[0]
        bandwidth = table is BYTES
        work, peak, unit, scale = table[name](step, calls), peaks[bandwidth is False], "GB/s" if bandwidth else "TFLOP/s", 1e9 if bandwidth else 1e12
    else:
        return ""
    return f"{work / seconds / scale:9.1f} {unit:8}" + (f"{100 * work / seconds / peak:5.1f} %" if peak else "")


def show_profile(name, found, peaks):
    step = Step(found["config"], found["rows"], found["tokens"])
    steps, kernels = found["profiled_steps"], found["kernels"]
    whole = sum(kernel["milliseconds"] for kernel in kernels)
    print(f"\n{name}: {whole / steps:.2f} ms of GPU time a step, {found['ms_a_step']:.2f} ms a step by the clock on the wall (timing on)")
    for kernel in kernels:
        calls, milliseconds = kernel["calls"] / steps, kernel["milliseconds"] / steps
        kernel["operations_a_step"] = kernel["operations"] / steps
        print(f"  {kernel['name']:44} {calls:7.1f} calls {milliseconds:9.3f} ms {100 * kernel['milliseconds'] / whole:6.1f} %  "
              + rate_of(kernel, step, calls, milliseconds / 1e3, peaks))


def settings(work, name, model, rows, tokens, steps, optim=None, **train):
    return write_config(work / f"{name}.toml", {
        "run": {"dir": str(work), "name": name}, "model": {"path": str(model)},
        "data": {"template": "none", "tokens_per_batch": rows * tokens, "max_tokens": tokens, "shuffle": False},
        "[data.sources]": {"path": str(work / f"rows-{tokens}-{rows}.jsonl"), "format": "tokens"}, "optim": optim or {"learning_rate": 1e-5},
        "schedule": {"kind": "constant"}, "checkpoint": {"every": 0, "keep_last": 1}, "train": {"steps": steps, "precision": "bf16", **train}})


def rows_of(work, vocabulary, rows, tokens):
    numbers = random.Random(3)
    ids = [[3 + int((vocabulary - 3) * numbers.random()**4) for _ in range(tokens)] for _ in range(2 * rows)]  # two batches
    write_lines(work / f"rows-{tokens}-{rows}.jsonl", [{"input_ids": row, "labels": row} for row in ids])


def json_lines(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"{' '.join(map(str, command))}: exit status {done.returncode}\n{done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def profile(arguments, name, model, work):
    shape, rows, tokens = WORK[name]
    config = settings(work, f"{name}-profile", model, rows, tokens, 16, OPTIM.get(name), recompute="none" if shape == "smollm2-135m" else "selective")
    lines = json_lines([arguments.albacore, "train", config, "--device", "cuda", "--quiet", "--json", "--profile"])
    found = next(line for line in lines if "kernels" in line)
    metrics = [json.loads(line) for line in (work / f"{name}-profile" / "metrics.jsonl").read_text().splitlines()]
    found["ms_a_step"] = 1e3 * (metrics[-1]["elapsed_s"] - metrics[5]["elapsed_s"]) / (len(metrics) - 6)
    return found | {"config": json.loads((model / "config.json").read_text()), "rows": rows, "tokens": tokens}


def peak(arguments, work, name, config):
    log, memory = work / f"{name}.log", PeakMemory(arguments.card)
    child = start(arguments.albacore, config, log, "cuda")

    def each():
        memory.look(child.pid)
        time.sleep(0.005)

    finish(child, log, 120, each)
    return memory.result()[0]


def memory(arguments, name, model, work, context):
    _, rows, tokens = WORK[name]
    found = []
    kinds = [{"recompute": mode} for mode in ("none", "selective", "block")]
    kinds += [{"recompute": "selective", "batches_per_step": 2}]
    for kind in kinds:
        label = f"{name}-memory-{'-'.join(map(str, kind.values()))}"
        config = settings(work, label, model, max(rows // 4, 1), tokens, 4, OPTIM.get(name), **kind)
        foretold = json_lines([arguments.albacore, "train", config, "--device", "cuda", "--quiet", "--json", "--dry-run"])[0]["memory_bytes"] / 2**20
        held = peak(arguments, work, label, config) - context
        found.append({"settings": kind, "tokens_a_batch": max(rows // 4, 1) * tokens, "foretold_mib": round(foretold), "held_mib": held, "off": foretold / held - 1})
    return found


def show_memory(name, found, context):
    print(f"\n{name}: memory foretold and held, MiB (the driver's figure less {context} for the context)")
    for row in found:
        verdict = "ok" if abs(row["off"]) <= 0.1 else "FAILED"
        print(f"  {str(row['settings']):52} {row['tokens_a_batch']:7} tokens  foretold {row['foretold_mib']:7}  held {row['held_mib']:7}  {100 * row['off']:+6.1f} %  {verdict}")


def show(results):
    peaks = next((values for name, values in PEAKS.items() if name in results["device"]), (0, 0))
    for name, found in results["profile"].items():
        show_profile(name, found, peaks)
    for name, found in results["memory"].items():
        show_memory(name, found, results["context_mib"])
    return sum(abs(row["off"]) > 0.1 for found in results["memory"].values() for row in found)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--albacore", type=pathlib.Path)
    parser.add_argument("--output", type=pathlib.Path)
    parser.add_argument("--only", default="profile,memory")
    parser.add_argument("--work", default=",".join(WORK), help="of " + ", ".join(WORK))
    parser.add_argument("--from", dest="stored", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.stored:
        sys.exit(show(json.loads(arguments.stored.read_text())))
    from random_llama import make_model, save_model
    arguments.card = Card()
    device = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True).stdout.splitlines()
    results = {"device": device[0] if device else "unknown", "profile": {}, "memory": {}, "context_mib": None}
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        if "memory" in arguments.only:
            save_model(make_model("tiny"), work / "tiny")
            rows_of(work, 1031, 2, 16)
            results["context_mib"] = peak(arguments, work, "context", settings(work, "context", work / "tiny", 2, 16, 3))
        for name in arguments.work.split(","):
            shape, rows, tokens = WORK[name]
            model = work / shape
            save_model(make_model(shape), model)
            vocabulary = json.loads((model / "config.json").read_text())["vocab_size"]
            for count in (rows, max(rows // 4, 1)):
                rows_of(work, vocabulary, count, tokens)
            for part, measure in (("profile", profile), ("memory", lambda *given: memory(*given, results["context_mib"]))):
                if part not in arguments.only:
                    continue
                try:
                    results[part][name] = measure(arguments, name, model, work)
                except Exception as error:
                    print(f"{name}, {part}: {type(error).__name__}: {error}", flush=True)
            if arguments.output:
                arguments.output.write_text(json.dumps(results, indent=1) + "\n")
    failed = show(results)
    missing = sum(name not in results[part] for part in arguments.only.split(",") for name in arguments.work.split(","))
    sys.exit(failed + missing)


if __name__ == "__main__":
    main()

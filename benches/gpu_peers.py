#!/usr/bin/env python3
"""What PyTorch reaches on this GPU in its best settings, and albacore beside it where it has the work already.

Shows, for each piece of work, every peer's speed, share of the card's peak and memory, and which peer is the best:

    llama1b      full finetuning, Llama-3.2-1B's shape, bf16 with f32 master AdamW, 16 x 2048 tokens a step
    smollm2      the same, SmolLM2-135M's shape, 32 x 1024
    t5           the same, Flan-T5-large's shape, 32 pairs of 512 source and 128 target tokens, without dropout
    t5_dropped   the same with dropout of 0.05
    t5_flan      the same as Flan-T5 was tuned: dropout of 0.05, Adafactor, z-loss
    attention    causal flash attention forward and backward, 4 x 16 heads x 4096 x 128
    head         linear + cross entropy forward and backward, 32,768 tokens x 2048 x 128,256 words
    decode       128 new tokens after 128, greedy, batch 64, Llama-3.2-1B's shape: transformers' `generate`

    python benches/gpu_peers.py --albacore target/gpu/albacore --output peers.json
    python benches/gpu_peers.py --albacore target/gpu/albacore --output peers.json --only llama1b --seconds 200
    python benches/gpu_peers.py --albacore target/release/albacore --tiny --device cpu      # the scripts themselves

Needs: pip install torch transformers; liger-kernel, trl and datasets where they are to be peers. 4 GB on the disk. A whole
run ends within `--seconds`; what did not fit says so, and `--only` with more seconds gives it room.

Peers of finetuning a LLaMA, each with fused AdamW on f32 masters, flash SDPA, and the largest micro-batch that fits: eager; each
block and the loss compiled; the whole model compiled with CUDA graphs; one flat row through PyTorch's `varlen_attn`;
liger-kernel; TRL. Of a T5 (torch_t5.py): transformers' own with SDPA, eager, by blocks and whole compiled; with Adafactor, PyTorch's own
(`foreach`) and transformers' beside it. Both sides: the same random weights and ids, rows of one sequence (no mask is needed, which suits the
peers), loss on every token, gradients clipped at norm 1 (of `t5_flan` not at all, as T5X has it). albacore takes the first of a list of settings that fits.

How it measures. The peers of one piece of work share a process (torch_peers.py), albacore has its own, and the two never run at once. Steps
are timed between CUDA events, the host one step ahead; the first ones are not counted. albacore's rate is taken from
`elapsed_s` between two lines of its metrics. Rates are of the middle step, with the slowest and the fastest. Memory: of the
peers PyTorch's peak of reserved memory and what the context holds besides; of albacore what the driver says (watched.py).
MFU = (6·P + 6·L·C·T)·tokens/s over 989 TFLOP/s: P parameters, a tied embedding once, as head; L layers of C = heads x head
width; a causal query sees T/2 keys; recomputation counts nothing; of a T5 each half's weights for its own tokens. Each result is in the JSON as soon as it is there.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "scripts"))
from watched import Card, Failure, PeakMemory, finish, read_lines, start, write_config

# Sizes and the share of all seconds that a piece of work may take.
WORK = {
    "llama1b": {"share": 0.24, "shape": "llama-3.2-1b", "rows": 16, "tokens": 2048},
    "smollm2": {"share": 0.18, "shape": "smollm2-135m", "rows": 32, "tokens": 1024},
    "t5": {"share": 0.14, "shape": "flan-t5-large", "rows": 32, "source": 512, "target": 128, "dropout": 0.0},
    "t5_dropped": {"share": 0.08, "shape": "flan-t5-large", "rows": 32, "source": 512, "target": 128, "dropout": 0.05},
    "t5_flan": {"share": 0.12, "shape": "flan-t5-large", "rows": 32, "source": 512, "target": 128, "dropout": 0.05, "z_loss": 1e-4},
    "attention": {"share": 0.06, "batch": 4, "heads": 16, "tokens": 4096, "width": 128},
    "head": {"share": 0.08, "tokens": 32768, "width": 2048, "vocabulary": 128256},
    "decode": {"share": 0.12, "shape": "llama-3.2-1b", "rows": 64, "tokens": 128, "new": 128},
}
TINY = {"rows": 4, "tokens": 64, "shape": "tiny", "batch": 1, "heads": 2, "width": 32, "vocabulary": 1031, "new": 8, "source": 48, "target": 12}
TRAINING = ("llama1b", "smollm2", "t5", "t5_dropped", "t5_flan")
OPTIMIZER = {"learning_rate": 1e-5, "betas": [0.9, 0.999], "epsilon": 1e-8, "weight_decay": 0.0, "max_grad_norm": 1.0}
ADAFACTOR = {"learning_rate": 5e-4, "max_grad_norm": 0.0}  # of work with a z-loss
SETTINGS = [("none", 1), ("selective", 1), ("selective", 2), ("selective", 4), ("block", 4)]  # albacore's recompute, batches a step
PEAK, DISTINCT, WARM = 989e12, 8, 3  # FLOP/s; steps of different ids; steps that are not counted


def sizes(tiny, name):
    size = {key: TINY.get(key, value) if tiny else value for key, value in WORK[name].items()}
    return size | ({"shape": "tiny-t5"} if tiny and "source" in size else {})


def tokens_of(size):
    """Of a row: a sequence, or source and target together."""
    return size["tokens"] if "tokens" in size else size["source"] + size["target"]


def flops_per_token(folder, size):
    config = json.loads((folder / "config.json").read_text())
    if config["model_type"] == "t5":
        return flops_per_pair(config, size["source"], size["target"]) / tokens_of(size)
    tokens = size["tokens"]
    hidden, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
    width = config.get("head_dim") or hidden // heads
    parameters = layers * (hidden * width * (2 * heads + 2 * kv) + 3 * hidden * inner) + hidden * config["vocab_size"]
    return 6 * parameters + 6 * layers * heads * width * tokens


def flops_per_pair(config, source, target):
    """Each token times the weights that it meets; a source's keys and values are made for the decoder too."""
    hidden, inner = config["d_model"], config["num_heads"] * config["d_kv"]
    dense = (3 if config["feed_forward_proj"].startswith("gated") else 2) * hidden * config["d_ff"]
    encoder = config["num_layers"] * source * (4 * hidden * inner + dense + 2 * inner * source)
    decoder = target * (6 * hidden * inner + dense + inner * target + 2 * inner * source) + source * 2 * hidden * inner
    return 6 * (encoder + config["num_decoder_layers"] * decoder + target * hidden * config["vocab_size"])


def rates(tokens_per_second, flops=None):
    middle = statistics.median(tokens_per_second)
    values = {"tokens_per_second": round(middle, 1), "slowest_fastest": [round(min(tokens_per_second), 1), round(max(tokens_per_second), 1)],
              "steps": len(tokens_per_second)}
    return values | ({"mfu": round(middle * flops / PEAK, 4)} if flops else {})


def albacore_side(arguments, name, work, deadline):
    """The first of SETTINGS that fits."""
    size = sizes(arguments.tiny, name)
    if not (work / "model/tokenizer.json").exists():
        return {"error": "the peers' process had not saved the model"}
    flops, tokens, tried = flops_per_token(work / "model", size), tokens_of(size), []
    dropout = {"dropout": size["dropout"]} if "dropout" in size else {}
    flan = "z_loss" in size
    optim = {"kind": "adafactor", **ADAFACTOR} if flan else {"kind": "adamw", **OPTIMIZER}
    for at, (recompute, batches) in enumerate(SETTINGS):
        run = work / f"albacore-{at}"
        label = f"recompute {recompute}, {batches} batches a step"
        config = write_config(work / "albacore.toml", {
            "run": {"dir": str(work), "name": run.name}, "model": {"path": str(work / "model")},
            "data": {"template": "none", "tokens_per_batch": size["rows"] * tokens // batches, "max_tokens": tokens, "shuffle": False},
            "[data.sources]": {"path": str(work / "rows.jsonl"), "format": "tokens"}, "optim": optim,
            "objective": {"kind": "sft"} | ({"z_loss": size["z_loss"]} if flan else {}), "schedule": {"kind": "constant"}, "checkpoint": {"every": 0},
            "train": {"steps": 100_000, "batches_per_step": batches, "recompute": recompute, "precision": None if arguments.device == "cpu" else "bf16"} | dropout})
        log, memory, begin, first = work / f"{run.name}.log", PeakMemory(arguments.card), time.monotonic(), []
        child = start(arguments.albacore, config, log, arguments.device, arguments.threads)

        def each():
            memory.look(child.pid)
            lines = read_lines(run / "metrics.jsonl")
            first.extend([time.monotonic() - begin] if lines and not first else [])
            enough = len(lines) > WARM and lines[-1]["elapsed_s"] - lines[WARM - 1]["elapsed_s"] > arguments.box
            late = len(lines) > WARM and time.monotonic() > deadline - 2  # a few steps are better than none
            if len(lines) >= WARM + 30 or (enough and len(lines) >= WARM + 5) or late:
                child.kill()  # before it saves anything
            time.sleep(0.01)

        try:
            finish(child, log, deadline - time.monotonic(), each)
        except Failure as error:
            tried.append(f"{label}: {error}")
            if "memory" in str(error).lower() and time.monotonic() < deadline:
                continue
            return {"error": tried[-1], "tried": tried}
        lines = read_lines(run / "metrics.jsonl")
        rate = [two["tokens"] / (two["elapsed_s"] - one["elapsed_s"]) for one, two in zip(lines[WARM - 1:], lines[WARM:])]
        peak, where = memory.result()
        return rates(rate, flops) | {"settings": label, "first_loss": lines[0]["loss"], "first_step_s": round(first[0], 2), "peak_mib": peak,
                                     "memory_of": where, "tried": tried}
    return {"error": tried[-1], "tried": tried}


def show(name, row):
    def text(values):
        if "error" in values:
            return values["error"].replace("\n", " ")[:200]
        keys = ("tokens_per_second", "slowest_fastest", "mfu", "ms", "tflops", "peak_mib", "extra_mib", "micro_batch_rows", "settings", "first_loss")
        return "  ".join(f"{key} {values[key]}" for key in keys if values.get(key) is not None)

    print(f"\n{name}")
    for peer, values in row["peers"].items():
        print(f"  {'* ' if peer in row['best'] else '  '}{peer:36} {text(values)}")
    print(f"    {'albacore':36} {text(row['albacore'])}", flush=True)


def best_of(peers):
    """The fastest; of attention the fastest each way."""
    measured = {peer: values.get("tokens_per_second") or values.get("tflops") for peer, values in peers.items() if "error" not in values}
    ways = {way: {peer: rate for peer, rate in measured.items() if peer.endswith(way)} for way in ("forward", "backward")}
    groups = [group for group in ways.values() if group] or [measured]
    return [max(group, key=group.get) for group in groups if group]


def one_work(arguments, name, work, deadline, keep):
    size = sizes(arguments.tiny, name)
    row = {"size": size, "peers": {}, "best": [], "albacore": {"error": "not yet"}}
    seconds = (deadline - time.monotonic()) * (0.7 if name in TRAINING and arguments.albacore else 1)
    command = [sys.executable, str(HERE / "torch_peers.py"), name, "--work", str(work), "--deadline", str(time.monotonic() + seconds - 2),
               "--device", arguments.device, "--box", str(arguments.box)] + (["--tiny"] if arguments.tiny else [])
    log, path = work / "peers.log", [str(HERE.parent / "scripts"), *filter(None, [os.environ.get("PYTHONPATH")])]
    with open(log, "wb") as output:
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | {"PYTHONPATH": os.pathsep.join(path)})
    try:
        finish(child, log, max(seconds, 1), lambda: time.sleep(0.05))
    except Failure as error:
        row["ended"] = str(error)
    for values in read_lines(work / "peers.jsonl"):
        if "about" in values:
            row["about"] = values["about"]
        else:
            row["peers"][values.pop("peer")] = values  # the last line of a peer counts
    row["best"] = best_of(row["peers"])
    keep(row)
    if name in TRAINING and arguments.albacore:
        row["albacore"] = albacore_side(arguments, name, work, deadline)
        keep(row)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--albacore", type=pathlib.Path, help="the binary; without it the peers alone")
    parser.add_argument("--output", type=pathlib.Path, help="everything measured, as JSON")
    parser.add_argument("--only", help=f"of {', '.join(WORK)}, with commas")
    parser.add_argument("--seconds", type=float, default=270, help="for everything")
    parser.add_argument("--box", type=float, default=4, help="seconds in which the steps of one side are timed")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="sizes of a moment, to try the script")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    names = arguments.only.split(",") if arguments.only else list(WORK)
    if unknown := [name for name in names if name not in WORK]:
        parser.error(f"no work is called {', '.join(unknown)}; there are {', '.join(WORK)}")
    results, shares, deadline = {"seconds": arguments.seconds, "rows": {}}, sum(WORK[name]["share"] for name in names), time.monotonic()
    arguments.card = Card()
    for name in names:
        deadline += WORK[name]["share"] / shares * arguments.seconds  # what one leaves, the next may have

        def keep(row):
            results["rows"][name] = row
            if arguments.output:
                arguments.output.write_text(json.dumps(results, indent=1) + "\n")

        with tempfile.TemporaryDirectory() as work:
            try:
                keep(one_work(arguments, name, pathlib.Path(work), deadline, keep))
            except Exception as error:
                known = results["rows"].get(name, {"peers": {}, "best": [], "albacore": {}})
                keep(known | {"ended": f"{type(error).__name__}: {error}"})
        show(name, results["rows"][name])
        if "ended" in results["rows"][name]:
            print("    ended: " + results["rows"][name]["ended"][-600:], flush=True)


if __name__ == "__main__":
    main()

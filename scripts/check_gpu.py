#!/usr/bin/env python3
"""Holds albacore on a GPU to PyTorch on the same card, and to itself: run twice, killed and started again.

Shows, each in one line of a table with the worst found and what is allowed:

    parity   twenty steps in f32 and in bf16 beside a plain PyTorch loop on the same batches, rate and optimizer.
             f32: ten losses within 1e-4, every parameter's gradient at step 1 within 1e-4 of its norm.
             bf16: the whole gradient's distance from PyTorch's in f32 is at most 1.2 times that of PyTorch's own bf16.
             The losses of all sides are printed beside each other, and the most memory that albacore held.
    repeat   two runs of twelve steps end with the same bytes of weights and optimizer state and the same losses; so
             does a run that is SIGKILLed three times (before its first checkpoint, while it writes one, after the
             next) and started again each time with the same command. --narrow: the same with `optim.state = "int8"`,
             `optim.offload` and without `train.master_weights`; --t5: of a T5, with Adafactor and its momentum, z-loss,
             label smoothing and dropout
    flan     twenty steps of a T5 in f32 and in bf16 beside transformers' T5 and its Adafactor, with z-loss and label
             smoothing. f32: ten losses and gradient norms within 1e-4

    python scripts/check_gpu.py parity --albacore target/gpu/albacore --output parity.json [--model MODEL] [--cpu]
    python scripts/check_gpu.py repeat --albacore target/gpu/albacore --output repeat.json [--model MODEL] [--narrow | --t5]
    python scripts/check_gpu.py flan --albacore target/gpu/albacore --output flan.json [--model MODEL]
    python scripts/check_gpu.py parity … --device cpu --tiny        # the script itself, without a GPU

MODEL is a Hugging Face folder; without one, a LLaMA of SmolLM2-135M's shape, or a T5 of Flan-T5-small's, with random weights is made. The records
are random ids of many lengths, in each a part that is not learned. `--device cpu` runs both sides there, albacore in f32
alone; `--cpu` adds albacore's losses in f32 on the CPU. The exit status is the number of failed lines.

Needs: pip install torch transformers safetensors, and for the memory nvidia-ml-py or nvidia-smi. One to two minutes a
part on a card; 10 GB on the disk.

How it measures. Both sides see packed batches that file order alone can make; PyTorch runs each sequence by itself,
without padding, and adds up gradients in f32. Its f32: TF32 off, attention written out, the log-softmax in f64 (in f32
it loses digits over a large vocabulary, see check_smollm2.py). Its bf16: the model in bf16 with SDPA, AdamW on f32
masters, all as PyTorch has it by default; beside it autocast over f32 weights, which is shown and not judged, since it
keeps the residual stream in f32. Gradients are read from a checkpoint: after one step from nothing, AdamW's first moment
is (1 - beta1) times the clipped gradient. Memory is what the driver says of the process, or, where it cannot tell
processes apart, of the card less what was in use before: the program's context is part of it.
"""
import argparse
import hashlib
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch
import transformers
from safetensors import safe_open

from flan_peer import ADAFACTOR, SOFTENING, flan_steps
from random_llama import make_model, random_record, save_model
from random_t5 import make_t5, random_pair
from watched import Card, Failure, PeakMemory, finish, read_lines, start, write_config, write_lines

STEPS, JUDGED, MICRO_BATCHES = 20, 10, 2
OPTIMIZER = {"learning_rate": 5e-5, "betas": [0.9, 0.999], "epsilon": 1e-8, "weight_decay": 0.01, "max_grad_norm": 1.0}
TIMES = {"elapsed_s", "tokens_per_second"}  # of a line of metrics: they differ between any two runs
COMPARED = ["model.safetensors", "optimizer.safetensors"]

report = {"lines": []}


def line(what, worst, allowed=None, note=""):
    """One line of the table; without `allowed` it is shown and not judged."""
    good = allowed is None or worst <= allowed  # a NaN is not
    report["lines"].append({"what": what, "worst": worst, "allowed": allowed, "ok": good, "note": note})
    limit, verdict = ("-", "shown") if allowed is None else (f"{allowed:.3g}", "ok" if good else "FAILED")
    print(f"{what:58} worst {worst:<9.3g} allowed {limit:<8} {verdict:6}  {note}", flush=True)


def save_report(arguments):
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=1) + "\n")


def make_steps(vocabulary, budget, numbers, record=random_record, shortest=2):
    """steps x batches x records; a batch has exactly `budget` tokens, so that packing in file order can only make these."""
    steps = [[[] for _ in range(MICRO_BATCHES)] for _ in range(STEPS)]
    for batch in (batch for batches in steps for batch in batches):
        room = budget
        while room:
            length = numbers.choice([shortest, 33, budget // 7, budget // 3, numbers.randint(3, budget // 2)])
            length = room if room < length + 8 else length
            batch.append(record(numbers, vocabulary, length))
            room -= length
    return steps


def newest_checkpoint(run):
    return max(path for path in (run / "checkpoints").iterdir() if path.name.startswith("step-") and path.suffix == "")


# parity


def train(arguments, name, model, rows, budget, steps, precision, device, optim=None, objective=None):
    """Trains over `rows` in file order; returns the run's folder and (MiB, where they were read)."""
    write_lines(arguments.work / "parity.jsonl", rows)
    config = write_config(arguments.work / f"{name}.toml", {
        "run": {"dir": str(arguments.work), "name": name}, "model": {"path": str(model)},
        "data": {"template": "none", "tokens_per_batch": budget, "max_tokens": budget, "shuffle": False},
        "[data.sources]": {"path": str(arguments.work / "parity.jsonl"), "format": "tokens"},
        "optim": optim or {"kind": "adamw", **OPTIMIZER}, "objective": {"kind": "sft", **(objective or {})},
        "schedule": {"kind": "constant", "warmup_steps": 0},
        "train": {"steps": steps, "batches_per_step": MICRO_BATCHES, "precision": precision}, "checkpoint": {"every": 0, "keep_last": 1}})
    log, memory = arguments.work / f"{name}.log", PeakMemory(arguments.card)
    child = start(arguments.albacore, config, log, device, arguments.threads)

    def each():
        memory.look(child.pid)
        time.sleep(0.01)

    finish(child, log, arguments.limit, each)
    return arguments.work / name, memory.result()


def first_gradients(run):
    """Parameter name -> clipped gradient of the one step that this run made."""
    checkpoint = newest_checkpoint(run)
    with safe_open(checkpoint / "optimizer.safetensors", "pt") as file:
        return {name[2:]: file.get_tensor(name).float() / (1 - OPTIMIZER["betas"][0]) for name in file.keys() if name.startswith("m.")}


def token_logprobs(model, record, softmax):
    """ln p of each learned token of one sequence run alone; `softmax` is the type that the log-softmax is taken in."""
    ids = torch.tensor([record["input_ids"]], device=model.device)
    rows = torch.tensor([at - 1 for at, label in enumerate(record["labels"]) if label != -100], device=model.device)
    hidden = model.model(ids, use_cache=False).last_hidden_state[0]
    return model.lm_head(hidden[rows]).to(softmax).log_softmax(-1).gather(1, ids[0, rows + 1][:, None])[:, 0]


def torch_steps(folder, steps, mode, device):
    """Losses and norms of a plain loop, and the clipped gradients of step 1; `mode` is f32, bf16 or autocast."""
    torch.backends.cuda.matmul.allow_tf32 = False
    kind = torch.bfloat16 if mode == "bf16" else torch.float32
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager" if mode == "f32" else "sdpa")
    model.get_input_embeddings().padding_idx = None  # else the row of the pad token loses its gradient
    masters = {name: weight.detach().clone().to(device) for name, weight in model.named_parameters()}
    buffers = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
    model.to(device, kind)
    for name, buffer in buffers.items():  # `to` rounds the rotary frequencies too, which no user of bf16 wants
        owner, _, leaf = name.rpartition(".")
        model.get_submodule(owner)._buffers[leaf] = buffer.to(device)
    weights = list(model.parameters())
    for weight in masters.values():
        weight.grad = torch.zeros_like(weight)
    gradients = [weight.grad for weight in masters.values()]
    groups = [{"params": [weight for weight in masters.values() if (weight.dim() > 1) == decays],
               "weight_decay": OPTIMIZER["weight_decay"] if decays else 0.0} for decays in (True, False)]
    optimizer = torch.optim.AdamW(groups, lr=OPTIMIZER["learning_rate"], betas=tuple(OPTIMIZER["betas"]), eps=OPTIMIZER["epsilon"])
    losses, norms, first = [], [], {}
    for batches in steps:
        records = [record for batch in batches for record in batch]
        tokens = sum(label != -100 for record in records for label in record["labels"])
        torch._foreach_zero_(gradients)
        total = 0.0
        for record in records:
            with torch.autocast(device, torch.bfloat16, enabled=mode == "autocast"):
                loss = -token_logprobs(model, record, torch.float64 if mode == "f32" else torch.float32).sum() / tokens
            loss.backward()
            torch._foreach_add_(gradients, [weight.grad.float() for weight in weights])
            model.zero_grad(set_to_none=True)
            total += loss.item()
        norm = sum(gradient.double().square().sum() for gradient in gradients).sqrt().item()
        torch._foreach_mul_(gradients, min(1.0, OPTIMIZER["max_grad_norm"] / (norm + 1e-6)))
        first = first or {name: weight.grad.cpu().clone() for name, weight in masters.items()}
        optimizer.step()
        with torch.no_grad():
            torch._foreach_copy_(weights, list(masters.values()))
        losses.append(total)
        norms.append(norm)
    return losses, norms, first


def distances(found, wanted):
    """Distance over norm of each parameter, and of all together. A name that is missing is infinitely far."""
    squares = {name: ((found[name].double() - gradient.double()).square().sum().item() if name in found else float("inf"),
                      gradient.double().square().sum().item()) for name, gradient in wanted.items()}
    each = {name: (off / max(own, 1e-300))**0.5 for name, (off, own) in squares.items()}
    return each, (sum(off for off, _ in squares.values()) / sum(own for _, own in squares.values()))**0.5


def check_parity(arguments, model):
    budget = 128 if arguments.tiny else 1024
    steps = make_steps(json.loads((model / "config.json").read_text())["vocab_size"], budget, random.Random(1))
    rows = [record for batches in steps for batch in batches for record in batch]
    wanted = [sum(label != -100 for batch in batches for record in batch for label in record["labels"]) for batches in steps]
    report["parity"] = {"budget": budget, "sequences": len(rows), "losses": {}, "grad_norms": {}, "peak_mib": {}}
    losses, norms, ours = report["parity"]["losses"], report["parity"]["grad_norms"], {}
    sides = [("f32", arguments.device), ("bf16", arguments.device)] if arguments.device != "cpu" else [("f32", "cpu")]
    for precision, device in sides + ([("cpu", "cpu")] if arguments.cpu else []):
        asked, side = None if device == "cpu" else precision, f"albacore {precision}"
        try:  # a side that fails costs its own lines
            run, memory = train(arguments, f"{precision}-all", model, rows, budget, STEPS, asked, device)
            metrics = read_lines(run / "metrics.jsonl")
            losses[side], norms[side] = [row["loss"] for row in metrics], [row["grad_norm"] for row in metrics]
            report["parity"]["peak_mib"][side] = memory
            missed = sum(row["supervised_tokens"] != count for row, count in zip(metrics, wanted)) + abs(len(metrics) - STEPS)
            line(f"{precision}: steps missing, or packed otherwise", missed, 0, f"peak memory {memory[0]} MiB ({memory[1]})")
            shutil.rmtree(run)
            if precision != "cpu":
                ours[precision] = first_gradients(train(arguments, f"{precision}-one", model, rows, budget, 1, asked, device)[0])
        except Exception as error:
            line(f"{precision}: albacore's runs that failed", 1, 0)
            print(error, flush=True)
        save_report(arguments)
    theirs = {}
    for mode in ("f32", "bf16", "autocast"):
        begin = time.monotonic()
        losses[f"PyTorch {mode}"], norms[f"PyTorch {mode}"], theirs[mode] = torch_steps(model, steps, mode, arguments.device.split(":")[0])
        report["parity"][f"torch_{mode}_s"] = round(time.monotonic() - begin, 1)
        save_report(arguments)
    print("\n step  " + "  ".join(f"{side:>17}" for side in losses))
    for at in range(STEPS):
        print(f"{at + 1:5}  " + "  ".join(f"{side[at]:17.6f}" if at < len(side) else " " * 17 for side in losses.values()))
    print()
    judge(losses, norms, ours, theirs, len(rows))


def judge(losses, norms, ours, theirs, sequences):
    def furthest(side, other, values=losses, steps=slice(0, JUDGED)):
        return max((abs(one - two) for one, two in zip(values[side][steps], values[other][steps])), default=float("nan"))

    if "f32" in ours:
        line("f32: loss of a step, ten steps", furthest("albacore f32", "PyTorch f32"), 1e-4, f"{sequences} sequences in {STEPS} steps")
        line("f32: loss of a step, the ten after", furthest("albacore f32", "PyTorch f32", steps=slice(JUDGED, STEPS)))
        off = max(abs(one / two - 1) for one, two in zip(norms["albacore f32"][:JUDGED], norms["PyTorch f32"]))
        line("f32: gradient norm, relative, ten steps", off, 1e-4)
        each, overall = distances(ours["f32"], theirs["f32"])
        worst = max(each, key=each.get)
        line("f32: gradient of a parameter, relative to its norm", each[worst], 1e-4, f"{worst}, of {len(each)}; overall {overall:.1e}")
    for side in ("cpu", "bf16"):
        if f"albacore {side}" in losses:
            line(f"{side}: loss of a step against PyTorch f32, ten steps", furthest(f"albacore {side}", "PyTorch f32"), 1e-4 if side == "cpu" else None)
    line("PyTorch bf16: the same", furthest("PyTorch bf16", "PyTorch f32"))
    line("PyTorch autocast: the same", furthest("PyTorch autocast", "PyTorch f32"))
    own = {mode: distances(theirs[mode], theirs["f32"]) for mode in ("bf16", "autocast")}
    report["parity"]["gradient_distance_from_torch_f32"] = {f"PyTorch {mode}": overall for mode, (_, overall) in own.items()}
    if "bf16" in ours:
        each, overall = distances(ours["bf16"], theirs["f32"])
        report["parity"]["gradient_distance_from_torch_f32"]["albacore bf16"] = overall
        line("bf16: whole gradient, 1.2 times PyTorch bf16's distance", overall, 1.2 * own["bf16"][1], "from PyTorch's in f32")
        worst = max(each, key=each.get)
        line("bf16: a parameter's gradient", each[worst], None, f"{worst}; PyTorch bf16's {own['bf16'][0][worst]:.3g} there")
        further = {name: each[name] / max(own["bf16"][0][name], 1e-300) for name in each}
        worst, middle = max(further, key=further.get), sorted(further.values())[len(further) // 2]
        line("bf16: a parameter's distance over PyTorch bf16's", further[worst], None, f"{worst}; the middle one {middle:.3g}")
    for mode, (each, overall) in own.items():
        worst = max(each, key=each.get)
        line(f"PyTorch {mode}: whole gradient", overall, None, f"worst parameter {each[worst]:.3g}, {worst}")


# flan


def check_flan(arguments, model):
    budget = 128 if arguments.tiny else 1024
    steps = make_steps(json.loads((model / "config.json").read_text())["vocab_size"], budget, random.Random(4), random_pair, 3)
    rows = [record for batches in steps for batch in batches for record in batch]
    report["flan"] = {"budget": budget, "sequences": len(rows), "losses": {}, "grad_norms": {}, "peak_mib": {}}
    losses, norms = report["flan"]["losses"], report["flan"]["grad_norms"]
    modes = ("f32", "bf16") if arguments.device != "cpu" else ("f32",)
    for precision in modes:
        try:
            run, memory = train(arguments, f"flan-{precision}", model, rows, budget, STEPS, None if arguments.device == "cpu" else precision, arguments.device,
                                {"kind": "adafactor", **ADAFACTOR}, SOFTENING)
            metrics = read_lines(run / "metrics.jsonl")
            losses[f"albacore {precision}"], norms[f"albacore {precision}"] = [row["loss"] for row in metrics], [row["grad_norm"] for row in metrics]
            report["flan"]["peak_mib"][precision] = memory
            told = max(abs(row["loss_mle"]) for row in metrics) if SOFTENING["label_smoothing"] else 0
            line(f"{precision}: steps missing", abs(len(metrics) - STEPS), 0, f"peak memory {memory[0]} MiB ({memory[1]}); `loss_mle` to {told:.4g}")
            shutil.rmtree(run)
        except Exception as error:
            line(f"{precision}: albacore's runs that failed", 1, 0)
            print(error, flush=True)
        losses[f"PyTorch {precision}"], norms[f"PyTorch {precision}"] = flan_steps(model, steps, precision, arguments.device.split(":")[0])
        save_report(arguments)
    for values in (losses, norms):
        print("\n step  " + "  ".join(f"{side:>17}" for side in values))
        for at in range(STEPS):
            print(f"{at + 1:5}  " + "  ".join(f"{side[at]:17.6f}" if at < len(side) else " " * 17 for side in values.values()))
    print()
    for precision in modes:
        if f"albacore {precision}" not in losses:
            continue
        pairs = list(zip(losses[f"albacore {precision}"], losses["PyTorch f32"]))
        exact = precision == "f32"
        line(f"{precision}: loss of a step against PyTorch f32, ten steps", max(abs(one - two) for one, two in pairs[:JUDGED]), 1e-4 if exact else None)
        line(f"{precision}: the ten after", max(abs(one - two) for one, two in pairs[JUDGED:]))
        off = max(abs(one / two - 1) for one, two in zip(norms[f"albacore {precision}"][:JUDGED], norms["PyTorch f32"]))
        line(f"{precision}: gradient norm, relative, ten steps", off, 1e-4 if exact else None)
    if "PyTorch bf16" in losses:
        line("PyTorch bf16: loss of a step, ten steps", max(abs(one - two) for one, two in list(zip(losses["PyTorch bf16"], losses["PyTorch f32"]))[:JUDGED]))


# repeat


def repeat_config(arguments, model, name, total):
    """Everything that has a state: an order that depends on the seed, a schedule, several batches a step."""
    on_gpu = arguments.device != "cpu"
    optim = {"state": "int8", "offload": on_gpu} if arguments.narrow else {}
    train = {"master_weights": False} if arguments.narrow and on_gpu else {}
    objective = {"kind": "sft"}
    if arguments.t5:
        optim, train, objective = {"kind": "adafactor", **ADAFACTOR}, {"dropout": 0.1}, {"kind": "sft", **SOFTENING}
    return write_config(arguments.work / f"{name}.toml", {
        "run": {"dir": str(arguments.work), "name": name}, "model": {"path": str(model)},
        "data": {"template": "none", "tokens_per_batch": total, "max_tokens": total // 2, "shuffle": True},
        "[data.sources]": {"path": str(arguments.work / "repeat.jsonl"), "format": "tokens"},
        "optim": {"learning_rate": 1e-4, "weight_decay": 0.1, **optim}, "objective": objective,
        "schedule": {"kind": "cosine", "warmup_steps": 3},
        "train": {"steps": 12, "batches_per_step": 2, "precision": "bf16" if on_gpu else None, **train},
        "checkpoint": {"every": 4, "keep_last": 2}})


def outcome(run):
    """What must not differ: digests of the last checkpoint's tensors, and the lines of metrics without times."""
    checkpoint = newest_checkpoint(run)
    digests = {}
    for name in COMPARED:
        with open(checkpoint / name, "rb") as file:
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    metrics = [{key: value for key, value in row.items() if key not in TIMES} for row in read_lines(run / "metrics.jsonl")]
    return {"checkpoint": checkpoint.name, **digests, "metrics.jsonl": metrics}


def lines_of(run):
    try:
        return (run / "metrics.jsonl").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def whole_run(arguments, model, name, total):
    """Runs to the end; returns the outcome and when each line of metrics was first seen, in seconds."""
    log, run, begin, seen = arguments.work / f"{name}.log", arguments.work / name, time.monotonic(), [0.0]
    child = start(arguments.albacore, repeat_config(arguments, model, name, total), log, arguments.device, arguments.threads)

    def each():
        seen.extend([time.monotonic() - begin] * (lines_of(run) + 1 - len(seen)))
        time.sleep(0.0005)

    finish(child, log, arguments.limit, each)
    each()
    result = outcome(run)
    shutil.rmtree(run)
    return result, seen + [time.monotonic() - begin]


def killed_run(arguments, model, total, seen, numbers, attempt):
    """Kills a run three times; returns the outcome and the moments, or None if it ended before one of them."""
    name = f"killed-{attempt}"
    config, log, run, moments = repeat_config(arguments, model, name, total), arguments.work / f"{name}.log", arguments.work / name, []
    for first, last in ((1, 3), (4, 5), (8, 10)):  # after this many lines: checkpoints are made behind the lines 4, 8 and 12
        child = start(arguments.albacore, config, log, arguments.device, arguments.threads)
        # A resumed run begins with the old lines, cut to its checkpoint: wait for more than there were.
        target = max(numbers.randint(first, last), lines_of(run) + 1)
        delay = numbers.uniform(0, seen[target + 1] - seen[target]) if target < 12 else 0
        finish_at = time.monotonic() + arguments.limit
        while child.poll() is None and lines_of(run) < target and time.monotonic() < finish_at:
            time.sleep(0.0002)
        time.sleep(delay)
        unsealed = [path.name for path in (run / "checkpoints").glob("*.partial")] if child.poll() is None else []
        child.kill()
        finish(child, log, arguments.limit)
        if child.returncode == 0:
            shutil.rmtree(run)
            return None
        moments.append(f"{delay * 1000:.1f} ms after line {target}" + (f", inside {unsealed[0]}" if unsealed else ""))
        print(f"  killed {moments[-1]}", flush=True)
    finish(start(arguments.albacore, config, log, arguments.device, arguments.threads), log, arguments.limit)
    return outcome(run), moments


def check_repeat(arguments, model):
    total, vocabulary, numbers = 128 if arguments.tiny else 1024, json.loads((model / "config.json").read_text())["vocab_size"], random.Random(2)
    write_lines(arguments.work / "repeat.jsonl",
                [(random_pair if arguments.t5 else random_record)(numbers, vocabulary, numbers.randint(8, total // 2)) for _ in range(61)])  # no epoch ends with a checkpoint
    try:
        one, seen = whole_run(arguments, model, "one", total)
        print(f"  first step after {seen[1]:.2f} s, {seen[12] - seen[1]:.2f} s for the other eleven with two saves, {seen[13]:.2f} s in all", flush=True)
        two, _ = whole_run(arguments, model, "two", total)
        for name in one:
            line(f"two runs: {name} differs", int(one[name] != two[name]), 0, one[name][:16] if isinstance(one[name], str) else f"{len(one[name])} steps")
        tries = (killed_run(arguments, model, total, seen, numbers, attempt) for attempt in range(6))
        three, moments = next((found for found in tries if found), ({}, []))
        line("killed: kills that could not be placed before the end", 3 - len(moments), 0, "; ".join(moments))
        for name in one if three else ():
            line(f"killed three times: {name} differs", int(one[name] != three[name]), 0)
        report["repeat"] = {"one": one, "two": two, "killed": three, "moments": moments, "seconds": seen}
    except Failure as error:
        line("runs that failed", 1, 0)
        print(error, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("check", choices=["parity", "repeat", "flan"])
    parser.add_argument("--albacore", type=pathlib.Path, default=os.environ.get("ALBACORE", "target/release/albacore"))
    parser.add_argument("--output", type=pathlib.Path, help="everything measured, as JSON")
    parser.add_argument("--model", type=pathlib.Path, help="a Hugging Face folder; random weights of SmolLM2-135M's shape without it")
    parser.add_argument("--device", default="cuda", help="of both sides")
    parser.add_argument("--cpu", action="store_true", help="parity: albacore in f32 on the CPU too")
    parser.add_argument("--narrow", action="store_true", help="repeat: the optimizer's state in 8 bits; on a GPU also offloaded, over weights that are bf16 alone")
    parser.add_argument("--t5", action="store_true", help="repeat: a T5 with Adafactor, momentum, z-loss, label smoothing and dropout")
    parser.add_argument("--tiny", action="store_true", help="a model and batches of a moment, to try the script")
    parser.add_argument("--threads", type=int, help="of albacore and of PyTorch on the CPU")
    parser.add_argument("--limit", type=float, default=60, help="seconds after which a run of albacore is given up")
    parser.add_argument("--work", type=pathlib.Path, help="keep what is written on the way here, an empty folder")
    arguments = parser.parse_args()
    if not arguments.albacore.is_file():
        parser.error(f"there is no {arguments.albacore}: scripts/gpu_build.sh makes it")
    arguments.t5 |= arguments.check == "flan"
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as temporary:
        arguments.work = (arguments.work or pathlib.Path(temporary)).absolute()
        arguments.work.mkdir(parents=True, exist_ok=True)
        arguments.card = Card()
        model = arguments.model and arguments.model.absolute()
        if model is None:
            model = arguments.work / "model"
            if arguments.t5:
                save_model(make_t5("tiny-t5" if arguments.tiny else "flan-t5-small", 0.0), model)
            else:
                save_model(make_model("tiny" if arguments.tiny else "smollm2-135m"), model)
        report["about"] = {"check": arguments.check, "device": arguments.device, "torch": torch.__version__, "transformers": transformers.__version__,
                           "albacore": subprocess.run([arguments.albacore, "--version"], capture_output=True, text=True).stdout.strip(),
                           "model": "tiny" if arguments.tiny else model.name if arguments.model else f"{'Flan-T5-small' if arguments.t5 else 'SmolLM2-135M'}'s shape, random"}
        globals()[f"check_{arguments.check}"](arguments, model)
        if arguments.device != "cpu" and torch.cuda.is_available():
            report["about"]["device"] = torch.cuda.get_device_name()
        save_report(arguments)
    sys.exit(sum(not row["ok"] for row in report["lines"]))


if __name__ == "__main__":
    main()

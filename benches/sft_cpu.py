#!/usr/bin/env python3
"""Full finetuning on the CPU, side by side with TRL: tokens a second, memory, time to the first step.

Shows: TRL's `SFTTrainer` on PyTorch and `albacore train`, on the same token ids with the same optimizer, one after the
other in rounds, with and without recomputation: tokens/s of each and their ratio, peak resident memory of each,
seconds from the start of the process to the end of the first step, and the largest difference between the losses.

    python benches/sft_cpu.py --model MODEL --rounds 3 --output sft.json
    python benches/sft_cpu.py --model MODEL --rounds 1 --recompute none --prompt-tokens 128     # masked prompts

MODEL is a Hugging Face folder (SmolLM2-135M is what README's numbers are of). ALBACORE or `--albacore` names the binary.

Needs: pip install torch==2.15.0 transformers==5.23.0 trl==1.16.0 datasets accelerate tokenizers numpy. Linux; 6 GB of memory.

Both sides: f32, rows of `--tokens` ids, `--rows` rows a step, AdamW (rate 2e-5, betas 0.9 and 0.999, epsilon 1e-8, no
decay), constant rate, gradients clipped at norm 1, loss on every token (or on those after the first `--prompt-tokens`),
rows in order. The text is the prose inside Python's own `pydoc`, so that nothing needs a download.

How it measures. Each side is a process of its own, watched from outside: both append a line to a `metrics.jsonl` when
a step is done, and the watcher notes the time, so a step lasts from one line to the next whatever the side does in
between. The first `--warmup` steps are not counted. Memory is the child's `ru_maxrss`. Nothing else may run: `cpu/wall`
near the number of threads says that a step had its cores to itself (idle waiting of PyTorch's threads counts as use),
`others` how many cores other processes used meanwhile, and the GEMM probe before each side how fast the machine was
just then (some machines change speed by 2x for minutes: compare only sides with like probes). A run during which others
used more than a tenth of a core is marked CONTAMINATED, and so is every ratio it enters: such numbers say nothing.
"""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

OPTIMIZER = {"learning_rate": 2e-5, "betas": [0.9, 0.999], "epsilon": 1e-8, "weight_decay": 0.0, "max_grad_norm": 1.0}


# The TRL side, run as a child of the watcher.


def trl_side(arguments):
    import datasets
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    torch.set_num_threads(arguments.threads)
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32)
    rows = [json.loads(row) for row in (arguments.work / "rows.jsonl").read_text().splitlines()]
    columns = {"input_ids": [row["input_ids"] for row in rows]}
    if arguments.prompt_tokens:
        columns["completion_mask"] = [[int(label != -100) for label in row["labels"]] for row in rows]

    class Report(TrainerCallback):
        """A line at the end of each step; the loss of a step is logged after its end, and goes into the last file."""

        def __init__(self):
            self.metrics = open(arguments.work / "metrics.jsonl", "a", buffering=1)
            self.losses = []

        def on_step_end(self, _, state, control, **__):
            self.metrics.write(json.dumps({"step": state.global_step}) + "\n")

        def on_log(self, _, state, control, logs=None, **__):
            if "loss" in logs:
                self.losses.append(logs["loss"])

    class InOrder(SFTTrainer):
        def _get_train_sampler(self, *_, **__):
            return torch.utils.data.SequentialSampler(self.train_dataset)

    config = SFTConfig(
        output_dir=str(arguments.work / "trl"), use_cpu=True, bf16=False, fp16=False, gradient_checkpointing=arguments.recompute == "block",
        per_device_train_batch_size=arguments.rows, gradient_accumulation_steps=1, max_steps=arguments.steps, max_length=arguments.tokens,
        learning_rate=OPTIMIZER["learning_rate"], adam_beta1=OPTIMIZER["betas"][0], adam_beta2=OPTIMIZER["betas"][1],
        adam_epsilon=OPTIMIZER["epsilon"], weight_decay=OPTIMIZER["weight_decay"], max_grad_norm=OPTIMIZER["max_grad_norm"],
        lr_scheduler_type="constant", optim="adamw_torch", logging_steps=1, report_to=[], save_strategy="no", packing=False, seed=0,
        completion_only_loss=True if arguments.prompt_tokens else None, disable_tqdm=True, dataloader_pin_memory=False)
    report = Report()
    InOrder(model=model, args=config, train_dataset=datasets.Dataset.from_dict(columns), processing_class=tokenizer, callbacks=[report]).train()
    (arguments.work / "losses.json").write_text(json.dumps(report.losses))


# The watcher.


def write_rows(arguments, path):
    """The rows both sides read, made with the model's own tokenizer."""
    from pydoc_data.topics import topics
    from tokenizers import Tokenizer

    count = arguments.rows * arguments.steps
    text = "\n\n".join(topics[key] for key in sorted(topics))
    tokenizer = Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
    ids = tokenizer.encode(text[: count * arguments.tokens * 8], add_special_tokens=False).ids
    rows = [ids[at * arguments.tokens:(at + 1) * arguments.tokens] for at in range(count)]
    if len(rows[-1]) != arguments.tokens:
        sys.exit(f"the text has {len(ids)} tokens, wanted {count * arguments.tokens}: take fewer --steps")
    hidden = [-100] * arguments.prompt_tokens
    path.write_text("".join(json.dumps({"input_ids": row, "labels": hidden + row[len(hidden):]}) + "\n" for row in rows))


def albacore_command(arguments, work, recompute):
    values = {
        "run": {"dir": str(work.parent), "name": work.name},
        "model": {"path": str(arguments.model)},
        "data": {"tokens_per_batch": arguments.rows * arguments.tokens, "max_tokens": arguments.tokens, "shuffle": False},
        "[data.sources]": {"path": str(work / "rows.jsonl"), "format": "tokens"},
        "optim": {"kind": "adamw", **OPTIMIZER},
        "schedule": {"kind": "constant", "warmup_steps": 0},
        "train": {"steps": arguments.steps, "batches_per_step": 1, "recompute": recompute},
        "checkpoint": {"every": 1_000_000, "keep_last": 1},
    }
    text = "".join(f"[{table}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items()) for table, keys in values.items())
    config = work / "bench.toml"
    config.write_text(text)
    return [str(arguments.albacore), "train", str(config), "--threads", str(arguments.threads), "--quiet"]


def trl_command(arguments, work, recompute):
    command = [sys.executable, __file__, "--side", "trl", "--work", str(work), "--recompute", recompute]
    for name in ("model", "rows", "tokens", "steps", "threads", "prompt_tokens"):
        command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    return command


def gemm_probe(threads, seconds=0.4):
    """GFLOP/s of the best 1024-cubed f32 product within a moment: how fast the machine is just now."""
    import numpy

    left = numpy.ones((1024, 1024), numpy.float32)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        left @ left
        best = min(best, time.perf_counter() - start)
    time.sleep(0.3)  # its threads spin for a moment
    return 2 * 1024**3 / best / 1e9


def machine():
    """The processor's name and the widest vectors it has."""
    text = pathlib.Path("/proc/cpuinfo").read_text()
    names = [row.split(":", 1)[1].strip() for row in text.splitlines() if row.startswith(("model name", "flags"))] or [platform.machine(), ""]
    wide = [flag for flag in ("avx2", "avx512f") if flag in names[-1].split()]
    return f"{names[0]} ({' '.join(wide)})"


def ticks_of(pid):
    """CPU seconds of a process so far; None once it is gone."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ticks_of_machine():
    user, nice, system, _, _, irq, soft, *_ = map(int, pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def watch(command, work, environment, look=None):
    """Runs a side; returns marks (seconds since start, its CPU seconds, the machine's) of start and each line of metrics.

    `look` is called with its process ID again and again.
    """
    metrics = work / "metrics.jsonl"
    with open(work / "output.txt", "wb") as output:
        start = time.time()
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        marks, position = [(0.0, 0.0, ticks_of_machine())], 0
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if metrics.exists() and metrics.stat().st_size > position:
                with open(metrics, "rb") as file:
                    file.seek(position)
                    new = file.read()
                position += len(new)
                cpu = ticks_of(child.pid)
                marks += [(time.time() - start, cpu, ticks_of_machine())] * new.count(b"\n")
            if look:
                look(child.pid)
            if pid:
                child.returncode = os.waitstatus_to_exitcode(status)
                break
            time.sleep(0.005)
    wall = time.time() - start
    if child.returncode != 0:
        sys.exit(f"{' '.join(command)}\nexit status {child.returncode}\n{(work / 'output.txt').read_text()[-3000:]}")
    return marks, wall, usage


def losses_of(work):
    if (work / "losses.json").exists():
        return json.loads((work / "losses.json").read_text())
    return [row["loss"] for row in map(json.loads, (work / "metrics.jsonl").read_text().splitlines()) if "loss" in row]


def measure(arguments, side, recompute):
    """One side, once."""
    environment = os.environ | {"OMP_NUM_THREADS": str(arguments.threads), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
                                "CUDA_VISIBLE_DEVICES": "", "HF_HUB_DISABLE_TELEMETRY": "1"}
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        work = pathlib.Path(folder)
        write_rows(arguments, work / "rows.jsonl")
        command = (trl_command if side == "trl" else albacore_command)(arguments, work, recompute)
        probe, load = gemm_probe(arguments.threads), os.getloadavg()[0]
        marks, wall, usage = watch(command, work, environment)
        losses = losses_of(work)
    if len(marks) != arguments.steps + 1:
        sys.exit(f"{side} reported {len(marks) - 1} steps, wanted {arguments.steps}")
    steps = [later[0] - earlier[0] for earlier, later in zip(marks, marks[1:])]
    counted = marks[arguments.warmup:]
    span = counted[-1][0] - counted[0][0]
    own = counted[-1][1] - counted[0][1] if counted[-1][1] is not None else None  # None: it ended before we looked
    return {
        "side": side, "recompute": recompute, "tokens_per_s": arguments.rows * arguments.tokens * (len(counted) - 1) / span,
        "step_s": [round(step, 3) for step in steps[1:]], "first_step_s": round(marks[1][0], 3), "wall_s": round(wall, 3),
        "peak_rss_mib": round(usage.ru_maxrss / 1024), "cpu_per_wall": own and round(own / span, 2),
        "others": own and round((counted[-1][2] - counted[0][2] - own) / span, 2), "probe_gflops": round(probe, 1),
        "system_share": round(usage.ru_stime / (usage.ru_utime + usage.ru_stime), 3), "loadavg_before": round(load, 2), "losses": losses,
    }


def contaminated(run):
    return run["others"] is None or run["others"] > 0.1


def summary(results, recompute):
    """One row for each side and one for their ratios; a ratio is taken within each round, then the middle one."""
    chosen = {side: [row for row in results if row["side"] == side and row["recompute"] == recompute] for side in ("trl", "albacore")}
    rows, middle = [], statistics.median
    for side, runs in chosen.items():
        if runs:
            values = [middle(run[key] for run in runs) for key in ("tokens_per_s", "first_step_s", "peak_rss_mib")]
            mode = "none" if side == "trl" and recompute != "block" else recompute
            rows.append(f"| {side} | {mode} | {values[0]:.1f} | {values[1]:.2f} | {values[2]:.0f} | "
                        f"{'/'.join(str(run['cpu_per_wall']) for run in runs)} | {'/'.join(str(round(run['probe_gflops'])) for run in runs)} |")
    if all(chosen.values()):
        pairs = list(zip(chosen["trl"], chosen["albacore"]))
        ratio = {key: middle(ours[key] / theirs[key] for theirs, ours in pairs) for key in ("tokens_per_s", "first_step_s", "peak_rss_mib")}
        losses = max(abs(one - two) for theirs, ours in pairs for one, two in zip(theirs["losses"], ours["losses"]))
        rows.append(f"| **ratio** | {recompute} | **{ratio['tokens_per_s']:.2f}x** | **{ratio['first_step_s']:.2f}x** | "
                    f"**{ratio['peak_rss_mib']:.2f}x** | losses within {losses:.1e} | "
                    f"{'CONTAMINATED' if any(contaminated(run) for pair in pairs for run in pair) else 'quiet'} |")
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--warmup", type=int, default=2, help="steps that are not counted, of --steps")
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=256, help="a row")
    parser.add_argument("--prompt-tokens", type=int, default=0, help="how many at the start of each row are not learned")
    parser.add_argument("--recompute", default="selective,block", help="albacore's modes, with commas; TRL recomputes nothing, or everything beside `block`")
    parser.add_argument("--sides", default="trl,albacore")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--albacore", type=pathlib.Path, default=os.environ.get("ALBACORE", "target/release/albacore"))
    parser.add_argument("--output", type=pathlib.Path, help="everything measured, as JSON")
    parser.add_argument("--work", type=pathlib.Path, help="where to put the runs; a temporary folder if not given")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side == "trl":
        return trl_side(arguments)
    os.environ["OPENBLAS_NUM_THREADS"] = str(arguments.threads)  # read when the probe imports numpy
    modes = arguments.recompute.split(",")
    order = [(side, mode) for mode in modes for side in arguments.sides.split(",")]
    results = []
    for round_number in range(arguments.rounds):
        for side, mode in order if round_number % 2 == 0 else reversed(order):
            result = measure(arguments, side, mode) | {"round": round_number}
            results.append(result)
            print(f"round {round_number} {side:9} recompute {mode:5} {result['tokens_per_s']:7.1f} tokens/s  first step "
                  f"{result['first_step_s']:6.2f} s  {result['peak_rss_mib']:5} MiB  cpu/wall {result['cpu_per_wall']}  others "
                  f"{result['others']}  probe {result['probe_gflops']:.0f} GFLOP/s  load {result['loadavg_before']}{'  CONTAMINATED' if contaminated(result) else ''}", flush=True)
            if arguments.output:  # after each run: what was measured is not lost when a later one fails
                about = {"machine": machine(), "cores": os.cpu_count(), "arguments":
                         {key: str(value) for key, value in vars(arguments).items() if key not in ("model", "albacore", "work", "output", "side")}}
                arguments.output.write_text(json.dumps(about | {"runs": results}, indent=1) + "\n")
    print("\n| side | recompute | tokens/s | first step (s) | peak RSS (MiB) | cpu/wall | probe (GFLOP/s) |\n| --- | --- | --- | --- | --- | --- | --- |")
    print("\n".join(row for mode in modes for row in summary(results, mode)))


if __name__ == "__main__":
    main()

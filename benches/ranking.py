#!/usr/bin/env python3
"""Ranking, side by side: prompts shared, prompts copied, and the published trainer's step in PyTorch.

Shows: groups/s and peak resident memory of `tuna` steps by `albacore train`, by the same with a copy of the prompt before
each response (`train.share_prompts = false`), and by a plain PyTorch loop on padded batches and the logits of all positions
(scripts/torch_tuna.py), on the same groups with the same optimizer and as many groups a micro-batch; the ratios within each
round, and the largest difference between the losses.

    python benches/ranking.py --model MODEL --rounds 3 --output ranking.json
    python benches/ranking.py --device cuda --shape llama-3.2-1b --prompt 256 --response 64 --groups-per-batch 16 --steps 8 --warmup 3

MODEL is a Hugging Face folder (SmolLM2-135M is what README's numbers are of); `--shape` makes one of random weights and
words instead. ALBACORE or `--albacore` names the binary. On a GPU both sides compute in bf16 on f32 masters (PyTorch by
autocast), and memory is what the driver says of the process.

Needs: pip install torch==2.15.0 transformers==5.23.0 tokenizers numpy. Linux; 12 GB of memory.

Each side is a process of its own, watched from outside as benches/sft_cpu.py says, whose marks these are: the first
`--warmup` steps are not counted, memory is the child's `ru_maxrss`, and a run during which others used more than a tenth
of a core is marked CONTAMINATED, and so is every ratio it enters.
"""
import argparse
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "scripts"))
from sft_cpu import OPTIMIZER, contaminated, gemm_probe, losses_of, machine, watch
from watched import Card, PeakMemory

SIDES = ("torch", "copies", "shared")
# In a process of its own, so that this one never loads PyTorch.
MAKE = "import pathlib, sys; sys.path.insert(0, sys.argv[3]); from random_llama import make_model, save_model; save_model(make_model(sys.argv[1]), pathlib.Path(sys.argv[2]))"


def torch_side(arguments):
    import torch
    import torch_tuna
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(arguments.threads)
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).train().to(arguments.device)
    half = torch.autocast("cuda", torch.bfloat16, enabled=arguments.device == "cuda")
    if arguments.checkpointing:
        model.gradient_checkpointing_enable()
    optimizer = torch_tuna.adamw(model, OPTIMIZER)
    groups = [json.loads(row) for row in (arguments.work / "ids.jsonl").read_text().splitlines()]
    losses = []
    with open(arguments.work / "metrics.jsonl", "a", buffering=1) as metrics:
        for step in range(arguments.steps):
            here = groups[step * arguments.groups:(step + 1) * arguments.groups]
            batches = [here[at:at + arguments.groups_per_batch] for at in range(0, len(here), arguments.groups_per_batch)]
            with half:
                loss, _, _ = torch_tuna.step(model, optimizer, batches, pad=0, max_grad_norm=OPTIMIZER["max_grad_norm"])
            losses.append(loss)
            metrics.write(json.dumps({"step": step + 1}) + "\n")
    (arguments.work / "losses.json").write_text(json.dumps(losses))


def cut_text(arguments):
    """A function that gives text of so many tokens, each a word that comes back as itself, and its ids; and EOS."""
    from pydoc_data.topics import topics
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
    text, at = "\n\n".join(topics[key] for key in sorted(topics)), 0
    settings = json.loads((arguments.model / "tokenizer_config.json").read_text())
    eos = settings["eos_token"] if isinstance(settings["eos_token"], str) else settings["eos_token"]["content"]

    def piece(length):
        nonlocal at
        for trial in range(10_000):
            if len(text) - at < 12 * length:
                at = trial  # round again, from another letter
            found = tokenizer.encode(text[at:at + 12 * length], add_special_tokens=False)
            end = found.offsets[length][0]
            cut, at = text[at:at + end], at + end
            again = tokenizer.encode(cut, add_special_tokens=False).ids
            if len(again) == length and cut.strip():
                return cut, again
            at += 1
        sys.exit("the text has no piece of so many tokens")

    return piece, tokenizer.token_to_id(eos)


def random_words(arguments):
    """As `cut_text`, for a model of random_llama.py."""
    numbers, vocabulary = random.Random(0), json.loads((arguments.model / "config.json").read_text())["vocab_size"]

    def piece(length):
        ids = [numbers.randrange(3, vocabulary) for _ in range(length)]
        return " ".join(f"t{number}" for number in ids), ids

    return piece, 2


def write_groups(arguments, work):
    """The same groups as ids for PyTorch and as text for albacore."""
    piece, eos = random_words(arguments) if arguments.shape else cut_text(arguments)
    records, ids = [], []
    for number in range(arguments.groups * arguments.steps):
        prompt, prompt_ids = piece(arguments.prompt)
        pieces = [piece(arguments.response - 1) for _ in range(arguments.candidates)]
        scores = [float(arguments.candidates - rank) for rank in range(arguments.candidates)]
        records.append({"id": number, "instruction": prompt, "output": [text for text, _ in pieces], "score": scores})
        ids.append({"prompt": prompt_ids, "responses": [found + [eos] for _, found in pieces], "scores": scores})
    for name, rows in (("groups.jsonl", records), ("ids.jsonl", ids)):
        (work / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def albacore_command(arguments, work, share):
    group = arguments.prompt + arguments.candidates * arguments.response
    values = {
        "run": {"dir": str(work.parent), "name": work.name},
        "model": {"path": str(arguments.model)},
        "data": {"tokens_per_batch": arguments.groups_per_batch * group, "max_tokens": arguments.prompt + arguments.response, "shuffle": False, "template": "none"},
        "[data.sources]": {"path": str(work / "groups.jsonl"), "format": "tuna"},
        "objective": {"kind": "tuna"},
        "optim": {"kind": "adamw", **OPTIMIZER},
        "schedule": {"kind": "constant"},
        "train": {"steps": arguments.steps, "groups_per_step": arguments.groups, "recompute": arguments.recompute, "share_prompts": share},
        "checkpoint": {"every": 1_000_000, "keep_last": 1},
    }
    text = "".join(f"[{table}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items()) for table, keys in values.items())
    (work / "bench.toml").write_text(text)
    return [str(arguments.albacore), "train", str(work / "bench.toml"), "--device", arguments.device, "--threads", str(arguments.threads), "--quiet"]


def torch_command(arguments, work):
    command = [sys.executable, __file__, "--side", "torch", "--work", str(work)] + ["--checkpointing"] * arguments.checkpointing
    for name in ("model", "device", "groups", "groups_per_batch", "steps", "threads"):
        command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    return command


def measure(arguments, side):
    """One side, once."""
    environment = os.environ | {"OMP_NUM_THREADS": str(arguments.threads), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    if arguments.device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        work = pathlib.Path(folder)
        write_groups(arguments, work)
        command = torch_command(arguments, work) if side == "torch" else albacore_command(arguments, work, side == "shared")
        probe, load = gemm_probe(arguments.threads), os.getloadavg()[0]
        memory = PeakMemory(Card()) if arguments.device == "cuda" else None
        marks, _, usage = watch(command, work, environment, memory.look if memory else None)
        losses = losses_of(work)
    if len(marks) != arguments.steps + 1:
        sys.exit(f"{side} reported {len(marks) - 1} steps, wanted {arguments.steps}")
    counted = marks[arguments.warmup:]
    span = counted[-1][0] - counted[0][0]
    own = counted[-1][1] - counted[0][1] if counted[-1][1] is not None else None
    return {
        "side": side, "groups_per_s": arguments.groups * (len(counted) - 1) / span, "peak_mib": memory.result()[0] if memory else round(usage.ru_maxrss / 1024),
        "step_s": [round(later[0] - earlier[0], 3) for earlier, later in zip(marks, marks[1:])], "cpu_per_wall": own and round(own / span, 2),
        # By its own processor time: what the step took of the machine, whoever else was there.
        "groups_per_cpu_s": own and arguments.groups * (len(counted) - 1) / own,
        "others": own and round((counted[-1][2] - counted[0][2] - own) / span, 2), "probe_gflops": round(probe, 1),
        "loadavg_before": round(load, 2), "losses": losses,
    }


def summary(results):
    middle, rows = statistics.median, []
    of = {side: [row for row in results if row["side"] == side] for side in SIDES}
    for side, runs in of.items():
        if runs:
            values = [middle(run[key] or 0 for run in runs) for key in ("groups_per_s", "groups_per_cpu_s", "peak_mib")]
            rows.append(f"| {side} | {values[0]:.3f} | {values[1]:.3f} | {values[2]:.0f} | {'/'.join(str(run['others']) for run in runs)} |")
    for side in ("copies", "torch"):
        pairs = list(zip(of[side], of["shared"]))
        if pairs:
            ratio = {key: middle((ours[key] or 0) / (theirs[key] or 1) for theirs, ours in pairs) for key in ("groups_per_s", "groups_per_cpu_s", "peak_mib")}
            apart = max(abs(one - two) for theirs, ours in pairs for one, two in zip(theirs["losses"], ours["losses"]))
            state = "CONTAMINATED" if any(contaminated(run) for pair in pairs for run in pair) else "quiet"
            rows.append(f"| **shared / {side}** | **{ratio['groups_per_s']:.2f}x** | **{ratio['groups_per_cpu_s']:.2f}x** | "
                        f"**{ratio['peak_mib']:.2f}x** | {state}; losses within {apart:.1e} |")
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--shape", help="of a model of random weights and words, in place of --model: a name in random_llama.py")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--warmup", type=int, default=1, help="steps that are not counted, of --steps")
    parser.add_argument("--groups", type=int, default=16, help="a step")
    parser.add_argument("--groups-per-batch", type=int, default=4, help="a micro-batch, on every side")
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--prompt", type=int, default=120, help="tokens")
    parser.add_argument("--response", type=int, default=100, help="tokens, the end of sequence included")
    parser.add_argument("--recompute", default="selective", help="albacore's")
    parser.add_argument("--checkpointing", action="store_true", help="PyTorch recomputes activations, as the published settings have it")
    parser.add_argument("--sides", default=",".join(SIDES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--albacore", type=pathlib.Path, default=os.environ.get("ALBACORE", "target/release/albacore"))
    parser.add_argument("--output", type=pathlib.Path, help="everything measured, as JSON")
    parser.add_argument("--work", type=pathlib.Path, help="where to put the runs; a temporary folder if not given")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side == "torch":
        return torch_side(arguments)
    os.environ["OPENBLAS_NUM_THREADS"] = str(arguments.threads)  # read when the probe imports numpy
    made = tempfile.TemporaryDirectory(dir=arguments.work)
    if arguments.shape:
        arguments.model = pathlib.Path(made.name)
        subprocess.run([sys.executable, "-c", MAKE, arguments.shape, made.name, str(HERE.parent / "scripts")], check=True)
    elif not arguments.model:
        parser.error("--model or --shape is wanted")
    order, results = arguments.sides.split(","), []
    for round_number in range(arguments.rounds):
        for side in order if round_number % 2 == 0 else reversed(order):
            result = measure(arguments, side) | {"round": round_number}
            results.append(result)
            print(f"round {round_number} {side:7} {result['groups_per_s']:7.3f} groups/s  {result['peak_mib']:5} MiB  cpu/wall {result['cpu_per_wall']}  "
                  f"others {result['others']}  probe {result['probe_gflops']:.0f} GFLOP/s{'  CONTAMINATED' if contaminated(result) else ''}", flush=True)
            if arguments.output:
                about = {"machine": machine(), "cores": os.cpu_count(), "arguments":
                         {key: str(value) for key, value in vars(arguments).items() if key not in ("model", "albacore", "work", "output", "side")}}
                arguments.output.write_text(json.dumps(about | {"runs": results}, indent=1) + "\n")
    print("\n| side | groups/s | groups/CPU-s | peak memory (MiB) | others |\n| --- | --- | --- | --- | --- |\n" + "\n".join(summary(results)))


if __name__ == "__main__":
    main()

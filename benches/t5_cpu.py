#!/usr/bin/env python3
"""Full finetuning of a T5 on the CPU, side by side with transformers: tokens a second and memory.

Shows: `Seq2SeqTrainer` with batches padded to their longest, the same with examples of like length in a batch, and
`albacore train`, which packs without padding: tokens/s that are no padding, peak resident memory, the ratios.

    python benches/t5_cpu.py --tasks natural-instructions/tasks --tokenizer t5/tokenizer.json --rounds 3 --output t5.json

`--tasks` is a folder of Super-NaturalInstructions files, of which the examples are made (definition, input, first answer;
sources of at most 512 tokens, answers of at most 128). `--tokenizer` is a T5's. The model has T5-small's shape (v1.1, or
`--shape v1.0`) and random weights. ALBACORE or `--albacore` names the binary.

Needs: pip install torch==2.15.0 transformers==5.23.0 accelerate tokenizers numpy. Linux; 8 GB of memory.

Both sides: f32, AdamW (rate 1e-4, no decay), constant rate, gradients clipped at norm 1, dropout 0.1 as T5 has it, the same
examples in an order of their own. A step of transformers has `--examples` examples, one of albacore as many as fit into as
many tokens as these have on average. How it measures, and what CONTAMINATED means: sft_cpu.py.
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import tempfile

from sft_cpu import contaminated, gemm_probe, machine, watch

SIDES = ("padded", "bucketed", "albacore")
SOURCE, TARGET = 512, 128
OPTIMIZER = {"learning_rate": 1e-4, "betas": [0.9, 0.999], "epsilon": 1e-8, "weight_decay": 0.0, "max_grad_norm": 1.0}


# The transformers sides, run as children of the watcher.


def transformers_side(arguments):
    import torch
    from transformers import AutoTokenizer, DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments, T5ForConditionalGeneration, TrainerCallback

    torch.set_num_threads(arguments.threads)
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    model = T5ForConditionalGeneration.from_pretrained(arguments.model, dtype=torch.float32)
    rows = [json.loads(row) for row in (arguments.work / "examples.jsonl").read_text().splitlines()]
    rows = [{"input_ids": row["source"], "attention_mask": [1] * len(row["source"]), "labels": row["target"]} for row in rows]
    pad, tokens = DataCollatorForSeq2Seq(tokenizer, model=model), []

    def collate(batch):
        tokens.append(sum(len(row["input_ids"]) + len(row["labels"]) for row in batch))
        return pad(batch)

    class Report(TrainerCallback):
        def __init__(self):
            self.metrics = open(arguments.work / "metrics.jsonl", "a", buffering=1)

        def on_step_end(self, _, state, control, **__):
            # The loader may be ahead of the step: batches come in order, so the step's own count has its number.
            self.metrics.write(json.dumps({"step": state.global_step, "tokens": tokens[state.global_step - 1]}) + "\n")

    settings = Seq2SeqTrainingArguments(
        output_dir=str(arguments.work / "out"), use_cpu=True, bf16=False, fp16=False, per_device_train_batch_size=arguments.examples, max_steps=arguments.steps,
        learning_rate=OPTIMIZER["learning_rate"], adam_beta1=OPTIMIZER["betas"][0], adam_beta2=OPTIMIZER["betas"][1], adam_epsilon=OPTIMIZER["epsilon"],
        weight_decay=0.0, max_grad_norm=OPTIMIZER["max_grad_norm"], lr_scheduler_type="constant", optim="adamw_torch_fused", logging_steps=1_000_000, report_to=[],
        save_strategy="no", seed=0, disable_tqdm=True, dataloader_pin_memory=False, remove_unused_columns=False,
        train_sampling_strategy="group_by_length" if arguments.side == "bucketed" else "random")
    Seq2SeqTrainer(model=model, args=settings, train_dataset=rows, data_collator=collate, processing_class=tokenizer, callbacks=[Report()]).train()


# The watcher.


def make_model(arguments, folder):
    """T5-small's shape with random weights, in a process of its own, so that this one never loads PyTorch."""
    script = f"""
import torch
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration
torch.manual_seed(0)
v11 = {arguments.shape == "v1.1"}
config = T5Config(vocab_size=32128, d_model=512, d_kv=64, d_ff=1024 if v11 else 2048, num_layers=8 if v11 else 6, num_heads=6 if v11 else 8,
                  feed_forward_proj="gated-gelu" if v11 else "relu", tie_word_embeddings=not v11, decoder_start_token_id=0)
T5ForConditionalGeneration(config).save_pretrained({str(folder)!r})
PreTrainedTokenizerFast(tokenizer_file={str(arguments.tokenizer)!r}, eos_token="</s>", pad_token="<pad>", unk_token="<unk>").save_pretrained({str(folder)!r})
"""
    subprocess.run([sys.executable, "-c", script], check=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})


def write_examples(arguments, folder):
    """Examples as ids for transformers and as text for albacore; how many tokens one has on average."""
    from tokenizers import Tokenizer

    tokenizer, draw = Tokenizer.from_file(str(arguments.tokenizer)), random.Random(0)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    found = []
    for file in sorted(arguments.tasks.glob("*.json")):
        task = json.loads(file.read_text())
        for instance in draw.sample(task["Instances"], min(200, len(task["Instances"]))):
            source, target = f"{task['Definition'][0]}\n\n{instance['input']}", instance["output"][0]
            ids = [tokenizer.encode(text).ids for text in (source, target)]
            if target.strip() and len(ids[0]) <= SOURCE and len(ids[1]) <= TARGET:
                found.append(({"prompt": source, "completion": target}, {"source": ids[0], "target": ids[1]}))
    if len(found) < arguments.examples:
        sys.exit(f"`{arguments.tasks}` has {len(found)} examples that are short enough, wanted {arguments.examples} or more")
    draw.shuffle(found)
    for name, place in (("records.jsonl", 0), ("examples.jsonl", 1)):
        (folder / name).write_text("".join(json.dumps(pair[place]) + "\n" for pair in found))
    return statistics.mean(len(row["source"]) + len(row["target"]) for _, row in found)


def albacore_command(arguments, work, mean):
    budget = round(mean * arguments.examples / arguments.batches)
    if budget < SOURCE + TARGET:
        sys.exit(f"a batch of {budget} tokens does not hold the longest example: take more --examples or fewer --batches")
    values = {
        "run": {"dir": str(work.parent), "name": work.name},
        "model": {"path": str(arguments.model)},
        "data": {"tokens_per_batch": budget, "max_tokens": SOURCE + TARGET, "template": "none"},
        "[data.sources]": {"path": str(work / "records.jsonl"), "format": "prompt"},
        "optim": {"kind": "adamw", **OPTIMIZER},
        "schedule": {"kind": "constant"},
        "train": {"steps": arguments.steps, "batches_per_step": arguments.batches, "recompute": arguments.recompute},
        "checkpoint": {"every": 1_000_000, "keep_last": 1},
    }
    text = "".join(f"[{table}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items()) for table, keys in values.items())
    (work / "bench.toml").write_text(text)
    return [str(arguments.albacore), "train", str(work / "bench.toml"), "--threads", str(arguments.threads), "--quiet"]


def transformers_command(arguments, work, side):
    command = [sys.executable, __file__, "--side", side, "--work", str(work)]
    for name in ("model", "examples", "steps", "threads"):
        command += [f"--{name}", str(getattr(arguments, name))]
    return command


def measure(arguments, side, examples, mean):
    """One side, once."""
    environment = os.environ | {"OMP_NUM_THREADS": str(arguments.threads), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": ""}
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        work = pathlib.Path(folder)
        for name in ("records.jsonl", "examples.jsonl"):
            shutil.copy(examples / name, work)
        command = albacore_command(arguments, work, mean) if side == "albacore" else transformers_command(arguments, work, side)
        probe, load = gemm_probe(arguments.threads), os.getloadavg()[0]
        marks, _, usage = watch(command, work, environment)
        steps = [json.loads(row) for row in (work / "metrics.jsonl").read_text().splitlines()]
    steps = [row["tokens"] for row in steps if "tokens" in row]
    if not len(steps) == len(marks) - 1 == arguments.steps:
        sys.exit(f"{side} reported {len(steps)} steps, wanted {arguments.steps}")
    counted, tokens = marks[arguments.warmup:], sum(steps[arguments.warmup:])
    span = counted[-1][0] - counted[0][0]
    own = counted[-1][1] - counted[0][1] if counted[-1][1] is not None else None
    return {
        "side": side, "tokens_per_s": tokens / span, "tokens_per_cpu_s": own and tokens / own, "peak_rss_mib": round(usage.ru_maxrss / 1024),
        "tokens_per_step": round(tokens / (len(counted) - 1)), "cpu_per_wall": own and round(own / span, 2),
        "others": own and round((counted[-1][2] - counted[0][2] - own) / span, 2), "probe_gflops": round(probe, 1), "loadavg_before": round(load, 2),
    }


def summary(results):
    middle, rows = statistics.median, []
    of = {side: [row for row in results if row["side"] == side] for side in SIDES}
    for side, runs in of.items():
        if runs:
            speed, cpu, memory = (middle(run[key] or 0 for run in runs) for key in ("tokens_per_s", "tokens_per_cpu_s", "peak_rss_mib"))
            rows.append(f"| {side} | {speed:.0f} | {cpu:.0f} | {memory:.0f} | {'/'.join(str(run['others']) for run in runs)} |")
    for side in SIDES[:2]:
        pairs = list(zip(of[side], of["albacore"]))
        if pairs:
            ratio = [middle((ours[key] or 0) / (theirs[key] or 1) for theirs, ours in pairs) for key in ("tokens_per_s", "tokens_per_cpu_s", "peak_rss_mib")]
            state = "CONTAMINATED" if any(contaminated(run) for pair in pairs for run in pair) else "quiet"
            rows.append(f"| **albacore / {side}** | **{ratio[0]:.2f}x** | **{ratio[1]:.2f}x** | **{ratio[2]:.2f}x** | {state} |")
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=pathlib.Path)
    parser.add_argument("--tokenizer", type=pathlib.Path)
    parser.add_argument("--shape", default="v1.1", choices=("v1.0", "v1.1"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=3, help="steps that are not counted, of --steps")
    parser.add_argument("--examples", type=int, default=32, help="a step")
    parser.add_argument("--batches", type=int, default=2, help="micro-batches that a step of albacore has")
    parser.add_argument("--recompute", default="selective", help="albacore's")
    parser.add_argument("--sides", default=",".join(SIDES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--albacore", type=pathlib.Path, default=os.environ.get("ALBACORE", "target/release/albacore"))
    parser.add_argument("--output", type=pathlib.Path, help="everything measured, as JSON")
    parser.add_argument("--work", type=pathlib.Path, help="where to put the runs; a temporary folder if not given")
    parser.add_argument("--model", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        return transformers_side(arguments)
    if not arguments.tasks or not arguments.tokenizer:
        parser.error("--tasks and --tokenizer are wanted")
    os.environ["OPENBLAS_NUM_THREADS"] = str(arguments.threads)  # read when the probe imports numpy
    order, results = arguments.sides.split(","), []
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        made = pathlib.Path(folder)
        arguments.model = made / "model"
        make_model(arguments, arguments.model)
        mean = write_examples(arguments, made)
        print(f"{mean:.0f} tokens an example")
        for round_number in range(arguments.rounds):
            for side in order if round_number % 2 == 0 else reversed(order):
                result = measure(arguments, side, made, mean) | {"round": round_number}
                results.append(result)
                print(f"round {round_number} {side:9} {result['tokens_per_s']:7.0f} tokens/s ({result['tokens_per_step']} a step)  {result['peak_rss_mib']:5} MiB  "
                      f"cpu/wall {result['cpu_per_wall']}  others {result['others']}  probe {result['probe_gflops']:.0f} GFLOP/s"
                      f"{'  CONTAMINATED' if contaminated(result) else ''}", flush=True)
                if arguments.output:
                    hidden = ("model", "albacore", "work", "output", "side", "tasks", "tokenizer")
                    about = {"machine": machine(), "cores": os.cpu_count(), "arguments": {key: str(value) for key, value in vars(arguments).items() if key not in hidden}}
                    arguments.output.write_text(json.dumps(about | {"runs": results}, indent=1) + "\n")
    print("\n| side | tokens/s | tokens/CPU-s | peak RSS (MiB) | others |\n| --- | --- | --- | --- | --- |\n" + "\n".join(summary(results)))


if __name__ == "__main__":
    main()

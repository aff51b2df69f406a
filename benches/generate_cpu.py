#!/usr/bin/env python3
"""Greedy generation on the CPU, side by side with transformers: tokens a second, memory, time to the first token.

Shows: `model.generate` of transformers (left padding, its default key/value cache and attention) and `albacore complete`
in f32, one after the other in rounds; and how many of the answers are the same text. Three workloads:

    fixed      eight prompts of different length in one batch, 64 new tokens each, nothing ends early
    stops      48 instructions of data/seeds, 16 at a time, answers of at most 128 tokens that end at a stop text or EOS
    instances  16 prompts of the third stage of Self-Instruct at a time: data/prompts' demonstrations, about 1,000 tokens
               that all begin with, and an instruction; stop texts as there, at most 96 tokens

    python benches/generate_cpu.py --model MODEL --workload stops --rounds 3 --output generate.json

MODEL is a Hugging Face folder (SmolLM2-135M is what README's numbers are of). ALBACORE or `--albacore` names the binary.

Needs: pip install torch==2.15.0 transformers==5.23.0 numpy. Linux; 2 GB of memory.

How it measures. transformers: the time of the call to `generate`, in a process that has generated once before. albacore:
the time of the process, less that of one which loads the same model and writes one token (so a little of the prompt's
work is taken off at most, and everything around generation is left on). `first token` is the whole process with one new token
for each prompt, imports and loading included, on both sides. In `fixed` no answer may end before `--new-tokens`: the
script stops if one does. In the others, what transformers writes after the end of an answer, while others of its batch go
on, does not count; its batches are of prompts that follow each other, as they come. Nothing else may run meanwhile: `others` is how many cores other processes used, and above a tenth of one the numbers are
marked CONTAMINATED: such a ratio of seconds says little; the ratio of CPU seconds beside it suffers less. The GEMM probe beside each side shows how fast the machine was just then.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

PROMPTS = [
    "Once upon a time, in a village by the sea,",
    "The three most important inventions of the last two centuries are",
    "To bake bread at home, first",
    "Dear Sir or Madam, I am writing to you because",
    "The river begins high in the mountains, where",
    "In mathematics, a function is",
    "She opened the old wooden door and",
    "The history of the printing press starts long before the first book was printed in Europe, when",
]

DATA = pathlib.Path(__file__).resolve().parent.parent / "data"


def workload(name):
    """Prompts, stop texts, the most new tokens, and how many prompts are answered at a time."""
    if name == "fixed":
        return PROMPTS, [], 64, 8
    seeds = sorted((DATA / "seeds").glob("*.jsonl"))[0].read_text().splitlines()
    instructions = [json.loads(line)["instruction"] for line in seeds]
    if name == "stops":
        return [f"Task: {text}\nOutput:" for text in instructions[:48]], ["Task:", "\n\n\n"], 128, 16
    template = (DATA / "prompts/self_instruct/input_first.jinja").read_text().split("#}", 1)[1]
    head = template.split("{{ instruction")[0].lstrip()
    return [f"{head}{text}\n" for text in instructions[:16]], ["Example 6", "Task:"], 96, 16


def transformers_side(arguments):
    """Run as a child: prints one JSON object."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(arguments.threads)
    tokenizer = AutoTokenizer.from_pretrained(arguments.model, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).eval()
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    prompts, stops, _, at_a_time = workload(arguments.workload)
    stopping = {"stop_strings": stops, "tokenizer": tokenizer} if stops else {}

    def generate(prompts, count):
        batch = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=True)
        with torch.inference_mode():
            output = model.generate(**batch, max_new_tokens=count, do_sample=False, pad_token_id=tokenizer.pad_token_id, **stopping)
        return output[:, batch["input_ids"].shape[1]:]

    def answer(row):
        """Its text and its tokens: up to EOS or the first token that completes a stop text."""
        ids = row.tolist()
        if tokenizer.eos_token_id in ids:
            ids = ids[:ids.index(tokenizer.eos_token_id) + 1]
        for count in range(1, len(ids) + 1) if stops else ():
            text = tokenizer.decode(ids[:count], skip_special_tokens=True)
            ends = [text.index(stop) for stop in stops if stop in text]
            if ends:
                return text[:min(ends)], count
        return tokenizer.decode(ids, skip_special_tokens=True), len(ids)

    generate(prompts[:at_a_time], 1)
    if arguments.new_tokens == 1:
        return print(json.dumps({}))
    start, cpu = time.perf_counter(), time.process_time()
    batches = [generate(prompts[first:first + at_a_time], arguments.new_tokens) for first in range(0, len(prompts), at_a_time)]
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    answers = [answer(row) for batch in batches for row in batch]
    if not stops and any(count < arguments.new_tokens for _, count in answers):
        sys.exit("an answer ended early: change the prompts")
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "texts": [text for text, _ in answers],
                      "tokens": sum(count for _, count in answers)}))


others = 0.0  # the most cores that other processes used during any child of a side


def ticks_of_machine():
    user, nice, system, _, _, irq, soft, *_ = map(int, pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def child(command, environment):
    """Runs it; returns stdout, seconds, CPU seconds and peak memory in MiB."""
    start, machine = time.perf_counter(), ticks_of_machine()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    output = process.stdout.read()  # stderr is short: warnings and progress
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)}\nexit status {process.returncode}\n{output}{errors}")
    seconds, cpu = time.perf_counter() - start, usage.ru_utime + usage.ru_stime
    global others
    others = max(others, (ticks_of_machine() - machine - cpu) / seconds)
    return output, seconds, cpu, round(usage.ru_maxrss / 1024)


def gemm_probe(threads, seconds=0.4):
    """GFLOP/s of the best 1024-cubed f32 product within a moment: how fast the machine is just now."""
    os.environ["OPENBLAS_NUM_THREADS"] = str(threads)
    import numpy

    left = numpy.ones((1024, 1024), numpy.float32)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        left @ left
        best = min(best, time.perf_counter() - start)
    time.sleep(0.3)  # its threads spin for a moment
    return 2 * 1024**3 / best / 1e9


def run_transformers(arguments, environment):
    command = [sys.executable, __file__, "--side", "transformers", "--model", str(arguments.model), "--threads", str(arguments.threads),
               "--workload", arguments.workload]
    _, first, _, _ = child([*command, "--new-tokens", "1"], environment)
    output, _, _, memory = child([*command, "--new-tokens", str(arguments.new_tokens)], environment)
    return json.loads(output.splitlines()[-1]) | {"first_token_s": first, "peak_rss_mib": memory}


def run_albacore(arguments, environment):
    command = [str(arguments.albacore), "complete", str(arguments.model), "--template", "none", "--temperature", "0", "--json", "--quiet",
               "--threads", str(arguments.threads)]
    texts, stops, _, at_a_time = workload(arguments.workload)
    prompts = [part for text in texts for part in ("--prompt", text)] + [part for text in stops for part in ("--stop", text)]
    first_prompts = [part for text in texts[:at_a_time] for part in ("--prompt", text)]
    _, load, load_cpu, _ = child([*command, "--prompt", "A", "--max-new-tokens", "1"], environment)
    _, first, _, _ = child([*command, *first_prompts, "--max-new-tokens", "1"], environment)
    output, whole, cpu, memory = child([*command, *prompts, "--max-new-tokens", str(arguments.new_tokens)], environment)
    answers = [json.loads(line) for line in output.splitlines()]
    return {"seconds": whole - load, "cpu_seconds": cpu - load_cpu, "texts": [answer["completion"] for answer in answers],
            "tokens": sum(answer["tokens"] for answer in answers), "first_token_s": first, "peak_rss_mib": memory, "load_s": load}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workload", choices=("fixed", "stops", "instances"), default="fixed")
    parser.add_argument("--new-tokens", type=int, help="the most new tokens, where not the workload's own")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sides", default="transformers,albacore")
    parser.add_argument("--albacore", type=pathlib.Path, default=os.environ.get("ALBACORE", "target/release/albacore"))
    parser.add_argument("--output", type=pathlib.Path, help="everything measured, as JSON")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.new_tokens = arguments.new_tokens or workload(arguments.workload)[2]
    if arguments.side == "transformers":
        return transformers_side(arguments)
    environment = os.environ | {"OMP_NUM_THREADS": str(arguments.threads), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
                                "CUDA_VISIBLE_DEVICES": ""}
    sides, results = arguments.sides.split(","), []
    for round_number in range(arguments.rounds):
        for side in sides if round_number % 2 == 0 else reversed(sides):
            global others
            others, probe, load = 0.0, gemm_probe(arguments.threads), os.getloadavg()[0]
            result = {"side": side, "round": round_number, "probe_gflops": round(probe, 1), "loadavg_before": round(load, 2)}
            result |= (run_transformers if side == "transformers" else run_albacore)(arguments, environment)
            result["others"] = round(others, 2)
            result["cpu_per_wall"] = round(result["cpu_seconds"] / result["seconds"], 2)
            result["tokens_per_s"], result["tokens_per_cpu_s"] = (result["tokens"] / result[key] for key in ("seconds", "cpu_seconds"))
            results.append(result)
            print(f"round {round_number} {side:12} {result['tokens_per_s']:7.1f} tokens/s  first token {result['first_token_s']:5.2f} s  "
                  f"{result['peak_rss_mib']:5} MiB  cpu/wall {result['cpu_per_wall']}  others {others:.2f}  probe {probe:.0f} GFLOP/s  "
                  f"load {load:.2f}{'  CONTAMINATED' if others > 0.1 else ''}", flush=True)
            if arguments.output:
                arguments.output.write_text(json.dumps({"cores": os.cpu_count(), "threads": arguments.threads, "workload": arguments.workload, "runs": results}, indent=1) + "\n")
    print("\n| side | tokens/s | tokens per CPU second | first token (s) | peak RSS (MiB) | cpu/wall | probe (GFLOP/s) |\n"
          "| --- | --- | --- | --- | --- | --- | --- |")
    chosen = {side: [row for row in results if row["side"] == side] for side in sides}
    keys = ("tokens_per_s", "tokens_per_cpu_s", "first_token_s", "peak_rss_mib")
    for side, runs in chosen.items():
        middle = [statistics.median(run[key] for run in runs) for key in keys]
        print(f"| {side} | {middle[0]:.1f} | {middle[1]:.1f} | {middle[2]:.2f} | {middle[3]:.0f} | {'/'.join(str(run['cpu_per_wall']) for run in runs)} | "
              f"{'/'.join(str(round(run['probe_gflops'])) for run in runs)} |")
    if len(sides) == 2:
        pairs = list(zip(chosen["transformers"], chosen["albacore"]))
        ratio = [statistics.median(ours[key] / theirs[key] for theirs, ours in pairs) for key in keys]
        same = sum(one == two for one, two in zip(pairs[0][0]["texts"], pairs[0][1]["texts"]))
        print(f"| **ratio** | **{ratio[0]:.2f}x** | **{ratio[1]:.2f}x** | **{ratio[2]:.2f}x** | **{ratio[3]:.2f}x** | "
              f"same text: {same} of {len(pairs[0][0]['texts'])} | "
              f"{'CONTAMINATED' if any(run['others'] > 0.1 for run in results) else 'quiet'} |")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Evaluation on the CPU, side by side with lm-evaluation-harness: questions a second, memory, the same answers.

Shows: the `hf` model of lm-evaluation-harness and `albacore eval` on the same prompts, in f32, one after the other in rounds:

    choices     5-shot MMLU, the most probable of four letters: the first questions of each subject asked
    generation  8-shot GSM8K, reasoned out greedily up to a stop text

    python benches/eval_cpu.py --model MODEL --data BENCHMARKS --rounds 2 --output eval.json

MODEL is a Hugging Face folder (SmolLM2-135M is what README's numbers are of), BENCHMARKS what `albacore eval --data` takes.
ALBACORE or `--albacore` names the binary.

Needs: pip install torch==2.15.0 transformers==5.23.0 "lm_eval[hf]==0.4.13". Linux; 6 GB of memory.

How it measures. albacore asks first, and its answers.jsonl says what the prompts are, so that both sides answer the same texts. Its
time is that of the whole process, less that of one which asks a single question. The harness: the time of the call to `loglikelihood` or
`generate_until` of its model, which is loaded before; its tasks, metrics and reports, which take time too, are left out. It gets the
batch size that is its fastest of `--batch-sizes`, found in the first round. Nothing else may run meanwhile: `others` is how many
cores other processes used, and above a tenth of one the line is marked CONTAMINATED.
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

SUBJECTS = ["anatomy", "business_ethics", "formal_logic", "high_school_biology", "marketing", "sociology"]
STOPS = ["\n\n", "Question:"]
NEW_TOKENS = 128
others = 0.0  # the most cores that other processes used during any child of a side


def harness_side(arguments):
    """Run as a child: prints one JSON object."""
    import torch
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    torch.set_num_threads(arguments.threads)
    prompts = json.loads(arguments.prompts.read_text())
    model = HFLM(pretrained=str(arguments.model), device="cpu", dtype="float32", batch_size=arguments.batch_size)

    def requests(prompts):
        if arguments.workload == "choices":
            return [Instance("loglikelihood", {}, (prompt, f" {letter}"), index) for prompt in prompts for index, letter in enumerate("ABCD")]
        options = {"until": STOPS, "max_gen_toks": NEW_TOKENS, "do_sample": False}
        return [Instance("generate_until", {}, (prompt, options), 0) for prompt in prompts]

    ask = model.loglikelihood if arguments.workload == "choices" else model.generate_until
    ask(requests(prompts[:1]), disable_tqdm=True)
    start, cpu = time.perf_counter(), time.process_time()
    answers = ask(requests(prompts), disable_tqdm=True)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    if arguments.workload == "choices":
        options = [[answer[0] for answer in answers[first:first + 4]] for first in range(0, len(answers), 4)]
        answers = ["ABCD"[max(range(4), key=row.__getitem__)] for row in options]
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "answers": [answer.strip() for answer in answers]}))


def ticks_of_machine():
    user, nice, system, _, _, irq, soft, *_ = map(int, pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def child(command, environment):
    """Runs it; returns stdout, seconds, CPU seconds and peak memory in MiB."""
    start, machine = time.perf_counter(), ticks_of_machine()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        if process.returncode != 0:
            sys.exit(f"{' '.join(command)}\nexit status {process.returncode}\n{output}{errors.read()}")
    seconds, cpu = time.perf_counter() - start, usage.ru_utime + usage.ru_stime
    global others
    others = max(others, (ticks_of_machine() - machine - cpu) / seconds)
    return output, seconds, cpu, round(usage.ru_maxrss / 1024)


def run_harness(arguments, folder, batch_size):
    command = [sys.executable, __file__, "--side", "harness", "--model", str(arguments.model), "--threads", str(arguments.threads),
               "--workload", arguments.workload, "--prompts", str(folder / "prompts.json"), "--batch-size", str(batch_size)]
    output, _, _, memory = child(command, arguments.environment)
    return json.loads(output.splitlines()[-1]) | {"peak_rss_mib": memory, "batch_size": batch_size}


def ask_albacore(arguments, folder, suite, limit):
    """One whole run of `albacore eval`; its answers.jsonl."""
    with tempfile.TemporaryDirectory(dir=folder) as run:
        command = [str(arguments.albacore), "eval", str(arguments.model), "--suite", suite, "--data", str(arguments.data), "--limit", str(limit),
                   "--threads", str(arguments.threads), "--set", f"run.dir={run}", "--set", f"evaluation.max_new_tokens={NEW_TOKENS}", "--quiet"]
        measured = child(command, arguments.environment)[1:]
        return [json.loads(line) for line in (pathlib.Path(run) / "answers.jsonl").read_text().splitlines()], *measured


def run_albacore(arguments, folder):
    suites = [f"mmlu/{subject}" for subject in SUBJECTS] if arguments.workload == "choices" else ["gsm8k"]
    _, one, one_cpu, _ = ask_albacore(arguments, folder, suites[0], 1)
    lines, seconds, cpu, memory = ask_albacore(arguments, folder, ",".join(suites), arguments.limit)
    (folder / "prompts.json").write_text(json.dumps([line["prompt"] for line in lines]))
    return {"seconds": seconds - one, "cpu_seconds": cpu - one_cpu, "answers": [line["answer"].strip() for line in lines], "peak_rss_mib": memory}


def measure(arguments, folder):
    """Rounds of both sides; a row for each."""
    rows, sizes = [], arguments.batch_sizes
    for number in range(arguments.rounds):
        for side, size in [("albacore", None), *(("lm-eval", size) for size in sizes)]:
            global others
            others, load = 0.0, os.getloadavg()[0]
            row = run_albacore(arguments, folder) if side == "albacore" else run_harness(arguments, folder, size)
            row |= {"side": side, "round": number, "others": round(others, 2), "questions": len(row["answers"]), "loadavg_before": round(load, 2)}
            row |= {"per_s": row["questions"] / row["seconds"], "per_cpu_s": row["questions"] / row["cpu_seconds"]}
            rows.append(row)
            print(f"round {number} {side:9} {f'batch {size}' if size else '':9} {row['questions']:4} questions {row['per_s']:7.2f} a second  {row['peak_rss_mib']:5} MiB  "
                  f"cpu/wall {row['cpu_seconds'] / row['seconds']:.2f}  others {row['others']:.2f}{'  CONTAMINATED' if row['others'] > 0.1 else ''}", flush=True)
        fastest = max((row for row in rows if row["side"] == "lm-eval"), key=lambda row: row["per_s"])
        sizes = [fastest["batch_size"]]
    return [row for row in rows if row["side"] == "albacore" or row["batch_size"] == sizes[0]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path)
    parser.add_argument("--workload", choices=("choices", "generation"), help="one of them; both without")
    parser.add_argument("--limit", type=int, help="questions of a subject or of GSM8K (20, 48)")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batch-sizes", type=lambda text: [int(size) for size in text.split(",")], default=[1, 4, 16])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--albacore", type=pathlib.Path, default=os.environ.get("ALBACORE", "target/release/albacore"))
    parser.add_argument("--output", type=pathlib.Path, help="everything measured, as JSON")
    for hidden in ("--side", "--batch-size"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--prompts", type=pathlib.Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        arguments.batch_size = int(arguments.batch_size)
        return harness_side(arguments)
    arguments.environment = os.environ | {"OMP_NUM_THREADS": str(arguments.threads), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
                                          "CUDA_VISIBLE_DEVICES": ""}
    results, limit = {}, arguments.limit
    print_table = []
    for workload in [arguments.workload] if arguments.workload else ["choices", "generation"]:
        arguments.workload, arguments.limit = workload, limit or {"choices": 20, "generation": 48}[workload]
        with tempfile.TemporaryDirectory() as folder:
            rows = measure(arguments, pathlib.Path(folder))
        results[workload] = rows
        ours, theirs = ([row for row in rows if row["side"] == side] for side in ("albacore", "lm-eval"))
        middle = {side[0]["side"]: [statistics.median(row[key] for row in side) for key in ("per_s", "per_cpu_s", "peak_rss_mib")] for side in (theirs, ours)}
        same = sum(one == two for one, two in zip(ours[0]["answers"], theirs[0]["answers"]))
        for side, row in middle.items():
            batch = f", batch {theirs[0]['batch_size']}" if side == "lm-eval" else ""
            print_table.append(f"| {workload} | {side}{batch} | {row[0]:.2f} | {row[1]:.2f} | {row[2]:.0f} |")
        ratio = [statistics.median(one[key] / two[key] for one, two in zip(ours, theirs)) for key in ("per_s", "per_cpu_s", "peak_rss_mib")]
        noise = "CONTAMINATED" if any(row["others"] > 0.1 for row in rows) else "quiet"
        print_table.append(f"| | **ratio** | **{ratio[0]:.2f}x** | **{ratio[1]:.2f}x** | **{ratio[2]:.2f}x**, {noise}, same answers: {same} of {len(ours[0]['answers'])} |")
        if arguments.output:
            arguments.output.write_text(json.dumps({"cores": os.cpu_count(), "threads": arguments.threads, "workloads": results}, indent=1) + "\n")
    print("\n| workload | side | questions/s | questions per CPU second | peak RSS (MiB) |\n| --- | --- | --- | --- | --- |")
    print("\n".join(print_table))


if __name__ == "__main__":
    main()

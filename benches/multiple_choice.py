"""Multiple choice beside lm-evaluation-harness: the same prompts of MMLU, five exemplars each.

    pip install lm_eval
    python benches/multiple_choice.py --model models/smollm2 --data benchmarks --limit 25

albacore asks and keeps its prompts; lm-evaluation-harness (`hf` model) is asked the same texts with the same four
answers, each side in a process of its own. Told are seconds and CPU seconds a question, loading left out on both sides
(albacore's by a second run, which finds every answer in its journal), and how many answers are the same. On a busy
machine only CPU seconds with `--threads 1` say something: PyTorch's threads wait in circles.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

TASK = """task: same_prompts
dataset_path: json
dataset_kwargs:
  data_files:
    test: {questions}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{prompt}}}}"
doc_to_choice: ["A", "B", "C", "D"]
doc_to_target: gold
target_delimiter: " "
num_fewshot: 0
metric_list:
  - metric: acc
"""


def children_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def albacore(options, folder):
    command = [
        options.albacore, "eval", options.model, "--suite", options.suites, "--data", options.data, "--quiet",
        "--limit", str(options.limit), "--threads", str(options.threads),
        "--set", f'run.dir="{folder}"', "--set", "run.name=answers",
    ]
    taken = []
    # The second run asks nothing: it is all that is not asking.
    for _ in range(2):
        wall, processor = time.perf_counter(), children_seconds()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        taken.append((time.perf_counter() - wall, children_seconds() - processor))
    lines = (pathlib.Path(folder) / "answers" / "answers.jsonl").read_text().splitlines()
    lines = [json.loads(line) for line in lines]
    (wall, processor), (idle_wall, idle_processor) = taken
    each = {"seconds": (wall - idle_wall) / len(lines), "cpu_seconds": (processor - idle_processor) / len(lines)}
    return lines, each


def peer(model, folder, threads):
    """Asks lm-evaluation-harness; runs in a process of its own."""
    import torch

    torch.set_num_threads(threads)
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    side = HFLM(pretrained=model, device="cpu", dtype="float32", batch_size=1)
    manager = TaskManager(include_path=folder, include_defaults=False)
    wall, processor = time.perf_counter(), time.process_time()
    found = lm_eval.simple_evaluate(
        model=side, tasks=["same_prompts"], task_manager=manager, bootstrap_iters=0, log_samples=True
    )
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    samples = sorted(found["samples"]["same_prompts"], key=lambda sample: sample["doc_id"])
    best = ["ABCD"[max(range(4), key=lambda option: sample["filtered_resps"][option][0])] for sample in samples]
    each = {"seconds": wall / len(best), "cpu_seconds": processor / len(best), "version": lm_eval.__version__}
    (pathlib.Path(folder) / "peer.json").write_text(json.dumps({"each": each, "answers": best}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--albacore", default="target/release/albacore")
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", default="benchmarks")
    parser.add_argument("--suites", default="mmlu/anatomy,mmlu/astronomy,mmlu/virology,mmlu/world_religions")
    parser.add_argument("--limit", type=int, default=25)
    parser.add_argument("--every", type=int, default=1, help="the peer is asked one in so many questions")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        return peer(options.model, options.peer, options.threads)
    with tempfile.TemporaryDirectory() as folder:
        lines, ours = albacore(options, folder)
        lines = lines[:: options.every]
        questions = pathlib.Path(folder) / "questions.jsonl"
        rows = [{"prompt": line["prompt"], "gold": "ABCD".index(line["references"][0])} for line in lines]
        questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
        (pathlib.Path(folder) / "same_prompts.yaml").write_text(TASK.format(questions=questions))
        command = [sys.executable, __file__, "--peer", folder, "--model", options.model]
        subprocess.run([*command, "--threads", str(options.threads)], check=True)
        theirs = json.loads((pathlib.Path(folder) / "peer.json").read_text())
    same = sum(line["extracted"] == answer for line, answer in zip(lines, theirs["answers"], strict=True))
    result = {
        "threads": options.threads,
        "albacore": ours,
        "lm_eval": theirs["each"],
        "ratio": {key: theirs["each"][key] / ours[key] for key in ours},
        "same_answers": same,
        "questions_of_both": len(lines),
        "load_average": os.getloadavg(),
    }
    text = json.dumps(result, indent=1)
    print(text)
    if options.output:
        pathlib.Path(options.output).write_text(text + "\n")


if __name__ == "__main__":
    main()

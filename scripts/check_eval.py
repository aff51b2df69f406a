#!/usr/bin/env python3
"""Compares `albacore eval` with what was published, and with Python on the same model and questions.

    python scripts/check_eval.py --data REFERENCE --model models/smollm2 stored lmentry super_ni mmlu kill

The parts, each by its name; all of them if none is named:

    stored    outputs of Codex on BBH and of the GPT-3 models on GSM8K, scored as they were stored
    lmentry   replies scored by the official scorers: the accuracy of each task
    super_ni  the model's answers to Super-NaturalInstructions: prompts as Tk-Instruct writes them, ROUGE-L and exact match
              of the package rouge-score, answer by answer and for the whole suite
    mmlu      the model's choices on MMLU with 5 exemplars: the log-probabilities of transformers, answer by answer
    kill      SIGKILL in the middle, several times, and the same table as of a run that was never killed

`--limit` is the number of questions of each task (super_ni, kill) and of all (mmlu). A last line says what was shown; the
exit status is 1 if anything differs.

Needs: Python 3.11, pip install rouge-score==0.1.2 torch transformers (stored, lmentry and kill need neither).
"""
import argparse
import gzip
import json
import os
import pathlib
import signal
import string
import subprocess
import sys
import time

PARTS = ["stored", "lmentry", "super_ni", "mmlu", "kill"]
# f32 sums in another order: what a log-probability may differ by (DESIGN: logits 1e-4 absolute).
TOLERANCE = 1e-4
failures = []


def check(is_right, text):
    print(("ok    " if is_right else "WRONG ") + text, flush=True)
    if not is_right:
        failures.append(text)


def albacore(arguments, *command):
    line = [str(arguments.albacore), *map(str, command), "--quiet", "--threads", str(arguments.threads)]
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(line)[:400]}\nexit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def score(arguments, task, predictions):
    """Percentages of predictions, a list of (id, text), by the command."""
    path = arguments.work / "predictions.jsonl"
    path.write_text("".join(json.dumps({"id": str(key), "prediction": text}) + "\n" for key, text in predictions), encoding="utf-8")
    return json.loads(albacore(arguments, "eval", "score", "--task", task, "--data", arguments.data, "--predictions", path, "--json"))


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def evaluate(arguments, name, suite, *more):
    """Answers and rows of the whole suite of a run, which goes on if it is there. Other `more`, another name: a folder
    holds the answers to one set of questions."""
    albacore(arguments, "eval", arguments.model, "--suite", suite, "--data", arguments.data,
             "--set", f"run.dir={json.dumps(str(arguments.work))}", "--set", f"run.name={name}", *more)
    folder = arguments.work / name
    rows = json.loads((folder / "results.json").read_text(encoding="utf-8"))["rows"]
    return lines(folder / "answers.jsonl"), {row["metric"]: row["percent"] for row in rows if row["part"] == "suite"}


def stored(arguments):
    folder = arguments.data / "bbh/code-davinci-002-outputs"
    for kind, suite in [("direct", "bbh"), ("cot", "bbh_cot")]:
        files = sorted((folder / f"code-davinci-002-{kind}").glob("*[0-9].json"))
        worst = 0
        for path in files:
            outputs = json.loads(path.read_text(encoding="utf-8"))["outputs"]
            metrics = json.loads(path.with_name(path.stem + "_eval_metrics.jsonl").read_text(encoding="utf-8"))
            task = f"{suite}/{path.name.split('_few_shot')[0]}"
            found = score(arguments, task, [(number, output["prediction"]) for number, output in enumerate(outputs)])
            worst = max(worst, abs(found["metrics"]["exact_match"] - metrics["accuracy"]))
        check(files and worst < 1e-9, f"BBH {kind}: {len(files)} files of Codex's outputs, worst difference {worst:.1e} points")
    solutions = lines(arguments.data / "gsm8k/example_model_solutions.jsonl")
    for model in [key for key, value in solutions[0].items() if isinstance(value, dict)]:
        found = score(arguments, "gsm8k", [(number, line[model]["solution"]) for number, line in enumerate(solutions)])
        wanted = 100 * sum(line[model]["is_correct"] for line in solutions) / len(solutions)
        check(abs(found["metrics"]["accuracy"] - wanted) < 1e-9, f"GSM8K {model}: {found['metrics']['accuracy']:.2f} %, stored {wanted:.2f}")


def lmentry(arguments):
    derived = arguments.data / "derived"
    with gzip.open(derived / "lmentry_synthetic_predictions.jsonl.gz", "rt", encoding="utf-8") as file:
        replies = [json.loads(line) for line in file]
    for task in sorted({reply["task"] for reply in replies}):
        of_task = [reply for reply in replies if reply["task"] == task]
        found = score(arguments, f"lmentry/{task}", [(reply["id"], reply["prediction"]) for reply in of_task])
        wanted = 100 * sum(reply["score"] for reply in of_task) / len(of_task)
        check(abs(found["metrics"]["accuracy"] - wanted) < 1e-9, f"LMentry {task}: {found['metrics']['accuracy']:.2f} % of {len(of_task)}, officially {wanted:.2f}")


def ended(text):
    return text if text[-1] in string.punctuation else text + "."


def prompt_of_tk_instruct(task, instance, tokens):
    """Definition and two positive examples, those that fit 1,024 tokens."""
    end = ended("Now complete the following example -\nInput: " + instance["input"].strip()) + "\nOutput: "
    definition = task["Definition"][0] if isinstance(task["Definition"], list) else task["Definition"]
    text, shown = ended("Definition: " + definition.strip()) + "\n\n", []
    for number, example in enumerate(task["Positive Examples"][:2], 1):
        one = ended(f" Positive Example {number} -\nInput: {example['input'].strip()}") + "\n"
        one = ended(one + f" Output: {example['output'].strip()}") + "\n\n"
        if tokens(text + " ".join(shown) + one + end) > 1024:
            break
        shown.append(one)
    return text + "".join(shown) + end


def super_ni(arguments):
    from rouge_score import rouge_scorer
    from transformers import AutoTokenizer

    answers, whole = evaluate(arguments, f"super_ni-{arguments.limit or 'all'}", "super_ni", *(["--limit", arguments.limit] if arguments.limit else []))
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=True)
    words = lambda text: " ".join("".join(c for c in text.lower() if c not in string.punctuation).split())
    sums, worst = {"exact_match": 0.0, "rouge_l": 0.0}, 0.0
    for line in answers:
        found = {
            "exact_match": float(any(words(line["answer"]) == words(reference) for reference in line["references"])),
            "rouge_l": max(scorer.score(target=reference, prediction=line["answer"])["rougeL"].fmeasure for reference in line["references"]),
        }
        for metric, value in found.items():
            sums[metric] += value
            worst = max(worst, abs(value - line["scores"][metric]))
    check(worst < 1e-12, f"Super-NI: {len(answers)} answers, worst difference to Python {worst:.1e}")
    for metric, total in sums.items():
        mean = 100 * total / len(answers)
        check(abs(mean - whole[metric]) < 1e-9, f"Super-NI {metric}: {whole[metric]:.4f}, Python {mean:.4f}")
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    tasks, same = {}, 0
    for line in answers:
        if line["task"] not in tasks:
            path = next(arguments.data.glob(f"**/{line['task']}.json"))
            tasks[line["task"]] = json.loads(path.read_text(encoding="utf-8"))
        task = tasks[line["task"]]
        instance = next(one for one in task["Instances"] if one["id"] == line["id"])
        same += prompt_of_tk_instruct(task, instance, lambda text: len(tokenizer(text)["input_ids"])) == line["prompt"]
    check(same == len(answers), f"Super-NI: {same} of {len(answers)} prompts are Tk-Instruct's")


def mmlu(arguments):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    wanted = arguments.limit or 500
    each = max(1, -(-wanted // 57))
    answers, _ = evaluate(arguments, f"mmlu-{each}", "mmlu", "--limit", each)
    answers = answers[:wanted]
    torch.set_num_threads(arguments.threads)
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).eval()
    letters = [tokenizer(f" {letter}", add_special_tokens=False).input_ids[0] for letter in "ABCD"]
    same, worst, flips, since = 0, 0.0, [], time.monotonic()
    with torch.no_grad():
        for line in answers:
            logits = model(tokenizer(line["prompt"], return_tensors="pt").input_ids).logits[0, -1].double()
            logprobs = torch.log_softmax(logits, -1)[letters].tolist()
            theirs, ours = "ABCD"[logprobs.index(max(logprobs))], line["answer"].strip()
            worst = max(worst, *(abs(option["logprob"] - value) for option, value in zip(line["options"], logprobs)))
            same += theirs == ours
            if theirs != ours:
                flips.append((line["id"], ours, theirs))
    took = time.monotonic() - since
    check(worst < TOLERANCE, f"MMLU: {len(answers)} questions, worst difference of a log-probability {worst:.1e}")
    check(same == len(answers), f"MMLU: {same} of {len(answers)} answers as transformers' ({took:.0f} s there) {flips[:5]}")


def kill(arguments):
    limit = ["--limit", arguments.limit or 6]
    names = ["whole", "killed"]
    for name in names:
        for path in (arguments.work / name).glob("*"):
            path.unlink()
    since = time.monotonic()
    evaluate(arguments, "whole", "super_ni", *limit)
    took = time.monotonic() - since
    line = [arguments.albacore, "eval", arguments.model, "--suite", "super_ni", "--data", arguments.data, *limit, "--quiet", "--threads",
            arguments.threads, "--set", f"run.dir={json.dumps(str(arguments.work))}", "--set", "run.name=killed"]
    journal, kept = arguments.work / "killed/requests.jsonl", []
    for share in [0.3, 0.3, 0.3]:
        process = subprocess.Popen([str(word) for word in line], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=max(1.0, share * took))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        kept.append(journal.read_text(encoding="utf-8").count("\n") if journal.exists() else 0)
    evaluate(arguments, "killed", "super_ni", *limit)
    for name in ["results.json", "answers.jsonl"]:
        whole, killed = ((arguments.work / run / name).read_bytes() for run in names)
        check(whole == killed, f"SIGKILL with {kept} answers: {name} of {len(whole)} bytes is the same")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all if none is named")
    parser.add_argument("--data", type=pathlib.Path, default=os.environ.get("ALBACORE_EVAL_DATA"), help="benchmarks as published; default $ALBACORE_EVAL_DATA")
    parser.add_argument("--model", type=pathlib.Path, help="a model folder, for super_ni, mmlu and kill")
    parser.add_argument("--albacore", type=pathlib.Path, default=pathlib.Path("target/release/albacore"))
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("runs/check_eval"), help="where runs are kept, and gone on with")
    parser.add_argument("--limit", type=int, help="questions of each task (super_ni: all 100; kill: 6) or in all (mmlu: 500)")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    parts = arguments.parts or PARTS
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"there is no part {', '.join(unknown)}, wanted of {', '.join(PARTS)}")
    if arguments.data is None:
        parser.error("name the benchmarks' folder with --data")
    if arguments.model is None and {"super_ni", "mmlu", "kill"} & set(parts):
        parser.error("name a model with --model")
    arguments.work.mkdir(parents=True, exist_ok=True)
    arguments.data = pathlib.Path(arguments.data)
    for part in parts:
        globals()[part](arguments)
    print(f"{', '.join(parts)}: " + (f"{len(failures)} differ" if failures else "all as wanted"))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Measures what each stage of `albacore tuna` has taught, on records that no stage has seen.

Shows for the base and for every stage that trained, on the same held-out prompts: ROUGE-L F (stemmed, of the package
rouge-score) of greedy answers to the record's own, and how many pairs of answers the model orders by its mean
log-probability as they are ranked; each with a 95 % bootstrap interval over prompts, and the paired difference to the
model before. The answers to be ordered are the same for all models: the base wrote them, and ROUGE-L to the record's own
answer ranks them; tied pairs are left out.

    python scripts/check_recipe.py --run runs/recipe --base models/base --held-out held_out.jsonl

A run is finished, or still under way: the stages that are not done are left out. What is measured is kept in `--work`, and
not measured again: give each recipe, and each file of records, a folder of its own.

Needs: Python 3.11, pip install numpy rouge-score==0.1.2.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tomllib

import numpy
from rouge_score import rouge_scorer

RESAMPLES, SEED = 2000, 0


def albacore(arguments, *command):
    line = [str(arguments.albacore), *map(str, command), "--quiet", "--threads", str(arguments.threads)]
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(line)[:400]}\nexit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def models(arguments):
    """The base, then every stage that trained and is done, in the order in which they ran (as often as there were rounds)."""
    stages = tomllib.loads((arguments.run / "config.toml").read_text(encoding="utf-8"))["stages"]
    trains = {stage["name"] for stage in stages if stage["command"] == "train"}
    done = json.loads((arguments.run / "stages.json").read_text(encoding="utf-8"))
    folders = [name for name in done if name in trains or name.rpartition("-round-")[0] in trains]
    folders.sort(key=lambda name: (arguments.run / name / "config.toml").stat().st_mtime)
    return [("base", arguments.base)] + [(name, arguments.run / name) for name in folders]


def write_config(path, tables):
    path.write_text("".join(f"[{table}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items()) for table, keys in tables.items()))
    return path


def ranked(arguments):
    """Answers of the base to the held-out prompts, and the same with the scores that order them."""
    work = arguments.work
    albacore(arguments, "sample", write_config(work / "sample.toml", {
        "run": {"dir": str(work), "name": "candidates"},
        "model": {"path": str(arguments.base)},
        "data": {"template": arguments.template},
        "[data.sources]": {"path": str(arguments.held_out)},
        "sample": {"responses": arguments.responses, "rounds": 1, "temperature": arguments.temperature, "max_tokens": arguments.max_tokens},
    }))
    candidates = work / "candidates" / "candidates.jsonl"
    albacore(arguments, "rank", write_config(work / "rank.toml", {
        "run": {"dir": str(work), "name": "ranked"},
        "rank": {"kind": "reference", "candidates": str(candidates)},
    }))
    return lines(candidates), lines(work / "ranked" / "ranked.jsonl")


def ordered(arguments, name, model, groups):
    """For each prompt: how many of its pairs the model orders as they are ranked, and how many there are."""
    asked, scores = arguments.work / "asked.jsonl", arguments.work / f"{name}-scores.jsonl"
    rows = [{"id": f"{group['id']}/{at}", "prompt": group["instruction"], "response": text} for group in groups for at, text in enumerate(group["output"])]
    asked.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    if not scores.exists():
        albacore(arguments, "score", model, "--input", asked, "--output", scores, "--template", "none")
    means = {row["id"]: row["logprob"] / row["tokens"] for row in lines(scores)}
    counts = []
    for group in groups:
        wanted = [(score, means[f"{group['id']}/{at}"]) for at, score in enumerate(group["score"])]
        pairs = [(better, worse) for better in wanted for worse in wanted if better[0] > worse[0]]
        counts.append((sum(better[1] > worse[1] for better, worse in pairs), len(pairs)))
    return numpy.array(counts, dtype=float)


def alike(arguments, name, model, own):
    """For each prompt: ROUGE-L F of the model's greedy answer to the record's own."""
    answers = arguments.work / f"{name}-greedy.jsonl"
    if not answers.exists():
        prompts = [part for prompt, _ in own for part in ("--prompt", prompt)]
        told = albacore(arguments, "complete", model, "--template", "none", "--max-new-tokens", arguments.max_tokens, "--json", *prompts)
        answers.write_text(told, encoding="utf-8")
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=True)
    said = [row["completion"] for row in lines(answers)]
    scores = [scorer.score(answer, text)["rougeL"].fmeasure for (_, answer), text in zip(own, said)]
    return numpy.array([[score, 1.0] for score in scores])


def interval(values):
    return [float(value) for value in numpy.percentile(values, [2.5, 97.5])]


def compare(found, draws):
    """Each model's ratio of sums with its interval, and the paired difference to the model before."""
    rows, before = [], None
    for counts in found:
        drawn = counts[draws].sum(axis=1)  # (resamples, 2)
        point, resampled = counts[:, 0].sum() / counts[:, 1].sum(), drawn[:, 0] / drawn[:, 1]
        row = {"value": float(point), "interval": interval(resampled)}
        if before is not None:
            row |= {"difference": float(point - before[0]), "difference_interval": interval(resampled - before[1])}
        rows.append(row)
        before = point, resampled
    return rows


def told(row):
    text = f"{100 * row['value']:5.1f} [{100 * row['interval'][0]:.1f}, {100 * row['interval'][1]:.1f}]"
    if "difference" in row:
        low, high = row["difference_interval"]
        text += f", {100 * row['difference']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=pathlib.Path, required=True, help="the folder of a recipe")
    parser.add_argument("--base", type=pathlib.Path, required=True, help="the model that its first stage began with")
    parser.add_argument("--held-out", type=pathlib.Path, required=True, help="records with answers, none of which was trained on")
    parser.add_argument("--template", default="alpaca", help="as the stages were trained")
    parser.add_argument("--responses", type=int, default=4, help="answers to each prompt that are to be ordered")
    parser.add_argument("--temperature", type=float, default=0.8, help="of these answers")
    parser.add_argument("--max-tokens", type=int, default=48, help="of every answer")
    parser.add_argument("--work", type=pathlib.Path, help="default: `held-out` in the folder of the recipe")
    parser.add_argument("--albacore", type=pathlib.Path, default=os.environ.get("ALBACORE", "target/release/albacore"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=pathlib.Path, help="a JSON file for the numbers")
    arguments = parser.parse_args()
    arguments.work = arguments.work or arguments.run / "held-out"
    arguments.work.mkdir(parents=True, exist_ok=True)

    candidates, groups = ranked(arguments)
    own = [(row["prompt"], row["original"]) for row in candidates]
    stages = models(arguments)
    draw = numpy.random.default_rng(SEED)
    measures = {
        "rouge_l": ([alike(arguments, name, model, own) for name, model in stages], len(own)),
        "ranking_accuracy": ([ordered(arguments, name, model, groups) for name, model in stages], len(groups)),
    }
    rows = {key: compare(found, draw.integers(0, prompts, (RESAMPLES, prompts))) for key, (found, prompts) in measures.items()}
    pairs = int(measures["ranking_accuracy"][0][0][:, 1].sum())
    print(f"{len(own)} held-out prompts; {pairs} pairs of answers to {len(groups)} of them; % [95 %], and the paired difference to the row above")
    print("| stage | ROUGE-L of greedy answers | pairs ordered as ranked |\n| --- | --- | --- |")
    for at, (name, _) in enumerate(stages):
        print(f"| {name} | {told(rows['rouge_l'][at])} | {told(rows['ranking_accuracy'][at])} |")
    if arguments.output:
        numbers = {"prompts": len(own), "groups": len(groups), "pairs": pairs, "resamples": RESAMPLES, "seed": SEED,
                   "stages": [{"name": name} | {key: rows[key][at] for key in rows} for at, (name, _) in enumerate(stages)]}
        arguments.output.write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    main()

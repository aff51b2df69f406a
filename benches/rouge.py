"""ROUGE-L with stemming beside rouge-score: the same scores, in how much time. One core each.

    pip install rouge-score==0.1.2
    python benches/rouge.py --pairs 2000 --rounds 5 --output benches/results/rouge.json

Pairs are made up: words of stems and suffixes drawn by the law of Zipf, answers of 10 to 200 words, of which
a prediction keeps seven in ten in order. `--input` takes lines of {"prediction", "reference"} instead. Both
sides score the same texts, alternating round by round; what counts is the best round of each.
"""

import argparse
import json
import random
import subprocess
import tempfile
import time
from pathlib import Path

from rouge_score import rouge_scorer

STEMS = """relat measur decis plan play cent clear color connect control create develop differ educat express feel
form gener happi help hope human inform instruct light listen manag moder nation nature observ offer open oper order
organ paint person place point present press process produc provid question reason record report season second sign
simpl sound speak stand state strong studi support surpris system teach thank travel trust usual valu view visit walk
water wonder work write world""".split()
SUFFIXES = ["", "s", "ed", "ing", "er", "ers", "ation", "ational", "ment", "ments", "ness", "ful", "ly", "able", "ive", "al"]


def made_up(count):
    rng = random.Random(252)
    words = [stem + suffix for stem in STEMS for suffix in SUFFIXES]
    rng.shuffle(words)
    weights = [1 / (rank + 2.7) for rank in range(len(words))]
    for _ in range(count):
        reference = rng.choices(words, weights, k=rng.randint(10, 200))
        prediction = [word if rng.random() < 0.7 else rng.choice(words) for word in reference]
        yield {"prediction": " ".join(prediction) + ".", "reference": " ".join(reference) + "."}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--input", help="lines of prediction and reference")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", help="where to write the results as JSON")
    options = parser.parse_args()
    if options.input:
        pairs = [json.loads(line) for line in Path(options.input).read_text().splitlines()]
    else:
        pairs = list(made_up(options.pairs))
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=True)
    theirs, ours = [], []
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(json.dumps(pair) + "\n" for pair in pairs)
        file.flush()
        command = ["cargo", "bench", "-q", "-p", "albacore-data", "--bench", "rouge", "--", file.name, "1"]
        for _ in range(options.rounds):
            began = time.perf_counter()
            scores = [scorer.score(pair["reference"], pair["prediction"])["rougeL"].fmeasure for pair in pairs]
            theirs.append(time.perf_counter() - began)
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            ours += found["seconds"]
    same = abs(found["sum"] - sum(scores)) <= 1e-9 * len(pairs)
    words = sum(len(text.split()) for pair in pairs for text in pair.values()) / len(pairs) / 2
    result = {
        "pairs": len(pairs), "words": words, "same": same, "rouge_score_seconds": theirs,
        "albacore_seconds": ours, "ratio": min(theirs) / min(ours),
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    if options.output:
        Path(options.output).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

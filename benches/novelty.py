"""The novelty filter beside rouge-score and RapidFuzz: the same records are kept, in how much time.

    pip install rouge-score==0.1.2 rapidfuzz==3.14.6 numpy
    cargo bench -p albacore-data --bench novelty -- --texts 52000 --write instructions.jsonl
    python benches/novelty.py instructions.jsonl --rouge-score 2000 --rapidfuzz 52000
    python benches/novelty.py alpaca.json --rouge-score 5000 --rapidfuzz 0 --thresholds 0.7,0.5

Every side gets one core and goes through the records in order: one is kept if no kept one has an F above
the threshold with it. The sides:

- rouge-score, as Self-Instruct's and Alpaca's code call it: the words of each text are cut once, then
  `_score_lcs` for each pair. To judge several thresholds, all pairs are scored once;
- RapidFuzz: one character a word, `cdist` of 256 new texts with all before them, with its own cutoff just
  below the threshold (`Indel.normalized_similarity` is 2L / (m + n)); what is above is decided by F;
- `albacore filter`: the whole process, reading and writing included.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy
from rapidfuzz import process
from rapidfuzz.distance import Indel, LCSseq
from rouge_score import rouge_scorer, scoring, tokenize


def read(path):
    text = Path(path).read_text()
    if text.lstrip().startswith("["):
        return json.loads(text)
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def greedy(above):
    """The texts that are kept, when `above` holds for each text the earlier ones it is too like."""
    kept = set()
    for number, others in enumerate(above):
        if kept.isdisjoint(others):
            kept.add(number)
    return kept


def with_rouge_score(texts, thresholds):
    began, lowest = time.perf_counter(), min(thresholds)
    words = [tokenize.tokenize(text, None) for text in texts]
    rows, kept, pairs = [], [], 0
    for number, new in enumerate(words):
        # With one threshold only the kept ones matter, as in the published code.
        others = kept if len(thresholds) == 1 else range(number)
        scores = [(rouge_scorer._score_lcs(new, words[other]).fmeasure, other) for other in others]
        pairs += len(scores)
        rows.append([pair for pair in scores if pair[0] > lowest])
        if not rows[-1]:
            kept.append(number)
    found = {t: greedy([[other for f, other in row if f > t] for row in rows]) for t in thresholds}
    seconds = time.perf_counter() - began
    return found, seconds, f"{seconds / max(pairs, 1) * 1e6:.1f} µs a pair, {pairs} pairs"


def with_rapidfuzz(texts, threshold, block=256):
    began = time.perf_counter()
    ids = {}
    words = [tokenize.tokenize(text, None) for text in texts]
    # Beyond the surrogates, which are no characters.
    strings = ["".join(chr(0xE000 + ids.setdefault(word, len(ids))) for word in text) for text in words]
    above = []
    for start in range(0, len(strings), block):
        new = strings[start : start + block]
        scores = process.cdist(
            new, strings[: start + len(new)], scorer=Indel.normalized_similarity,
            score_cutoff=threshold - 1e-6, dtype=numpy.float32, workers=1,
        )  # fmt: skip
        for row, (number, text) in zip(scores, enumerate(new, start)):
            likes = []
            for other in numpy.flatnonzero(row[:number] > threshold - 1e-5):
                if not text or not strings[other]:
                    continue
                common = LCSseq.similarity(text, strings[other])
                f = scoring.fmeasure(common / len(text), common / len(strings[other]))
                if f > threshold:
                    likes.append(int(other))
            above.append(likes)
    return greedy(above), time.perf_counter() - began


def with_albacore(binary, records, threshold, rounds):
    with tempfile.TemporaryDirectory() as folder:
        source, kept = Path(folder, "in.jsonl"), Path(folder, "kept.jsonl")
        lines = [json.dumps({"instruction": text, "number": n}) for n, text in enumerate(records)]
        source.write_text("\n".join(lines) + "\n")
        command = [binary, "filter", source, "--rouge-l", str(threshold), "--output", kept]
        seconds = []
        for _ in range(rounds):
            began = time.perf_counter()
            subprocess.run(command + ["--threads", "1", "--quiet"], check=True, capture_output=True)
            seconds.append(time.perf_counter() - began)
        return {record["number"] for record in read(kept)}, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("input", help="JSON or JSON lines with `instruction`")
    parser.add_argument("--albacore", default="target/release/albacore")
    parser.add_argument("--rouge-score", type=int, default=2000, metavar="N", help="texts for rouge-score")
    parser.add_argument("--rapidfuzz", type=int, default=52000, metavar="N", help="texts for RapidFuzz")
    parser.add_argument("--thresholds", default="0.7")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of albacore")
    parser.add_argument("--output", help="where to write the results as JSON")
    options = parser.parse_args()
    texts = [record["instruction"] for record in read(options.input)]
    thresholds = [float(threshold) for threshold in options.thresholds.split(",")]
    results, failed = [], False

    def tell(peer, count, threshold, kept, seconds, peer_kept, peer_seconds, note=""):
        nonlocal failed
        same = kept == peer_kept
        failed |= not same
        best = min(seconds)
        results.append(
            {"peer": peer, "texts": count, "threshold": threshold, "kept": len(kept), "same": same,
             "albacore_seconds": seconds, "peer_seconds": peer_seconds}
        )  # fmt: skip
        print(
            f"{count} texts above {threshold}: {len(kept)} kept, {'the same' if same else 'NOT THE SAME'}; "
            f"albacore {best:.3f} s, {peer} {peer_seconds:.1f} s ({peer_seconds / best:.0f}x) {note}",
            flush=True,
        )

    if options.rouge_score:
        some = texts[: options.rouge_score]
        found, peer_seconds, note = with_rouge_score(some, thresholds)
        for threshold in thresholds:
            kept, seconds = with_albacore(options.albacore, some, threshold, options.rounds)
            tell("rouge-score", len(some), threshold, kept, seconds, found[threshold], peer_seconds, note)
    if options.rapidfuzz:
        some = texts[: options.rapidfuzz]
        for threshold in thresholds:
            peer_kept, peer_seconds = with_rapidfuzz(some, threshold)
            kept, seconds = with_albacore(options.albacore, some, threshold, options.rounds)
            tell("RapidFuzz", len(some), threshold, kept, seconds, peer_kept, peer_seconds)
    if options.output:
        Path(options.output).write_text(json.dumps(results, indent=1) + "\n")
    sys.exit(failed)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Holds albacore to transformers on a T5 folder, number by number, in f32 on the CPU.

Shows, each in one line with the worst error found and the error allowed:

    keys       transformers loads the folder with no missing or unexpected key
    score      `albacore score`: each token's log-probability of the given answers within 1e-4
    greedy     `albacore complete`: the answers equal transformers' token for token
    beams      `albacore complete --beams 4`: so do these

    python scripts/check_t5.py MODEL records.jsonl

MODEL is a Hugging Face folder (an export, say), records.jsonl lines of {prompt, completion}, of which 50 are used.
ALBACORE or `--albacore` names the binary. The exit status is the number of failed lines.

Needs: pip install torch==2.15.0 transformers==5.23.0.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from transformers import AutoTokenizer, T5ForConditionalGeneration

NEW_TOKENS = 24
failed = 0


def line(name, found, allowed):
    global failed
    right = found <= allowed
    failed += not right
    print(f"{name:8} {found:.2e} of {allowed:.0e} allowed   {'ok' if right else 'FAILED'}")


def albacore(options, *arguments):
    return subprocess.run([options.albacore, *arguments], check=True, capture_output=True, text=True).stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("records", type=pathlib.Path)
    parser.add_argument("--albacore", default=os.environ.get("ALBACORE", "albacore"))
    options = parser.parse_args()
    model, report = T5ForConditionalGeneration.from_pretrained(
        options.model, dtype=torch.float32, output_loading_info=True
    )
    model.eval()
    lost = sorted(report["missing_keys"] | report["unexpected_keys"] if isinstance(report["missing_keys"], set)
                  else [*report["missing_keys"], *report["unexpected_keys"]])
    print(*lost, sep="\n", end="\n" if lost else "")
    line("keys", len(lost), 0)

    tokenizer = AutoTokenizer.from_pretrained(options.model)
    records = [json.loads(text) for text in options.records.read_text().splitlines()[:50]]
    ids = [(tokenizer(one["prompt"]).input_ids, tokenizer(one["completion"]).input_ids) for one in records]
    with tempfile.TemporaryDirectory() as folder:
        given, scores = pathlib.Path(folder) / "in.jsonl", pathlib.Path(folder) / "out.jsonl"
        texts = [{"id": n, "prompt": one["prompt"], "response": one["completion"]} for n, one in enumerate(records)]
        given.write_text("".join(json.dumps(one) + "\n" for one in texts))
        albacore(options, "score", options.model, "--input", str(given), "--output", str(scores), "--template", "none")
        found = [json.loads(text)["token_logprobs"] for text in scores.read_text().splitlines()]
    worst = 0.0
    with torch.no_grad():
        for (source, target), logprobs in zip(ids, found):
            logits = model(input_ids=torch.tensor([source]), labels=torch.tensor([target])).logits[0]
            wanted = logits.double().log_softmax(-1)[torch.arange(len(target)), target]
            worst = max(worst, (wanted - torch.tensor(logprobs)).abs().max().item())
    line("score", worst, 1e-4)

    for name, beams in [("greedy", 1), ("beams", 4)]:
        arguments = [word for one in records for word in ("--prompt", one["prompt"])]
        said = albacore(options, "complete", options.model, *arguments, "--template", "none", "--json", "--beams",
                        str(beams), "--max-new-tokens", str(NEW_TOKENS))
        said = [json.loads(text)["completion"] for text in said.splitlines()]
        others = 0
        for (source, _), answer in zip(ids, said):
            out = model.generate(torch.tensor([source]), num_beams=beams, max_new_tokens=NEW_TOKENS, do_sample=False)
            others += tokenizer.decode(out[0], skip_special_tokens=True) != answer
        line(name, others, 0)
    sys.exit(failed)


if __name__ == "__main__":
    main()

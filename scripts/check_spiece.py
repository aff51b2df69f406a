#!/usr/bin/env python3
"""Holds the ids that albacore makes by a `spiece.model` to SentencePiece's own, line by line.

    python scripts/check_spiece.py spiece.model lines.txt

lines.txt is text in any languages; empty lines are left out. ALBACORE or `--albacore` names the binary, which sees
each line as the prompt of a record. Prints how many lines differ, and the first of them; the exit status tells whether
any does.

Needs: pip install sentencepiece==0.2.3.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import sentencepiece


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("lines", type=pathlib.Path)
    parser.add_argument("--albacore", default=os.environ.get("ALBACORE", "albacore"))
    options = parser.parse_args()
    processor = sentencepiece.SentencePieceProcessor(model_file=str(options.model))
    lines = [line for line in options.lines.read_text().split("\n") if line.strip() and processor.encode(line)]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "model").mkdir()
        shutil.copy(options.model, folder / "model" / "spiece.model")
        config = {"model_type": "t5", "vocab_size": processor.vocab_size() + 128, "eos_token_id": 1}
        (folder / "model" / "config.json").write_text(json.dumps(config))
        records = [json.dumps({"prompt": line, "completion": "a"}) for line in lines]
        (folder / "records.jsonl").write_text("\n".join(records) + "\n")
        (folder / "config.toml").write_text(
            '[run]\nname = "a"\n[model]\npath = "model"\n[data]\nmax_tokens = 1000000\ntokens_per_batch = 1000000\n'
            'template = "none"\nshuffle = false\n[[data.sources]]\npath = "records.jsonl"\nformat = "prompt"\n'
        )
        shown = subprocess.run(
            [options.albacore, "preview", "config.toml", "-n", str(len(lines)), "--json"],
            cwd=folder, check=True, capture_output=True, text=True,
        ).stdout
    found = [[token["id"] for token in json.loads(one)["tokens"] if token["reason"] == "prompt"] for one in shown.split("\n") if one]
    assert len(found) == len(lines), f"{len(found)} examples for {len(lines)} lines"
    wrong = [(line, ids) for line, ids in zip(lines, found) if ids != processor.encode(line) + [1]]
    print(f"{len(wrong)} of {len(lines)} lines differ")
    for line, ids in wrong[:5]:
        print(repr(line), "found", ids, "wanted", processor.encode(line) + [1])
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()

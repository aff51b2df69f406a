#!/usr/bin/env python3
"""Writes the golden tokens that `crates/data/src/sentencepiece/tests.rs` holds our unigram tokenizer to.

Shows: a small unigram model, trained here on sentences of this file's own, with rules for characters of which some
overlap, and what SentencePiece makes of odd lines by it.

    python scripts/golden_spiece.py --output tests/golden/spiece      # writes spiece.model and lines.json

Needs: pip install sentencepiece==0.2.3. Takes a second.
"""
import argparse
import json
import pathlib
import random
import tempfile

import sentencepiece

# Replaced characters (code points) and what by: chains that begin alike, one to many, one to none, many to one.
RULES = {
    "\ufb01": "fi", "\u2460": "1", "\u246b": "12", "\u3000": " ", "\t": " ", "\u200b": "", "\u2026": "...",
    "e\u0301": "\u00e9", "e\u0302": "\u00ea", "\u00bd": "1\u20442", "\u2033": "\u2032\u2032",
    "\u2034": "\u2032\u2032\u2032", "A\u030a": "\u00c5", "\uff5e": "~", "\u00a8": " \u0308",
}
WORDS = "the cat sat on a mat and it was fine of course café crème où naïve first office 12 ′′ ′ 1⁄2 ... Straße".split()


def lines(count, source):
    pool = list(RULES) + list("aeiouf ▁  ′~.\u0301\u0308日本語ö<>\x07") + WORDS + [" ", "  ", "é", "A\u030a", "<extra_id_", "</s>"]
    return ["".join(source.choice(pool) for _ in range(source.randint(0, 25))) for _ in range(count)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    source = random.Random(5)
    parts = ["th", "e", "ca", "t", "sa", "on", "ma", "in", "ing", "fi", "ne", "s", "er", "of", "co", "re", "\u2032"]
    made = ["".join(source.choices(parts, k=source.randint(1, 4))) for _ in range(400)]
    sentences = [" ".join(source.choices(WORDS + made, k=8)) for _ in range(2000)]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        rules = [f"{' '.join(f'{ord(c):X}' for c in key)}\t{' '.join(f'{ord(c):X}' for c in value)}" for key, value in RULES.items()]
        (folder / "rules.tsv").write_text("\n".join(rules) + "\n")
        (folder / "text.txt").write_text("\n".join(sentences) + "\n")
        sentencepiece.SentencePieceTrainer.train(
            input=str(folder / "text.txt"), model_prefix=str(folder / "spiece"), vocab_size=120, model_type="unigram",
            normalization_rule_tsv=str(folder / "rules.tsv"), pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
            minloglevel=2, num_threads=1,
        )
        (options.output / "spiece.model").write_bytes((folder / "spiece.model").read_bytes())
    processor = sentencepiece.SentencePieceProcessor(model_file=str(options.output / "spiece.model"))
    texts = ["", " ", "the cat", "  the   cat ", "▁the▁", "e\u0301e\u0302e"] + lines(300, source) + sentences[:5]
    golden = [{"text": text, "ids": processor.encode(text)} for text in texts]
    rows = ",\n".join(json.dumps(one, ensure_ascii=False, separators=(",", ":")) for one in golden)
    (options.output / "lines.json").write_text(f"[\n{rows}\n]\n")
    unknown = sum(2 in one["ids"] for one in golden)
    print(f"{len(golden)} lines, {unknown} of them with unknown characters")


if __name__ == "__main__":
    main()

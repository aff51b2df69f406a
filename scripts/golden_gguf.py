#!/usr/bin/env python3
"""Golden numbers for reading GGUF files.

    python scripts/golden_gguf.py

writes
  crates/model/tests/golden/blocks.gguf          two rows of every storage type, with random bits
  crates/model/tests/golden/blocks.safetensors   the same numbers as gguf-py restores them
  crates/data/tests/golden/sentencepiece.json    a small SentencePiece BPE vocabulary, as a GGUF
                                                 holds it, and the ids that SentencePiece gives

Needs: pip install gguf==0.19.0 sentencepiece==0.2.3 safetensors numpy. Takes a second.
"""

import io
import json
import pathlib
import re

import numpy as np
import sentencepiece
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter, dequantize
from safetensors.numpy import save_file

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Where the half-precision scales stand in a block; random bits there would give infinities.
SCALES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82],
    "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}


def blocks(folder: pathlib.Path) -> None:
    random = np.random.default_rng(20)
    rows, columns = 2, 256
    writer = GGUFWriter(str(folder / "blocks.gguf"), "llama")
    restored = {}
    for name in ["F32", "F16", "BF16", *SCALES]:
        kind = GGMLQuantizationType[name]
        size, width = GGML_QUANT_SIZES[kind]
        if name in SCALES:
            raw = random.integers(0, 256, (rows, columns // size, width), dtype=np.uint8)
            for at in SCALES[name]:
                scale = (random.standard_normal((rows, columns // size)) * 0.01).astype(np.float16)
                raw[:, :, at : at + 2] = scale[..., None].view(np.uint8)
        else:
            numbers = random.standard_normal((rows, columns)).astype(np.float32)
            halves = (numbers.view(np.uint32) >> 16).astype(np.uint16)
            raw = {"F32": numbers, "F16": numbers.astype(np.float16), "BF16": halves}[name]
            raw = raw.view(np.uint8)
        raw = np.ascontiguousarray(raw.reshape(rows, -1))
        writer.add_tensor(name, raw, raw_dtype=kind)
        restored[name] = dequantize(raw.view(np.float32) if name == "F32" else
                                    raw.view(np.float16) if name == "F16" else raw, kind)
        restored[name] = restored[name].astype(np.float32).reshape(rows, columns)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(restored, str(folder / "blocks.safetensors"))


CORPUS = """
The tide had gone out before the children woke, and the long flat sand was bright with pools.
Every pool held something: a crab the size of a coin, three shrimps, a ribbon of green weed.
"Don't put your hand in that one," their aunt said, "there is an eel under the stone."
They counted 12 crabs, 7 eels and 340 limpets, and wrote the numbers on the wall of the hut.
def count(pools):
    return sum(pool.crabs for pool in pools if not pool.is_dry)
La mer était calme; größer als gestern war nur der Wind. Море было спокойно. 海は静かだった。
When the water came back it came quietly, filling one pool after another until all were one.
"""

TEXTS = [
    "", " ", "  ", "a", " a", "The tide", "the  tide   came back", "12 crabs, 340 limpets",
    "1234567890", "Don't!", "\n", "\n\nline\n  indented\n", "\ttab", "größer", "была", "海は海",
    "emoji 🦀 here", "é vs e\u0301", "def count(x):\n    return x", "<s>", "<s> The pool</s>", "▁",
    "pool▁pool", "\u00a0", "ends with space ", "quietly quietly quietly", "Zebra Xylophone Qu",
]


def vocabulary(path: pathlib.Path) -> None:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS.strip().split("\n")), model_writer=model, model_type="bpe",
        vocab_size=420, byte_fallback=True, split_digits=True, character_coverage=0.98,
        normalization_rule_name="identity", remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True, minloglevel=2,
    )
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ids = range(pieces.get_piece_size())

    def kind(id: int) -> int:
        if pieces.is_unknown(id):
            return 2
        return 3 if pieces.is_control(id) else 6 if pieces.is_byte(id) else 1

    def encode(text: str) -> list[int]:
        """Control tokens in the text are taken as such, and the text between them apart."""
        parts = [part for part in re.split("(</?s>)", text) if part]
        encoded = [[pieces.piece_to_id(part)] if part in ("<s>", "</s>") else pieces.encode(part)
                   for part in parts]
        return sum(encoded, [])

    golden = {
        "tokens": [pieces.id_to_piece(id) for id in ids],
        "scores": [pieces.get_score(id) for id in ids],
        "kinds": [kind(id) for id in ids],
        "texts": [{"text": text, "ids": encode(text)} for text in TEXTS],
    }
    path.write_text(json.dumps(golden, ensure_ascii=False, separators=(",", ":")) + "\n")


for folder in ["model", "data"]:
    (ROOT / "crates" / folder / "tests" / "golden").mkdir(parents=True, exist_ok=True)
blocks(ROOT / "crates/model/tests/golden")
vocabulary(ROOT / "crates/data/tests/golden/sentencepiece.json")

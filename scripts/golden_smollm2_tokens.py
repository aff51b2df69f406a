#!/usr/bin/env python3
"""Writes `tests/golden/smollm2_tokens.json`: 600 texts and their ids in SmolLM2's tokenizer.

    python scripts/golden_smollm2_tokens.py SmolLM2-135M-Instruct.Q4_1.gguf

The tokenizer is put together by hand from the GGUF's vocabulary, as `tokenizer.ggml.pre = smollm`
says: each digit alone, GPT-2's pattern, bytes, merges. llama.cpp gives the same ids.

Needs: pip install gguf==0.19.0 tokenizers==0.23.3. Takes seconds.
"""

import json
import pathlib
import random
import sys

from gguf import GGUFReader
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

CONTROL = 3

# Whatever may stand next to whatever in a text.
PIECES = """
the of and answer Instruction: harbour unbelievably RESULT don't I'LL they're we'd 's 'x O'Neill
def return self.value += != -> => :: </p> {"key": [1, 2]} \\n #include <stdio.h> x[i+1] a_b_c CamelCase
0 1 12 345 67890 3.1415 1,000,000 -7 1e-5 0x1F 2024-02-29 ½ ² Ⅷ ٣ ३
größer naïve façade Ærø Zażółć žluťoučký İstanbul été é ﬁ ß
Привет мир ελληνικά שלום مرحبا नमस्ते ไทย 日本語 漢字かな交じり 한국어 中文，标点。
🦀 👩‍👩‍👧 🇫🇷 ☕️ … — “quoted” ‘single’ « » ≤ ∑ € ™ \u200b \u00a0
<|im_start|> <|im_end|> <|endoftext|> <|im_start|>user <|unknown|> <|
""".split()
SPACES = ["", "", " ", " ", " ", "  ", "   ", "\n", "\n\n", "\t", "\r\n", " \n", "\n    ", "        "]


def tokenizer(path: str) -> Tokenizer:
    keys = {name: field.contents() for name, field in GGUFReader(path).fields.items()
            if name.startswith("tokenizer.ggml.")}
    tokens, kinds = keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ")) for merge in keys["tokenizer.ggml.merges"]]
    made = Tokenizer(models.BPE(vocab={token: id for id, token in enumerate(tokens)}, merges=merges))
    made.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ])
    made.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(tokens, kinds) if kind == CONTROL]
    made.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in control])
    return made


random.seed(20)
texts = [piece.encode().decode("unicode_escape") if piece.startswith("\\u") else piece
         for piece in PIECES]
pieces = list(texts)
texts += SPACES
while len(texts) < 600:
    count = random.randrange(1, 16)
    texts.append("".join(random.choice(pieces) + random.choice(SPACES) for _ in range(count)))
made = tokenizer(sys.argv[1])
lines = [json.dumps({"text": text, "ids": made.encode(text).ids}, ensure_ascii=False) for text in texts]
root = pathlib.Path(__file__).resolve().parent.parent
(root / "tests/golden/smollm2_tokens.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
print(len(texts), "texts,", sum(len(made.encode(text).ids) for text in texts), "ids")

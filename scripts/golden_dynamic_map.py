#!/usr/bin/env python3
"""Writes `tests/golden/dynamic_map.json`: the numbers that the 256 codes of 8-bit moments stand for.

    python scripts/golden_dynamic_map.py

They are those of bitsandbytes' `create_dynamic_map` (Dettmers et al., 2022, "8-bit Optimizers via
Block-wise Quantization", section 2.2): signed for the first moment, unsigned for the second. Only the map
is taken from there: nothing is computed on a GPU.

Needs: pip install torch==2.15.0 bitsandbytes==0.50.2. Takes a few seconds.
"""

import json
import pathlib

from bitsandbytes.functional import create_dynamic_map


def listed(signed):
    return [float(f"{number:.9g}") for number in create_dynamic_map(signed=signed).double().tolist()]


golden = {"signed": listed(True), "unsigned": listed(False)}
path = pathlib.Path(__file__).parent.parent / "tests" / "golden" / "dynamic_map.json"
lines = [f'"{name}": {json.dumps(numbers)}' for name, numbers in golden.items()]
path.write_text("{\n" + ",\n".join(lines) + "\n}\n")

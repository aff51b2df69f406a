#!/usr/bin/env python3
"""Writes `tests/golden/softened.json`: cross entropy with label smoothing and z-loss, and its gradients, by PyTorch.

    python scripts/golden_softened.py

    cases   [{label_smoothing, z_loss, loss, d_hidden, d_weight}]

The loss is `torch.nn.CrossEntropyLoss(label_smoothing)` and `z_loss` times the mean of `logsumexp(logits)²`, as
T5X has it, of `logits = hidden @ weight.T` over ROWS rows; in f64. `hidden` and `weight` follow from their places, see
`numbers`; the test makes the same ones.

Needs: pip install torch==2.15.0. Takes a second.
"""
import json
import pathlib

import torch

ROWS, WORDS, CHANNELS = 5, 11, 4
TARGETS = [3, 0, 10, 3, 7]
CASES = [(0.0, 0.0), (0.0, 1e-4), (0.0, 0.1), (0.1, 0.0), (0.3, 0.01)]


def numbers(rows, step):
    """Multiples of 1/32 between -2 and 2."""
    flat = [((place * step + 5) % 129 - 64) / 32 for place in range(rows * CHANNELS)]
    return torch.tensor(flat, dtype=torch.float64).reshape(rows, CHANNELS).requires_grad_()


def case(label_smoothing, z_loss):
    hidden, weight = numbers(ROWS, 37), numbers(WORDS, 53)
    logits = hidden @ weight.T
    loss = torch.nn.CrossEntropyLoss(label_smoothing=label_smoothing)(logits, torch.tensor(TARGETS))
    loss = loss + z_loss * logits.logsumexp(-1).pow(2).mean()
    loss.backward()
    flat = lambda tensor: tensor.grad.flatten().tolist()
    return {"label_smoothing": label_smoothing, "z_loss": z_loss, "loss": loss.item(), "d_hidden": flat(hidden),
            "d_weight": flat(weight)}


path = pathlib.Path(__file__).parent.parent / "tests" / "golden" / "softened.json"
lines = ",\n".join("  " + json.dumps(case(*numbers)) for numbers in CASES)
path.write_text('{\n "cases": [\n' + lines + "\n ]\n}\n")

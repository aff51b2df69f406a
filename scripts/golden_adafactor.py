#!/usr/bin/env python3
"""Writes `tests/golden/adafactor.json`: what Adafactor makes of a few tensors, and of two tiny T5s, in ten steps.

    python scripts/golden_adafactor.py

`rule` says whose numbers they are. `transformers`: its own `Adafactor`. `t5x`: written here from the formulas of
T5X (its `adafactor.py` at 0eb60a6), in f64: a matrix is factored where both sides are at least `min_dim_size_to_factor`.
Both round to f32 what they are given. In both, weight decay is a share of a weight times the step's rate, as in
transformers (T5X has it without the rate, and its T5 recipes without weight decay).

    tensors   [{rule, optim, tensors: [{name, shape, norm, entries: [[flat index, value], …]}]}]
    models    [{rule, optim, variant, losses, tensors: as above}]: of `tests/golden/t5_tiny`, all pairs a batch

`optim` is the table of our configuration. Weights and gradients of `tensors` follow from their places, see `weight`
and `gradient`; the test makes the same ones.

Needs: pip install torch==2.15.0 transformers==5.23.0 safetensors. Takes some seconds.
"""
import json
import math
import pathlib

import torch
from transformers import T5ForConditionalGeneration
from transformers.optimization import Adafactor

STEPS = 10
GOLDEN = pathlib.Path(__file__).parent.parent / "tests" / "golden"
SHAPES = {"matrix": (6, 10), "vector": (33,), "large": (130, 140), "narrow": (140, 5), "scalar": (1, 1)}

torch.set_num_threads(1)


def weight(number, place):
    """Of tensor `number`; a multiple of 1/64."""
    return ((place * 37 + 11 * number) % 129 - 64) / 64


def gradient(number, place, step):
    """Some hundred times as large at first as in the end; the third row of numbers is zero."""
    if place % 7 == 3:
        return 0.0
    return ((place * place * 3 + place * 17 + step * 29 + number * 5) % 127 - 63) / (64 * (1 + step * step))


class Transformers:
    def __init__(self, parameters, optim):
        self.optimizer = Adafactor(
            parameters,
            lr=None if optim.get("relative_step") else optim["learning_rate"],
            eps=tuple(optim.get("epsilons", (1e-30, 1e-3))),
            clip_threshold=optim.get("clip_threshold", 1.0),
            decay_rate=-optim.get("decay_rate", 0.8),
            beta1=optim.get("momentum"),
            scale_parameter=optim.get("scale_parameter", True),
            relative_step=optim.get("relative_step", False),
            warmup_init=optim.get("warmup_init", False),
        )
        for group in self.optimizer.param_groups:
            group["weight_decay"] = 0.0
        # Ours spares vectors.
        matrices = [p for p in self.optimizer.param_groups[0]["params"] if p.dim() > 1]
        vectors = [p for p in self.optimizer.param_groups[0]["params"] if p.dim() == 1]
        base = {key: value for key, value in self.optimizer.param_groups[0].items() if key != "params"}
        self.optimizer.param_groups = [
            {**base, "params": matrices, "weight_decay": optim.get("weight_decay", 0.0)},
            {**base, "params": vectors},
        ]

    def step(self):
        self.optimizer.step()


class T5X:
    """Second moments by rows and columns of what is large enough, in f64 between roundings of the weights."""

    def __init__(self, parameters, optim):
        self.parameters, self.optim, self.count = list(parameters), optim, 0
        self.state = [{} for _ in self.parameters]

    def step(self):
        optim, self.count = self.optim, self.count + 1
        kept = 1 - self.count ** -optim.get("decay_rate", 0.8)
        first_epsilon, second_epsilon = optim.get("epsilons", (1e-30, 1e-3))
        rms = lambda tensor: tensor.pow(2).mean().sqrt().item()
        for parameter, state in zip(self.parameters, self.state):
            if parameter.grad is None:
                continue
            g = parameter.grad.double()
            squares = g * g + first_epsilon

            def mixed(name, new):
                state[name] = kept * state.get(name, 0.0) + (1 - kept) * new
                return state[name]

            if g.dim() == 2 and min(g.shape) >= optim.get("min_dim_size_to_factor", 128):
                rows, columns = mixed("v_row", squares.mean(1)), mixed("v_col", squares.mean(0))
                update = g / (rows[:, None] / rows.mean() * columns[None, :]).sqrt()
            else:
                update = g / mixed("v", squares).sqrt()
            update /= max(1.0, rms(update) / optim.get("clip_threshold", 1.0))
            before = parameter.data.double()
            scale = max(second_epsilon, rms(before)) if optim.get("scale_parameter", True) else 1.0
            update *= optim["learning_rate"] * scale
            if optim.get("momentum"):
                state["m"] = optim["momentum"] * state.get("m", 0.0) + (1 - optim["momentum"]) * update
                update = state["m"]
            parameter.data.copy_((before - update).float())


RULES = {"transformers": Transformers, "t5x": T5X}
OURS = {"kind": "adafactor", "max_grad_norm": 0.0}
LIKE_TRANSFORMERS = {**OURS, "min_dim_size_to_factor": 1}
CASES = [
    ("transformers", {**LIKE_TRANSFORMERS, "learning_rate": 0.01}),
    ("transformers", {**LIKE_TRANSFORMERS, "learning_rate": 0.01, "momentum": 0.9, "weight_decay": 0.1}),
    ("transformers", {**LIKE_TRANSFORMERS, "learning_rate": 0.05, "scale_parameter": False, "clip_threshold": 0.5,
                      "decay_rate": 0.6, "epsilons": [1e-8, 1e-2], "max_grad_norm": 1.0}),
    ("transformers", {**LIKE_TRANSFORMERS, "relative_step": True}),
    ("transformers", {**LIKE_TRANSFORMERS, "relative_step": True, "warmup_init": True}),
    ("t5x", {**OURS, "learning_rate": 0.01}),
    ("t5x", {**OURS, "learning_rate": 0.01, "momentum": 0.9}),
]
MODELS = [
    ("transformers", "v1_0", {**LIKE_TRANSFORMERS, "learning_rate": 0.01}),
    ("transformers", "v1_1", {**LIKE_TRANSFORMERS, "learning_rate": 0.01}),
    ("t5x", "v1_1", {**OURS, "learning_rate": 0.01, "min_dim_size_to_factor": 16}),
]


def summary(name, tensor, count=6):
    flat = tensor.detach().flatten()
    places = torch.linspace(0, flat.numel() - 1, min(count, flat.numel())).long().unique().tolist()
    entries = [[place, flat[place].item()] for place in places]
    return {"name": name, "shape": list(tensor.shape), "norm": flat.double().norm().item(), "entries": entries}


def clip(parameters, optim):
    if optim["max_grad_norm"]:
        torch.nn.utils.clip_grad_norm_(parameters, optim["max_grad_norm"])


def tensors(rule, optim):
    parameters = []
    for number, shape in enumerate(SHAPES.values()):
        numbers = [weight(number, place) for place in range(math.prod(shape))]
        parameters.append(torch.nn.Parameter(torch.tensor(numbers).reshape(shape)))
    optimizer = RULES[rule](parameters, optim)
    for step in range(STEPS):
        for number, parameter in enumerate(parameters):
            numbers = [gradient(number, place, step) for place in range(parameter.numel())]
            parameter.grad = torch.tensor(numbers).reshape(parameter.shape)
        clip(parameters, optim)
        optimizer.step()
    summaries = [summary(name, parameter) for name, parameter in zip(SHAPES, parameters)]
    return {"rule": rule, "optim": optim, "tensors": summaries}


def model(rule, variant, optim):
    folder = GOLDEN / "t5_tiny" / variant
    t5 = T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    pairs = json.loads((folder / "reference.json").read_text())["pairs"]
    count = sum(len(pair["target"]) for pair in pairs)
    named = dict(t5.named_parameters())
    optimizer = RULES[rule](list(named.values()), optim)
    losses = []
    for _ in range(STEPS):
        t5.zero_grad()
        loss = 0.0
        for pair in pairs:
            target = torch.tensor([pair["target"]])
            logits = t5(input_ids=torch.tensor([pair["source"]]), labels=target).logits
            loss -= logits.log_softmax(-1).gather(-1, target[..., None]).sum() / count
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    summaries = [summary(name, parameter) for name, parameter in named.items()]
    return {"rule": rule, "optim": optim, "variant": variant, "losses": losses, "tensors": summaries}


def main():
    golden = {
        "tensors": [tensors(rule, optim) for rule, optim in CASES],
        "models": [model(rule, variant, optim) for rule, variant, optim in MODELS],
    }
    lines = lambda items: ",\n".join("  " + json.dumps(item) for item in items)
    text = ",\n".join(f' "{key}": [\n{lines(items)}\n ]' for key, items in golden.items())
    (GOLDEN / "adafactor.json").write_text("{\n" + text + "\n}\n")


main()

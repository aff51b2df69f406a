#!/usr/bin/env python3
"""Writes `tests/golden/ops.json`: what PyTorch computes for each operation of `crates/kernels`.

    python scripts/golden_ops.py

Each operation is given inputs and the gradient of its output (`seed`), all rounded to three
decimals; its output and the gradients of its inputs come from PyTorch in f64, so that they are
right to more digits than the f32 kernels that are compared with them. AdamW alone runs in f32:
there the order of PyTorch's arithmetic is what is compared.

Needs: pip install torch==2.15.0 transformers==5.23.0. Takes some seconds.
"""

import json
import pathlib

import torch
import torch.nn.functional as F
from transformers.models.t5.modeling_t5 import T5Attention

torch.set_num_threads(1)
numbers = torch.Generator().manual_seed(20)


def some(*shape, scale=1.0):
    """Normally distributed numbers of three decimals."""
    return torch.round(torch.randn(*shape, generator=numbers) * scale * 1000).double() / 1000


def listed(tensor):
    if not tensor.is_floating_point():
        return {"shape": list(tensor.shape), "data": tensor.flatten().tolist()}
    data = [float(f"{number:.9g}") for number in tensor.detach().double().flatten().tolist()]
    return {"shape": list(tensor.shape), "data": data}


def golden(function, **inputs):
    """Runs `function` on `inputs` both ways."""
    numeric = {name: x.requires_grad_() for name, x in inputs.items() if x.is_floating_point()}
    output = function(**inputs)
    seed = some(*output.shape)
    gradients = torch.autograd.grad(output, list(numeric.values()), seed, allow_unused=True)
    named = {f"d_{name}": x for name, x in zip(numeric, gradients) if x is not None}
    return {name: listed(x) for name, x in {**inputs, "output": output, "seed": seed, **named}.items()}


def rms_norm(x, weight):
    return F.rms_norm(x, (x.shape[-1],), weight, eps=1e-5)


def linear(x, weight, bias):
    return F.linear(x, weight, bias)


def linear_add(residual, x, weight):
    return residual + F.linear(x, weight)


def add(x, y):
    return x + y


def swiglu(gate_up):
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up


def rope(qkv, cosine, sine, positions):
    """As `apply_rotary_pos_emb` of transformers does it, on 3 + 2 heads of q and k before 2 of v."""
    heads = qkv.unflatten(-1, (3 + 2 + 2, 6))
    cos = cosine.detach()[positions].repeat(1, 2)[:, None]
    sin = sine.detach()[positions].repeat(1, 2)[:, None]
    x, v = heads[:, :5], heads[:, 5:]
    x1, x2 = x.chunk(2, dim=-1)
    turned = x * cos + torch.cat((-x2, x1), dim=-1) * sin
    return torch.cat((turned, v), dim=1).flatten(1)


def embedding(weight, ids):
    return F.embedding(ids, weight)


def select_rows(x, rows):
    return x[rows]


def linear_logprob(hidden, weight, targets):
    return -F.cross_entropy(hidden @ weight.T, targets, reduction="none")


def attention(qkv, starts):
    """Causal, 4 heads of q on 2 of k and v, each sequence by itself."""
    q, k, v = qkv.unflatten(-1, (4 + 2 + 2, 6)).split((4, 2, 2), dim=1)
    outputs = []
    for start, end in zip(starts.tolist(), starts.tolist()[1:]):
        of_sequence = [x[start:end].transpose(0, 1) for x in (q, k, v)]  # (heads, tokens, width)
        out = F.scaled_dot_product_attention(*of_sequence, is_causal=True, enable_gqa=True)
        outputs.append(out.transpose(0, 1).flatten(1))
    return torch.cat(outputs)


def t5_buckets(count, far, bidirectional):
    """The buckets of the distances from -300 to 300."""
    return T5Attention._relative_position_bucket(torch.arange(-300, 301), bidirectional, count, far)


def biased_attention(bidirectional):
    """T5's: no scale, 8 buckets that end at distance 20, 4 heads of q on 2 of k and v."""

    def run(qkv, table, starts):
        q, k, v = qkv.unflatten(-1, (4 + 2 + 2, 6)).split((4, 2, 2), dim=1)
        outputs = []
        for start, end in zip(starts.tolist(), starts.tolist()[1:]):
            of_sequence = [x[start:end].transpose(0, 1) for x in (q, k, v)]  # (heads, tokens, width)
            place = torch.arange(end - start)
            distance = place[None, :] - place[:, None]
            buckets = T5Attention._relative_position_bucket(distance, bidirectional, 8, 20)
            bias = F.embedding(buckets, table).permute(2, 0, 1)  # (heads, query, key)
            if not bidirectional:
                bias = bias.masked_fill(distance > 0, -torch.inf)
            out = F.scaled_dot_product_attention(*of_sequence, attn_mask=bias, scale=1.0, enable_gqa=True)
            outputs.append(out.transpose(0, 1).flatten(1))
        return torch.cat(outputs)

    return run


def adamw():
    """Five updates of one tensor, its gradients clipped to half of their norm."""
    weight = some(37).float().requires_grad_()
    gradients = some(5, 37, scale=0.1).float()
    optimizer = torch.optim.AdamW(
        [weight], lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, foreach=False
    )
    before = weight.detach().clone()
    norms = []
    for gradient in gradients:
        weight.grad = gradient * 0.5
        norms.append(gradient.norm())
        optimizer.step()
    state = optimizer.state[weight]
    numbers = {
        "weight": before,
        "gradients": gradients,
        "norms": torch.stack(norms),
        "updated": weight,
        "first_moment": state["exp_avg"],
        "second_moment": state["exp_avg_sq"],
    }
    return {name: listed(x) for name, x in numbers.items()}


def main():
    angle = torch.rand(9, 3, generator=numbers) * 6
    cosine, sine = (torch.round(x * 1000).double() / 1000 for x in (angle.cos(), angle.sin()))
    goldens = {
        "rms_norm": golden(rms_norm, x=some(7, 33), weight=some(33)),
        "linear": golden(linear, x=some(7, 33), weight=some(5, 33), bias=some(5)),
        "linear_add": golden(linear_add, residual=some(7, 5), x=some(7, 33), weight=some(5, 33)),
        "add": golden(add, x=some(3, 11), y=some(3, 11)),
        "swiglu": golden(swiglu, gate_up=some(5, 2 * 17, scale=3)),
        "rope": golden(
            rope,
            qkv=some(6, (3 + 2 + 2) * 6),
            cosine=cosine,
            sine=sine,
            positions=torch.tensor([0, 1, 2, 0, 8, 5]),
        ),
        "embedding": golden(
            embedding, weight=some(11, 7), ids=torch.tensor([3, 10, 3, 0, 3, 7, 10, 1])
        ),
        "select_rows": golden(select_rows, x=some(6, 5), rows=torch.tensor([4, 0, 5])),
        "linear_logprob": golden(
            linear_logprob,
            hidden=some(9, 21),
            weight=some(45, 21),
            targets=torch.tensor([0, 44, 7, 7, 31, 2, 19, 44, 12]),
        ),
        "attention": golden(
            attention, qkv=some(45, (4 + 2 + 2) * 6), starts=torch.tensor([0, 1, 35, 45])
        ),
        "adamw": adamw(),
    }
    for name, bidirectional in [("biased_attention", False), ("bidirectional_biased_attention", True)]:
        inputs = {"qkv": some(45, (4 + 2 + 2) * 6, scale=0.5), "table": some(8, 4)}
        starts = torch.tensor([0, 1, 35, 45])
        goldens[name] = golden(biased_attention(bidirectional), **inputs, starts=starts)
    settings = [(32, 128), (16, 64), (64, 256), (20, 50), (9, 33)]
    goldens["t5_buckets"] = {
        f"{count}_{far}_{kind}": listed(t5_buckets(count, far, kind == "bidirectional"))
        for count, far in settings
        for kind in ("past", "bidirectional")
    }
    path = pathlib.Path(__file__).parent.parent / "tests" / "golden" / "ops.json"
    path.parent.mkdir(exist_ok=True)
    lines = [f"{json.dumps(name)}: {json.dumps(numbers)}" for name, numbers in goldens.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()

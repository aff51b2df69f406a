"""The peers of finetuning a T5, for torch_peers.py: transformers' own model with SDPA, eager and compiled.

Each row is one pair of the full lengths, so that nothing is padded and no mask is needed, which suits the peers. As transformers
keeps it when it loads a T5 in bf16, `wo` is f32 (and with it all of the residual stream behind it); AdamW works on f32 masters,
and so does Adafactor where the work has a z-loss, as Flan-T5 was tuned: PyTorch's own, whose `foreach` form is the fast one, and
transformers'.
"""
import gc

import torch
from transformers.optimization import Adafactor

from gpu_peers import ADAFACTOR, DISTINCT, OPTIMIZER, flops_per_token, rates
from random_llama import save_model
from random_t5 import make_t5
from watched import write_lines


def train_t5(peers):
    size, device = peers.size, peers.device
    rows, source, target = size["rows"], size["source"], size["target"]
    kind = torch.bfloat16 if peers.cuda else torch.float32
    model = make_t5(size["shape"], size["dropout"])
    save_model(model, peers.arguments.work / "model")
    ids = torch.randint(3, model.config.vocab_size, (DISTINCT, rows, source + target), generator=torch.Generator().manual_seed(3))
    records = ids.view(-1, source + target).tolist()
    write_lines(peers.arguments.work / "rows.jsonl", [{"input_ids": record, "labels": [-100] * source + record[source:]} for record in records])
    ids, model = ids.to(device), None
    flops = flops_per_token(peers.arguments.work / "model", size)

    def describe(settings):
        return lambda seconds: rates([rows * (source + target) / second for second in seconds], flops) | settings

    z_loss = size.get("z_loss")

    def optimizer_of(masters, way):
        if z_loss is None:
            return torch.optim.AdamW(masters, lr=OPTIMIZER["learning_rate"], betas=tuple(OPTIMIZER["betas"]), eps=OPTIMIZER["epsilon"],
                                     weight_decay=OPTIMIZER["weight_decay"], fused=peers.cuda)
        if way == "transformers' Adafactor":
            return Adafactor(masters, lr=ADAFACTOR["learning_rate"], relative_step=False, warmup_init=False)
        return torch.optim.Adafactor(masters, lr=ADAFACTOR["learning_rate"], weight_decay=0.0, foreach=True)

    def loss_of(run, part):
        labels = part[:, source:].contiguous()
        found = run(input_ids=part[:, :source], labels=labels, use_cache=False)
        return found.loss if z_loss is None else found.loss + z_loss * found.logits.float().logsumexp(-1).square().mean()

    def manual(way, at_once):
        """A training step of micro-batches of `at_once` pairs."""
        model = make_t5(size["shape"], size["dropout"], device=device).train()
        model.set_attn_implementation("eager" if way == "eager attention" else "sdpa")
        masters = list(model.parameters())
        for name, part in model.named_parameters():
            part.data = part.data.to(torch.float32 if name.endswith("wo.weight") else kind)
        weights, masters = masters, [weight.detach().float().clone() for weight in masters]
        for master in masters:
            master.grad = torch.zeros_like(master)
        if way == "blocks compiled":
            for block in [*model.encoder.block, *model.decoder.block]:
                block.compile()
        run = torch.compile(model) if way == "whole model compiled" else model
        optimizer = optimizer_of(masters, way)
        made = [0]

        def step():
            batch, total = ids[made[0] % DISTINCT], 0.0
            made[0] += 1
            for part in batch.split(at_once):
                loss = loss_of(run, part) * (len(part) / rows)
                loss.backward()
                total = total + loss.detach()
            torch._foreach_copy_([master.grad for master in masters], [weight.grad for weight in weights])
            if z_loss is None:
                torch.nn.utils.clip_grad_norm_(masters, OPTIMIZER["max_grad_norm"])
            optimizer.step()
            with torch.no_grad():
                torch._foreach_copy_(weights, masters)
            model.zero_grad(set_to_none=True)
            return total

        return step

    found = [rows]

    def fitting(way):
        """The largest micro-batch that fits, from that of the peer before on."""
        while True:
            try:
                step = manual(way, found[0])
                return step, describe({"micro_batch_rows": found[0], "first_loss": step().item()})
            except torch.OutOfMemoryError:
                if found[0] == 1:
                    raise
            step = None
            gc.collect()
            torch.cuda.empty_cache()
            found[0] //= 2

    peers.measure("sdpa", lambda: fitting("sdpa"))
    peers.measure("sdpa, blocks compiled", lambda: fitting("blocks compiled"), needs=15)
    peers.measure("sdpa, whole model compiled", lambda: fitting("whole model compiled"), needs=30)
    if z_loss is not None:
        peers.measure("transformers' Adafactor", lambda: fitting("transformers' Adafactor"))
    peers.measure("eager attention", lambda: fitting("eager attention"))

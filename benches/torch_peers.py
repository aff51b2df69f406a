#!/usr/bin/env python3
"""The PyTorch peers of gpu_peers.py, which runs this as a child, one piece of work each, and says how it measures.

    python benches/torch_peers.py WORK --work FOLDER --deadline MONOTONIC_SECONDS [--device cuda] [--box 4] [--tiny]

Appends a line of JSON for each peer to FOLDER/peers.jsonl, whatever becomes of it: one that fails leaves its error. Of a
finetuning, FOLDER/model and FOLDER/rows.jsonl are what both sides start from.
"""
import argparse
import gc
import importlib.util
import inspect
import json
import os
import pathlib
import statistics
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
import torch
import torch.utils.checkpoint
import transformers

from gpu_peers import DISTINCT, OPTIMIZER, WARM, WORK, flops_per_token, rates, sizes
from random_llama import make_model, save_model
from torch_t5 import train_t5
from watched import write_lines


class Peers:
    """Measures one peer after the other, and appends a line for each, whatever becomes of it."""

    def __init__(self, arguments):
        self.arguments, self.device, self.deadline = arguments, arguments.device, arguments.deadline
        self.size, self.cuda = sizes(arguments.tiny, arguments.name), arguments.device != "cpu"

    def say(self, **values):
        with open(self.arguments.work / "peers.jsonl", "a") as file:
            file.write(json.dumps(values) + "\n")

    def measure(self, name, prepare, needs=5, package=None, **counts):
        """`prepare` returns a step to time and a function from the seconds of each step to what is reported."""
        if package and not importlib.util.find_spec(package):
            return self.say(peer=name, error="not installed")
        if self.deadline - time.monotonic() < needs:
            return self.say(peer=name, error="not run: no time was left")
        self.say(peer=name, error="did not end: its time was over, or its process died")  # replaced by the next line, if it gets there
        begin = time.monotonic()
        try:
            values = self.timed(*prepare(), **counts)
            self.say(peer=name, **values, wall_s=round(time.monotonic() - begin, 1))
            return values
        except Exception as error:  # a peer that fails is a result
            self.say(peer=name, error=f"{type(error).__name__}: {error}"[:1500])
        finally:
            prepare = None
            gc.collect()
            torch._dynamo.reset()
            if self.cuda:
                torch.cuda.empty_cache()

    def mark(self):
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def timed(self, step, describe, warm=WARM, least=5, most=30):
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        for _ in range(warm):
            step()
        marks, end = [self.mark()], min(time.monotonic() + self.arguments.box, self.deadline)
        while len(marks) <= most and (len(marks) <= least or time.monotonic() < end):
            step()
            marks.append(self.mark())
            if self.cuda:
                marks[-2].synchronize()
        memory = {}
        if self.cuda:
            torch.cuda.synchronize()
            seconds = [one.elapsed_time(two) / 1000 for one, two in zip(marks, marks[1:])]
            free, total = torch.cuda.mem_get_info()
            beside = total - free - torch.cuda.memory_reserved()
            memory = {"peak_mib": (torch.cuda.max_memory_reserved() + beside) >> 20, "peak_allocated_mib": torch.cuda.max_memory_allocated() >> 20}
        else:
            seconds = [two - one for one, two in zip(marks, marks[1:])]
        return describe(seconds) | memory


def plain_loss(hidden, weight, labels):
    return torch.nn.functional.cross_entropy(torch.nn.functional.linear(hidden, weight).float(), labels, reduction="sum")


def train_peers(peers):
    transformers.models.llama.modeling_llama.create_causal_mask = lambda *_, **__: None  # rows of one sequence: SDPA is causal by itself, and flash
    size, device = peers.size, peers.device
    rows, tokens, count = size["rows"], size["tokens"], size["rows"] * (size["tokens"] - 1)
    kind = torch.bfloat16 if peers.cuda else torch.float32
    model = make_model(size["shape"], kind, device)
    save_model(model, peers.arguments.work / "model")
    ids = torch.randint(3, model.config.vocab_size, (DISTINCT, rows, tokens), generator=torch.Generator().manual_seed(3))
    records = ids.view(-1, tokens).tolist()
    write_lines(peers.arguments.work / "rows.jsonl", [{"input_ids": record, "labels": record} for record in records])
    ids, model = ids.to(device), None
    flops = flops_per_token(peers.arguments.work / "model", size)

    def describe(settings):
        return lambda seconds: rates([rows * tokens / second for second in seconds], flops) | settings

    def manual(way, at_once):
        """A training step of micro-batches of `at_once` rows."""
        model = make_model(size["shape"], kind, device).train()
        head, loss_of, body = model.lm_head.weight, plain_loss, model.model
        if way == "varlen":
            model.set_attn_implementation("varlen")
        if way in ("blocks", "varlen"):
            for layer in body.layers:
                layer.compile()
        if way == "graphs":
            body = torch.compile(body, mode="reduce-overhead")
        if way in ("blocks", "varlen", "graphs"):
            loss_of = torch.compile(plain_loss)
        if way == "liger":
            from liger_kernel.transformers import apply_liger_kernel_to_llama
            apply_liger_kernel_to_llama(model=model)
        weights = list(model.parameters())
        masters = [weight.detach().float().clone() for weight in weights]
        for master in masters:
            master.grad = torch.zeros_like(master)
        optimizer = torch.optim.AdamW(masters, lr=OPTIMIZER["learning_rate"], betas=tuple(OPTIMIZER["betas"]), eps=OPTIMIZER["epsilon"],
                                      weight_decay=OPTIMIZER["weight_decay"], fused=peers.cuda)
        made = [0]

        def step():
            batch, total = ids[made[0] % DISTINCT], 0.0
            made[0] += 1
            for part in batch.split(at_once):
                if way == "graphs":
                    torch.compiler.cudagraph_mark_step_begin()
                if way == "liger":
                    loss = model(input_ids=part, labels=part, use_cache=False).loss * (len(part) * (tokens - 1) / count)
                else:
                    inputs = part.reshape(1, -1) if way == "varlen" else part
                    positions = torch.arange(tokens, device=device).repeat(inputs.numel() // tokens)[None] if way == "varlen" else None
                    hidden = body(inputs, position_ids=positions, use_cache=False).last_hidden_state.view(len(part), tokens, -1)
                    loss = loss_of(hidden[:, :-1].flatten(0, 1), head, part[:, 1:].flatten()) / count
                loss.backward()
                total = total + loss.detach()
            torch._foreach_copy_([master.grad for master in masters], [weight.grad for weight in weights])
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

    peers.measure("eager", lambda: fitting("eager"))
    peers.measure("blocks compiled", lambda: fitting("blocks"), needs=12)
    peers.measure("liger-kernel", lambda: fitting("liger"), package="liger_kernel")
    peers.measure("trl", lambda: trl_step(peers, records, found[0], describe), needs=12, package="trl")
    peers.measure("whole model compiled, CUDA graphs", lambda: fitting("graphs"), needs=30)
    peers.measure("varlen, blocks compiled", lambda: register_varlen(tokens) or fitting("varlen"), needs=20)


def register_varlen(tokens):
    """Makes `varlen_attn` an attention of transformers, for a flat row of sequences of `tokens` each."""
    from torch.nn.attention.varlen import varlen_attn
    from transformers import AttentionInterface

    keys = inspect.signature(varlen_attn).parameters
    causal = {"is_causal": True} if "is_causal" in keys else {"window_size": (-1, 0)}

    def varlen(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **_):
        query, key, value = (part[0].transpose(0, 1) for part in (query, key, value))  # (B·T, H, D)
        if "enable_gqa" in keys:
            grouped = {"enable_gqa": True}
        else:
            key, value, grouped = *(part.repeat_interleave(query.shape[1] // part.shape[1], 1) for part in (key, value)), {}
        starts = torch.arange(0, query.shape[0] + 1, tokens, device=query.device, dtype=torch.int32)
        return varlen_attn(query.contiguous(), key.contiguous(), value.contiguous(), starts, starts, tokens, tokens, **causal, **grouped)[None], None

    AttentionInterface.register("varlen", varlen)


def trl_step(peers, records, at_once, describe):
    """TRL runs its loop itself: all steps are made in the first call, and the times are its own."""
    import datasets
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    size, marks, losses, work = peers.size, [], [], peers.arguments.work

    class Marks(TrainerCallback):
        def on_step_end(self, _, state, control, **__):
            if peers.cuda:
                torch.cuda.synchronize()
            marks.append(time.perf_counter())

        def on_log(self, _, state, control, logs=None, **__):
            losses.extend([logs["loss"]] if "loss" in logs else [])

    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(work / "model/tokenizer.json"), eos_token="t2", pad_token="t0")
    model = AutoModelForCausalLM.from_pretrained(work / "model", dtype=torch.float32, attn_implementation="sdpa")
    config = SFTConfig(output_dir=str(work / "trl"), use_cpu=not peers.cuda, bf16=peers.cuda, gradient_checkpointing=False, max_steps=WARM + 6,
                       per_device_train_batch_size=at_once, gradient_accumulation_steps=size["rows"] // at_once, max_length=size["tokens"],
                       learning_rate=OPTIMIZER["learning_rate"], lr_scheduler_type="constant", report_to=[], save_strategy="no", packing=False,
                       optim="adamw_torch_fused" if peers.cuda else "adamw_torch", logging_steps=1, disable_tqdm=True)
    data = datasets.Dataset.from_dict({"input_ids": records})

    class InOrder(SFTTrainer):
        def _get_train_sampler(self, *_, **__):
            return torch.utils.data.SequentialSampler(self.train_dataset)

    def values(_):
        seconds = [two - one for one, two in zip(marks[WARM:], marks[WARM + 1:])]
        return describe({"micro_batch_rows": at_once, "first_loss": losses[0], "precision": "autocast"})(seconds)

    trainer = InOrder(model=model, args=config, train_dataset=data, processing_class=tokenizer, callbacks=[Marks()])
    return (lambda: None if marks else trainer.train()), values


def attention_peers(peers):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    batch, heads, tokens, width = (peers.size[key] for key in ("batch", "heads", "tokens", "width"))
    flops, times = 2 * batch * heads * tokens**2 * width, 10  # two products, a half of each
    for backend in ("FLASH_ATTENTION", "CUDNN_ATTENTION"):
        def prepare(backward):
            query, key, value, upstream = (torch.randn(batch, heads, tokens, width, device=peers.device, dtype=torch.bfloat16) for _ in range(4))
            inputs = [part.requires_grad_(backward) for part in (query, key, value)]
            with sdpa_kernel(getattr(SDPBackend, backend)):
                out = torch.nn.functional.scaled_dot_product_attention(*inputs, is_causal=True)

            def step():
                with sdpa_kernel(getattr(SDPBackend, backend)):
                    for _ in range(times):
                        if backward:
                            torch.autograd.grad(out, inputs, upstream, retain_graph=True)
                        else:
                            torch.nn.functional.scaled_dot_product_attention(*inputs, is_causal=True)

            return step, lambda seconds: flop_rates(seconds, times * flops * (2.5 if backward else 1), times)

        for backward, name in ((False, "forward"), (True, "backward")):
            peers.measure(f"{backend.split('_')[0].lower()} {name}", lambda: prepare(backward))


def head_peers(peers):
    tokens, width, vocabulary = (peers.size[key] for key in ("tokens", "width", "vocabulary"))
    kind = torch.bfloat16 if peers.cuda else torch.float32

    def chunked(loss_of, chunks):
        """One chunk of logits at a time, made again in the backward."""
        def whole(hidden, weight, labels):
            return sum(torch.utils.checkpoint.checkpoint(loss_of, part, weight, its, use_reentrant=False)
                       for part, its in zip(hidden.chunk(chunks), labels.chunk(chunks)))
        return whole

    def liger():
        from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction as function
        return lambda hidden, weight, labels: function.apply(hidden, weight, labels, None, None, -100, 0.0, 0.0, "sum")[0]

    def prepare(make):
        loss_of = make()
        hidden, weight = (torch.randn(rows, width, device=peers.device, dtype=kind).mul_(width**-0.25).requires_grad_() for rows in (tokens, vocabulary))
        labels = torch.randint(vocabulary, (tokens,), device=peers.device)
        held = torch.cuda.memory_allocated() + sum(part.numel() * part.element_size() for part in (hidden, weight)) if peers.cuda else 0

        def step():
            hidden.grad = weight.grad = None
            loss = loss_of(hidden, weight, labels) / tokens
            loss.backward()
            return loss.detach()

        def describe(seconds):  # beside the inputs and their gradients
            extra = {"extra_mib": (torch.cuda.max_memory_allocated() - held) >> 20} if peers.cuda else {}
            return flop_rates(seconds, 6 * tokens * width * vocabulary) | extra

        return step, describe

    peers.measure("liger-kernel", lambda: prepare(liger), package="liger_kernel")
    peers.measure("chunked by 8, compiled", lambda: prepare(lambda: chunked(torch.compile(plain_loss), 8)))
    peers.measure("plain, compiled", lambda: prepare(lambda: torch.compile(plain_loss)))
    peers.measure("chunked by 8, eager", lambda: prepare(lambda: chunked(plain_loss, 8)))
    peers.measure("plain, eager", lambda: prepare(lambda: plain_loss))


def decode_peers(peers):
    rows, tokens, new = (peers.size[key] for key in ("rows", "tokens", "new"))
    kind = torch.bfloat16 if peers.cuda else torch.float32

    def prepare(cache):
        model = make_model(peers.size["shape"], kind, peers.device).eval()
        model.generation_config.eos_token_id, model.generation_config.pad_token_id = None, 0
        ids = torch.randint(3, model.config.vocab_size, (rows, tokens), device=peers.device)

        def step():  # a static cache makes `generate` compile the forward, with CUDA graphs
            model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False, cache_implementation=cache)

        return step, lambda seconds: rates([rows * new / second for second in seconds]) | {"prompt_tokens": tokens, "new_tokens": new}

    peers.measure("static cache, compiled", lambda: prepare("static"), warm=2, least=2)
    peers.measure("dynamic cache, eager", lambda: prepare("dynamic"), needs=15, warm=1, least=2)


def flop_rates(seconds, flops, times=1):
    middle = statistics.median(seconds)
    return {"ms": round(middle * 1000 / times, 4), "tflops": round(flops / middle / 1e12, 1), "steps": len(seconds)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=list(WORK))
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--deadline", type=float, required=True, help="on the clock that `time.monotonic` reads")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--box", type=float, default=4, help="seconds in which the steps of a peer are timed")
    parser.add_argument("--tiny", action="store_true")
    peers = Peers(parser.parse_args())
    torch._dynamo.config.recompile_limit = 64
    peers.say(about={"device": torch.cuda.get_device_name() if peers.cuda else "cpu", "torch": torch.__version__, "transformers": transformers.__version__})
    works = {"attention": attention_peers, "head": head_peers, "decode": decode_peers, "t5": train_t5, "t5_dropped": train_t5, "t5_flan": train_t5}
    works.get(peers.arguments.name, train_peers)(peers)


if __name__ == "__main__":
    main()

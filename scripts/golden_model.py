#!/usr/bin/env python3
"""Writes the golden numbers that `crates/model/tests/parity.rs` holds our LLaMA to.

Shows: for a handful of tiny LLaMA models with random weights, what transformers (PyTorch, f32,
eager attention) computes for them: logits, log-probabilities, loss, gradients, training losses
and greedy continuations. Each variant is a Hugging Face folder, so loading is under test too.

    python scripts/golden_model.py --output tests/golden/llama_tiny            # write
    python scripts/golden_model.py --output tests/golden/llama_tiny --check    # compare, write nothing

Needs: pip install torch==2.15.0 transformers==5.23.0 safetensors numpy. Takes half a minute on one core.

The same machine writes the same bytes again; another CPU differs in the last digits, which is what
`--check` allows for (1e-5 of each tensor's or list's largest value).

Variants (hidden 64, 2 layers, 4 heads, vocabulary 128, feed-forward 48, random weights):

    tied            tied head, 2 key/value heads, plain config of `rope_theta` alone; f32 weights;
                    the only one with `gradients.safetensors` (every gradient in full) and a tokenizer (one word an id)
    untied_bias     untied head, `attention_bias` true (q, k, v and o), bf16 weights
    llama3          rope_scaling llama3, f16 weights
    linear          rope_scaling linear in its old spelling (`type`), bf16 weights in two files with an index
    dynamic         rope_scaling dynamic over 32 positions, with longer sequences beside shorter ones; bf16 weights
    wide_heads      head_dim 32 where hidden / heads is 16, bf16 weights, newer spelling `rope_parameters`
    mha             as many key/value heads as query heads, `num_key_value_heads` and `head_dim` absent,
                    tied head although `lm_head.weight` is stored as well; bf16 weights

reference.json of each variant:

    made_by         versions of torch and transformers
    sequences       [{ids, learned}]: learned[i] says that ids[i] is a target (never the first)
    packed          the sequences laid end to end: ids, positions (from 0 in each), starts (0 … T, one more than
                    sequences), rows (packed rows whose NEXT token is learned), targets (those tokens, aligned with rows),
                    target_starts (one more than sequences: which rows are of which sequence)
    logits          [{row, values}]: all 128 logits at some packed rows
    logprobs        ln p(targets[k]) at rows[k]
    loss            -sum(logprobs) / count
    gradients       name -> {norm, entries: [[flat index, value], …]}: of `loss`, row-major; tied: under the embedding's name
    training        ten AdamW steps from the stored weights: learning_rate, betas, epsilon, weight_decay (matrices only;
                    vectors, that is norms and biases, have none), max_grad_norm,
                    steps: [{micro_batches: [[sequence, …], …], loss, grad_norm, supervised_tokens}],
                    after: name -> {norm, entries} of the weights when all steps are done.
                    Each step's loss is its sum over all micro-batches divided once by its supervised tokens, before the
                    update; grad_norm is taken before clipping; the clip factor is min(1, max / (norm + 1e-6))
    greedy          [{prompt, continuation}]: no stop token, margin_min: the smallest gap between first and second logit
    growing         `dynamic` alone: as greedy, by `use_cache=True` and across `max_position_embeddings`: a token keeps
                    the key that it had when it was new, and later ones turn by the frequencies of the length so far
    noise           how far transformers differs from itself when attention is `sdpa` instead of `eager`:
                    logits (absolute), gradients (largest of any parameter, relative to its norm), losses (largest of
                    the ten, absolute), after (largest of any parameter's entries after ten steps, absolute)

Every sequence is run alone; nothing is padded. Frequencies of `dynamic` are those of a fresh model
for each sequence (transformers keeps them from one call to the next).
"""
import argparse
import copy
import json
import pathlib
import sys
import tempfile

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

HIDDEN, LAYERS, HEADS, FEED_FORWARD, VOCABULARY = 64, 2, 4, 48, 128
LENGTHS = [37, 5, 24, 1, 60, 12, 2, 31]  # one too short to teach anything, one of a single target
NEW_TOKENS = 12
TRAINING = {"learning_rate": 1e-3, "betas": [0.9, 0.999], "epsilon": 1e-8, "weight_decay": 0.1, "max_grad_norm": 1.0}
MICRO_BATCHES = [  # cycled over the ten steps
    [[0, 1], [2, 3, 4]],
    [[5, 6, 7]],
    [[4], [1], [0, 6]],
    [[7, 2, 5], [3, 1]],
]
BASE = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": HIDDEN,
    "intermediate_size": FEED_FORWARD, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
    "num_key_value_heads": 2, "vocab_size": VOCABULARY, "max_position_embeddings": 256, "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0, "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float32",
}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}
VARIANTS = {  # name -> (changes to BASE, None removes; dtype of the file; number of files)
    "tied": ({"tie_word_embeddings": True}, torch.float32, 1),
    "untied_bias": ({"attention_bias": True}, torch.bfloat16, 1),
    "llama3": ({"rope_theta": 500000.0, "rope_scaling": LLAMA3}, torch.float16, 1),
    "linear": ({"rope_scaling": {"type": "linear", "factor": 4.0}}, torch.bfloat16, 2),
    "dynamic": ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}, "max_position_embeddings": 32}, torch.bfloat16, 1),
    "wide_heads": ({"head_dim": 32, "rope_theta": None, "torch_dtype": None, "dtype": "bfloat16",
                    "rope_parameters": {"rope_type": "default", "rope_theta": 20000.0}}, torch.bfloat16, 1),
    "mha": ({"num_key_value_heads": None, "tie_word_embeddings": True}, torch.bfloat16, 1),
}


def config_of(name):
    changes, dtype, _ = VARIANTS[name]
    config = BASE | {"torch_dtype": str(dtype).removeprefix("torch.")} | changes
    return {key: value for key, value in config.items() if value is not None}


def shapes_of(config):
    """Checkpoint name -> shape."""
    key_value = config.get("num_key_value_heads", HEADS)
    width = config.get("head_dim", HIDDEN // HEADS)
    shapes = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        for projection, rows in [("q", HEADS * width), ("k", key_value * width), ("v", key_value * width)]:
            shapes[f"{prefix}self_attn.{projection}_proj.weight"] = (rows, HIDDEN)
            if config.get("attention_bias"):
                shapes[f"{prefix}self_attn.{projection}_proj.bias"] = (rows,)
        shapes[f"{prefix}self_attn.o_proj.weight"] = (HIDDEN, HEADS * width)
        if config.get("attention_bias"):
            shapes[f"{prefix}self_attn.o_proj.bias"] = (HIDDEN,)
        shapes[f"{prefix}mlp.gate_proj.weight"] = (FEED_FORWARD, HIDDEN)
        shapes[f"{prefix}mlp.up_proj.weight"] = (FEED_FORWARD, HIDDEN)
        shapes[f"{prefix}mlp.down_proj.weight"] = (HIDDEN, FEED_FORWARD)
        shapes[f"{prefix}input_layernorm.weight"] = (HIDDEN,)
        shapes[f"{prefix}post_attention_layernorm.weight"] = (HIDDEN,)
    shapes["model.norm.weight"] = (HIDDEN,)
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (VOCABULARY, HIDDEN)
    return shapes


def random_weights(config, generator):
    """Weights large enough that attention is far from uniform and logits spread by about 2."""
    weights = {}
    for name, shape in shapes_of(config).items():
        noise = torch.randn(shape, generator=generator)
        if name.endswith("norm.weight"):
            weights[name] = 1.0 + 0.2 * noise
        elif name.endswith(".bias"):
            weights[name] = 0.3 * noise
        elif name.endswith(("q_proj.weight", "k_proj.weight")):
            weights[name] = noise * 1.5 * shape[1] ** -0.5
        elif name in ("model.embed_tokens.weight", "lm_head.weight"):
            weights[name] = 0.25 * noise
        else:
            weights[name] = noise * shape[1] ** -0.5
    return weights


def write_folder(folder, name, config, generator):
    _, dtype, files = VARIANTS[name]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    weights = {key: value.to(dtype).contiguous() for key, value in random_weights(config, generator).items()}
    if name == "mha":  # some exporters store the tied head as well; it is the embedding
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    if files == 1:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return
    place = {}
    for index in range(files):
        file = f"model-{index + 1:05}-of-{files:05}.safetensors"
        part = {key: value for at, (key, value) in enumerate(weights.items()) if at * files // len(weights) == index}
        save_file(part, folder / file, metadata={"format": "pt"})
        place |= dict.fromkeys(part, file)
    size = sum(value.nbytes for value in weights.values())
    index = {"metadata": {"total_size": size}, "weight_map": place}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def write_tokenizer(folder):
    """Words `w3` … `w127` apart by spaces, and three special tokens: enough for commands that want a tokenizer."""
    special = ["<unk>", "<s>", "</s>"]
    words = special + [f"w{index}" for index in range(len(special), VOCABULARY)]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None, "decoder": None,
        "added_tokens": [{"id": index, "content": word, **flags} for index, word in enumerate(special)],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": {word: index for index, word in enumerate(words)}, "unk_token": "<unk>"},
    }
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(names, indent=2) + "\n")


def make_sequences(generator):
    """Random ids, with the masks of real data: prompts, several turns, everything, one token, nothing."""
    sequences = []
    for index, length in enumerate(LENGTHS):
        ids = torch.randint(3, VOCABULARY, (length,), generator=generator).tolist()
        learned = [at > 0 and (index % 4 == 0 or at >= length // 2 or (index % 4 == 2 and 3 <= at < 8)) for at in range(length)]
        sequences.append({"ids": ids, "learned": learned})
    sequences[1]["learned"] = [False, False, False, True, False]
    return sequences


def pack(sequences):
    packed = {"ids": [], "positions": [], "starts": [0], "rows": [], "targets": [], "target_starts": [0]}
    for sequence in sequences:
        start = packed["starts"][-1]
        for at, (token, learned) in enumerate(zip(sequence["ids"], sequence["learned"])):
            packed["ids"].append(token)
            packed["positions"].append(at)
            if learned:
                packed["rows"].append(start + at - 1)
                packed["targets"].append(token)
        packed["starts"].append(start + len(sequence["ids"]))
        packed["target_starts"].append(len(packed["rows"]))
    return packed


def load(folder, attention="eager"):
    model, report = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation=attention, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not report[kind], f"{folder}: {kind} {report[kind]}"
    return model.eval()


def logits_alone(model, ids):
    """(T, V) of one sequence in a fresh model."""
    rotary = model.model.rotary_emb
    model.model.rotary_emb = type(rotary)(config=model.config)
    return model(torch.tensor([ids]), use_cache=False).logits[0]


def logprobs_alone(model, sequence):
    """ln p of each learned token, in order; empty where there is none."""
    logits = logits_alone(model, sequence["ids"])
    at = [index for index, learned in enumerate(sequence["learned"]) if learned]
    targets = torch.tensor([sequence["ids"][index] for index in at], dtype=torch.long)
    rows = torch.tensor([index - 1 for index in at], dtype=torch.long)
    return logits[rows].log_softmax(-1).gather(1, targets[:, None])[:, 0]


def number(value):
    return float(f"{float(value):.9g}")  # nine digits bring back every f32


def digest(named):
    """name -> norm (summed in f64) and four entries of each tensor."""
    result = {}
    for name, tensor in named:
        flat = tensor.detach().flatten()
        places = sorted({0, len(flat) // 3, len(flat) // 2 + 1, len(flat) - 1})
        result[name] = {"norm": number(flat.double().norm()), "entries": [[at, number(flat[at])] for at in places]}
    return result


def gradients(model, sequences):
    """The mean loss over all learned tokens, its gradients, and the log-probs."""
    model.zero_grad(set_to_none=True)
    logprobs = torch.cat([logprobs_alone(model, sequence) for sequence in sequences])
    loss = -logprobs.sum() / len(logprobs)
    loss.backward()
    return loss, logprobs, {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def train(model, sequences):
    """Ten steps of plain AdamW; a step's gradient is its sum over micro-batches divided once by its tokens."""
    matrices = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.dim() == 1]
    groups = [{"params": matrices, "weight_decay": TRAINING["weight_decay"]}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=TRAINING["learning_rate"], betas=tuple(TRAINING["betas"]), eps=TRAINING["epsilon"],
                                  foreach=False)
    steps = []
    for step in range(10):
        micro_batches = MICRO_BATCHES[step % len(MICRO_BATCHES)]
        tokens = sum(sum(sequences[index]["learned"]) for batch in micro_batches for index in batch)
        optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for batch in micro_batches:
            loss = -torch.cat([logprobs_alone(model, sequences[index]) for index in batch]).sum() / tokens
            loss.backward()
            total += loss.item()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), TRAINING["max_grad_norm"], foreach=False)
        optimizer.step()
        steps.append({"micro_batches": micro_batches, "loss": number(total), "grad_norm": number(norm), "supervised_tokens": tokens})
    return {**TRAINING, "steps": steps, "after": digest(model.named_parameters())}


@torch.no_grad()
def greedy(model, prompts):
    results, margin = [], float("inf")
    for prompt in prompts:
        ids = list(prompt)
        for _ in range(NEW_TOKENS):
            best = logits_alone(model, ids)[-1].topk(2)
            margin = min(margin, (best.values[0] - best.values[1]).item())
            ids.append(best.indices[0].item())
        results.append({"prompt": prompt, "continuation": ids[len(prompt):]})
    assert margin > 1e-3, f"a near tie ({margin:.1e}) would make the continuation depend on rounding: change the seed"
    return {"runs": results, "margin_min": number(margin)}


@torch.no_grad()
def growing(model, prompts):
    results, margin = [], float("inf")
    for prompt in prompts:
        rotary = model.model.rotary_emb
        model.model.rotary_emb = type(rotary)(config=model.config)
        cache, fresh, continuation = None, list(prompt), []
        for _ in range(2 * NEW_TOKENS):
            output = model(torch.tensor([fresh]), past_key_values=cache, use_cache=True)
            best = output.logits[0, -1].topk(2)
            margin = min(margin, (best.values[0] - best.values[1]).item())
            cache, fresh = output.past_key_values, [best.indices[0].item()]
            continuation += fresh
        results.append({"prompt": prompt, "continuation": continuation})
    assert margin > 1e-3, f"a near tie ({margin:.1e}) would make the continuation depend on rounding: take other prompts"
    return {"runs": results, "margin_min": number(margin)}


def reference(folder, name, seed):
    generator = torch.Generator().manual_seed(seed)
    write_folder(folder, name, config_of(name), generator)
    sequences = make_sequences(generator)
    packed = pack(sequences)
    model = load(folder)
    loss, logprobs, full = gradients(model, sequences)
    if name == "tied":
        save_file({key: value.contiguous() for key, value in full.items()}, folder / "gradients.safetensors")
        write_tokenizer(folder)
    with torch.no_grad():
        logits = torch.cat([logits_alone(model, sequence["ids"]) for sequence in sequences])
    chosen = [0, 1, packed["starts"][1] - 1, packed["starts"][1], packed["starts"][3], packed["starts"][4] + 40, len(packed["ids"]) - 1]
    other = load(folder, attention="sdpa")
    _, _, other_full = gradients(other, sequences)
    with torch.no_grad():
        other_logits = torch.cat([logits_alone(other, sequence["ids"]) for sequence in sequences])
    trained, other_trained = train(copy.deepcopy(model), sequences), train(copy.deepcopy(other), sequences)
    # Short of the limit, at it, beyond it, and one that never reaches it.
    crossing = [sequences[0]["ids"][:25], sequences[4]["ids"][:32], sequences[4]["ids"][:50], sequences[2]["ids"][:3]]
    prompts = [sequences[0]["ids"][:9], sequences[4]["ids"][:1], sequences[2]["ids"][:17], sequences[7]["ids"][:4]]
    return {
        "made_by": {"torch": torch.__version__, "transformers": transformers.__version__, "seed": seed},
        "sequences": sequences,
        "packed": packed,
        "logits": [{"row": row, "values": [number(value) for value in logits[row]]} for row in chosen],
        "logprobs": [number(value) for value in logprobs.detach()],
        "loss": number(loss.detach()),
        "gradients": digest(full.items()),
        "greedy": greedy(model, prompts),
        **({"growing": growing(model, crossing)} if name == "dynamic" else {}),
        "noise": {
            "logits": number((logits - other_logits).abs().max()),
            "gradients": number(max(((full[key] - other_full[key]).norm() / full[key].norm()).item() for key in full)),
            "losses": number(max(abs(one["loss"] - two["loss"]) for one, two in zip(trained["steps"], other_trained["steps"]))),
            "after": number(max(abs(one[1] - two[1]) for key in full for one, two in
                                zip(trained["after"][key]["entries"], other_trained["after"][key]["entries"]))),
        },
        "training": trained,
    }


def render(value, indent=0):
    """JSON with one line for each innermost list or object: readable differences, few bytes."""
    def flat(node):
        return not isinstance(node, (dict, list)) or not any(isinstance(child, (dict, list)) for child in
                                                            (node.values() if isinstance(node, dict) else node))
    pad = " " * (indent + 1)
    if flat(value):
        return json.dumps(value)
    if isinstance(value, dict):
        lines = [f"{pad}{json.dumps(key)}: {render(child, indent + 1)}" for key, child in value.items()]
        return "{\n" + ",\n".join(lines) + "\n" + " " * indent + "}"
    if all(isinstance(child, list) and flat(child) for child in value):
        return json.dumps(value)
    return "[\n" + ",\n".join(pad + render(child, indent + 1) for child in value) + "\n" + " " * indent + "]"


def differences(found, wanted, path, scale):
    """Yields (path, relative difference) of numbers; a difference of anything else is infinite."""
    if isinstance(wanted, dict):
        if not isinstance(found, dict) or found.keys() != wanted.keys():
            yield path, float("inf")
            return
        for key in wanted:
            if key not in ("made_by", "noise"):
                yield from differences(found[key], wanted[key], f"{path}.{key}", wanted.get("norm", scale))
    elif isinstance(wanted, list):
        if not isinstance(found, list) or len(found) != len(wanted):
            yield path, float("inf")
            return
        for at, (one, other) in enumerate(zip(found, wanted)):
            numbers = [abs(value) for value in wanted if isinstance(value, float)]
            yield from differences(one, other, f"{path}[{at}]", max(numbers) if len(numbers) > 2 else scale)
    elif isinstance(wanted, float):
        yield path, abs(found - wanted) / max(abs(scale or wanted), 1e-30)
    else:
        yield path, 0.0 if found == wanted else float("inf")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--check", action="store_true", help="compare with what is there instead of writing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    worst = 0.0
    for index, name in enumerate(VARIANTS):
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary) if arguments.check else arguments.output / name
            made = reference(folder, name, seed=index)
            if arguments.check:
                stored = json.loads((arguments.output / name / "reference.json").read_text())
                path, difference = max(differences(made, stored, name, None), key=lambda pair: pair[1])
                worst = max(worst, difference)
                print(f"{name:12} largest difference {difference:.1e} at {path}")
                continue
        (folder / "reference.json").write_text(render(made) + "\n")
        losses = made["training"]["steps"]
        print(f"{name:12} loss {made['loss']:.5f}, ten steps {losses[0]['loss']:.4f} … {losses[-1]['loss']:.4f}, "
              f"smallest greedy margin {made['greedy']['margin_min']:.4f}, "
              f"eager against sdpa: logits {made['noise']['logits']:.1e}, gradients {made['noise']['gradients']:.1e}, "
              f"losses {made['noise']['losses']:.1e}, after {made['noise']['after']:.1e}")
    sys.exit(worst > 1e-5)


if __name__ == "__main__":
    main()

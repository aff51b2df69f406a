#!/usr/bin/env python3
"""Writes the golden numbers that `crates/model/tests/t5_parity.rs` holds our T5 to.

Shows: for tiny T5s with random weights, what transformers (PyTorch, f32, eager attention) computes
for them: logits, loss, gradients, greedy and beam-search continuations. Each variant is a Hugging Face
folder, so loading is under test too.

    python scripts/golden_t5.py --output tests/golden/t5_tiny            # write
    python scripts/golden_t5.py --output tests/golden/t5_tiny --check    # compare, write nothing

Needs: pip install torch==2.15.0 transformers==5.23.0 safetensors numpy. Takes a few seconds on one core.

Variants (hidden 16, vocabulary 48, feed-forward 24, random weights that are exact in bf16):

    v1_0    relu, tied head, its input scaled; 2 heads of 8, which make 16 channels; 2 and 2 blocks
    v1_1    gated-gelu, head of its own, `tie_word_embeddings` false and no other key; 3 heads of 4, which make
            12; 3 blocks in the encoder and 2 in the decoder; `gradients.safetensors` holds every gradient in full
    ul2     gated-silu, tied head, not scaled (`scale_decoder_outputs` false); 4 heads of 6, which make 24; 8 buckets up
            to distance 20; the embedding is stored under the encoder's name alone

reference.json of each variant:

    made_by     versions of torch and transformers
    pairs       [{source, target}]: ids, both with their EOS where they have one
    logits      one list of rows for each pair: all 48 logits at each of the target's tokens
    loss        the mean of -ln p over all tokens of all targets
    gradients   name -> {norm, entries: [[flat index, value], …]}: of `loss`; the embedding's under `shared.weight`
    greedy      [{source, continuation}]: 12 new tokens, no stop token; margin_min: the smallest gap between first and
                second logit
    beams       [{source, stop, beams, length_penalty, early_stopping, continuation}]: at most 12 new tokens; up to the
                stop token, if it came

Every pair is run alone; nothing is padded.
"""
import argparse
import json
import pathlib
import sys
import tempfile

import torch
import transformers
from safetensors.torch import save_file
from transformers import T5Config, T5ForConditionalGeneration

VOCABULARY = 48
NEW_TOKENS = 12
VARIANTS = {
    "v1_0": dict(
        seed=1, shape=dict(num_heads=2, d_kv=8, feed_forward_proj="relu"), tied=True,
        written={},
    ),
    "v1_1": dict(
        seed=2, shape=dict(num_heads=3, d_kv=4, num_layers=3, feed_forward_proj="gated-gelu"), tied=False,
        written={"tie_word_embeddings": False},
    ),
    "ul2": dict(
        seed=3, tied=True,
        shape=dict(num_heads=4, d_kv=6, feed_forward_proj="gated-silu", relative_attention_num_buckets=8,
                   relative_attention_max_distance=20),
        written={"tie_word_embeddings": True, "scale_decoder_outputs": False},
    ),
}


def build(variant):
    """The model, and the object of its config.json."""
    torch.manual_seed(variant["seed"])
    shape = dict(vocab_size=VOCABULARY, d_model=16, d_ff=24, num_layers=2, dropout_rate=0.0, decoder_start_token_id=0)
    shape |= {"num_decoder_layers": 2} | variant["shape"]
    config = T5Config(**shape, **variant["written"], attn_implementation="eager")
    if "scale_decoder_outputs" in variant["written"]:
        config.scale_decoder_outputs = variant["written"]["scale_decoder_outputs"]
    model = T5ForConditionalGeneration(config).eval()
    if not variant["tied"]:
        config.tie_word_embeddings = False
        model.lm_head.weight = torch.nn.Parameter(torch.randn(VOCABULARY, 16))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "layer_norm" in name:
                parameter.copy_(1 + 0.2 * torch.randn_like(parameter))
            if "relative_attention_bias" in name:
                parameter.copy_(torch.randn_like(parameter))
            if name == "shared.weight" and variant["tied"]:
                # Else the token that was just said is what comes next, always.
                parameter.mul_(0.2)
            parameter.copy_(parameter.bfloat16().float())
    written = {
        "architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "is_encoder_decoder": True,
        "pad_token_id": 0, "eos_token_id": 1, "layer_norm_epsilon": 1e-6, "torch_dtype": "bfloat16",
        **shape, **variant["written"],
    }
    return model, written


def pairs(seed):
    random = torch.Generator().manual_seed(100 + seed)
    ids = lambda count: torch.randint(2, VOCABULARY, (count,), generator=random).tolist()
    # Beyond the exact buckets, with and without EOS, and the shortest there are.
    return [
        {"source": ids(40) + [1], "target": ids(7) + [1]},
        {"source": ids(5) + [1], "target": ids(24) + [1]},
        {"source": [1], "target": [1]},
        {"source": ids(12), "target": ids(3)},
    ]


def summary(tensor, count=6):
    flat = tensor.flatten()
    places = torch.linspace(0, flat.numel() - 1, min(count, flat.numel())).long().unique().tolist()
    return {"norm": flat.double().norm().item(), "entries": [[place, flat[place].item()] for place in places]}


def continuation(model, source, stop, **settings):
    model.generation_config.eos_token_id = stop
    with torch.no_grad():
        ids = model.generate(torch.tensor([source]), max_new_tokens=NEW_TOKENS, do_sample=False, **settings)
    ids = ids[0, 1:].tolist()
    return ids[: ids.index(stop) + 1] if stop in ids else ids


def margin(model, source, ids):
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([[0] + ids[:-1]])).logits[0]
    top = logits.topk(2, dim=-1).values
    return (top[:, 0] - top[:, 1]).min().item()


def compute(variant, folder):
    model, written = build(variant)
    state = {name: value.detach().bfloat16().contiguous() for name, value in model.state_dict().items()}
    for name in ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"]:
        state.pop(name)
    if variant["tied"]:
        state.pop("lm_head.weight")
    if folder.name == "ul2":
        state["encoder.embed_tokens.weight"] = state.pop("shared.weight")
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(written, indent=1, sort_keys=True) + "\n")

    examples = pairs(variant["seed"])
    logits, total, count = [], 0, 0
    for pair in examples:
        out = model(input_ids=torch.tensor([pair["source"]]), labels=torch.tensor([pair["target"]])).logits[0]
        logits.append(out.tolist())
        logprobs = out.log_softmax(-1)[torch.arange(len(pair["target"])), pair["target"]]
        total, count = total - logprobs.sum(), count + len(pair["target"])
    loss = total / count
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    if folder.name == "v1_1":
        save_file({name: value.contiguous() for name, value in gradients.items()}, folder / "gradients.safetensors")

    sources = [pair["source"] for pair in examples]
    none = VOCABULARY - 1 + 1000  # an id that no model says
    greedy, beams, margins = [], [], []
    for source in sources:
        ids = continuation(model, source, none, num_beams=1)
        greedy.append({"source": source, "continuation": ids})
        margins.append(margin(model, source, ids))
        for count_of, penalty, early in [(4, 1.0, False), (4, 1.0, True), (4, 2.0, False), (3, 0.0, False), (2, -1.0, False)]:
            # Tokens that come early and late in what is likely, so that beams end at different lengths.
            for stop in {ids[2], ids[-1], 1}:
                settings = dict(num_beams=count_of, length_penalty=penalty, early_stopping=early)
                found = continuation(model, source, stop, **settings)
                beams.append({"source": source, "stop": stop, "beams": count_of, "length_penalty": penalty,
                              "early_stopping": early, "continuation": found})
    return {
        "made_by": {"torch": torch.__version__, "transformers": transformers.__version__},
        "pairs": examples, "logits": logits, "loss": loss.item(),
        "gradients": {name: summary(value) for name, value in gradients.items()},
        "greedy": greedy, "margin_min": min(margins), "beams": beams,
    }


def rounded(value):
    """Seven digits are what f32 has."""
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, list):
        return [rounded(one) for one in value]
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return value


def differences(found, wanted, place=""):
    """Where two references differ by more than the last digits."""
    if isinstance(wanted, dict):
        return [line for key in wanted if key != "made_by" for line in differences(found[key], wanted[key], f"{place}/{key}")]
    if isinstance(wanted, list) and wanted and not isinstance(wanted[0], (int, float)):
        return [line for at, one in enumerate(wanted) for line in differences(found[at], one, f"{place}/{at}")]
    found, wanted = torch.tensor(found, dtype=torch.double), torch.tensor(wanted, dtype=torch.double)
    if found.shape != wanted.shape or (found - wanted).abs().max() > 1e-5 * wanted.abs().max().clamp_min(1e-3):
        return [f"{place}: found {found.tolist()}, wanted {wanted.tolist()}"]
    return []


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--check", action="store_true", help="compare with what is there, write nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    wrong = []
    for name, variant in VARIANTS.items():
        place = options.output / name / "reference.json"
        with tempfile.TemporaryDirectory() as scratch:
            folder = pathlib.Path(scratch) / name if options.check else options.output / name
            reference = rounded(compute(variant, folder))
            # transformers itself must read the folder as the model that was written.
            _, report = T5ForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
            lost = [key for key in report["missing_keys"] if "embed_tokens" not in key and key != "shared.weight"]
            assert not lost and not report["unexpected_keys"], report
        if options.check:
            wrong += [f"{name}{line}" for line in differences(reference, json.loads(place.read_text()))]
        else:
            place.write_text(json.dumps(reference, separators=(",", ":")) + "\n")
            print(f"{place}: loss {reference['loss']}, smallest margin {reference['margin_min']:.2e}")
    sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()

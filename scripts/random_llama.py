"""LLaMA folders with seeded random weights in the shapes of well-known models, and records of random ids for them.

For check_gpu.py and benches/gpu_peers.py: nothing is downloaded.
"""
import json

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

logging.disable_progress_bar()

# 0.04: twice the usual spread, so that attention is far from uniform, as in a trained model.
SHAPES = {
    "smollm2-135m": {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
                     "vocab_size": 49152, "rope_theta": 1e5, "initializer_range": 0.04},
    "llama-3.2-1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8,
                     "vocab_size": 128256, "rope_theta": 5e5},
    "tiny": {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
             "vocab_size": 1031, "rope_theta": 1e5, "initializer_range": 0.04},
}


def make_model(shape, dtype=torch.float32, device="cpu", seed=0):
    keys = dict(SHAPES[shape])
    config = LlamaConfig(tie_word_embeddings=True, max_position_embeddings=8192, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2,
                         rope_parameters={"rope_type": "default", "rope_theta": keys.pop("rope_theta")}, **keys)
    torch.manual_seed(seed)
    with torch.device(device):
        return LlamaForCausalLM(config).to(dtype)


def save_model(model, folder):
    """Saves it with a tokenizer that has a word for every id."""
    model.save_pretrained(folder)
    words = {f"t{index}": index for index in range(model.config.vocab_size)}
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None, "decoder": None, "model": {"type": "WordLevel", "vocab": words, "unk_token": "t0"}}))


def random_record(numbers, vocabulary, length):
    """Ids of which low ones are frequent, as words are, so that there is something to learn; the first part is not learned."""
    ids = [3 + int((vocabulary - 3) * numbers.random()**4) for _ in range(length)]
    hidden = numbers.randint(1, max(1, length * 2 // 3))
    return {"input_ids": ids, "labels": [-100] * hidden + ids[hidden:]}

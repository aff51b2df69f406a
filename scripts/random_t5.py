"""T5 folders with seeded random weights in the shapes of well-known models. Nothing is downloaded."""
import torch
from transformers import T5Config, T5ForConditionalGeneration
from transformers.utils import logging

logging.disable_progress_bar()

SHAPES = {
    "flan-t5-small": {"d_model": 512, "d_kv": 64, "num_heads": 6, "d_ff": 1024, "num_layers": 8, "num_decoder_layers": 8, "vocab_size": 32128},
    "flan-t5-large": {"d_model": 1024, "d_kv": 64, "num_heads": 16, "d_ff": 2816, "num_layers": 24, "num_decoder_layers": 24, "vocab_size": 32128},
    "tiny-t5": {"d_model": 128, "d_kv": 32, "num_heads": 3, "d_ff": 192, "num_layers": 2, "num_decoder_layers": 2, "vocab_size": 1031},
}


def make_t5(shape, dropout, dtype=torch.float32, device="cpu", seed=0):
    """Of the newer kind: gated GELU, a head of its own."""
    config = T5Config(feed_forward_proj="gated-gelu", tie_word_embeddings=False, dropout_rate=dropout, decoder_start_token_id=0, **SHAPES[shape])
    torch.manual_seed(seed)
    with torch.device(device):
        model = T5ForConditionalGeneration(config)
    with torch.no_grad():
        model.lm_head.weight.mul_(config.d_model**-0.5)  # as drawn, its logits would be in the tens
    return model.to(dtype)


def random_pair(numbers, vocabulary, length):
    """A source and the target behind it, `length` tokens together."""
    source = numbers.randint(2, length - 1)
    ids = [numbers.randint(3, vocabulary - 1) for _ in range(length)]
    return {"input_ids": ids, "labels": [-100] * source + ids[source:]}

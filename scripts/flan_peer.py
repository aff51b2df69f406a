"""A T5 tuned as Flan's were, by transformers, for check_gpu.py: its Adafactor with momentum, z-loss and label smoothing."""
import torch
import transformers
from transformers.optimization import Adafactor

ADAFACTOR = {"learning_rate": 1e-3, "momentum": 0.9, "min_dim_size_to_factor": 1, "max_grad_norm": 0.0}  # 1: as transformers has it
SOFTENING = {"z_loss": 1e-4, "label_smoothing": 0.1}


def flan_loss(model, record, softmax):
    """The sum over the learned tokens of one pair, softened."""
    source = record["labels"].count(-100)
    ids = torch.tensor([record["input_ids"]], device=model.device)
    logits = model(input_ids=ids[:, :source], labels=ids[:, source:]).logits[0].to(softmax)
    logprobs, share = logits.log_softmax(-1), SOFTENING["label_smoothing"]
    wanted = logprobs.gather(1, ids[0, source:, None])[:, 0]
    each = (1 - share) * wanted + share * logprobs.mean(-1) - SOFTENING["z_loss"] * logits.logsumexp(-1).square()
    return -each.sum()


def flan_steps(folder, steps, mode, device):
    """Losses and gradient norms of a plain loop over transformers' T5 with its Adafactor on f32 masters; `mode` is f32 or bf16."""
    torch.backends.cuda.matmul.allow_tf32 = False
    model = transformers.T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager" if mode == "f32" else "sdpa")
    model.eval().to(device)
    masters = [weight.detach().clone() for weight in model.parameters()]
    for name, weight in model.named_parameters():  # as transformers keeps them when it loads a T5 in bf16
        weight.data = weight.data.to(torch.float32 if mode == "f32" or name.endswith("wo.weight") else torch.bfloat16)
    weights = list(model.parameters())
    optimizer = Adafactor(masters, lr=ADAFACTOR["learning_rate"], beta1=ADAFACTOR["momentum"], relative_step=False, warmup_init=False)
    losses, norms = [], []
    for batches in steps:
        records = [record for batch in batches for record in batch]
        tokens = sum(label != -100 for record in records for label in record["labels"])
        for master in masters:
            master.grad = torch.zeros_like(master)
        total = 0.0
        for record in records:
            loss = flan_loss(model, record, torch.float64 if mode == "f32" else torch.float32) / tokens
            loss.backward()
            torch._foreach_add_([master.grad for master in masters], [weight.grad.float() for weight in weights])
            model.zero_grad(set_to_none=True)
            total += loss.item()
        losses.append(total)
        norms.append(sum(master.grad.double().square().sum() for master in masters).sqrt().item())
        optimizer.step()
        with torch.no_grad():
            torch._foreach_copy_(weights, masters)
    return losses, norms

"""The published Tuna trainer's step in plain PyTorch, for check_ranking.py and benches/ranking.py.

As the published code has it: the N candidates of each record are rows of one padded batch, each behind a copy of its
prompt; the model gives the logits of all positions, pads included; a candidate's score is the mean log-probability of
its response tokens; hinges by rank are averaged at each gap and added up over the gaps; beside them stands the
token-mean cross entropy of all candidates. Written from that description, not from its code.

A group is {"prompt": ids, "responses": [ids, ...], "scores": [...]}.
"""
import torch


def ranked(group):
    """The responses, best score first; ties keep the order of the file."""
    order = sorted(range(len(group["responses"])), key=lambda at: -group["scores"][at])
    return [group["responses"][at] for at in order]


def padded(groups, pad):
    """ids, attention mask and labels, (B N, T), padded on the right."""
    rows = [(group["prompt"], response) for group in groups for response in ranked(group)]
    longest = max(len(prompt) + len(response) for prompt, response in rows)
    ids, mask, labels = (torch.full((len(rows), longest), value) for value in (pad, 0, -100))
    for row, (prompt, response) in enumerate(rows):
        end = len(prompt) + len(response)
        ids[row, :end] = torch.tensor(prompt + response)
        mask[row, :end] = 1
        labels[row, len(prompt):end] = torch.tensor(response)
    return ids, mask, labels


def losses(model, groups, pad, margin, softmax=torch.float32):
    """The ranking loss and the cross entropy of a batch of groups with equally many candidates each."""
    ids, mask, labels = (tensor.to(model.device) for tensor in padded(groups, pad))
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1].to(softmax)
    labels = labels[:, 1:]
    learned = labels != -100
    logp = logits.log_softmax(-1).gather(2, labels.clamp(min=0)[..., None])[..., 0] * learned
    scores = (logp.sum(1) / learned.sum(1)).view(len(groups), -1)
    count = scores.shape[1]
    ranking = sum((margin * gap - (scores[:, :count - gap] - scores[:, gap:])).clamp(min=0).mean() for gap in range(1, count))
    return ranking, -logp.sum() / learned.sum()


def step(model, optimizer, batches, pad, margin=0.1, mle_weight=1.0, max_grad_norm=1.0, softmax=torch.float32):
    """One update from micro-batches of equally many groups, of which the losses are averaged; returns the loss and its two parts."""
    optimizer.zero_grad(set_to_none=True)
    parts = []
    for groups in batches:
        ranking, entropy = losses(model, groups, pad, margin, softmax)
        ((ranking + mle_weight * entropy) / len(batches)).backward()
        parts.append((ranking.item(), entropy.item()))
    torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
    optimizer.step()
    ranking, entropy = (sum(values) / len(batches) for values in zip(*parts))
    return ranking + mle_weight * entropy, ranking, entropy


def adamw(model, settings):
    """AdamW without weight decay, as the published settings have it."""
    return torch.optim.AdamW(model.parameters(), lr=settings["learning_rate"], betas=tuple(settings["betas"]),
                             eps=settings["epsilon"], weight_decay=0.0)

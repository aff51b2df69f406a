#!/usr/bin/env python3
"""Writes `tests/golden/objectives.json`: losses of ranked responses, and their gradients by each token.

    python scripts/golden_objectives.py

Where TRL has the loss, TRL's own code computes it: the loss of `DPOTrainer` and `KTOTrainer` for a model
that answers with the given log-probabilities, `CPOTrainer.cpo_loss` and `ORPOTrainer.odds_ratio_loss`.
The others are written here from the papers' formulas; `tuna` from its published trainer, with PyTorch's
own `margin_ranking_loss`. The gradients are PyTorch's, in f64 (TRL's ORPO computes in f32).

All inputs are multiples of 1/64, which f32 holds exactly, and so are their sums.

Needs: pip install torch==2.15.0 transformers==5.23.0 trl==1.16.0. Takes some seconds.
"""

import collections
import json
import pathlib
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from trl import DPOTrainer, KTOTrainer
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer

torch.set_num_threads(1)
numbers = torch.Generator().manual_seed(5)


def below(end):
    return int(torch.randint(end, (), generator=numbers))


def some(count, low, high):
    """Multiples of 1/64."""
    return [(low * 64 + below((high - low) * 64 + 1)) / 64 for _ in range(count)]


class Data:
    """Groups of responses: scores, log-probabilities of their tokens, and the reference's of the whole."""

    def __init__(self, scores):
        self.scores = scores  # of each group
        self.target_starts, self.group_starts, logp, self.reference = [0], [0], [], []
        for group in scores:
            for _ in group:
                tokens = some(1 + below(4), -3, 0)
                tokens = [token - 1 / 64 for token in tokens]  # no token is certain
                logp += tokens
                self.target_starts.append(len(logp))
                self.reference += [sum(tokens) - some(1, -2, 4)[0]]
            self.group_starts.append(len(self.reference))
        self.logp = torch.tensor(logp, dtype=torch.float64, requires_grad=True)
        self.flat_scores = [score for group in scores for score in group]

    def tokens(self, one):
        return self.logp[self.target_starts[one] : self.target_starts[one + 1]]

    def mean(self, one):
        return self.tokens(one).mean()

    def sum(self, one):
        return self.tokens(one).sum()

    def ratio(self, one):
        return self.sum(one) - self.reference[one]

    def ranked(self):
        """The responses of each group, best first; Python's sort is stable."""
        starts = zip(self.group_starts, self.group_starts[1:])
        groups = [list(range(start, end)) for start, end in starts]
        return [sorted(group, key=lambda one: -self.flat_scores[one]) for group in groups]

    def pairs(self, which):
        """Better and worse responses, with different scores."""
        pairs = []
        for group in self.ranked():
            if which == "best_worst":
                pairs += [(group[0], group[-1])]
            else:
                pairs += [(a, b) for at, a in enumerate(group) for b in group[at + 1 :]]
        return [(a, b) for a, b in pairs if self.flat_scores[a] != self.flat_scores[b]]

    def best_loss(self):
        """The token-mean cross entropy of the best of each group."""
        return -torch.cat([self.tokens(group[0]) for group in self.ranked()]).mean()

    def listed(self):
        return {
            "target_starts": self.target_starts,
            "group_starts": self.group_starts,
            "scores": self.flat_scores,
            "reference": self.reference,
            "logp": self.logp.tolist(),
        }


def stacked(values):
    return torch.stack(list(values))


# What TRL computes.


def padded(data, responses):
    """A batch as TRL's collators make it: one prompt token, then the response, then padding."""
    longest = max(len(data.tokens(one)) for one in responses)
    log_probs = stacked(F.pad(data.tokens(one), (0, longest - len(data.tokens(one)))) for one in responses)
    mask = stacked(
        F.pad(torch.ones(len(data.tokens(one)), dtype=torch.long), (1, longest - len(data.tokens(one))))
        for one in responses
    )
    batch = {"input_ids": torch.zeros_like(mask), "attention_mask": mask, "completion_mask": mask}
    return log_probs, batch


def trainer(**options):
    """As much of a trainer as its loss needs."""
    accelerator = SimpleNamespace(
        device="cpu", gather=lambda x: x, gather_for_metrics=lambda x: x
    )
    metrics = {"train": collections.defaultdict(list)}
    return SimpleNamespace(
        accelerator=accelerator, model=SimpleNamespace(training=True), aux_loss_enabled=False,
        _metrics=metrics, _total_train_tokens=0, _tp_size=1, precompute_ref_logps=True, **options,
    )  # fmt: skip


def model_of(log_probs):
    """A model that gives these log-probabilities, and something for all else that is logged."""
    zeros = torch.zeros_like(log_probs)
    outputs = SimpleNamespace(log_probs=log_probs, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())
    return lambda **inputs: outputs


def trl_dpo(data, pairs, loss_type, beta):
    better, worse = zip(*data.pairs(pairs))
    log_probs, batch = padded(data, better + worse)
    reference = torch.tensor(data.reference, dtype=torch.float64)
    batch |= {"ref_chosen_logps": reference[list(better)], "ref_rejected_logps": reference[list(worse)]}
    options = {"ld_alpha": None, "f_divergence_type": "reverse_kl", "use_weighting": False}
    of = trainer(loss_types=[loss_type], loss_weights=[1.0], beta=beta, **options)
    return DPOTrainer._compute_loss(of, model_of(log_probs), batch, return_outputs=False)


def trl_kto(data, beta, desirable_weight, undesirable_weight, desirable, estimate):
    """Each group is a batch; its own responses stand for those that estimate the KL divergence."""
    losses = []
    for group in data.ranked():
        log_probs, batch = padded(data, group)
        reference = torch.tensor([data.reference[one] for one in group], dtype=torch.float64)
        batch |= {f"KL_{name}": rows for name, rows in batch.items()}
        labels = [desirable(data.flat_scores[one]) for one in group]
        batch |= {"label": torch.tensor(labels), "ref_logps": reference, "ref_KL_logps": reference}
        of = trainer(
            beta=beta, desirable_weight=desirable_weight, undesirable_weight=undesirable_weight,
            calculate_KL=estimate, loss_type="kto",
        )  # fmt: skip
        model = model_of(log_probs)
        of._compute_kl_logps = lambda model, batch, of=of: KTOTrainer._compute_kl_logps(of, model, batch)
        loss = KTOTrainer._compute_loss(of, model, batch, return_outputs=False)
        losses += [loss] * len(group)
    return stacked(losses).mean()


def trl_cpo(values, data, pairs, loss_type, beta, gamma=0.0, label_smoothing=0.0):
    of = trainer(
        alpha=0.0, beta=beta, loss_type=loss_type, simpo_gamma=gamma, label_smoothing=label_smoothing
    )
    better, worse = (stacked(values(one) for one in side) for side in zip(*data.pairs(pairs)))
    losses, *_ = CPOTrainer.cpo_loss(of, better, worse)
    return losses.mean()


def trl_orpo(data, pairs, beta):
    better, worse = (stacked(data.mean(one) for one in side) for side in zip(*data.pairs(pairs)))
    losses, *_ = ORPOTrainer.odds_ratio_loss(trainer(beta=beta), better, worse)
    return -losses.mean()


# What is written from the formulas.


def tuna(data, margin=0.1, mle_weight=1.0, over="all"):
    means = [stacked(data.mean(one) for one in group) for group in data.ranked()]
    ranking = 0.0
    for gap in range(1, max(len(group) for group in means)):
        better = torch.cat([group[:-gap] for group in means if len(group) > gap])
        worse = torch.cat([group[gap:] for group in means if len(group) > gap])
        ranking += F.margin_ranking_loss(better, worse, torch.ones_like(better), margin=margin * gap)
    return ranking + mle_weight * (-data.logp.mean() if over == "all" else data.best_loss())


def tuna_of_the_paper(data, margin):
    """Σ over r_i < r_j of max(0, v_j - v_i + (j - i) m), a mean over the groups that have pairs."""
    groups = [group for group in data.ranked() if len(group) > 1]
    total = 0.0
    for group in groups:
        for j, worse in enumerate(group):
            for i, better in enumerate(group[:j]):
                total += F.relu(data.mean(worse) - data.mean(better) + (j - i) * margin)
    return total / len(groups) - data.logp.mean()


def rrhf(data, rank_weight):
    total, groups = 0.0, 0
    for group in data.ranked():
        means = stacked(data.mean(one) for one in group)
        scores = torch.tensor([data.flat_scores[one] for one in group])
        difference = means[None, :] - means[:, None]
        better = scores[None, :] > scores[:, None]
        total += -difference[better & (difference < 0)].sum()
        groups += bool(better.any())
    return rank_weight * total / groups + data.best_loss()


def plackett_luce(data, beta):
    total, groups = 0.0, 0
    for group in data.ranked():
        values = stacked(beta * data.ratio(one) for one in group)
        scores = torch.tensor([data.flat_scores[one] for one in group])
        bag = (scores[None, :] < scores[:, None]) | torch.eye(len(group), dtype=torch.bool)
        total += (values.masked_fill(~bag, -torch.inf).logsumexp(1) - values).sum()
        groups += bool(scores[0] > scores[-1])
    return total / groups


def lipo_lambda(data, beta, gain):
    total, groups = 0.0, 0
    for group in data.ranked():
        values = stacked(beta * data.ratio(one) for one in group)
        scores = torch.tensor([data.flat_scores[one] for one in group], dtype=torch.float64)
        if scores[0] == scores[-1]:
            continue
        scaled = (scores - scores.min()) / (scores.max() - scores.min())
        gains = 2**scaled - 1 if gain == "exponential" else scaled
        ranks = 1 + values.detach().argsort(descending=True).argsort()
        discounts = 1 / torch.log(1 + ranks.double())
        weights = (gains[:, None] - gains[None]).abs() * (discounts[:, None] - discounts[None]).abs()
        losses = weights * torch.log1p(torch.exp(values[None] - values[:, None]))
        total += losses[scores[:, None] > scores[None]].sum()
        groups += 1
    return total / groups


def cases(pairs, equal, ragged):
    """Objective, data, loss."""
    yield {"kind": "tuna"}, equal, tuna(equal)
    yield {"kind": "tuna"}, ragged, tuna(ragged)
    yield {"kind": "tuna", "margin": 0.5, "mle_weight": 0.25}, equal, tuna(equal, 0.5, 0.25)
    yield {"kind": "tuna", "margin": 0.5, "mle_over": "best"}, ragged, tuna(ragged, 0.5, over="best")
    yield {"kind": "tuna", "average": "groups", "margin": 0.5}, ragged, tuna_of_the_paper(ragged, 0.5)
    yield {"kind": "rrhf"}, equal, rrhf(equal, 1.0)
    yield {"kind": "rrhf", "rank_weight": 3.0}, ragged, rrhf(ragged, 3.0)
    yield {"kind": "plackett_luce", "beta": 0.5}, ragged, plackett_luce(ragged, 0.5)
    for gain in ("exponential", "linear"):
        yield {"kind": "lipo_lambda", "gain": gain}, equal, lipo_lambda(equal, 0.1, gain)
        yield {"kind": "lipo_lambda", "gain": gain, "beta": 0.5}, ragged, lipo_lambda(ragged, 0.5, gain)
    # On two responses it is DPO, as TRL has it.
    yield {"kind": "plackett_luce"}, pairs, trl_dpo(pairs, "all", "sigmoid", 0.1)

    for which, data in (("best_worst", pairs), ("best_worst", ragged), ("all", ragged)):
        best = data.best_loss()
        yield {"kind": "dpo", "pairs": which}, data, trl_dpo(data, which, "sigmoid", 0.1)
        yield (
            {"kind": "dpo", "pairs": which, "beta": 0.5, "label_smoothing": 0.2}, data,
            trl_cpo(data.ratio, data, which, "sigmoid", 0.5, label_smoothing=0.2),
        )  # fmt: skip
        yield {"kind": "ipo", "pairs": which}, data, trl_dpo(data, which, "ipo", 0.1)
        # The hinge of TRL is 1 - beta * difference: that of SLiC, divided by its margin.
        yield (
            {"kind": "slic", "pairs": which, "margin": 2.0, "mle_weight": 0.5}, data,
            2.0 * trl_cpo(data.sum, data, which, "hinge", 0.5) + 0.5 * best,
        )  # fmt: skip
        yield {"kind": "orpo", "pairs": which}, data, trl_orpo(data, which, 0.1) + best
        yield {"kind": "simpo", "pairs": which}, data, trl_cpo(data.mean, data, which, "simpo", 2.0, 1.0)
        yield (
            {"kind": "simpo", "pairs": which, "beta": 1.0, "gamma": 0.25, "mle_weight": 2.0}, data,
            trl_cpo(data.mean, data, which, "simpo", 1.0, 0.25) + 2.0 * best,
        )  # fmt: skip
        yield {"kind": "cpo", "pairs": which}, data, trl_cpo(data.sum, data, which, "sigmoid", 0.1) + best
        yield (
            {"kind": "cpo", "pairs": which, "label_smoothing": 0.2, "mle_weight": 0.5}, data,
            trl_cpo(data.sum, data, which, "sigmoid", 0.1, label_smoothing=0.2) + 0.5 * best,
        )  # fmt: skip

    for point, estimate in (("group", True), ("zero", False)):
        kto = {"kind": "kto", "reference_point": point}
        yield kto, pairs, trl_kto(pairs, 0.1, 1.0, 1.0, lambda score: score > 0.5, estimate)
        weighted = {"beta": 0.5, "desirable_weight": 1.5, "undesirable_weight": 0.5, "threshold": 2.0}
        wanted = trl_kto(equal, 0.5, 1.5, 0.5, lambda score: score > 2.0, estimate)
        yield kto | weighted, equal, wanted


def main():
    """Chosen and rejected, four candidates each, and groups of different sizes with ties."""
    data = {
        "pairs": Data([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]),
        "equal": Data([[3.0, 1.0, 4.0, 2.0], [2.5, 1.25, 0.5, -1.0], [0.0, 1.0, 2.0, 5.0]]),
        "ragged": Data([[3.0, 1.0, 1.0, 2.0, 4.0], [2.0], [1.0, 1.0], [0.25, 0.75, 0.75], [-2.0, -1.0]]),
    }
    names = {id(groups): name for name, groups in data.items()}
    goldens = []
    for objective, groups, loss in cases(**data):
        (gradient,) = torch.autograd.grad(loss, groups.logp)
        gradient = [float(f"{slope:.8g}") for slope in gradient.tolist()]
        loss = float(f"{loss.item():.10g}")
        goldens.append(
            {"objective": objective, "data": names[id(groups)], "loss": loss, "gradient": gradient}
        )
    lines = ",\n".join(json.dumps(golden) for golden in goldens)
    listed = ",\n".join(f"{json.dumps(name)}: {json.dumps(groups.listed())}" for name, groups in data.items())
    path = pathlib.Path(__file__).parent.parent / "tests/golden/objectives.json"
    path.write_text(f'{{"data": {{\n{listed}}},\n"cases": [\n{lines}]}}\n')
    print(f"{path}: {len(goldens)} losses, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()

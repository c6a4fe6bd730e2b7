"""How well one look at initialization predicts real training, and what the look costs.

    python -m benchmarks.trainability

For each plan (small and large networks): area under the curve and balanced accuracy on the 150 labelled networks with
the constants as they are, and with constants found without the family, or the depths, that is scored. Then how the
verdict of `diagnose` agrees with the labels, and the cost on ResNet-50, in plain steps.
"""

from collections import Counter
from time import process_time
from unittest.mock import patch

import torch
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from torch import Tensor
from torch.nn import functional as F

from d2lstab import diagnose
from d2lstab.trainability import forecast as subject
from tests.labelled_networks import configurations, network, samples

QUANTITIES = ("learnt", "excess", "directions")


def looks(plan) -> list[tuple[dict, object]]:
    """Every labelled network's configuration, with what one look under this plan says."""
    with patch.object(subject, "_PLANS", (plan,)):
        return [
            (config, subject.trainability(network(config), *samples(config), F.cross_entropy))
            for config in configurations()
        ]


def fitted(quantities: Tensor, labels: Tensor, ridge: float = 1.0) -> Tensor:
    """Weights and offset of the logistic regression that the constants come from: both labels weigh the same."""
    mean, spread = quantities.mean(0), quantities.std(0)
    rows = torch.cat([(quantities - mean) / spread, torch.ones(len(labels), 1, dtype=quantities.dtype)], 1)
    weight = torch.where(labels == 1, 0.5 / labels.mean(), 0.5 / (1 - labels.mean()))
    penalty = ridge * torch.eye(rows.shape[1], dtype=rows.dtype)
    penalty[-1, -1] = 1e-6
    found = torch.zeros(rows.shape[1], dtype=rows.dtype)
    for _ in range(25):  # Newton's steps
        p = (rows @ found).sigmoid()
        slope = rows.T @ (weight * (p - labels)) + penalty @ found
        found = found - torch.linalg.solve((rows.T * (weight * p * (1 - p))) @ rows + penalty, slope)
    weights = found[:-1] / spread
    return torch.cat([weights, (found[-1] - weights @ mean)[None]])


def left_out(quantities: Tensor, labels: Tensor, groups: list) -> Tensor:
    """Log-odds of each network, with constants found without its group."""
    answers = torch.zeros_like(labels)
    for group in set(groups):
        inside = torch.tensor([each == group for each in groups])
        constants = fitted(quantities[~inside], labels[~inside])
        answers[inside] = quantities[inside] @ constants[:-1] + constants[-1]
    return answers


def row(name: str, labels: Tensor, log_odds: Tensor) -> str:
    both = 0 < labels.mean() < 1
    area = f"{roc_auc_score(labels, log_odds):.3f}" if both else "  -  "
    return f"{name:34} {len(labels):4}   {area}   {balanced_accuracy_score(labels, log_odds > 0):.3f}" if both else name


def table(name: str, plan) -> None:
    found = looks(plan)
    for which in ("sgd", "adam"):
        pairs = [(config, look) for config, look in found if config[f"{which}_label"] is not None]
        labels = torch.tensor([config[f"{which}_label"] for config, _ in pairs], dtype=torch.float64)
        answers = torch.tensor([getattr(look, which) for _, look in pairs], dtype=torch.float64).logit()
        quantities = torch.tensor([[look.quantities[f"{which}_{each}"] for each in QUANTITIES] for _, look in pairs])
        family = [config["family"] for config, _ in pairs]
        depth = ["1-5" if c["depth"] < 6 else "6-14" if c["depth"] < 15 else "15-50" for c, _ in pairs]
        print(f"\n{name}, {which}{'':24} networks   area   balanced accuracy")
        print(row("all", labels, answers))
        for kind, groups in (("family", family), ("depth", depth)):
            print(row(f"all, constants without its {kind}", labels, left_out(quantities.double(), labels, groups)))
            for group in sorted(set(groups)):
                inside = torch.tensor([each == group for each in groups])
                print(row(f"  {kind} {group}", labels[inside], answers[inside]))
        print("constants", [round(value, 2) for value in fitted(quantities.double(), labels).tolist()])


def verdicts() -> None:
    """How often networks with each pair of labels are healthy, warned about, or at fault."""
    columns, found = ("healthy", "warning", "fault"), Counter()
    for config in configurations():
        findings = diagnose(network(config), *samples(config), F.cross_entropy).findings
        labels = "/".join(
            "-" if config[f"{which}_label"] is None else str(config[f"{which}_label"]) for which in ("sgd", "adam")
        )
        found[labels, findings[0].severity if findings else "healthy"] += 1
    print(f"\ntrains with SGD/Adam {'':12}" + "".join(f"{each:>10}" for each in columns))
    for labels in sorted({labels for labels, _ in found}):
        print(f"{labels:34}" + "".join(f"{found[labels, each]:10}" for each in columns))


def cost(batch: int = 32, pixels: int = 64) -> None:
    """What the look costs on ResNet-50, in plain steps of the same batch."""
    from torchvision.models import resnet50

    model, x, y = resnet50(num_classes=10), torch.randn(batch, 3, pixels, pixels), torch.arange(batch) % 10

    def seconds(f) -> float:
        start = process_time()
        f()
        return process_time() - start

    step = min(seconds(lambda: F.cross_entropy(model(x), y).backward()) for _ in range(4))
    look = seconds(lambda: subject.trainability(model, x, y, F.cross_entropy))
    print(f"\nResNet-50, {batch} images of {pixels}²: {look / step:.1f} plain steps")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name, plan in zip(("small networks", "large networks"), subject._PLANS):
        table(name, plan)
    verdicts()
    cost()

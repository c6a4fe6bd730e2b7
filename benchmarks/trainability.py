"""How well one look at initialization predicts real training, and what the look costs.

    python -m benchmarks.trainability

For each plan (small and large networks): area under the curve and balanced accuracy on the 150 labelled networks that read
digits and on those of experiments/tasks.py, with the constants as they are, and with constants found without the family
or task that is scored. Then how the verdict of `diagnose` agrees with the labels of the 150, and the cost on ResNet-50, in
plain steps.
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
from experiments.forecasts import DIGITS, QUANTITIES, ROWS, fitted, labels, left_out, setting
from tests.labelled_networks import configurations, network, samples


def looks(plan) -> dict[str, subject.Trainability]:
    """What one look under this plan says of every network whose training is known, by name."""
    with patch.object(subject, "_PLANS", (plan,)):
        return {name: subject.trainability(*setting(name)) for name in ROWS}


def row(name: str, labels: Tensor, log_odds: Tensor) -> str:
    both = 0 < labels.mean() < 1
    area = f"{roc_auc_score(labels, log_odds):.3f}" if both else "  -  "
    return f"{name:34} {len(labels):4}   {area}   {balanced_accuracy_score(labels, log_odds > 0):.3f}" if both else name


def table(name: str, plan) -> None:
    found = looks(plan)
    for which in ("sgd", "adam"):
        known = {each: label for each, label in labels(which).items() if label is not None and not found[each].note}
        trains = torch.tensor(list(known.values()), dtype=torch.float64)
        answers = torch.tensor([getattr(found[each], which) for each in known], dtype=torch.float64).logit()
        quantities = torch.tensor(
            [[found[each].quantities[f"{which}_{q}"] for q in QUANTITIES] for each in known], dtype=torch.float64
        )
        groups = [each.partition(":")[0] for each in known]
        digits = torch.tensor([each in DIGITS for each in known])
        without = left_out(quantities, trains, groups)
        print(f"\n{name}, {which}{'':24} networks   area   balanced accuracy")
        for kind, part in (("digits", digits), ("other tasks", ~digits)):
            print(row(kind, trains[part], answers[part]))
            print(row(f"{kind}, constants without it", trains[part], without[part]))
        only = left_out(quantities[digits], trains[digits], [each for each in groups if each.startswith("digits")])
        print(row("digits, constants of digits only", trains[digits], only))
        for group in sorted(set(groups)):
            inside = torch.tensor([each == group for each in groups])
            print(row(f"  {group}", trains[inside], answers[inside]))
        print("constants", [round(value, 2) for value in fitted(quantities, trains).tolist()])


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

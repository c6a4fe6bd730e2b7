"""Which transformers learn at which rate, with a warm-up and without: chapter 10.

    python -m experiments.warmup [ROW ...]

Small transformers of characters under Adam: post-LN cold, post-LN with a warm-up, pre-LN, DeepNorm. What counts is the
loss beyond that of knowing how often each letter occurs, and whether the tokens still differ before the output.
"""

import sys
from collections.abc import Iterable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import LinearLR

from d2lstab import Dataset, lecun_normal_, train
from d2lstab.datasets import characters
from d2lstab.networks import transformer
from experiments.recipe import BATCH, BLOCKS, LENGTH, WIDTH, per_character
from experiments.stored import calculate

KINDS = {
    "post-LN": {"post_norm": True},
    "post-LN, warm-up": {"post_norm": True},
    "pre-LN": {},
    "DeepNorm": {"with_deepnorm": True},
}
ROWS = list(KINDS)
RATES = [0.001, 0.003, 0.005, 0.007, 0.01, 0.03]
STEPS, WARM, EVERY = 400, 100, 40  # the curve is a mean of so many steps
SEEDS = range(8)
SETTINGS = {"rates": RATES, "steps": STEPS, "warm": WARM, "every": EVERY, "seeds": list(SEEDS), "batch": BATCH}


def text() -> tuple[Dataset, str]:
    """Lines of characters, few of them to test, and the alphabet."""
    lines, alphabet = characters(LENGTH)
    return Dataset(lines.inputs, lines.targets, lines.test_inputs[:8], lines.test_targets[:8]), alphabet


def letters(lines: Dataset) -> float:
    """The loss of knowing how often each letter occurs."""
    share = lines.targets.flatten().bincount() / lines.targets.numel()
    return float(torch.special.entr(share).sum())


def network(vocabulary: int, seed: int, **kind: bool) -> nn.Sequential:
    """A transformer of four blocks. kind: `post_norm`, `with_deepnorm`."""
    return transformer(
        vocabulary, WIDTH, BLOCKS, length=LENGTH, activation=torch.relu, initializer=lecun_normal_, seed=seed, **kind
    )


@torch.no_grad()
def apart(networks: Iterable[nn.Sequential], lines: Dataset) -> Tensor:
    """How much the tokens of 512 lines differ before the output, D / x, of each network."""
    h = torch.stack([net[:-1](lines.inputs[:512]).flatten(0, 1) for net in networks])
    return h.var(1).mean(1) / h.square().mean((1, 2))


def row(name: str, rates: Sequence[float] = RATES, seeds: Iterable[int] = SEEDS) -> dict[str, list]:
    """The curves of the loss beyond the letters', (rates, seeds, STEPS / EVERY), and D / x at the end, (rates, seeds)."""
    lines, alphabet = text()
    curves, ends = [], []
    for rate in rates:
        run = train(
            partial(network, len(alphabet), **KINDS[name]),
            lines,
            loss=per_character,
            optimizer=partial(Adam, lr=rate),
            schedule=partial(LinearLR, start_factor=1 / WARM, total_iters=WARM) if "warm" in name else None,
            steps=STEPS,
            batch=BATCH,
            seeds=seeds,
            progress=False,
        )
        beyond = run.loss.unfold(1, EVERY, EVERY).mean(-1) - letters(lines)
        curves.append([[round(value, 4) for value in curve] for curve in beyond.tolist()])
        ends.append([float(f"{value:.3g}") for value in apart(run.models, lines).tolist()])
    return {"loss": curves, "apart": ends}


def main(chosen: Sequence[str] = ()) -> None:
    """Calculates and stores the rows, those that begin as one of `chosen` does."""
    calculate("warmup", row, rows=ROWS, settings=SETTINGS, chosen=chosen)


if __name__ == "__main__":
    main(sys.argv[1:])

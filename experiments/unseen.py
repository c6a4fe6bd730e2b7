"""What `diagnose` says of failures that its rules were not written for, when it first met them and now: chapter 13.

    python -m experiments.unseen [CASE ...]

Each case of `experiments.blind`, broken and fixed, with two seeds: the faults named on its first batch; the score of
training; and, where one batch cannot tell, what `Monitor` says while it trains.
"""

import os
import sys
from collections.abc import Container, Sequence
from math import isfinite

import torch

from d2lstab import Monitor, diagnose
from experiments.blind import CASES, LATER, Case, Run
from experiments.stored import calculate

SEEDS = range(2)
ROWS = list(CASES)
SETTINGS = {"seeds": list(SEEDS), "every": 10}
EARLIER = [name for name in CASES if name not in LATER]
NAMED = [name for name, case in CASES.items() if case.faults]  # whose first batch shows what is wrong

# The faults named before any rule was changed for these cases, the verdict first, seed by seed: the first 37 by commit
# 38a497a of this repository, those of LATER by d44c7a9. This file and the folders of cases beside that commit's d2lstab
# calculate them again.
FIRST_MET: dict[str, dict[str, list[str]]] = {
    "returns of two shapes": {"broken": ["target_shape", "target_shape"], "fixed": ["", ""]},
    "tensor of log probs": {"broken": ["untrained", "untrained"], "fixed": ["", ""]},
    "log of scaled action": {
        "broken": ["non_finite_forward target_scale", "non_finite_forward target_scale"],
        "fixed": ["target_scale", "target_scale"],
    },
    "mask that is added": {"broken": ["", ""], "fixed": ["", ""]},
    "relu decoder": {"broken": ["target_scale", "target_scale"], "fixed": ["", ""]},
    "mse mean kl sum": {"broken": ["", ""], "fixed": ["", ""]},
    "vae of bytes": {
        "broken": ["input_scale saturated exploding output_scale", "input_scale saturated exploding output_scale"],
        "fixed": ["", ""],
    },
    "designs not normalized": {"broken": ["input_scale output_scale", "input_scale output_scale"], "fixed": ["", ""]},
    "other noise": {"broken": ["", ""], "fixed": ["", ""]},
    "critic without zero grad": {"broken": ["", ""], "fixed": ["", ""]},
    "sigmoid in discriminator": {"broken": ["squashed_twice", "squashed_twice"], "fixed": ["", ""]},
    "unet sigmoid": {"broken": ["squashed_twice", "squashed_twice"], "fixed": ["", ""]},
    "dice of logits": {"broken": ["", ""], "fixed": ["", ""]},
    "blank masks": {"broken": ["", ""], "fixed": ["", ""]},
    "siamese keepdim": {"broken": ["", ""], "fixed": ["", ""]},
    "root of negative": {"broken": ["non_finite_forward", "non_finite_forward"], "fixed": ["", ""]},
    "root of zero": {"broken": ["non_finite_backward", "non_finite_backward"], "fixed": ["", ""]},
    "relu pinn": {"broken": ["", ""], "fixed": ["", ""]},
    "coordinates unscaled": {
        "broken": ["input_scale saturated exploding output_scale", "input_scale saturated output_scale"],
        "fixed": ["", ""],
    },
    "log softmax for many labels": {
        "broken": ["mixed_samples", "mixed_samples"],
        "fixed": ["mixed_samples", "mixed_samples"],
    },
    "unit embeddings": {"broken": ["", ""], "fixed": ["", ""]},
    "batch first dropped": {"broken": ["mixed_samples", "mixed_samples"], "fixed": ["", ""]},
    "view for transpose": {"broken": ["mixed_samples", "mixed_samples"], "fixed": ["", ""]},
    "hidden view": {"broken": ["mixed_samples", "mixed_samples"], "fixed": ["", ""]},
    "ctc too short": {
        "broken": ["non_finite_forward mixed_samples", "non_finite_forward mixed_samples"],
        "fixed": ["mixed_samples", "mixed_samples"],
    },
    "masked rows": {"broken": ["non_finite_forward", "non_finite_forward"], "fixed": ["", ""]},
    "checkpointed lora": {"broken": ["", ""], "fixed": ["", ""]},
    "tied unit embedding": {"broken": ["output_scale", "output_scale"], "fixed": ["", ""]},
    "raw series": {"broken": ["target_scale vanishing", "target_scale vanishing"], "fixed": ["", ""]},
    "series transformer without zero grad": {"broken": ["", ""], "fixed": ["", ""]},
    "list of layers": {"broken": ["untrained", "untrained"], "fixed": ["", ""]},
    "weight decay half": {"broken": ["step_too_large", "step_too_large"], "fixed": ["", ""]},
    "categorical of one": {
        "broken": ["vanishing singular step_too_small", "vanishing singular step_too_small"],
        "fixed": ["", ""],
    },
    "adam in half": {"broken": ["underflow step_too_large", "underflow step_too_large"], "fixed": ["", ""]},
    "count beyond half": {"broken": ["", ""], "fixed": ["", ""]},
    "clipped before unscaling": {"broken": ["", ""], "fixed": ["", ""]},
    "batches added": {"broken": ["", ""], "fixed": ["", ""]},
    "advantages as a column": {"broken": ["", ""], "fixed": ["", ""]},
    "entropy with the wrong sign": {"broken": ["", ""], "fixed": ["", ""]},
    "targets without done": {"broken": ["", ""], "fixed": ["", ""]},
    "softmax of one score": {"broken": ["", ""], "fixed": ["", ""]},
    "softmax over the batch": {"broken": ["vanishing", "vanishing"], "fixed": ["", "vanishing"]},
    "decoder without encoder": {"broken": ["", ""], "fixed": ["", ""]},
    "rows masked by infinity": {"broken": ["non_finite_backward", "non_finite_backward"], "fixed": ["", ""]},
    "places of the batch": {"broken": ["", ""], "fixed": ["", ""]},
    "one discriminator twice": {"broken": ["untrained", "untrained"], "fixed": ["", ""]},
    "vae of means": {"broken": ["", ""], "fixed": ["", ""]},
    "log determinant of the wrong sign": {"broken": ["", ""], "fixed": ["", ""]},
    "where with an infinite branch": {"broken": ["non_finite_backward", "non_finite_backward"], "fixed": ["", ""]},
    "derivative without create graph": {"broken": ["", ""], "fixed": ["", ""]},
    "sign without straight through": {"broken": ["", ""], "fixed": ["", ""]},
    "bfloat16 without a master copy": {
        "broken": ["underflow step_too_small", "underflow step_too_small"],
        "fixed": ["", ""],
    },
    "mean absolute error in half": {"broken": ["overflow", "overflow"], "fixed": ["", ""]},
    "mask of 0 and 255": {"broken": ["", ""], "fixed": ["", ""]},
    "dice after argmax": {"broken": ["untrained", "untrained"], "fixed": ["", ""]},
    "dropout made in forward": {"broken": ["modes_differ", "modes_differ"], "fixed": ["", ""]},
    "labels taken before shuffling": {"broken": ["", ""], "fixed": ["", ""]},
    "attention to the padding alone": {"broken": ["vanishing", "vanishing"], "fixed": ["", ""]},
    "rows without batch first": {"broken": ["", ""], "fixed": ["", ""]},
    "scheduler with gamma 0": {"broken": ["", ""], "fixed": ["", ""]},
    "warmup that never counts": {"broken": ["step_too_small", "step_too_small"], "fixed": ["", ""]},
    "tuned without zero grad": {"broken": ["", ""], "fixed": ["", ""]},
    "nodes without neighbours": {"broken": ["non_finite_forward", "non_finite_forward"], "fixed": ["", ""]},
    "mean over no triplets": {"broken": ["", ""], "fixed": ["target_shape", "target_shape"]},
    "classes with one sample": {"broken": ["non_finite_forward", "non_finite_forward"], "fixed": ["", ""]},
    "sigmoid before bce with logits": {
        "broken": ["squashed_twice imbalanced", "squashed_twice imbalanced"],
        "fixed": ["", "imbalanced"],
    },
    "scaled by a maximum of zero": {"broken": ["non_finite_forward", "non_finite_forward"], "fixed": ["", ""]},
    "cubes up to 4000": {"broken": ["target_scale", "target_scale"], "fixed": ["", ""]},
    "survival of raw features": {"broken": ["non_finite_forward", "non_finite_forward"], "fixed": ["", ""]},
    "deviation replaced by a mean": {"broken": ["", ""], "fixed": ["", ""]},
    "sum of three inputs": {"broken": ["target_shape", "target_shape"], "fixed": ["", ""]},
    "relu after the last layer": {"broken": ["dead step_too_small", "dead step_too_small"], "fixed": ["", ""]},
    "layers without activation": {"broken": ["", ""], "fixed": ["", ""]},
}


def look(case: Case, fixed: bool, seed: int) -> list[str]:
    """The faults that are named on a case's first batch, the verdict first."""
    run = case.run(fixed, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        report = diagnose(run.model, *run.first_batch(), run.loss, optimizer=run.optimizer)
    return [each.fault for each in report.findings]


def train(case: Case, fixed: bool, seed: int) -> tuple[list[str], float]:
    """The faults that are told while a case trains, in their order, where it has a loop to watch; and its score."""
    run = case.run(fixed, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return watched(run) if case.loop else ([], run.trained())


def watched(run: Run) -> tuple[list[str], float]:
    """What `Monitor` tells while a run trains, and the score."""
    told: list = []
    with Monitor(run.model, optimizer=run.optimizer, every=SETTINGS["every"], tell=told.append) as monitor:
        score = run.trained(lambda loss: monitor.step(loss, scale=run.scale))
    return [each.finding.fault for each in told], score


def row(name: str) -> dict:
    """By state, "broken" and "fixed", what is said with each seed, and how it trains."""
    return {state: [_seen(CASES[name], state == "fixed", seed) for seed in SEEDS] for state in ("broken", "fixed")}


def _seen(case: Case, fixed: bool, seed: int) -> dict:
    told, score = train(case, fixed, seed)
    found = {"faults": look(case, fixed, seed), "score": round(score, 3) if isfinite(score) else None}
    return found | ({"told": told} if case.loop else {})


def first_met() -> dict:
    """`FIRST_MET` in the form of the rows stored."""
    return {
        name: {state: [{"faults": words.split()} for words in seeds] for state, seeds in states.items()}
        for name, states in FIRST_MET.items()
    }


def counts(rows: dict, chosen: Container[str] = CASES) -> dict[str, int]:
    """Of the cases chosen, how many could be named, are with each seed, and raise an alarm, with any, when fixed."""
    found = {
        name: {state: [each["faults"] for each in told] for state, told in row.items()}
        for name, row in rows.items()
        if name in chosen
    }
    nameable = [name for name in NAMED if name in found]
    return {
        "to be named": len(nameable),
        "named": sum(all(named(faults, name) for faults in found[name]["broken"]) for name in nameable),
        "alarms": sum(any(each["fixed"]) for each in found.values()),
    }


def named(faults: Sequence[str], name: str) -> bool:
    """Whether the first of these faults is one that names what is wrong."""
    return bool(faults) and faults[0] in CASES[name].faults


def main(chosen: Sequence[str] = ()) -> None:
    """Calculates and stores the rows, those that begin as one of `chosen` does."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    calculate("unseen", row, rows=ROWS, settings=SETTINGS, chosen=chosen)


if __name__ == "__main__":
    main(sys.argv[1:])

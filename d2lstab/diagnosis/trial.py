"""A few steps of the user's own optimizer, on private parameters."""

import copy
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, nan

import torch
from torch import Tensor, nn

from ..containers import each_tensor
from ..recording.statistics import dense, norm
from .answers import deviation, gain
from .look import gradients_of
from .subject import Subject, floating, passed

SHORT, LONG = 3, 30  # steps, of large networks and of small ones, where rates are told that raise the loss only later


@dataclass
class Trial:
    """What a few steps on the same batch did, up to where they have learnt it."""

    losses: list[float]  # before the first step, and after each
    update_ratio: dict[str, float]  # ‖Δw‖ / ‖w‖ of the first step, by parameter
    unchanged: float  # largest share of a parameter's entries with a gradient that the first step left as they were
    deviations: list[float]  # standard deviation of the outputs between samples, as long as the losses
    gains: list[float]  # the share of the loss saved by telling samples apart, as long as the losses
    learning_rate: float

    @property
    def exploded(self) -> bool:
        return not all(map(isfinite, self.losses))


def attempt(subject: Subject, steps: int, factor: float, enough: float) -> Trial | None:
    """The trial of the subject's optimizer, its rates times the factor, on borrowed parameters; None without one.

    It ends when the loss is below `enough`: what comes after a batch is known by heart is seldom met in training.
    The optimizer is copied with its state: neither it, nor a scheduler that wraps it, notices.
    """
    if subject.optimizer is None:
        return None
    trainable = {name: each for name, each in subject.model.named_parameters() if each.requires_grad}
    copy_of = {id(original): private for original, private in zip(subject.originals, subject.model.parameters())}
    optimizer = private_optimizer(subject.optimizer, copy_of)
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * factor if "lr" in group else nan
    losses, deviations, gains, ratios, unchanged = [], [], [], {}, 0.0
    try:
        for step in range(steps + 1):
            outputs = passed(subject)
            loss = subject.loss_of(outputs)
            losses.append(float(loss.detach()))
            deviations.append(deviation(floating(outputs), subject.batch)[0])
            gains.append(gain(subject, each_tensor(Tensor.detach, outputs), losses[-1]))
            if step == steps or not isfinite(losses[-1]) or losses[-1] < enough:
                break
            for parameter, gradient in zip(trainable.values(), gradients_of(subject, loss, list(trainable.values()))):
                parameter.grad = gradient
            optimizer.step()
            if step == 0:
                ratios, unchanged = _changes(subject)
    finally:
        subject.restore()
    rates = [group.get("lr", nan) for group in subject.optimizer.param_groups]
    return Trial(losses, ratios, unchanged, deviations, gains, factor * max(map(float, rates)))


def private_optimizer(optimizer: torch.optim.Optimizer, copy_of: Mapping[int, Tensor]) -> torch.optim.Optimizer:
    """An optimizer of the same settings and state over other parameters. copy_of: by the id of the original."""
    private = copy.copy(optimizer)
    private.__dict__.pop("step", None)  # a scheduler's wrapper counts the steps of the original
    for hooks in ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks"):
        private.__dict__[hooks] = {}

    def own(parameter: Tensor) -> Tensor:
        return copy_of.get(id(parameter), parameter)

    private.param_groups = [
        {**group, "params": [own(each) for each in group["params"] if id(each) in copy_of]}
        for group in optimizer.param_groups
    ]
    private.state = defaultdict(
        dict, {own(each): copy.deepcopy(state) for each, state in optimizer.state.items() if id(each) in copy_of}
    )
    return private


def hold_all(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    """Lets an optimizer start anew with the trained parameters of this model: its own, and those that it has not yet."""
    trained = {id(each): each for each in model.parameters() if each.requires_grad}
    for group in optimizer.param_groups:
        group["params"] = [each for each in group["params"] if trained.pop(id(each), None) is not None]
    optimizer.param_groups[-1]["params"] += trained.values()
    optimizer.state.clear()


def _changes(subject: Subject) -> tuple[dict[str, float], float]:
    """What the step has changed: ‖Δw‖ / ‖w‖ by parameter, and the largest share of entries that it has not."""
    ratios, unchanged = {}, 0.0
    for (name, new), old in zip(subject.model.named_parameters(), subject.originals):
        new, old, gradient = new.detach(), old.detach(), None if new.grad is None else dense(new.grad)
        size = float(norm(old))
        if size > 0 and gradient is not None:
            ratios[name] = float(norm(new - old)) / size
        if gradient is not None and gradient.any():
            still = (new == old) & (gradient != 0)
            unchanged = max(unchanged, float(still.sum() / (gradient != 0).sum()))
    return ratios, unchanged

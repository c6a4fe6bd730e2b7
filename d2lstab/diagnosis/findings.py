"""What a rule says: a fault, where, how it was seen, and what helps."""

from collections.abc import Callable
from dataclasses import dataclass
from math import nan
from typing import Any

from torch import nn

from ..results import Result

FAULTS: dict[str, str] = {
    "healthy": "nothing is wrong",
    "non_finite_forward": "the forward pass makes infinities or NaN",
    "non_finite_backward": "outputs and loss are finite, but gradients are infinite or NaN",
    "overflow": "numbers leave the range of the low-precision format they are kept in",
    "underflow": "numbers, or updates, are too small for the format and are rounded away",
    "untrained": "parameters that the loss depends on are never changed: no gradient, or no optimizer, reaches them",
    "target_shape": "the loss compares every output with every target, for their shapes differ",
    "squashed_twice": "probabilities are given to a loss that takes logits",
    "unsquashed": "logits are given to a loss that takes logarithms of probabilities",
    "mixed_samples": "what is answered to one sample depends on the others of its batch",
    "symmetric": "units of a layer are copies of each other, in weights and in gradients",
    "dead": "rectifiers are 0 for every sample, and so are their gradients",
    "batch_statistics": "normalization takes its statistics from too few samples",
    "target_scale": "targets are out of the range, or far from the scale, of the outputs",
    "input_scale": "inputs are far from zero mean and unit size, and nothing normalizes them",
    "saturated": "activations, or attention, are flat almost everywhere, so gradients are lost in them",
    "exploding": "signals or gradients grow from layer to layer, or from time step to time step",
    "vanishing": "signals or gradients shrink from layer to layer, or from time step to time step",
    "blind": "outputs hardly depend on inputs",
    "chaotic": "nearby inputs are driven apart, so that what is learnt of one says little of the other",
    "output_scale": "outputs are so large that the first loss is far above chance",
    "step_too_large": "steps of this optimizer raise the loss, or lower it far less than smaller ones",
    "step_too_small": "a thousand steps of this optimizer would hardly change the loss",
    "checkerboard": "upsampling treats neighbouring output pixels differently",
    "modes_differ": "in evaluation the network is another one than in training",
    "imbalanced": "one answer is right for nearly every sample, so that nothing has to be learnt of the inputs",
    "singular": "a formula is finite now, and infinite or NaN where training leads",
}
"""What each verdict of `diagnose` means.

>>> FAULTS["dead"]
'rectifiers are 0 for every sample, and so are their gradients'
"""

# What each fault brings about: of two findings, the one that explains the other is the root.
EXPLAINS: dict[str, set[str]] = {
    "untrained": {"symmetric", "vanishing", "blind", "dead", "step_too_small"},
    "target_shape": {"blind", "vanishing", "step_too_large", "step_too_small", "target_scale"},
    "squashed_twice": {"vanishing", "blind", "step_too_small", "saturated"},
    "unsquashed": {"output_scale", "step_too_large", "step_too_small"},
    "mixed_samples": {"vanishing", "blind", "chaotic", "batch_statistics"},
    "symmetric": {"vanishing", "blind", "exploding", "output_scale", "dead"},
    "dead": {"vanishing", "blind", "step_too_small"},
    "batch_statistics": {"blind"},
    "target_scale": {"output_scale", "step_too_large", "step_too_small"},
    "input_scale": {"saturated", "dead", "exploding", "vanishing", "blind", "output_scale", "step_too_large"},
    "saturated": {"vanishing", "blind"},
    "exploding": {"saturated", "output_scale", "step_too_large"},
    "vanishing": {"step_too_small"},
    "blind": {"step_too_small"},
    "output_scale": {"step_too_large"},
}

# Faults that say nothing of signals: whatever else may be wrong is asked as if they were not there.
BESIDE = {"checkerboard", "imbalanced", "modes_differ", "singular"}

# Faults of signals and scales, which stop some networks and only slow others down: `trainability` says which.
PREDICTED = {"input_scale", "exploding", "vanishing", "blind", "output_scale"}


@dataclass(frozen=True, eq=False, repr=False)
class Finding(Result):
    """One fault: what was measured, what is expected of a healthy network, and what helps.

    >>> model = mlp([8, 16, 3], torch.relu, initializer=he_normal_)
    >>> _ = nn.init.constant_(model.layer1.linear.bias, -100.0)
    >>> finding = diagnose(model, normal(16, 8, generator=seeded(0)), torch.arange(16) % 3).findings[0]
    >>> finding.fault, finding.layer, finding.severity
    ('dead', 'layer1.relu()', 'fault')
    >>> finding.evidence
    '100% of the units are 0 for all samples; about half of the entries are expected to be'
    """

    fault: str  # a key of FAULTS
    layer: str  # where it begins; empty for the network as a whole
    evidence: str  # measured beside expected, in a sentence
    remedy: str  # what to do, in code where possible
    measured: float = nan
    expected: float = nan
    severity: str = "fault"  # or "warning": it slows training down, or will stop it under other settings
    repairs: tuple[Callable[[nn.Module, int], nn.Module], ...] = ()  # each changes a copy and returns it, or a wrapper

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the repairs, which hold parts of a batch."""
        return {**vars(self), "repairs": ()}

    def _rows(self) -> list[tuple[str, str]]:
        place = [("layer", self.layer)] if self.layer else []
        return [
            ("fault", f"{self.fault} ({self.severity})"),
            *place,
            ("evidence", self.evidence),
            ("remedy", self.remedy),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the repair, as plain values."""
        names = ("fault", "severity", "layer", "evidence", "remedy", "measured", "expected")
        return {name: getattr(self, name) for name in names}

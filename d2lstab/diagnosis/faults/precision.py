"""What a low-precision format cannot hold."""

import torch

from ..evidence import Evidence
from ..findings import Finding
from ..measurements import Measurements


def overflow(evidence: Measurements) -> Finding | None:
    """Activations close to the largest number of their format."""
    for row in evidence.rows:
        if row.dtype == "float16" and row.largest > 0.25 * torch.finfo(torch.float16).max:
            return Finding(
                "overflow",
                row.label,
                f"the largest output is {row.largest:.5g}, float16 ends at 65504; less than a quarter is expected",
                "run this layer in bfloat16 or float32, or scale its weights down",
                row.largest,
                65504.0,
            )
    return None


def underflow(evidence: Evidence) -> Finding | None:
    """Gradients, updates or an optimizer's eps that the format rounds to 0."""
    return _eps(evidence) or _lost_updates(evidence) or _lost_gradients(evidence)


def _eps(evidence: Evidence) -> Finding | None:
    optimizer = evidence.subject.optimizer
    for group in optimizer.param_groups if optimizer is not None else ():
        for parameter in group["params"]:
            eps = group.get("eps")
            if eps and parameter.dtype == torch.float16 and float(torch.tensor(eps, device="cpu").half()) == 0:
                return Finding(
                    "underflow",
                    "",
                    f"the optimizer's eps={eps:g} is 0 in float16, so entries without a gradient give 0/0",
                    "eps=1e-4, or keep float32 master weights (torch.autocast with float32 parameters)",
                    eps,
                    6e-8,
                )
    return None


def _lost_updates(evidence: Evidence) -> Finding | None:
    trial = evidence.trial
    low = {str(each.dtype) for each in evidence.subject.model.parameters()} & {"torch.float16", "torch.bfloat16"}
    if trial is None or not low or trial.unchanged < 0.9:
        return None
    return Finding(
        "underflow",
        "",
        f"a step leaves {trial.unchanged:.0%} of the entries of a weight as they were: the update is below half the "
        f"spacing of {low.pop().removeprefix('torch.')}; 0 % is expected",
        "keep float32 master weights (torch.autocast with float32 parameters), or a larger learning rate",
        trial.unchanged,
        0.0,
    )


def _lost_gradients(evidence: Evidence) -> Finding | None:
    for row in evidence.rows:
        if row.dtype == "float16" and row.moment > 0 and row.gradient < (4 * 6e-8) ** 2:
            return Finding(
                "underflow",
                row.label,
                f"gradients have size {row.gradient**0.5:.1g}; float16 rounds what is below 6e-8 to 0",
                "scaler = torch.amp.GradScaler(): it multiplies the loss, and divides the gradients in float32",
                row.gradient**0.5,
                6e-8,
            )
    return None

"""Infinity and NaN."""

from math import isfinite

import torch

from ...containers import tensors_in
from ..evidence import Evidence
from ..findings import Finding
from ..origin import Origin


def non_finite(evidence: Evidence) -> Finding | None:
    """Infinity or NaN in a pass, at the operation where it begins."""
    if not evidence.broken:
        return None
    name, origin = f"non_finite_{evidence.broken}", evidence.origin
    given = _given(evidence)
    if given is not None:
        return Finding(name, given, f"{given} hold infinities or NaN before anything is computed", _CLEAN)
    if origin is None:
        return Finding(name, _first_bad_layer(evidence), "no single torch operation was seen to make it", _DETECT)
    if origin.dtype == torch.float16 and origin.direction == "forward" and origin.clean_inputs and not origin.formula:
        return Finding("overflow", origin.layer, _told(origin), _LARGER, origin.largest_input, 65504.0)
    return Finding(name, origin.layer, _told(origin), origin.formula or _DETECT, origin.largest_input)


_CLEAN = "drop or fill such samples: assert torch.isfinite(inputs).all(); a network that has diverged starts afresh"
_DETECT = "print the inputs of this layer; with torch.autograd.detect_anomaly(): stops at the operation in backward"
_LARGER = "run this layer in bfloat16 or float32, or scale its weights down"


def _given(evidence: Evidence) -> str | None:
    """Inputs, targets or a parameter that were not finite to begin with."""
    subject = evidence.subject
    named = {"inputs": (subject.inputs, subject.keywords), "targets": subject.targets}
    named |= dict(subject.model.named_parameters())
    for name, thing in named.items():
        if any(each.is_floating_point() and not bool(each.isfinite().all()) for each in tensors_in(thing)):
            return name
    return None


def _first_bad_layer(evidence: Evidence) -> str:
    return next((row.label for row in evidence.rows if not isfinite(row.largest)), "")


def _told(origin: Origin) -> str:
    what = "NaN" if origin.makes_nan else "infinity"
    place = f" at {origin.place}" if origin.place else ""
    state = "finite inputs" if origin.clean_inputs else "inputs that were infinite already"
    told = f"{origin.operation}{place} makes the first {what} of the {origin.direction} pass, from {state}"
    if isfinite(origin.largest_input):
        told += f", the largest finite one {origin.largest_input:.3g}"
    if origin.dtype in (torch.float16, torch.bfloat16):
        told += f"; {str(origin.dtype).removeprefix('torch.')} ends at {torch.finfo(origin.dtype).max:.5g}"
    if origin.zero_gradient and origin.makes_nan:
        told += "; the gradient there was 0, and 0 · ∞ is NaN"
    return told

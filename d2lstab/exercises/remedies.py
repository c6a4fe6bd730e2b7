"""Exercises of chapter 05: which remedy repairs what."""

from dataclasses import fields

import torch
from torch.nn import functional as F

from ..datasets import digits
from ..initializers import normal_
from ..remedies import PATIENTS, REMEDIES, Patient, remedy_matrix
from .judging import exercise, number


@exercise("05.1")
def _limit_from_experience(answer) -> str | None:
    norms = torch.arange(1.0, 101.0, device="cpu").flip(0)
    bad = torch.cat([norms, torch.tensor([torch.inf, torch.nan, torch.nan, torch.inf], device="cpu")])
    for record in (norms, bad, 7 * norms):
        clipped = int((record[record.isfinite()] > number(answer(record))).sum())
        if clipped != 10:
            return f"of 100 finite norms your limit clips {clipped}; it should clip 10."
    return None


@exercise("05.2")
def _one_remedy_for_a_stranger(answer) -> str | None:
    single = [name for name in REMEDIES if name not in ("nothing", "all five")]
    if not isinstance(answer, str) or answer not in single:
        return f"expected one of {', '.join(map(repr, single))}."
    learned = _learned(Patient(F.elu, normal_), REMEDIES[answer])
    hint = "Is the scale wrong, or the gradient's path?"
    return None if learned > 0.75 else f"{answer!r} brings the median to {learned:.0%}. {hint}"


@exercise("05.3")
def _the_fewest_changes(answer) -> str | None:
    patient = PATIENTS["ReLU N(0, 1)"]
    treated = answer(patient)
    if not isinstance(treated, Patient):
        return f"your function returned {type(treated).__name__}, not a Patient."
    changed = [field.name for field in fields(Patient) if getattr(treated, field.name) != getattr(patient, field.name)]
    if len(changed) > 2:
        return f"it changes {', '.join(changed)}. Two fields are enough."
    if {"depth", "width"} & set(changed):
        return f"it changes {', '.join(changed)}. Leave the size of the network as it is."
    learned = _learned(patient, answer)
    return None if learned > 0.7 else f"the median is {learned:.0%}. What explodes here, and what does a skip add to?"


def _learned(patient: Patient, remedy) -> float:
    """The median over four seeds of the share of training examples named right."""
    matrix = remedy_matrix(
        digits(), patients={"it": patient}, remedies={"treated": remedy}, seeds=range(4), progress=False
    )
    return float(matrix.accuracy.median())

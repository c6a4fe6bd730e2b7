"""One call: borrow the model, look, reason, give it back."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from math import isfinite, isnan
from typing import Any

import torch
from torch import nn

from ..borrowing import borrowed
from ..recording.modules import named_modules
from ..threads import one_at_a_time
from ..trainability.forecast import trainability
from .evidence import Evidence
from .expectation import expected_gradients, expected_moments
from .faults import LAST_RULES, RULES, Rule
from .findings import BESIDE, EXPLAINS, PREDICTED, Finding
from .look import examine
from .origin import backward_origin, forward_origin
from .report import Diagnosis
from .subject import Loss, Subject, subject_of


def diagnose(
    model: nn.Module,
    inputs: Any,
    targets: Any = None,
    loss: Loss | None = None,
    *,
    optimizer: torch.optim.Optimizer | None = None,
) -> Diagnosis:
    """What is wrong with a network, where, how that was seen, and what helps.

    inputs: a batch as the model takes it, a tensor, a tuple of arguments or a dict of keywords. loss(outputs,
    targets) is a scalar; without it, cross-entropy for classes, the squared error for numbers of the outputs'
    shape, and without targets a random combination of the outputs. optimizer: of this model; 3 of its steps, 30
    where they are cheap, are tried on copies of the parameters.
    Activations are seen as modules or functions, attention in softmax, nn.MultiheadAttention and
    F.scaled_dot_product_attention; what another fused call does inside is not.
    The model runs in the mode it is in, and is afterwards bit for bit as it was; so are the optimizer and the
    random streams. Threads that diagnose wait for each other.
    Raises TypeError for a model, optimizer or loss that is none, ValueError for a model without trained parameters,
    an empty batch, tensors on different devices, or a loss that is not a scalar connected to a parameter. What the
    model raises on these inputs passes through, with a note that names the layer.

    >>> layers = [layer for _ in range(20) for layer in (nn.Linear(32, 32), nn.Sigmoid())]
    >>> model = nn.Sequential(*layers, nn.Linear(32, 10))
    >>> report = diagnose(model, normal(16, 32, generator=seeded(0)), torch.arange(16) % 10)
    >>> report.verdict
    'vanishing'
    >>> ax = report.plot()
    """
    try:
        with one_at_a_time(), torch.inference_mode(False), torch.enable_grad():
            subject = subject_of(model, inputs, targets, loss, optimizer)
            with borrowed(subject.model, *([loss] if isinstance(loss, nn.Module) else [])):
                return diagnosed(subject)
    except Exception as error:
        name_layer(error, model)
        raise


def diagnosed(subject: Subject) -> Diagnosis:
    """The report on a borrowed model."""
    evidence = gathered(subject)
    findings = ranked([weighed(finding, evidence) for finding in found(RULES, evidence)])
    if all(each.fault in BESIDE for each in findings):
        findings = ranked(list(islice(found(LAST_RULES, evidence), 1)) + findings)
    expected = expected_moments(evidence.rows, evidence.layers, evidence.input_moment)
    gradients = expected_gradients(evidence.rows, evidence.layers, expected)
    return Diagnosis(
        tuple(findings),
        evidence.trainability,
        evidence.first.signals,
        tuple(expected),
        tuple(gradients),
        subject,
        evidence.first.loss,
        evidence.chance,
        subject.loss is not None,
        again=diagnose,
    )


def found(rules: Sequence[Rule], evidence: Evidence) -> Iterator[Finding]:
    """What each of the rules says, one after the other."""
    return filter(None, (rule(evidence) for rule in rules))


def gathered(subject: Subject) -> Evidence:
    """All that the rules look at."""
    evidence = Evidence(subject, examine(subject))
    if not isfinite(evidence.first.loss):
        evidence.broken, evidence.origin = "forward", forward_origin(subject)
    elif any(each is not None and not each.isfinite().all() for each in evidence.first.gradients.values()):
        evidence.broken, evidence.origin = "backward", backward_origin(subject)
    else:
        evidence.forget_gradients()
        evidence.trial = evidence.tried() if subject.held else None  # else no step changes anything
        # A loss of outputs alone cannot tell samples apart.
        loss = subject.loss if subject.targets is not None else None
        evidence.trainability = trainability(subject.model, (subject.inputs, subject.keywords), subject.targets, loss)
    return evidence


def name_layer(error: Exception, model: nn.Module) -> None:
    """Adds a note to an error from inside the model: the layer in whose forward it was raised."""
    names = {id(module): name for name, module in named_modules(model)} if isinstance(model, nn.Module) else {}
    found, traceback = None, error.__traceback__
    while traceback is not None:
        found = names.get(id(traceback.tb_frame.f_locals.get("self")), found)
        traceback = traceback.tb_next
    add_note = getattr(error, "add_note", None)  # new in Python 3.11
    if found is not None and add_note is not None:
        add_note(f"raised in layer {found or type(model).__name__!r} of the model, which is as it was")


def weighed(finding: Finding, evidence: Evidence) -> Finding:
    """The finding, a warning where the network is likely to train all the same, a fault where it is not."""
    if finding.fault not in PREDICTED or isnan(evidence.trains):
        return finding
    return replace(finding, severity="warning" if evidence.trains >= 0.5 else "fault")


def ranked(findings: list[Finding]) -> list[Finding]:
    """The root cause first, as severe as the worst of what it explains; then others, faults before warnings."""
    explained = {
        id(effect)
        for place, cause in enumerate(findings)
        for effect in findings[place + 1 :]
        if effect.fault in EXPLAINS.get(cause.fault, ())
    }
    roots = [each for each in findings if id(each) not in explained]
    worst = {id(each): each.severity for each in roots}
    for each in roots:
        effects = [other.severity for other in findings if other.fault in EXPLAINS.get(each.fault, ())]
        worst[id(each)] = "fault" if "fault" in (each.severity, *effects) else "warning"
    roots = sorted(
        (replace(each, severity=worst[id(each)]) for each in roots), key=lambda each: each.severity != "fault"
    )
    return roots + [each for each in findings if id(each) in explained]

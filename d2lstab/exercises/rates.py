"""Exercises of chapter 15: learning rates."""

from math import exp, sqrt

from .judging import close, exercise


@exercise("15.1")
def _change_against_width(answer) -> str | None:
    hint = "A step of Adam moves each weight by the learning rate; a coordinate sums as many as the layer is wide."
    return close(answer, 1, 0.2, hint)


@exercise("15.2")
def _muon_without_its_factor(answer) -> str | None:
    mistakes = {0.5: "the power of the factor, which is left out."}
    hint = "No singular value of the step is above 1: how long is what it makes of an input, and per entry?"
    return close(answer, -1 / 2, 0.1, hint, mistakes=mistakes)


@exercise("15.3")
def _most_of_one_token(answer) -> str | None:
    mistakes = {
        1 / (1 + 15 * exp(-sqrt(8))): "what it gets where the others' logits are 0; they can be less.",
        1 / (1 + 16 * exp(-2 * sqrt(8))): "the share among seventeen tokens.",
    }
    hint = "How large can the one logit be, and how small the fifteen others?"
    return close(answer, 1 / (1 + 15 * exp(-2 * sqrt(8))), 0.002, hint, mistakes=mistakes)

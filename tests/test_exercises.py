"""Answers are judged, hints do not give them away, and nothing raises."""

import pytest
import torch

from d2lstab import check
from d2lstab.exercises import EXERCISES


@pytest.mark.parametrize("number", EXERCISES)
@pytest.mark.parametrize("unanswered", [None, ...])
def test_an_exercise_waits_for_its_answer(number, unanswered, capsys):
    check(number, unanswered)
    assert capsys.readouterr().out == f"{number} is waiting for your answer.\n"


@pytest.mark.parametrize("number", EXERCISES)
@pytest.mark.parametrize("wrong", [-1.0, "a word", lambda *arguments: torch.tensor(-1.0)])
def test_a_wrong_answer_gets_a_hint_and_no_traceback(number, wrong, capsys):
    check(number, wrong)
    assert capsys.readouterr().out.startswith(f"{number} is not right yet: ")


def test_an_exercise_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match=r"exercise='99.1'\nexpected one of 01.1"):
        check("99.1", 0)

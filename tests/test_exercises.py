"""Answers are judged, hints do not give them away, and nothing raises."""

import pytest
import torch

from d2lstab import check, diagnose, randomness
from d2lstab.exercises import EXERCISES, patients


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


@pytest.mark.parametrize(
    ("patient", "verdict"),
    [
        (patients.large_head, "output_scale"),
        (patients.raw_features, "input_scale"),
        (patients.sigmoid_at_the_end, "target_scale"),
        (patients.batch_of_one, "batch_statistics"),
    ],
)
def test_a_patient_has_what_it_is_shown_for(patient, verdict):
    make, data, loss, optimizer, batch = patient()
    with randomness.global_stream(0, torch.device("cpu")):
        model = make(0)
    first = data.inputs[:batch], data.targets[:batch]
    assert diagnose(model, *first, loss, optimizer=optimizer(model.parameters())).verdict == verdict

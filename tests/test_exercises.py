"""Answers are judged, hints do not give them away, and nothing raises."""

from math import inf, nan, pi

import pytest
import torch

from d2lstab import diagnose, randomness
from d2lstab.exercises import check, patients
from d2lstab.exercises.judging import EXERCISES


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


def hint(number, answer, capsys):
    check(number, answer)
    return capsys.readouterr().out.removeprefix(f"{number} is not right yet: ")


NUMBERS = [
    "02.1",
    "03.1",
    "06.1",
    "06.2",
    "07.1",
    "08.1",
    "08.2",
    "09.1",
    "11.1",
    "11.2",
    "12.1",
    "14.1",
    "14.2",
    "15.2",
    "15.3",
]


@pytest.mark.parametrize("number", NUMBERS)
def test_no_number_is_neither_too_small_nor_too_large(number, capsys):
    assert hint(number, nan, capsys).startswith("the answer is NaN, which is no number")
    assert hint(number, torch.tensor(nan), capsys).startswith("the answer is NaN, which is no number")


@pytest.mark.parametrize("number", NUMBERS)
def test_what_is_not_one_number_is_told_by_its_kind(number, capsys):
    assert hint(number, [1.0], capsys) == "expected one number, not a list.\n"
    assert hint(number, "1", capsys) == "expected one number, not a str.\n"
    assert hint(number, torch.ones(2, 3), capsys) == "expected one number, not a Tensor of shape (2, 3).\n"


@pytest.mark.parametrize("gain", [-1.6, 0, inf])
def test_a_gain_that_cannot_be_one_is_told_so(gain, capsys):
    assert hint("02.1", gain, capsys) == f"{gain:g} given, and a gain is a finite number above 0.\n"


def test_one_entry_of_a_tensor_is_a_number(capsys):
    for one in (torch.tensor(0.0125), torch.tensor([0.0125], requires_grad=True), torch.tensor(0.0125).numpy()):
        check("08.2", one)
        assert capsys.readouterr().out == "08.2 is right.\n"


@pytest.mark.parametrize(("edge", "beyond"), [(1e-21, 0.99e-21), (1e-16 / 9, 1e-16 / 8.9)])
def test_an_epsilon_is_right_up_to_its_edges(edge, beyond, capsys):
    check("06.2", edge)
    assert capsys.readouterr().out == "06.2 is right.\n"
    assert hint("06.2", beyond, capsys).startswith(f"with ε = {beyond:g} a gradient of 1e-")


@pytest.mark.parametrize(
    ("number", "answer", "said"),
    [
        ("15.2", 0.5, "0.5 is the power of the factor"),
        ("15.3", 0.53, "0.53 is what it gets where the others' logits are 0"),
        ("08.1", pi / (pi - 1), "1.46694 is ReLU's factor."),
        ("08.1", 1.072, "1.072 is what a division by the second moment would give."),
        ("08.2", 0.1 / 8**0.25, "0.0594604 is one factor of Fixup's."),
        ("08.2", 0.8, "0.8 is the inverse."),
        ("11.1", 159.01, "159.01 is the depth for 4 × 4 matrices."),
        ("11.1", 32.0, "32 is the depth if each factor stretched by √n"),
        ("11.2", 2.0**15, "32768 is what lifts it to the smallest *normal* number."),
        ("11.2", 5, "5 is the exponent; the scale is 2 to that power."),
    ],
)
def test_a_mistake_that_is_often_made_is_recognized(number, answer, said, capsys):
    assert hint(number, answer, capsys).startswith(said)

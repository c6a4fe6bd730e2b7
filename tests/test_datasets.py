"""The digits are real, whole, split without overlap, and the same for a seed everywhere."""

import sys

import pytest
import torch

from d2lstab import Dataset, digits
from d2lstab.datasets import adding_problem, characters, copy_problem, photographs


def rows(inputs: torch.Tensor, targets: torch.Tensor) -> list[tuple]:
    return [tuple(row) for row in torch.cat([inputs, targets[:, None]], dim=1).tolist()]


def tiny(**changes) -> Dataset:
    fields = {"inputs": torch.zeros(3, 4), "targets": torch.tensor([0, 1, 2]), "test_inputs": torch.zeros(1, 4)}
    return Dataset(**{**fields, "test_targets": torch.tensor([1]), **changes})


# The digits


def test_the_digits_have_the_shapes_they_promise():
    data = digits()
    assert data.inputs.shape == (1437, 64)
    assert data.test_inputs.shape == (360, 64)
    assert data.targets.shape == (1437,)
    assert data.test_targets.shape == (360,)
    assert data.targets.dtype == data.test_targets.dtype == torch.int64
    assert data.inputs.dtype == torch.get_default_dtype()
    assert set(data.targets.tolist()) == set(data.test_targets.tolist()) == set(range(10))


def test_the_split_is_disjoint_and_complete():
    from sklearn.datasets import load_digits

    pictures, labels = load_digits(return_X_y=True)
    scaled = torch.tensor(pictures, dtype=torch.float64)
    data = digits(dtype=torch.float64)
    both = torch.cat([data.inputs, data.test_inputs])
    step = (both.max() - both.min()) / 16  # pixels are whole numbers from 0 to 16 before they are scaled
    recovered = ((both - both.min()) / step).round()
    targets = torch.cat([data.targets, data.test_targets])
    # No two of the 1,797 pictures are alike, so equal lists of rows mean that each is used exactly once.
    assert len(set(rows(scaled, torch.tensor(labels)))) == 1797
    assert sorted(rows(recovered, targets)) == sorted(rows(scaled, torch.tensor(labels)))


@pytest.mark.parametrize("seed", range(3))
def test_the_learning_inputs_have_mean_0_and_second_moment_1(seed):
    data = digits(seed=seed, dtype=torch.float64)
    assert float(data.inputs.mean()) == pytest.approx(0, abs=1e-12)
    assert float(data.inputs.square().mean()) == pytest.approx(1, abs=1e-12)
    assert float(data.test_inputs.mean()) != pytest.approx(0, abs=1e-6)  # the test part is not consulted


def test_every_digit_is_a_tenth_of_either_part():
    data = digits()
    for targets in (data.targets, data.test_targets):
        share = targets.bincount() / len(targets)
        assert (share - 0.1).abs().max() < 4.5 * (0.09 / len(targets)) ** 0.5


def test_a_seed_is_a_split_and_another_seed_another():
    assert torch.equal(digits(seed=1).inputs, digits(seed=1).inputs)
    assert not torch.equal(digits(seed=1).targets, digits(seed=2).targets)


def test_a_seed_means_the_same_split_in_every_dtype():
    exact = digits(dtype=torch.float64)
    for dtype in (torch.float32, torch.float16):
        rounded = digits(dtype=dtype)
        assert torch.equal(rounded.inputs, exact.inputs.to(dtype))
        assert torch.equal(rounded.targets, exact.targets)


def test_the_global_stream_is_neither_read_nor_moved():
    before = torch.get_rng_state()
    first = digits()
    assert torch.equal(before, torch.get_rng_state())
    with torch.random.fork_rng():
        torch.manual_seed(123)
        assert torch.equal(digits().inputs, first.inputs)


def test_without_scikit_learn_the_error_says_what_to_type(monkeypatch):
    for name in ("sklearn", "sklearn.datasets"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match="scikit-learn.*not installed\n.*pip install scikit-learn"):
        digits()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"seed": -1}, "seed=-1"),
        ({"seed": 0.5}, "seed=0.5"),
        ({"dtype": torch.int64}, "dtype=torch.int64"),
        ({"device": "cuda:99"}, "device='cuda:99'"),
    ],
)
def test_bad_arguments_are_named(arguments, says):
    with pytest.raises(ValueError, match=f"{says}.*\nexpected"):
        digits(**arguments)


# Dataset


def test_to_changes_floating_tensors_only_and_none_leaves_them_as_they_are():
    data = tiny()
    assert data.to(dtype=torch.float64).inputs.dtype == torch.float64
    assert data.to(dtype=torch.float64).targets.dtype == torch.int64
    assert all(getattr(data.to(), name) is getattr(data, name) for name in ("inputs", "test_targets"))
    assert data.to("meta").targets.device.type == "meta"
    assert data.to("meta").to(dtype=torch.float16).inputs.device.type == "meta"


def test_regression_targets_follow_the_dtype():
    data = tiny(targets=torch.zeros(3), test_targets=torch.zeros(1)).to(dtype=torch.float64)
    assert data.targets.dtype == data.test_targets.dtype == torch.float64


def test_to_refuses_what_is_not_there():
    with pytest.raises(ValueError, match="device='cuda:99'.*\nexpected one of cpu"):
        tiny().to("cuda:99")
    with pytest.raises(ValueError, match="dtype=torch.int64\nexpected"):
        tiny().to(dtype=torch.int64)


@pytest.mark.parametrize("name", ["targets", "test_targets"])
def test_a_target_for_every_input_is_required(name):
    with pytest.raises(ValueError, match=f"{name} of 5\nexpected one target for each"):
        tiny(**{name: torch.zeros(5)})


def test_the_repr_is_one_line_of_shapes():
    assert (
        repr(tiny())
        == "Dataset(inputs: 3×4 float32, targets: 3 int64, test_inputs: 1×4 float32, test_targets: 1 int64)"
    )


# Its picture


def test_the_picture_shows_the_first_inputs_in_order_with_their_targets():
    data = digits()
    ax = data.plot(rows=2, columns=3)
    sheet = torch.as_tensor(ax.images[0].get_array().filled(torch.nan))
    assert sheet.shape == (20, 30)
    for index in range(6):
        top, left = index // 3 * 10, index % 3 * 10
        assert torch.equal(sheet[top : top + 8, left : left + 8].float(), data.inputs[index].reshape(8, 8))
        assert sheet[top + 8 : top + 10, left : left + 8].isnan().all()
    assert [text.get_text() for text in ax.texts] == [str(target) for target in data.targets[:6].tolist()]


def test_the_picture_of_few_examples_is_not_an_error_and_goes_where_it_is_told():
    first = tiny().plot()
    assert len(first.texts) == 3
    assert tiny(inputs=torch.zeros(3, 1, 4, 4)).plot(first) is first


def test_inputs_that_are_no_pictures_are_refused():
    with pytest.raises(ValueError, match=r"inputs of shape \(3, 5\)\nexpected square pictures"):
        tiny(inputs=torch.zeros(3, 5)).plot()
    with pytest.raises(ValueError, match="rows=0"):
        tiny().plot(rows=0)


# Shapes


def test_digits_are_vectors_pictures_or_sequences_of_pixels():
    data = digits()
    pictures, pixels = data.shaped(1, 8, 8), data.shaped(64, 1)
    assert pictures.inputs.shape == (1437, 1, 8, 8)
    assert pixels.test_inputs.shape == (360, 64, 1)
    assert torch.equal(pictures.inputs.flatten(1), data.inputs)
    assert torch.equal(pixels.targets, data.targets)
    with pytest.raises(ValueError, match=r"shape=\(3, 8\) for inputs of shape \(64,\)\nexpected"):
        data.shaped(3, 8)


# Photographs and characters


def test_the_photographs_have_colours_between_0_and_1():
    pictures = photographs(dtype=torch.float64)
    assert list(pictures) == ["china", "flower"]
    for picture in pictures.values():
        assert picture.shape == (3, 427, 640)
        assert picture.dtype == torch.float64
        assert 0 <= picture.min() < 0.1
        assert 0.9 < picture.max() <= 1


@pytest.mark.parametrize("length", [1, 32])
def test_targets_are_the_same_text_one_character_later(length):
    data, alphabet = characters(length)
    assert len(set(alphabet)) == len(alphabet)
    text = "".join(alphabet[index] for index in data.inputs.flatten().tolist())
    later = "".join(alphabet[index] for index in data.targets.flatten().tolist())
    assert text[1:] == later[:-1]
    assert len(text) > 30_000
    assert "The data set contains" in text
    assert data.test_inputs.shape[1] == length


# Problems made for memory


def test_the_sum_of_the_marked_numbers_is_the_target():
    data = adding_problem(9, 400, seed=3)
    numbers, marks = data.inputs.unbind(-1)
    assert ((numbers >= 0) & (numbers < 1)).all()
    assert (marks.sum(1) == 2).all()
    assert (marks[:, :4].sum(1) == 1).all()
    torch.testing.assert_close((numbers * marks).sum(1, keepdim=True), data.targets)
    assert len(data.test_inputs) == 200


def test_always_answering_one_has_an_error_of_a_sixth():
    squares = (adding_problem(2, 20_000).targets - 1).square()
    assert abs(squares.mean() - 1 / 6) < 4 * squares.std() / 20_000**0.5


def test_what_is_told_is_to_be_repeated_after_the_delay():
    data = copy_problem(6, 50, symbols=4, recall=3, seed=1)
    assert data.inputs.shape == data.targets.shape == (50, 12)
    assert torch.equal(data.inputs[:, :3], data.targets[:, -3:])
    assert data.inputs[:, :3].unique().tolist() == [0, 1, 2, 3]
    assert (data.targets[:, :-3] == 4).all()
    assert (data.inputs == 5).nonzero()[:, 1].unique().tolist() == [8]  # the signal, before the first answer
    assert (data.inputs[:, 9:] == 4).all()


@pytest.mark.parametrize(
    "make", [lambda seed: adding_problem(5, 6, seed=seed), lambda seed: copy_problem(5, 6, seed=seed)]
)
def test_a_seed_means_the_same_problem(make):
    assert torch.equal(make(1).inputs, make(1).inputs)
    assert not torch.equal(make(1).inputs, make(2).inputs)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: adding_problem(1), "length=1"),
        (lambda: adding_problem(5, 1), "examples=1"),
        (lambda: adding_problem(5, dtype=torch.int32), "dtype=torch.int32"),
        (lambda: copy_problem(0), "delay=0"),
        (lambda: copy_problem(5, recall=0), "recall=0"),
        (lambda: characters(0), "length=0"),
        (lambda: characters(10**6), "length=1000000\nexpected less than"),
        (lambda: photographs(device="cuda:99"), "cannot be used here"),
    ],
)
def test_a_problem_that_cannot_be_made_is_told_what_is_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_ten_symbols_are_to_be_recalled_unless_it_is_said_otherwise():
    assert copy_problem(3, 4).inputs.shape == (4, 3 + 2 * 10)

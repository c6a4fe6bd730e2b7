"""Atoms draw the numbers they were given, and nothing that is not finite."""

import matplotlib.pyplot as plt
import pytest
import torch

from d2lstab import alt_text, course_style, heatmap, histogram, line_with_band, new_axes, theory_line
from d2lstab.plotting import count_in


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_given_axes_are_drawn_into():
    ax = new_axes()
    assert new_axes(ax) is ax


def test_a_band_holds_the_middle_of_the_rows_around_their_median():
    y = torch.arange(11.0)[:, None] * torch.ones(3)
    ax = line_with_band(new_axes(), range(3), y, label="rows")
    assert ax.lines[0].get_ydata().tolist() == [5, 5, 5]
    corners = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (corners.min(), corners.max()) == (1, 9)
    assert ax.get_legend() is not None


def test_a_single_line_has_no_band():
    assert not line_with_band(new_axes(), range(3), torch.ones(3)).collections


def test_what_is_not_finite_leaves_a_gap():
    y = torch.tensor([[1.0, torch.inf, torch.nan], [1.0, 2.0, torch.nan]])
    (line,) = line_with_band(new_axes(), range(3), y).lines
    assert line.get_ydata()[:2].tolist() == [1, 2]
    assert line.get_ydata()[2] != line.get_ydata()[2]


def test_nothing_to_draw_is_drawn_as_nothing():
    (line,) = line_with_band(new_axes(), range(3), torch.empty(0, 3)).lines
    assert torch.tensor(line.get_ydata()).isnan().all()
    assert not any(patch.get_height() for patch in histogram(new_axes(), torch.full((3,), torch.nan)).patches)


def test_what_is_counted_has_whole_ticks():
    counted, measured = (line_with_band(new_axes(), x, torch.ones(21)) for x in (range(21), torch.arange(21.0)))
    assert all(tick == round(tick) for tick in counted.get_xticks())
    assert any(tick != round(tick) for tick in measured.get_xticks())  # 2.5, 7.5 …


def test_chosen_ticks_stay():
    ax = new_axes()
    ax.set_xticks([0.5, 1.5])
    line_with_band(ax, range(3), torch.ones(3))
    assert ax.get_xticks().tolist() == [0.5, 1.5]


def test_theory_is_black_and_dashed_under_one_label():
    ax = theory_line(new_axes(), range(3), torch.ones(3, 2), label="theory")
    assert {line.get_color() for line in ax.lines} == {"black"}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["theory"]


def test_a_histogram_counts_only_finite_values():
    ax = histogram(new_axes(), torch.tensor([0.0, 1.0, torch.inf, torch.nan]), bins=2, label="values")
    assert [patch.get_height() for patch in ax.patches] == [1, 1]


def test_a_heatmap_names_its_rows_and_columns():
    ax = heatmap(new_axes(), torch.eye(2), rows=["a", "b"], columns=["c", "d"], label="value")
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["c", "d"]


@pytest.mark.parametrize(
    ("steps", "labels", "places"),
    [
        (range(1, 160, 2), ["30", "60", "90", "120", "150"], [14.5, 29.5, 44.5, 59.5, 74.5]),
        ([30, 10_000], ["2000", "4000", "6000", "8000", "10000"], None),
        ([17], ["17"], [0]),
    ],
)
def test_columns_of_a_heatmap_are_marked_with_round_values(steps, labels, places):
    ax = count_in(heatmap(new_axes(), torch.ones(2, len(steps))), torch.tensor(steps))
    assert [text.get_text() for text in ax.get_xticklabels()] == labels
    assert places is None or ax.get_xticks().tolist() == pytest.approx(places)


def test_tensors_with_gradients_and_integers_can_be_drawn():
    line_with_band(new_axes(), torch.arange(3), torch.ones(2, 3, requires_grad=True))
    heatmap(new_axes(), torch.ones(2, 2, dtype=torch.int64))


def test_the_alternative_text_stays_with_the_figure():
    ax = new_axes()
    alt_text(ax, "a rising line")
    assert ax.figure.get_label() == "a rising line"


def test_the_style_gives_opaque_figures_distinct_lines_and_can_be_undone():
    with plt.rc_context():
        course_style()
        assert plt.rcParams["figure.facecolor"] == "white"
        assert {side for side, spine in new_axes().spines.items() if spine.get_visible()} == {"left", "bottom"}
        cycle = plt.rcParams["axes.prop_cycle"].by_key()
        assert len(set(cycle["color"])) == len({str(dash) for dash in cycle["linestyle"]}) == 7


def test_two_edges_are_one_bin():
    ax = histogram(new_axes(), torch.tensor([0.2, 0.4, 3.0]), bins=[0.0, 1.0])
    assert [each.get_height() for each in ax.patches] == [1.0]


@pytest.mark.parametrize("bins", [[[0.0, 1.0], [2.0, 3.0]], [1.0], [1.0, 1.0], [2.0, 1.0]])
def test_edges_of_bins_are_one_row_that_rises(bins):
    with pytest.raises(ValueError, match="expected a number of bins, or two edges and more, each above the last"):
        histogram(new_axes(), torch.rand(5), bins=bins)

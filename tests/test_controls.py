"""A live figure shows the start, follows its controls, and is a picture where there are none."""

import subprocess
import sys
from base64 import b64decode
from io import BytesIO

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from d2lstab import alt_text, live, new_axes
from d2lstab.controls import LiveFigure

ipywidgets = pytest.importorskip("ipywidgets")
VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def line(ax, height, bend=1.0):
    ax.plot([0, 1, 2], [0, bend, height])
    ax.set(ylim=(0, 10))
    alt_text(ax, f"A line that rises to {height:g}.")


def pixels(png: bytes) -> np.ndarray:
    return plt.imread(BytesIO(png))


def drawn_with(**values) -> np.ndarray:
    """The picture of a figure that never had other values."""
    return pixels(picture(live(line, **{name: [value] for name, value in values.items()})))


def picture(figure: LiveFigure) -> bytes:
    return b64decode(figure._repr_mimebundle_()[0]["image/png"])


def heights(figure: LiveFigure) -> list[float]:
    return [drawn.get_ydata()[-1] for drawn in figure.axes.lines]


def test_the_first_picture_is_drawn_with_the_starts():
    figure = live(line, height=(1, 9, 4), bend=(0.0, 2.0, 0.5))
    assert figure.values == {"height": 4, "bend": 0.5}
    assert heights(figure) == [4]
    np.testing.assert_array_equal(pixels(picture(figure)), drawn_with(height=4, bend=0.5))


@pytest.mark.parametrize(("name", "value"), [("height", 9), ("bend", 2.0)])
def test_a_control_that_is_moved_draws_its_value_and_keeps_the_others(name, value):
    figure = live(line, height=(1, 9, 4), bend=(0.0, 2.0, 0.5))
    figure.controls[name].value = value
    assert figure.values == {"height": 4, "bend": 0.5} | {name: value}
    np.testing.assert_array_equal(pixels(picture(figure)), drawn_with(**figure.values))


def test_what_was_drawn_before_is_gone_whatever_it_was():
    def crowded(ax, height):
        line(ax, height)
        ax.twinx().plot([0, 2], [height, 0])
        ax.set(title=f"{height}", xscale="log" if height > 5 else "linear")

    figure = live(crowded, height=(1, 9, 4))
    for height in (8, 4):
        figure.controls["height"].value = height
    assert len(figure.axes.figure.axes) == 2
    assert heights(figure) == [4]
    assert figure.axes.get_xscale() == "linear"


def test_whole_numbers_move_in_whole_steps_and_others_in_round_ones_that_meet_the_start():
    figure = live(line, height=(1, 9, 4), bend=(0.5, 3.0, 1.2))
    assert isinstance(figure.controls["height"], ipywidgets.IntSlider)
    slider = figure.controls["bend"]
    assert (slider.min, slider.max, slider.value) == (0.5, 3.0, 1.2)
    assert slider.step == pytest.approx(0.05)
    assert live(line, height=[1], bend=(0.0, 1.0, 0.333)).controls["bend"].step == pytest.approx(0.001)


def test_options_are_chosen_by_name_and_the_first_is_the_start():
    figure = live(line, height={"low": 2, "high": 8})
    assert figure.values == {"height": 2}
    figure.controls["height"].label = "high"
    assert heights(figure) == [8]
    assert isinstance(figure.controls["height"], ipywidgets.ToggleButtons)
    assert isinstance(live(line, height=[1, 2, 3, 4, 5]).controls["height"], ipywidgets.Dropdown)


def test_options_may_be_functions():
    figure = live(lambda ax, f: line(ax, f(4)), f={"square": lambda x: x**2, "double": lambda x: 2 * x})
    figure.controls["f"].label = "double"
    assert heights(figure) == [8]


def test_several_axes_are_drawn_together():
    def both(axes, height):
        for ax in axes:
            line(ax, height)

    figure = live(both, new_axes(ncols=2, figsize=(9, 3)), height=(1, 9, 4))
    figure.controls["height"].value = 7
    assert [ax.lines[0].get_ydata()[-1] for ax in figure.axes] == [7, 7]


def test_an_error_is_said_in_place_of_the_picture_and_the_next_value_draws_again():
    def fragile(ax, height):
        line(ax, height)
        if height == 7:
            raise ValueError("seven is not drawn")

    figure = live(fragile, height=(1, 9, 4))
    figure.controls["height"].value = 7
    (text,) = figure.axes.figure.texts
    assert "height = 7" in text.get_text() and "ValueError: seven is not drawn" in text.get_text()
    assert heights(figure) == []
    figure.controls["height"].value = 5
    assert heights(figure) == [5] and not figure.axes.figure.texts
    np.testing.assert_array_equal(pixels(picture(figure)), drawn_with(height=5))


def test_an_error_at_the_start_is_raised():
    with pytest.raises(ZeroDivisionError):
        live(lambda ax, height: line(ax, 1 / height), height=(0, 1, 0))


def test_a_front_end_gets_the_picture_of_now_with_its_text_and_a_line_that_never_changes():
    figure = live(line, new_axes(figsize=(5, 3)), height=(1, 9, 4))
    figure.controls["height"].value = 7
    data, metadata = figure._repr_mimebundle_()
    assert data["text/plain"] == repr(figure) == "LiveFigure(height: 4 of 1 to 9)"
    assert metadata["image/png"] == {"width": 500, "height": 300, "alt": "A line that rises to 7."}
    assert pixels(picture(figure)).shape[:2] == (600, 1000)
    assert "A line that rises to 7." in figure._text.value


def test_the_controls_have_the_picture_with_them_for_a_page_that_is_loaded_again():
    figure = live(line, height=(1, 9, 4))
    for height in (7, 5):
        figure.controls["height"].value = height
        np.testing.assert_array_equal(pixels(figure._image.value), drawn_with(height=height))
    assert figure._image in figure._box.children


def test_a_notebook_shows_the_controls_apart_from_the_picture_which_follows_them_in_every_cell():
    """A stored view of controls shows nothing when it is opened again: no picture may be an alternative to it."""
    define = """
import d2lstab
def line(ax, height):
    ax.plot([0, height]), ax.set(ylim=(0, 10)), d2lstab.alt_text(ax, f"Up to {height}.")
figure = d2lstab.live(line, height=(1, 9, 4))
figure"""
    sources = [define, "figure", "figure.controls['height'].value = 7", "d2lstab.live(line, height=[7])"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    NotebookClient(notebook, timeout=120, kernel_name="python3", store_widget_state=False).execute()
    first, second, change, other = ([output.data for output in cell.outputs] for cell in notebook.cells)
    for outputs in (first, second):
        assert [sorted(data) for data in outputs] == [[VIEW], ["text/html"], ["image/png", "text/plain"]]
        now, expected = (pixels(b64decode(data[-1]["image/png"])) for data in (outputs, other))
        np.testing.assert_array_equal(now, expected)
    assert notebook.cells[0].outputs[-1].metadata["image/png"]["alt"] == "Up to 7."
    assert notebook.cells[0].outputs[-2].data["text/html"].endswith(">Figure: Up to 7.</p>")
    assert not change


def test_without_widgets_there_is_the_picture():
    code = (
        "import sys; sys.modules['ipywidgets'] = sys.modules['IPython'] = None; import d2lstab\n"
        "figure = d2lstab.live(lambda ax, height: ax.plot([0, height]), height=(1, 9, 4))\n"
        "assert set(figure._repr_mimebundle_()[0]) == {'text/plain', 'image/png'} and not figure.controls\n"
        "assert figure.set(height=5).axes.lines[0].get_ydata()[1] == 5\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)


@pytest.mark.parametrize(
    "given",
    [(1, 9, 10), (1, 9, 0), (9, 1, 4), (1, 1, 1), (1, 9), (1, 9, "4"), (1, float("nan"), 1), [], {}, 4, "ab", True],
)
def test_a_range_without_sense_is_refused(given):
    with pytest.raises(ValueError, match=r"(?s)^height=.*\nexpected \(low, high, start\)"):
        live(line, height=given)


def test_something_to_draw_and_something_to_move_are_needed():
    with pytest.raises(TypeError, match=r"(?s)^draw=3 .*\nexpected a function draw\(ax, height\)"):
        live(3, height=(1, 9, 4))
    with pytest.raises(ValueError, match=r"(?s)^no range for line\nexpected one for each value"):
        live(line)


def test_set_refuses_a_name_that_has_no_control():
    with pytest.raises(ValueError, match=r"(?s)^hight=5\nexpected one of height"):
        live(line, height=(1, 9, 4)).set(hight=5)


def test_a_figure_drawn_after_the_style_was_set_twice_is_described_once():
    source = """
import d2lstab
d2lstab.course_style(), d2lstab.course_style()"""
    figure = 'ax = d2lstab.new_axes()\nd2lstab.alt_text(ax, "Nothing.")'
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(each) for each in (source, figure)])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    outputs = [output.data for output in notebook.cells[1].outputs if output.output_type == "display_data"]
    assert [sorted(data) for data in outputs] == [["text/html"], ["image/png", "text/plain"]]
    assert "Figure: Nothing." in outputs[0]["text/html"]

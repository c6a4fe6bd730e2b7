"""A figure that follows its controls, and stays a picture where controls do not run."""

from base64 import b64encode
from collections.abc import Callable, Mapping
from io import BytesIO
from math import floor, isclose, log10
from textwrap import fill
from typing import Any

from .arguments import name_of
from .plotting import described, new_axes
from .processes import notebook_shell
from .signatures import checked

__all__ = ["LiveFigure", "live"]

_VIEW = "application/vnd.jupyter.widget-view+json"
# Of an output with controls, in JupyterLab: what stands for the controls where a notebook is opened again is hidden,
# and while they run, they have a picture of their own, so that of the two the stored one is. Other front ends, which
# know none of its classes, show the stored one alone. And handles of sliders are told what they move.
_QUIET = """<div class="d2lstab-live"><style>
.d2lstab-picture { display: none }
.jp-OutputArea-child .d2lstab-picture { display: block }
.jp-OutputArea-child:has(+ * .d2lstab-live) > .jupyter-widgets:not(:has(*)) { display: none }
.jp-OutputArea-child:has(.d2lstab-picture) + * .d2lstab-live + .d2lstab-alt { display: none }
.jp-OutputArea-child:has(.d2lstab-picture) + :has(.d2lstab-live) + .jp-OutputArea-child { display: none }
</style><script>
window.d2lstabNames ??= new MutationObserver(() => {
  for (const handle of document.querySelectorAll(".widget-slider .noUi-handle:not([aria-label])"))
    handle.setAttribute("aria-label", handle.closest(".widget-slider").querySelector(".widget-label").textContent)
}).observe(document.body, {childList: true, subtree: true}) ?? true
</script></div>"""
_MOST_BUTTONS = 4


@checked
def live(draw: Callable[..., Any], axes: Any = None, /, **ranges: Any) -> "LiveFigure":
    """A figure drawn by `draw(axes, **values)`, and again whenever one of its values is changed.

    axes: what new_axes returns, one or an array; cleared before each drawing. A new one if not given.
    ranges: for each keyword of `draw` either (low, high, start), a slider, of whole numbers if the three are
    whole; or the options to choose from, a list of them or a dict of names and values, the first is the start.
    In a notebook the last line of a cell shows it: as the picture, with sliders above it where ipywidgets runs.
    Elsewhere in Python only the picture at the start is drawn.
    Raises TypeError if `draw` cannot be called, ValueError for a range that is none of these.

    >>> def draw(ax, factor):
    ...     theory_line(ax, torch.arange(50), factor ** torch.arange(50.0), label=f"{factor} per layer")
    >>> live(draw, factor=(0.5, 1.5, 0.9))
    LiveFigure(factor: 0.9 of 0.5 to 1.5)
    """
    if not callable(draw):
        raise TypeError(f"draw={draw!r} cannot be called\nexpected a function draw(ax, {', '.join(ranges) or 'value'})")
    if not ranges:
        raise ValueError(f"no range for {name_of(draw)}\nexpected one for each value, such as sigma_w=(0.5, 3.0, 1.0)")
    return LiveFigure(
        draw, new_axes() if axes is None else axes, {name: _checked(name, ranges[name]) for name in ranges}
    )


class LiveFigure:
    """A figure with its controls; made by `live`, which says what `draw` and `ranges` are.

    axes: what is drawn into. values: what the figure shows now. controls: the widget of each value, by name;
    empty without ipywidgets.

    >>> def draw(ax, factor):
    ...     theory_line(ax, torch.arange(50), factor ** torch.arange(50.0), label=f"{factor} per layer")
    >>> figure = live(draw, factor=(0.5, 1.5, 0.9))
    >>> figure.set(factor=1.1).values  # drawn again, as a slider does it
    {'factor': 1.1}
    """

    def __init__(self, draw: Callable[..., Any], axes: Any, ranges: dict[str, Any]):
        self.axes: Any = axes
        self.values: dict[str, Any] = {
            name: range_[2] if isinstance(range_, tuple) else range_[0][1] for name, range_ in ranges.items()
        }
        self.controls: dict[str, Any] = {}
        self._draw, self._ranges = draw, ranges
        self._own = list(getattr(axes, "flat", [axes]))
        self._figure = self._own[0].figure
        self._message = None
        draw(axes, **self.values)
        if notebook_shell() is not None:
            import matplotlib.pyplot as plt

            plt.close(self._figure)  # otherwise the end of the cell shows it a second time
        self._picture: bytes | None = _png(self._figure)
        self._figure.set_layout_engine("none")  # as laid out now: axes that stay put, and a faster picture
        self._box = self._widgets()
        self._shown: tuple[Any, Any] | None = None  # the handles of the text and of the picture

    def set(self, **values: Any) -> "LiveFigure":
        """This figure, drawn again with the values given; what `draw` raises is shown in place of the picture.

        Raises ValueError for a name that was given no range.
        """
        for name in values.keys() - self.values.keys():
            raise ValueError(f"{name}={values[name]!r}\nexpected one of {', '.join(self.values)}")
        self.values |= values
        self._clear()
        try:
            self._draw(self.axes, **self.values)
        except Exception as error:  # noqa: BLE001  whatever it is, the reader should see it, not a picture that hangs
            self._clear()
            shown = ", ".join(f"{name} = {value}" for name, value in self.values.items())
            for ax in self._own:
                ax.set_axis_off()
            text = f"No picture for {shown}\n\n{fill(f'{type(error).__name__}: {error}', 70)}"
            self._message = self._figure.text(0.5, 0.5, text, ha="center", va="center")
        self._picture = None
        if self._box is not None:
            self._text.value = described(self._figure.get_label())
            self._image.value = self._drawn()
        if self._shown is not None:
            data, metadata = self._repr_mimebundle_()
            text, picture = self._shown
            text.update({"text/html": self._beside()}, raw=True)
            picture.update(data, metadata=metadata, raw=True)
        return self

    def __repr__(self) -> str:
        return f"LiveFigure({', '.join(f'{name}: {_text(range_)}' for name, range_ in self._ranges.items())})"

    def _ipython_display_(self) -> None:
        """Shows the controls with their picture and, as an output of its own that follows them, the picture that is stored.

        Both in one output would leave neither where a notebook that was run and stored is opened again; and a page
        that is loaded again finds the controls, but no longer the outputs that a handle has shown.
        """
        from IPython.display import DisplayHandle, display

        if self._box is not None:
            display({_VIEW: {"version_major": 2, "version_minor": 0, "model_id": self._box.model_id}}, raw=True)
        data, metadata = self._repr_mimebundle_()
        # The same wherever it is shown, so that all of them follow.
        text, picture = self._shown = self._shown or (DisplayHandle(), DisplayHandle())
        text.display({"text/html": self._beside()}, raw=True)
        picture.display(data, metadata=metadata, raw=True)

    def _beside(self) -> str:
        """What stands in front of the stored picture, not to be seen."""
        alt = self._figure.get_label()
        return (_QUIET if self._box is not None else "") + (described(alt) if alt else "")

    def _drawn(self) -> bytes:
        if self._picture is None:
            self._picture = _png(self._figure, compress_level=1)
        return self._picture

    def _size(self) -> dict[str, int]:
        width, height = (round(size * self._figure.dpi) for size in self._figure.get_size_inches())
        return {"width": width, "height": height}

    def _repr_mimebundle_(self, **_) -> tuple[dict, dict]:
        """The picture as it is now, for any front end.

        The text is the same in every run, so that a stored notebook can be compared with a new one.
        """
        alt = self._figure.get_label()
        data = {"text/plain": repr(self), "image/png": b64encode(self._drawn()).decode()}
        return data, {"image/png": self._size() | ({"alt": alt} if alt else {})}

    def _clear(self) -> None:
        """Empties the figure: what `draw` added beside the axes, such as colour bars, goes too."""
        for added in [ax for ax in self._figure.axes if ax not in self._own]:
            added.remove()
        if self._message is not None:
            self._message.remove()
            self._message = None
        for ax in self._own:
            ax.clear()
            ax.grid(True)

    def _widgets(self):
        """The controls, or None without ipywidgets."""
        try:
            import ipywidgets
        except ImportError:
            return None
        self._text = ipywidgets.HTML(described(self._figure.get_label()))
        self._image = ipywidgets.Image(value=self._drawn(), format="png", width=str(self._size()["width"]))
        self._image.layout.max_width = "100%"
        self._image.add_class("d2lstab-picture")
        for name, range_ in self._ranges.items():
            self.controls[name] = control = _control(ipywidgets, name, range_)
            # A slider that is dragged waits for the last picture, then sends only its newest value.
            control.observe(lambda change, name=name: self.set(**{name: change["new"]}), "value")
        return ipywidgets.VBox([*self.controls.values(), self._text, self._image])


def _checked(name: str, given: Any) -> Any:
    """(low, high, start), or a list of (text, value)."""
    if isinstance(given, Mapping):
        given = list(given.items())
    elif isinstance(given, list):
        given = [(str(option), option) for option in given]
    if isinstance(given, list) and given:
        return given
    numbers = isinstance(given, tuple) and len(given) == 3 and all(type(number) in (int, float) for number in given)
    if not numbers or not given[0] <= given[2] <= given[1] or given[0] == given[1]:
        raise ValueError(
            f"{name}={given!r}\nexpected (low, high, start) with low ≤ start ≤ high, or the options: a list or a dict"
        )
    return given if all(isinstance(number, int) for number in given) else tuple(map(float, given))


def _control(ipywidgets, name: str, range_):
    common = {"description": name, "style": {"description_width": "initial"}}
    if isinstance(range_, list):
        kind = ipywidgets.ToggleButtons if len(range_) <= _MOST_BUTTONS else ipywidgets.Dropdown
        if kind is ipywidgets.ToggleButtons:
            common["style"] = {"description_width": "initial", "button_width": "auto"}
        return kind(options=range_, **common)
    low, high, start = range_
    layout = ipywidgets.Layout(width="420px", max_width="100%")
    if isinstance(start, int):
        return ipywidgets.IntSlider(min=low, max=high, value=start, layout=layout, **common)
    step = _step(low, high, start)
    digits = max(0, -floor(log10(step) + 1e-9))
    return ipywidgets.FloatSlider(
        min=low, max=high, value=start, step=step, readout_format=f".{digits}f", layout=layout, **common
    )


def _step(low: float, high: float, start: float) -> float:
    """About a fiftieth of the range, round, and such that steps from `low` meet `start`."""
    exponent = floor(log10((high - low) / 40))
    for step in (factor * 10.0**power for power in range(exponent, exponent - 3, -1) for factor in (5, 2, 1)):
        steps = (start - low) / step
        if step <= (high - low) / 40 and isclose(steps, round(steps), abs_tol=1e-6):
            return step
    return (high - low) / 50


def _text(range_) -> str:
    if isinstance(range_, list):
        return "{} of {}".format(range_[0][0], ", ".join(text for text, _ in range_))
    low, high, start = range_
    return f"{start:g} of {low:g} to {high:g}"


def _png(figure, **compression) -> bytes:
    """The figure at twice the pixels, in one size whatever is drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    # Not savefig: it draws everything twice.
    canvas = figure.canvas if isinstance(figure.canvas, FigureCanvasAgg) else FigureCanvasAgg(figure)
    picture, dpi = BytesIO(), figure.dpi
    figure.dpi = 2 * dpi
    try:
        canvas.print_png(picture, pil_kwargs=compression)
    finally:
        figure.dpi = dpi
    return picture.getvalue()

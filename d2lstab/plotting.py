"""Ink only: tensors onto axes, in the style of the course."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NewType, overload

import torch
from cycler import cycler
from torch import Tensor

from .arguments import is_whole
from .processes import notebook_shell
from .signatures import checked

__all__ = ["alt_text", "course_style", "heatmap", "histogram", "line_with_band", "new_axes", "theory_line"]

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:
    # A name for signatures: matplotlib takes long to import, and is only when something is drawn.
    Axes = NewType("Axes", object)
    Axes.__module__ = "matplotlib.axes"

# Okabe and Ito's palette, told apart by people with any colour vision; yellow is left out, it fades on white.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#4D4D4D"]
DASHES = ["-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (2, 2))]

Values = Tensor | Sequence[float]
_MOST_BINS = 10_000

_STYLE: dict[str, Any] = {
    "axes.prop_cycle": cycler(color=COLOURS) + cycler(linestyle=DASHES),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "figure.facecolor": "white",  # opaque, so that a dark theme does not swallow the labels
    "figure.figsize": (6.0, 3.4),
    "font.size": 10,
    "grid.alpha": 0.3,
    "legend.edgecolor": "none",
    "legend.fontsize": 9,
    "legend.framealpha": 0.8,
    "lines.linewidth": 1.6,
}


@checked
def course_style() -> None:
    """Gives this notebook's figures the course's look, as PNG at twice the pixels.

    `d2l.use_svg_display = course_style` gives it to d2l's figures too: a stored SVG is not shown until
    the reader trusts the notebook, a PNG is. Outside a notebook only matplotlib's settings change.

    >>> course_style()
    >>> import matplotlib
    >>> matplotlib.rcParams["axes.spines.top"]
    False
    """
    import matplotlib.pyplot as plt

    plt.style.use(_STYLE)
    shell = notebook_shell()
    if shell is not None:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        def described_figures(_: object = None) -> None:
            set_matplotlib_formats("retina")
            _store_alternative_text(shell)

        described_figures()
        # Where matplotlib was not asked for before this cell, older front ends set their own formats after it.
        shell.events.register("post_run_cell", _once(shell, described_figures))


@overload
def new_axes(ax: Axes | None = None, *, figsize: tuple[float, float] = ...) -> Axes: ...
@overload
def new_axes(ax: Axes | None = None, **figure: Any) -> Any: ...  # ncols= makes several
@checked
def new_axes(ax: Axes | None = None, **figure: Any) -> Any:
    """`ax` itself, or the axes of a new figure, with a grid.

    figure: keywords of plt.subplots; ncols=2 returns an array of two.
    Raises TypeError for what cannot be drawn into.

    >>> left, right = new_axes(ncols=2, figsize=(8, 3))
    >>> new_axes(left) is left
    True
    """
    if ax is None:
        import matplotlib.pyplot as plt

        _, ax = plt.subplots(**{"figsize": _STYLE["figure.figsize"]} | figure)  # d2l.plot resets the default size
        for each in getattr(ax, "flat", [ax]):
            each.grid(True)
    elif not hasattr(ax, "plot"):
        raise TypeError(f"ax is a {type(ax).__name__}\nexpected matplotlib's Axes, such as figure.gca()")
    return ax


def shades(count: int) -> list[tuple[float, ...]]:
    """So many colours from dark to light, for lines in an order."""
    from matplotlib import colormaps

    return [
        tuple(shade) for shade in colormaps["viridis"](torch.linspace(0, 0.9, max(2, count), device="cpu").numpy())
    ][:count]


@checked
def alt_text(ax: Axes, text: str) -> None:
    """Stores an alternative text with the figure, for readers who cannot see it.

    text: a sentence or two that say what is seen.

    >>> ax = new_axes()
    >>> alt_text(ax, "Nothing yet: axes without a line.")
    >>> ax.figure.get_label()
    'Nothing yet: axes without a line.'
    """
    ax.figure.set_label(text)


def literal(name: str) -> str:
    """A name as matplotlib shows it letter by letter: between two dollars it would read a formula."""
    return name.replace("$", r"\$")


@checked
def line_with_band(ax: Axes, x: Values, y: Tensor, *, low: float = 0.1, high: float = 0.9, **style: Any) -> Axes:
    """Axes with the median of y over its rows and the band that holds the rows from `low` to `high`.

    x: (points,). y: (rows, points), or (points,) for a single line without a band. Values that are not finite
    leave a gap, and so does y without rows. Where x counts something, layers or steps, its ticks are whole numbers.
    Raises ValueError for shapes that do not fit, and unless 0 ≤ low ≤ high ≤ 1.

    >>> walks = normal(200, 50, generator=seeded(0)).cumsum(1)
    >>> ax = line_with_band(new_axes(), torch.arange(50), walks, label="200 random walks")
    """
    x, y = _cpu(x), _cpu(y)
    if x.dim() != 1 or y.dim() not in (1, 2) or y.shape[-1] != len(x):
        raise ValueError(
            f"x of shape {tuple(x.shape)}, y of shape {tuple(y.shape)}\nexpected (points,) and (points,) or (rows, points)"
        )
    if not 0 <= low <= high <= 1:
        raise ValueError(f"low={low}, high={high}\nexpected shares of the rows, 0 ≤ low ≤ high ≤ 1")
    rows = y if y.dim() == 2 else y[None]
    rows = (
        torch.where(rows.isfinite(), rows, torch.nan) if len(rows) else torch.full((1, len(x)), torch.nan, device="cpu")
    )
    (line,) = ax.plot(x.numpy(), rows.nanmedian(0).values.numpy(), **style)
    if len(rows) > 1:
        lower, upper = rows.nanquantile(torch.tensor([low, high], dtype=rows.dtype, device="cpu"), dim=0)
        ax.fill_between(x.numpy(), lower.numpy(), upper.numpy(), color=line.get_color(), alpha=0.2, linewidth=0)
    if not x.is_floating_point():
        _whole_ticks(ax)
    if "label" in style:
        ax.legend()
    return ax


def _whole_ticks(ax: Axes) -> None:
    """No half layers on the x axis; ticks that somebody has chosen stay."""
    from matplotlib.ticker import AutoLocator

    if isinstance(locator := ax.xaxis.get_major_locator(), AutoLocator):
        locator.set_params(integer=True)


@checked
def theory_line(ax: Axes, x: Values, y: Values, *, label: str | None = None) -> Axes:
    """Axes with what theory predicts: black and dashed, above everything else.

    x: (points,). y: (points,), or (points, lines) for several lines under one label.
    Raises ValueError for shapes that do not fit, and without points.

    >>> steps = torch.arange(50)
    >>> ax = line_with_band(new_axes(), steps, normal(200, 50, generator=seeded(0)).cumsum(1).square())
    >>> ax = theory_line(ax, steps, steps + 1, label="theory of their mean")
    """
    x, y = _cpu(x), _cpu(y)
    if x.dim() != 1 or y.dim() not in (1, 2) or len(y) != len(x) or not len(x):
        raise ValueError(
            f"x of shape {tuple(x.shape)}, y of shape {tuple(y.shape)}\nexpected (points,) and (points,) or (points, lines)"
        )
    lines = ax.plot(x.numpy(), y.numpy(), color="black", linestyle="--", linewidth=1.2, zorder=5)
    lines[0].set_label(label)
    if label is not None:
        ax.legend()
    return ax


@checked
def histogram(ax: Axes, values: Tensor, *, bins: int | Values = 40, **style: Any) -> Axes:
    """Axes with the distribution of the finite values, as a density.

    values: of any shape. bins: how many, or their edges.
    Raises ValueError for fewer than one bin, more than 10,000, or edges that do not grow; TypeError for other bins.

    >>> ax = histogram(new_axes(), normal(10_000, generator=seeded(0)), label="N(0, 1)")
    """
    values = _cpu(values).flatten()
    style = {"alpha": 0.6, "linewidth": 0} | style
    values = values[values.isfinite()]
    number = int(bins) if is_whole(bins) else None
    if number is not None and not 1 <= number <= _MOST_BINS:
        raise ValueError(f"bins={bins}\nexpected a number from 1 to {_MOST_BINS}, or edges")
    edges = _edges(bins) if number is None else number
    ax.hist(values.numpy(), bins=edges, density=len(values) > 0, **style)
    if "label" in style:
        ax.legend()
    return ax


def _edges(bins: Any) -> Any:
    """The edges of bins, two or more, each above the last."""
    try:
        edges = torch.as_tensor(bins, dtype=torch.float64, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"bins={bins!r}\nexpected a number of bins, or their edges") from error
    if edges.dim() != 1 or len(edges) < 2 or not bool((edges.diff() > 0).all()):
        raise ValueError(f"bins={bins}\nexpected a number of bins, or two edges and more, each above the last")
    return edges.numpy()


@checked
def heatmap(
    ax: Axes,
    values: Tensor,
    *,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    label: str = "",
    **style: Any,
) -> Axes:
    """Axes with a matrix as colours, a colour bar, and the names of its rows and columns.

    values: (rows, columns). label: of the colour bar.
    Raises ValueError for values of another form, or another number of names than of rows or columns.

    >>> ax = heatmap(new_axes(), torch.eye(3), rows=["a", "b", "c"], label="the identity")
    """
    style = {"aspect": "auto", "cmap": "viridis", "interpolation": "nearest"} | style
    if values.dim() != 2:
        raise ValueError(f"values of shape {tuple(values.shape)}\nexpected (rows, columns)")
    for name, names, count in (("rows", rows, values.shape[0]), ("columns", columns, values.shape[1])):
        if names is not None and len(names) != count:
            raise ValueError(f"{name} with {len(names)} names for {count}\nexpected a name for each")
    image = ax.imshow(_cpu(values).numpy(), **style)
    ax.figure.colorbar(image, ax=ax, label=label)
    ax.grid(False)
    if rows is not None:
        ax.set_yticks(range(len(rows)), rows)
    if columns is not None:
        ax.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
    return ax


def count_in(ax: Axes, x: Tensor) -> Axes:
    """Axes whose columns are numbered 0, 1, 2 … marked with round values of x instead.

    x: (columns,), growing. A round value between two columns stands between them.
    """
    from matplotlib.ticker import MaxNLocator
    from numpy import interp

    known = x.tolist()
    ticks = MaxNLocator(6, integer=True).tick_values(known[0], known[-1])
    inside = [tick for tick in ticks if known[0] <= tick <= known[-1]] or known[:1]
    ax.set_xticks(interp(inside, known, range(len(known))), [f"{tick:.0f}" for tick in inside])
    return ax


def _cpu(values: Values) -> Tensor:
    tensor = values.detach().cpu() if isinstance(values, Tensor) else torch.tensor(values, device="cpu")
    return tensor.double() if tensor.is_floating_point() else tensor


def described(text: str) -> str:
    """HTML that is read out and not seen, for the picture that follows: front ends drop the text stored with a PNG."""
    hidden = "position: absolute; clip-path: inset(50%)"
    return f'<p class="d2lstab-alt" style="{hidden}">Figure: {escape(text)}</p>'


def _once(shell, action):
    """The action as an event of the shell that happens once."""

    def called(result: object = None) -> None:
        shell.events.unregister("post_run_cell", called)
        action()

    return called


def _store_alternative_text(shell) -> None:
    """Puts a figure's label beside its PNG, where notebook formats keep alternative text, and in front of it, to be read."""
    from IPython.display import display
    from matplotlib.figure import Figure

    formatter = shell.display_formatter.formatters["image/png"]
    draw = formatter.lookup_by_type(Figure)

    def draw_with_text(figure: "Figure"):
        drawn = draw(figure)
        picture, metadata = drawn if isinstance(drawn, tuple) else (drawn, {})
        text = figure.get_label()
        if not (isinstance(text, str) and text):
            return drawn
        display({"text/html": described(text)}, raw=True)
        return picture, {**metadata, "alt": text}

    formatter.for_type(Figure, draw_with_text)

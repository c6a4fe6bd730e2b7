"""Which layers of a model are watched."""

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase

from torch import nn

Selection = str | Sequence[str] | Callable[[str, nn.Module], bool]


def selected(modules: Mapping[str, nn.Module], layers: Selection | None) -> dict[str, nn.Module]:
    """The modules of these paths that were asked for, each with all that is inside it; all of them for None.

    layers: paths, patterns such as "encoder.*.attention" in which * stands for anything, or a function of path and
    module. Raises ValueError for a path or pattern that fits no module, and for a function that chooses none.
    """
    if layers is None:
        return dict(modules)
    if callable(layers):
        chosen = {name for name, module in modules.items() if layers(name, module)}
        if not chosen:
            raise ValueError(f"layers={_name(layers)} is true of no module\nexpected one or more of {_listed(modules)}")
    else:
        patterns = [layers] if isinstance(layers, str) else list(layers)
        fitting = {each: {name for name in modules if fnmatchcase(name, each)} for each in patterns}
        idle = [each for each, names in fitting.items() if not names]
        if idle or not patterns:
            told = f"layers={layers!r}: {', '.join(map(repr, idle))} fits no module" if idle else f"layers={layers!r}"
            raise ValueError(f"{told}\nexpected paths or patterns of {_listed(modules)}")
        chosen = set().union(*fitting.values())
    return {name: module for name, module in modules.items() if _inside(name, chosen)}


def _inside(name: str, chosen: set[str]) -> bool:
    """Whether a path, or one that it begins with, was chosen."""
    parts = name.split(".") if name else []
    return any(".".join(parts[:length]) in chosen for length in range(len(parts) + 1))


def _listed(modules: Mapping[str, nn.Module]) -> str:
    names = [name for name in modules if name] or ["the model itself, layers=''"]
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _name(function: Callable) -> str:
    return getattr(function, "__name__", type(function).__name__)

"""What a function says it takes, checked before it runs."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, wraps
from pathlib import Path
from types import NoneType, TracebackType, UnionType
from typing import Any, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn

from .arguments import is_number, is_whole

Given = ParamSpec("Given")
Returned = TypeVar("Returned")
_TEXT = (str, bytes)
# What a function that is `checked` raises beside what it says itself: told here once, and shown by help().
ARGUMENTS = """\
Raises ValueError for what should be a number and is none, and for a tensor that is sparse, complex or without data;
TypeError for any other argument that is not as annotated and cannot be used."""
# Where our own code lies, that of installed packages, and Python's.
_LIBRARIES = (
    str(Path(__file__).parent),
    str(Path(torch.__file__).parents[1]),
    str(Path(inspect.__file__).parent),
    "<frozen",
)


def checked(function: Callable[Given, Returned]) -> Callable[Given, Returned]:
    """The function, which says of arguments that are not as annotated what was given and what is expected.

    What the function says of them itself comes first, as it knows more; but one that changes a tensor, which it takes
    first and has an underscore for at the end of its name, is not begun, and what a class is made of is compared even
    where it is used only later. What the user's own code raises passes
    through, and so does a claim that is not so: neither is the arguments' fault.
    A number is no text and no bool; a tensor is dense, has numbers in it that are real, and is not on the meta device.
    What torch does not compute in a dtype is said in the same form. Its docstring says so too, before the example.
    Raises ValueError for a number that is none and a tensor of another kind, TypeError for anything else, as for a name
    that the function does not know.
    """
    first = next(iter(inspect.signature(function).parameters.values()), None)
    makes = function.__name__ == "__init__"
    changes = not makes and function.__name__.endswith("_") and first is not None and first.annotation is Tensor

    @wraps(function)
    def guarded(*positional: Given.args, **named: Given.kwargs) -> Returned:
        if changes:
            _refuse(function, positional, named)
        try:
            made = function(*positional, **named)
        except AssertionError:
            raise
        except Exception as error:
            told = isinstance(error, (TypeError, ValueError)) and "\nexpected " in str(error)
            if told or _from_the_user(error.__traceback__):
                raise
            if isinstance(error, TypeError):
                _fit(function, positional, named, str(error))
            _refuse(function, positional, named)
            expected = next((text for symptom, text in _TORCHS.items() if symptom in str(error)), None)
            if expected is None:
                raise
            raise ValueError(f"{_name(function)}: {str(error).splitlines()[0]}\nexpected {expected}") from error
        if makes:
            _refuse(function, positional, named)
        return made

    if makes or (function.__doc__ and first is not None):
        guarded.__doc__ = _told_of_arguments(function.__doc__ or "")
    return guarded


def _told_of_arguments(docstring: str) -> str:
    """A docstring with the errors that `checked` raises."""
    said, mark, example = inspect.cleandoc(docstring).partition("\n\n>>>")
    between = "\n\n" if said and "\n" not in said else "\n" if said else ""
    return f"{said}{between}{ARGUMENTS}{mark}{example}"


def _from_the_user(traceback: TracebackType | None) -> bool:
    """Whether an error came through code that is neither ours nor a library's."""
    while traceback is not None:
        if not traceback.tb_frame.f_code.co_filename.startswith(_LIBRARIES):
            return True
        traceback = traceback.tb_next
    return False


def _fit(function: Callable, positional: tuple, named: dict, said: str) -> None:
    """Raises TypeError, with what Python said and the names that there are, for arguments that a signature has no place for."""
    signature, _ = _signature(function)
    try:
        signature.bind(*positional, **named)
    except TypeError:
        there = signature.parameters
        wanted = [text for name, text in _INSTEAD.items() if name in named and text.partition("=")[0] in there]
        names = ", ".join(wanted) or ", ".join(name for name in there if not name.startswith("_"))
        raise TypeError(f"{said}\nexpected {names}") from None


def _refuse(function: Callable, positional: tuple, named: dict) -> None:
    for name, value, hint in _bound(function, positional, named):
        fault = _fault(value, hint)
        if fault is not None:
            raise fault[0](f"{name}{_told(value)}\nexpected {fault[1]}")


# Names that people try, and what is meant here.
_INSTEAD = {
    **dict.fromkeys(("lr", "learning_rate"), "optimizer=partial(torch.optim.SGD, lr=0.1)"),
    **dict.fromkeys(("epochs", "iterations", "num_steps"), "steps="),
    **dict.fromkeys(("f", "fn", "act", "nonlinearity"), "activation="),
    **dict.fromkeys(("x", "input", "X"), "inputs="),
    **dict.fromkeys(("y", "target", "labels"), "targets="),
    **dict.fromkeys(("net", "network", "module"), "model="),
    **dict.fromkeys(("criterion", "loss_fn"), "loss="),
    **dict.fromkeys(("init", "init_fn"), "initializer="),
    **dict.fromkeys(("batch_size",), "batch="),
    **dict.fromkeys(("seed", "trials"), "seeds="),
}
# What torch says where an argument asks for what it does not have.
_TORCHS = {
    "not implemented for '": "a dtype in which torch computes this, such as torch.float32",
    "can't allocate memory": "sizes that fit the memory",
    "value cannot be converted to type": "numbers that the dtype can hold",
    "Numerical result out of range": "numbers whose squares a float can hold",
    "too big to convert": "numbers that a float can hold",
}


def _name(function: Callable) -> str:
    return function.__qualname__.removesuffix(".__init__")


@cache
def _signature(function: Callable) -> tuple[inspect.Signature, dict[str, Any]]:
    return inspect.signature(function), get_type_hints(inspect.unwrap(function))


def _bound(function: Callable, positional: tuple, named: dict) -> Iterable[tuple[str, Any, Any]]:
    """Name, value and annotation of each argument; none where Python will say that they do not fit the signature."""
    signature, hints = _signature(function)
    try:
        arguments = signature.bind(*positional, **named).arguments
    except TypeError:
        return
    for name, value in arguments.items():
        kind = signature.parameters[name].kind
        if kind is kind.VAR_POSITIONAL:
            yield from ((f"{name}[{place}]", each, hints.get(name)) for place, each in enumerate(value))
        elif kind is not kind.VAR_KEYWORD:
            yield name, value, hints.get(name)


def _fault(value: Any, hint: Any) -> tuple[type[Exception], str] | None:
    """The error for a value that is not of the annotated kind, and what is expected in its place."""
    origin = get_origin(hint) or hint
    if origin in (Union, UnionType):
        faults = [_fault(value, each) for each in get_args(hint) if each is not NoneType]
        if None in faults or (value is None and NoneType in get_args(hint)):
            return None
        told = [fault for fault in faults if fault is not None]
        return told[0][0], " or ".join(dict.fromkeys(what for _, what in told))
    if hint is None or hint is Any:
        return None
    if isinstance(hint, TypeVar):
        return None if hint.__bound__ is None else _fault(value, hint.__bound__)
    return _fault_of(value, origin, get_args(hint))


def _fault_of(value: Any, kind: Any, inner: tuple) -> tuple[type[Exception], str] | None:
    if kind is Tensor:
        return (TypeError, "a tensor") if not isinstance(value, Tensor) else _fault_inside(value)
    if kind in _KINDS:
        right, error, what = _KINDS[kind]
        return None if right(value) else (error, what)
    if getattr(kind, "__name__", "") == "Axes":
        return None if hasattr(value, "set_xlabel") else (TypeError, "matplotlib's Axes, such as figure.gca()")
    if kind is Callable or getattr(kind, "_is_protocol", False) and "__call__" in vars(kind):
        return None if callable(value) else (TypeError, "a function")
    if not isinstance(kind, type):
        return None
    scalar = getattr(value, "ndim", None) == 0  # a tensor or an array that cannot be gone through
    if isinstance(value, _TEXT) or not isinstance(value, kind) or (scalar and kind in _COLLECTIONS):
        return TypeError, _NAMES.get(kind, f"a {kind.__name__}")
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return next((fault for each in inside for fault in [_fault(each, inner[-1])] if fault), None) if inner else None


def _fault_inside(tensor: Tensor) -> tuple[type[Exception], str] | None:
    if tensor.layout is not torch.strided or tensor.is_quantized:
        return ValueError, "a dense tensor, tensor.to_dense()"
    if tensor.device.type == "meta":
        return ValueError, "a tensor with numbers in it; those on the meta device have none"
    return (ValueError, "real numbers") if tensor.is_complex() else None


def _is_float(value: Any) -> bool:
    """Whether it is a number that a float can hold."""
    if not is_number(value):
        return False
    try:
        float(value)
    except OverflowError:
        return False
    return True


# Right, the error for others, and what is expected.
_KINDS: dict[Any, tuple[Callable[[Any], bool], type[Exception], str]] = {
    bool: (lambda value: isinstance(value, bool), TypeError, "True or False"),
    str: (lambda value: isinstance(value, str), TypeError, "text"),
    int: (is_whole, ValueError, "a whole number"),
    float: (_is_float, ValueError, "a finite number"),
}
_COLLECTIONS = (Sequence, Iterable, Mapping)
_NAMES: dict[Any, str] = {
    **dict.fromkeys((Sequence, Iterable), "a list"),
    Mapping: "a dict",
    nn.Module: "a module, such as nn.Sequential",
    torch.dtype: "a torch.dtype",
    torch.device: "a torch.device",
    torch.Generator: "a torch.Generator, such as seeded(0)",
    type: "a class",
}


def _told(value: Any) -> str:
    """A value as an error restates it: of a tensor its shape, of text and numbers the value too."""
    if isinstance(value, Tensor):
        return f" of shape {tuple(value.shape)}, {value.dtype}, {value.layout} on {value.device.type}"
    if isinstance(value, (str, bytes, int, float, complex, NoneType)):
        return f"={value!r} of type {type(value).__name__}"
    return f" of type {type(value).__name__}"

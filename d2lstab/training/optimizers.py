"""One optimizer for many seeds, whose groups and settings are those that each seed's own one has."""

import copy
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor, nn, optim

from .likeness import same

MakeOptimizer = Callable[[Iterable[Tensor]], optim.Optimizer]

# They treat every entry of a parameter on its own, so one optimizer over a stack of seeds is one per seed. Exactly
# these: a subclass, or another class of that name, may do anything.
_ELEMENTWISE = (
    optim.SGD, optim.Adam, optim.AdamW, optim.NAdam, optim.RAdam, optim.Adamax, optim.Adagrad, optim.Adadelta,
    optim.RMSprop, optim.Rprop, optim.ASGD,
)  # fmt: skip


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that training moves, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def optimizer_of(make: MakeOptimizer, model: nn.Module) -> optim.Optimizer:
    """The optimizer of one model, made from its parameters as they are.

    Raises TypeError for no optimizer or one that evaluates the loss itself; ValueError if it moves other parameters.
    """
    parameters = list(trained(model).values())
    made = make(parameters)
    if not isinstance(made, optim.Optimizer):
        raise TypeError(
            f"optimizer returned {type(made).__name__}\nexpected a torch.optim.Optimizer, as partial(SGD, lr=0.1) returns"
        )
    if isinstance(made, optim.LBFGS):
        raise TypeError(
            "LBFGS evaluates the loss several times per step\nexpected an optimizer with step(); write a loop of your own for LBFGS"
        )
    held = [parameter for group in made.param_groups for parameter in group["params"]]
    if not set(map(id, parameters)).issuperset(map(id, held)):
        raise ValueError(
            f"optimizer returned one of {len(held)} parameters that it was not given\n"
            "expected an optimizer of the parameters that it is called with, or of some of them"
        )
    return made


def shared_optimizer(
    own: Sequence[optim.Optimizer], models: Sequence[nn.Module], parameters: dict[str, Tensor]
) -> optim.Optimizer | None:
    """One optimizer over stacked parameters that does what each model's own would; None if there is none.

    parameters: (seeds, ...) each, named as in the models. None where entries are mixed (Muon, a class or hook of the
    user's), or where two seeds have other groups or settings.
    """
    first = own[0]
    if type(first) not in _ELEMENTWISE or any(type(each) is not type(first) or _changed(each) for each in own):
        return None
    groups, states = zip(*(_by_name(each, model) for each, model in zip(own, models)))
    kept = {name: _stacked_state([state.get(name) for state in states]) for name in states[0]}
    if not all(same(groups[0], other) for other in groups[1:]) or None in kept.values():
        return None
    shared = copy.copy(first)
    shared.param_groups = [group | {"params": [parameters[name] for name in group["params"]]} for group in groups[0]]
    shared.state = defaultdict(dict, {parameters[name]: state for name, state in kept.items()})
    return shared


def _stacked_state(states: Sequence[dict[str, Any] | None]) -> dict[str, Any] | None:
    """What an optimizer keeps of one parameter before the first step; None if the seeds differ.

    Adagrad has a tensor like the parameter and a count of steps.
    """
    first = states[0]
    if first is None or any(state is None or not same(first, state) for state in states):
        return None
    return {
        key: value.expand(len(states), *value.shape).clone() if isinstance(value, Tensor) and key != "step" else value
        for key, value in first.items()
    }


def _changed(optimizer: optim.Optimizer) -> bool:
    """Whether more happens in a step than its class says."""
    hooks = optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks
    return bool(hooks) or "step" in vars(optimizer)


def _by_name(optimizer: optim.Optimizer, model: nn.Module) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Groups and state, with names in the place of parameters."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in trained(model).items()}
    groups = [group | {"params": [names[p] for p in group["params"]]} for group in optimizer.param_groups]
    return groups, {names[parameter]: dict(kept) for parameter, kept in optimizer.state.items()}

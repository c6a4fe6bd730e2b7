"""Many networks of one architecture as one, or one alone behind the same interface."""

import copy
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn, optim
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from ..datasets import Dataset
from ..randomness import global_stream
from .batched import batched
from .likeness import alike
from .optimizers import MakeOptimizer, optimizer_of, shared_optimizer, trained

Loss = Callable[[Tensor, Tensor], Tensor]  # (outputs, targets) -> a scalar
# Under vmap: modules that keep statistics of a batch, draw random numbers, or have no rule.
_NOT_MAPPED = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd, nn.RReLU, nn.RNNBase)


class Alone:
    """One network with the interface of a stack of one."""

    updates: optim.Optimizer

    def __init__(self, model: nn.Module):
        self.models: Sequence[nn.Module] = [model]
        self.module: nn.Module = model
        self.named: dict[str, nn.Parameter] = dict(model.named_parameters())

    @property
    def trained(self) -> dict[str, Tensor]:
        return {name: parameter for name, parameter in self.named.items() if parameter.requires_grad}

    def __call__(self, inputs: Tensor) -> Tensor:
        return self.module(inputs[0])[None]

    def losses(self, loss: Loss, inputs: Tensor, targets: Tensor) -> Tensor:
        return loss(self.module(inputs[0]), targets[0])[None]

    def seed_first(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Each with a leading seeds axis; views, so that clipping reaches the gradients themselves."""
        return [tensor[None] for tensor in tensors]

    def hand_back(self) -> None:
        """Writes what was learnt into the models that make_model returned."""


class Stack(Alone):
    """Networks of one architecture, each layer one batched product for all of them."""

    def __init__(self, models: Sequence[nn.Module], module: nn.Module):
        self.models = models
        self.module = module
        self.named = dict(module.named_parameters())
        self.buffers: dict[str, Tensor] = dict(module.named_buffers())

    def __call__(self, inputs: Tensor) -> Tensor:
        return self.module(inputs)

    def losses(self, loss: Loss, inputs: Tensor, targets: Tensor) -> Tensor:
        outputs = self(inputs)
        if loss is F.cross_entropy and outputs.dim() == 3 and targets.dim() == 2:
            return _cross_entropy(outputs, targets)
        return vmap(loss)(outputs, targets)

    def seed_first(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        return list(tensors)

    @torch.no_grad()
    def hand_back(self) -> None:
        for name, stacked in (self.named | self.buffers).items():
            for model, value in zip(self.models, stacked):
                owner, _, own = name.rpartition(".")
                getattr(model.get_submodule(owner), own).copy_(value)


class Mapped(Stack):
    """Networks of one architecture, their forward mapped by vmap over their stacked parameters."""

    def __init__(self, models: Sequence[nn.Module]):
        self.models = models
        self.named, self.buffers = stack_module_state(list(models))
        self.module = copy.deepcopy(models[0])

    def __call__(self, inputs: Tensor) -> Tensor:
        def one(parameters, buffers, x):
            return functional_call(self.module, (parameters, buffers), (x,))

        return vmap(one)(self.named, self.buffers, inputs)


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """The usual loss of each seed in one call, (seeds,): vmap takes it apart into a dozen, and seconds to load."""
    each = F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape)
    counted = targets != -100  # torch's label for examples to ignore
    return each.sum(1) / counted.sum(1)


def stacks(models: Sequence[nn.Module], data: Dataset, optimizer: MakeOptimizer, loss: Loss) -> Sequence[Alone]:
    """The models in as few stacks as can be: batched layers, else vmap, else each alone."""
    if not callable(optimizer):
        raise TypeError(
            f"optimizer of type {type(optimizer).__name__}\n"
            "expected a function of parameters that returns an optimizer, such as partial(SGD, lr=0.1)"
        )
    if not callable(loss):
        raise TypeError(f"loss={loss!r}\nexpected a function of outputs and targets, such as F.cross_entropy")
    _check_apart(models)
    own = [optimizer_of(optimizer, model) for model in models]
    if len(models) > 1 and alike(models):  # one network has nothing to share
        for build in (_batched, _mapped):
            stack = build(models)
            shared = None if stack is None else shared_optimizer(own, models, stack.trained)
            if stack is not None and shared is not None and _agrees(build, models, data, loss):
                stack.updates = shared
                return [stack]
    alone = [Alone(model) for model in models]
    for network, updates in zip(alone, own):
        network.updates = updates
    return alone


def _check_apart(models: Sequence[nn.Module]) -> None:
    """Raises ValueError where two seeds would train one parameter."""
    owner: dict[int, int] = {}
    for index, model in enumerate(models):
        for name, parameter in trained(model).items():
            if owner.setdefault(id(parameter), index) != index:
                raise ValueError(f"make_model returned one parameter {name} for two seeds\nexpected a new one for each")


def _batched(models: Sequence[nn.Module]) -> Stack | None:
    module = batched(models)
    return None if module is None else Stack(models, tied_as_(module, models[0]))


def _mapped(models: Sequence[nn.Module]) -> Stack | None:
    if any(isinstance(module, _NOT_MAPPED) for module in models[0].modules()):
        return None
    try:
        return Mapped(models)
    except (RuntimeError, ValueError):  # torch's word for models that it cannot stack
        return None


def tied_as_(module: nn.Module, model: nn.Module) -> nn.Module:
    """The module, with one tensor wherever the model has one under several names."""
    first: dict[int, str] = {}
    for kind in ("named_parameters", "named_buffers"):
        for name, tensor in getattr(model, kind)(remove_duplicate=False):
            owner, _, own = first.setdefault(id(tensor), name).rpartition(".")
            shared = getattr(module.get_submodule(owner), own)
            owner, _, own = name.rpartition(".")
            setattr(module.get_submodule(owner), own, shared)
    return module


@torch.no_grad()
def _agrees(build: Callable[..., Stack | None], models: Sequence[nn.Module], data: Dataset, loss: Loss) -> bool:
    """Whether a stack of such models computes, training and evaluating, what each of them does.

    A forward may be one that vmap cannot take, may draw numbers or look at the whole batch. Tried on copies of two of
    them, for they are alike.
    """
    models = [models[0], models[-1]]
    rows = torch.arange(8, device="cpu") % len(data.inputs)
    inputs, targets = (part[rows].expand(len(models), *part[rows].shape) for part in (data.inputs, data.targets))
    try:
        models = copy.deepcopy(models)
        stack = build(models)
        if stack is None:
            return False
        with warnings.catch_warnings(), global_stream(0, data.inputs.device):
            warnings.filterwarnings("error", "There is a performance drop", UserWarning)  # vmap's word for a slow loop
            for training in (False, True):
                for module in (stack.module, *models):
                    module.train(training)
                together = stack(inputs)
                alone = [model(x) for model, x in zip(models, inputs)]
                if not _close(together, torch.stack(alone)):
                    return False
            losses = stack.losses(loss, inputs, targets)
            return _close(losses, torch.stack([loss(*pair) for pair in zip(alone, targets)]))
    except (RuntimeError, ValueError, IndexError, TypeError, UserWarning):  # a mistake comes up in the loop
        return False


def _close(together: Tensor, alone: Tensor) -> bool:
    scale = alone.abs().amax().nan_to_num(1, 1, 1)
    return torch.allclose(together, alone, rtol=1e-2, atol=1e-2 * float(scale), equal_nan=True)


def losses_of(network: Alone, loss: Loss, inputs: Tensor, targets: Tensor) -> Tensor:
    """The loss of each seed on its own batch, (seeds,)."""
    try:
        losses = network.losses(loss, inputs, targets)
    except (RuntimeError, IndexError) as error:
        raise ValueError(
            f"inputs of shape {tuple(inputs.shape[1:])} and targets of shape {tuple(targets.shape[1:])}"
            f" do not fit the model and its loss\nexpected a model and a loss for such data: {error}"
        ) from error
    if losses.dim() != 1:
        raise ValueError(
            f"the loss of one seed has shape {tuple(losses.shape[1:])}\nexpected a scalar, such as a mean over the batch"
        )
    return losses


@torch.no_grad()
def check_labels(network: Alone, data: Dataset, loss: Loss) -> None:
    """Raises ValueError for class numbers that the outputs do not have: on CUDA torch itself would abort."""
    if loss is not F.cross_entropy or data.targets.is_floating_point():
        return
    try:
        network.module.eval()
        classes = network(data.inputs[:1].expand(len(network.models), *data.inputs[:1].shape)).shape[2]
    except (RuntimeError, ValueError, IndexError):  # a mistake that comes up in the loop
        return
    finally:
        network.module.train()
    ignored = -100  # by torch
    wrong = data.targets[((data.targets < 0) | (data.targets >= classes)) & (data.targets != ignored)]
    if len(wrong):
        raise ValueError(f"targets with class {int(wrong[0])} for {classes} outputs\nexpected 0 to {classes - 1}")

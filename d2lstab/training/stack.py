"""Many networks of one architecture as one, or one alone behind the same interface."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from ..datasets import Dataset

# They treat every entry of a parameter on its own, so one optimizer over a stack of seeds is one per seed.
_ELEMENTWISE = (
    "SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "Adadelta", "RMSprop", "Rprop", "ASGD",
)  # fmt: skip
# Modules that keep statistics of a batch, draw random numbers, or have no rule under vmap.
_ALONE = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd, nn.RReLU, nn.RNNBase)


class Stack:
    """Networks of one architecture, their parameters stacked along a leading seeds axis."""

    def __init__(self, models: Sequence[nn.Module]):
        parameters, self._buffers = stack_module_state(list(models))
        self._parameters = parameters
        self._module = copy.deepcopy(models[0])
        self.parameters = [p for p in parameters.values() if p.requires_grad]
        self.size = len(models)

    def __call__(self, inputs: Tensor) -> Tensor:
        def one(parameters, buffers, x):
            return functional_call(self._module, (parameters, buffers), (x,))

        return vmap(one)(self._parameters, self._buffers, inputs)

    def losses(self, loss, inputs: Tensor, targets: Tensor) -> Tensor:
        return vmap(loss)(self(inputs), targets)

    def gradients(self) -> list[Tensor]:
        return [p.grad for p in self.parameters if p.grad is not None]

    def eval(self) -> None:
        self._module.eval()


class Alone:
    """One network with the interface of a stack of one."""

    size = 1

    def __init__(self, model: nn.Module):
        self._module = model
        self.parameters = [p for p in model.parameters() if p.requires_grad]

    def __call__(self, inputs: Tensor) -> Tensor:
        return self._module(inputs[0])[None]

    def losses(self, loss, inputs: Tensor, targets: Tensor) -> Tensor:
        return loss(self._module(inputs[0]), targets[0])[None]

    def gradients(self) -> list[Tensor]:
        return [p.grad[None] for p in self.parameters if p.grad is not None]  # views: clipping reaches p.grad

    def eval(self) -> None:
        self._module.eval()


def stackable(models: Sequence[nn.Module], data: Dataset, optimizer, loss) -> bool:
    """Whether these networks can be one stack under one optimizer and one loss."""
    updates = optimizer([torch.zeros(1, requires_grad=True)])
    if not isinstance(updates, torch.optim.Optimizer):
        raise TypeError(
            f"optimizer returned {type(updates).__name__}\nexpected a torch.optim.Optimizer, as partial(SGD, lr=0.1) returns"
        )
    if isinstance(updates, torch.optim.LBFGS):
        raise TypeError(
            "LBFGS evaluates the loss several times per step\nexpected an optimizer with step(); write a loop of your own for LBFGS"
        )
    if len(models) == 1:  # nothing to share, and vmap costs more than a plain call
        return False
    if type(updates).__name__ not in _ELEMENTWISE or any(isinstance(module, _ALONE) for module in models[0].modules()):
        return False
    try:
        with torch.no_grad():
            rows = torch.zeros(len(models), 2, dtype=torch.long)
            Stack(models).losses(loss, data.inputs[rows], data.targets[rows])
    except (RuntimeError, ValueError, IndexError):  # vmap's word for "not this module"; a mistake comes up in the loop
        return False
    return True


def losses_of(network, loss, inputs: Tensor, targets: Tensor) -> Tensor:
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

"""Does it learn, and how fast: many seeds trained at once."""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F
from tqdm.auto import tqdm

from .arguments import available_device, seed_list, whole_numbers
from .datasets import Dataset
from .plotting import Axes, line_with_band, new_axes
from .randomness import seeded
from .results import Result

# They treat every entry of a parameter on its own, so one optimizer over a stack of seeds is one per seed.
_ELEMENTWISE = (
    "SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "Adadelta", "RMSprop", "Rprop", "ASGD",
)  # fmt: skip
# Modules that keep statistics of a batch, draw random numbers, or have no rule under vmap.
_ALONE = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd, nn.RReLU, nn.RNNBase)


@dataclass(frozen=True, eq=False, repr=False)
class History(Result):
    """What happened while some seeds were trained."""

    loss: Tensor  # (seeds, steps), of each step's batch before the step; NaN after a seed has diverged
    gradient_norm: Tensor  # (seeds, steps), over all parameters, before clipping
    accuracy: Tensor  # (seeds,), share of the test examples named right at the end; NaN where there are no classes
    diverged: Tensor  # (seeds,), True where the loss became infinite or NaN
    together: bool  # whether the seeds were one stack, or trained one after the other
    interrupted: bool = False  # whether the run was stopped by hand; the steps done until then are here

    def plot(self, ax: Axes | None = None, *, label: str | None = None, **style) -> Axes:
        """Axes with the loss against the step: median and 10–90 % band over the seeds that did not diverge."""
        ax = new_axes(ax)
        ax.set(xlabel="step", ylabel="training loss", yscale="log")
        lost = int(self.diverged.sum())
        if label is not None and lost:
            label = f"{label} ({lost} of {len(self.diverged)} seeds diverged)"
        kept = self.loss[~self.diverged] if lost < len(self.diverged) else self.loss
        style = style if label is None else style | {"label": label}
        return line_with_band(ax, torch.arange(1, self.loss.shape[1] + 1), kept, **style)


def train(
    make_model: Callable[[int], nn.Module],
    data: Dataset,
    *,
    optimizer: Callable[[Iterable[Tensor]], torch.optim.Optimizer],
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    steps: int = 300,
    seeds: Iterable[int] = range(8),
    batch: int = 128,
    clip: Callable[[Sequence[Tensor]], Tensor] | None = None,
    device: torch.device | str | None = None,
    progress: bool = True,
) -> History:
    """The history of training one network per seed, all of them at once.

    make_model(seed) returns a module; optimizer(parameters) a torch optimizer, such as partial(SGD, lr=0.1);
    loss(outputs, targets) a scalar. Each seed has its own batches of `batch` examples. clip gets the gradients,
    each with a leading seeds axis, and changes them in place, such as partial(clip_by_global_norm_, limit=1.0).

    The parameters of all seeds are stacked and move through one batched forward pass and one optimizer; a seed
    gives the same curve alone or in company. Where that cannot be (batch normalization, dropout, recurrent
    modules, anything else vmap refuses, optimizers that mix entries, such as LBFGS) the seeds are trained one
    after the other, with the same result. A seed whose loss becomes infinite or NaN stops; the others go on.
    Ctrl-C or the notebook's stop button ends the run early and returns the steps done.

    Raises ValueError for sizes below 1, a batch larger than the data, a device that is not there, a loss that is
    not a scalar; TypeError if make_model does not return a module or optimizer no optimizer.
    """
    steps, batch = whole_numbers(steps=steps, batch=batch)
    seeds, device = seed_list(seeds), available_device(device)
    if batch > len(data.inputs):
        raise ValueError(f"batch={batch} of {len(data.inputs)} examples\nexpected at most as many as there are")
    models = [_model(make_model, seed, device) for seed in seeds]
    dtype = next((p.dtype for p in models[0].parameters() if p.is_floating_point()), None)
    data = data.to(device, dtype)
    stack = _Stack(models) if _stackable(models, data.inputs[:batch], optimizer) else None
    groups = [(stack, seeds)] if stack else [(_Alone(model), [seed]) for model, seed in zip(models, seeds)]
    hidden = {} if progress else {"disable": True}  # left out otherwise: the environment variable TQDM_DISABLE decides

    runs = []
    with tqdm(total=steps * len(groups), desc="training", leave=False, delay=1, **hidden) as bar:
        for network, group in groups:
            runs.append(_fit(network, group, data, optimizer, loss, steps, batch, clip, bar))
            if runs[-1].interrupted:
                break
    return _joined(runs, len(seeds), together=stack is not None)


def clip_by_value_(gradients: Sequence[Tensor], limit: float) -> Tensor:
    """The global norm of each seed's gradient before every entry is clipped to ±limit, in place, (seeds,).

    gradients: each (seeds, ...). Raises ValueError unless limit > 0.
    """
    _check_limit(limit)
    norm = _norm_over(gradients)
    for gradient in gradients:
        gradient.clamp_(-limit, limit)
    return norm


def clip_by_norm_(gradients: Sequence[Tensor], limit: float) -> Tensor:
    """The global norm of each seed's gradient before each tensor's norm is clipped to `limit`, in place, (seeds,).

    gradients: each (seeds, ...). Raises ValueError unless limit > 0.
    """
    _check_limit(limit)
    norm = _norm_over(gradients)
    for gradient in gradients:
        _shrink_(gradient, limit, _norm(gradient))
    return norm


def clip_by_global_norm_(gradients: Sequence[Tensor], limit: float) -> Tensor:
    """The global norm of each seed's gradient before that norm is clipped to `limit`, in place, (seeds,).

    gradients: each (seeds, ...). Per seed it is torch.nn.utils.clip_grad_norm_; a norm that is not finite makes
    that seed's gradient 0 or NaN, as it does there, and no other's. Raises ValueError unless limit > 0.
    Source: Pascanu et al. 2013, arXiv:1211.5063, algorithm 1.
    """
    _check_limit(limit)
    norm = _norm_over(gradients)
    for gradient in gradients:
        _shrink_(gradient, limit, norm)
    return norm


class _Stack:
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

    def gradients(self) -> list[Tensor]:
        return [p.grad for p in self.parameters if p.grad is not None]

    def eval(self) -> None:
        self._module.eval()


class _Alone:
    """One network with the interface of a stack of one."""

    size = 1

    def __init__(self, model: nn.Module):
        self._module = model
        self.parameters = [p for p in model.parameters() if p.requires_grad]

    def __call__(self, inputs: Tensor) -> Tensor:
        return self._module(inputs[0])[None]

    def gradients(self) -> list[Tensor]:
        return [p.grad[None] for p in self.parameters if p.grad is not None]  # views: clipping reaches p.grad

    def eval(self) -> None:
        self._module.eval()


def _fit(network, seeds, data, optimizer, loss, steps, batch, clip, bar) -> History:
    """The history of one stack; its loop is the only training loop."""
    alive = torch.ones(len(seeds), dtype=torch.bool, device=data.inputs.device)
    record = torch.full((2, steps, len(seeds)), torch.nan, dtype=torch.float64, device=data.inputs.device)
    updates, batches, done, interrupted = (
        optimizer(network.parameters),
        _batches(len(data.inputs), batch, seeds),
        0,
        False,
    )
    try:
        with _own_random_stream(seeds[0], data.inputs.device):
            for step in range(steps):
                index = next(batches).to(data.inputs.device)
                updates.zero_grad()
                losses = _loss_per_seed(loss, network(data.inputs[index]), data.targets[index])
                losses.sum().backward()
                gradients = network.gradients()
                norm = _norm_over(gradients)
                if clip is not None:
                    clip(gradients)
                record[:, step] = torch.stack([losses.detach(), norm]).masked_fill(~alive, torch.nan)
                alive = alive & losses.detach().isfinite()
                if not alive.any():
                    break
                _silence_(gradients, alive)
                updates.step()
                done = step + 1
                bar.update()
    except KeyboardInterrupt:
        interrupted = True
        record = record[:, :done]
    loss_by_seed, norm_by_seed = record.cpu().mT
    return History(loss_by_seed, norm_by_seed, _accuracy(network, data), ~alive.cpu(), True, interrupted)


def _joined(runs: Sequence[History], seeds: int, together: bool) -> History:
    """The histories of several runs as one; seeds that an interrupted run never reached are NaN."""

    def rows(name: str) -> Tensor:
        found = [getattr(run, name) for run in runs]
        longest = max(part.shape[-1] for part in found)
        joined = torch.full((seeds, longest), torch.nan, dtype=torch.float64)
        start = 0
        for part in found:
            joined[start : start + len(part), : part.shape[-1]] = part
            start += len(part)
        return joined

    one_each = {name: torch.cat([getattr(run, name) for run in runs]) for name in ("accuracy", "diverged")}
    missing = seeds - len(one_each["accuracy"])
    accuracy = F.pad(one_each["accuracy"], (0, missing), value=torch.nan)
    diverged = F.pad(one_each["diverged"], (0, missing), value=False)
    return History(rows("loss"), rows("gradient_norm"), accuracy, diverged, together, runs[-1].interrupted)


def _model(make_model, seed: int, device: torch.device) -> nn.Module:
    with _own_random_stream(seed, device):
        model = make_model(seed)
    if not isinstance(model, nn.Module):
        raise TypeError(f"make_model({seed}) returned {type(model).__name__}\nexpected an nn.Module")
    return model.to(device).train()


def _stackable(models: Sequence[nn.Module], inputs: Tensor, optimizer) -> bool:
    """Whether these networks can be one stack under one optimizer."""
    updates = optimizer([torch.zeros(1, requires_grad=True)])
    if not isinstance(updates, torch.optim.Optimizer):
        raise TypeError(
            f"optimizer returned {type(updates).__name__}\nexpected a torch.optim.Optimizer, as partial(SGD, lr=0.1) returns"
        )
    if isinstance(updates, torch.optim.LBFGS):
        raise TypeError(
            "LBFGS evaluates the loss several times per step\nexpected an optimizer with step(); write a loop of your own for LBFGS"
        )
    if type(updates).__name__ not in _ELEMENTWISE or any(isinstance(module, _ALONE) for module in models[0].modules()):
        return False
    try:
        with torch.no_grad():
            _Stack(models)(inputs[:1].expand(len(models), 1, *inputs.shape[1:]))
    except RuntimeError:  # vmap's word for "not this module"; a real mistake comes up again in the loop
        return False
    return True


def _batches(examples: int, batch: int, seeds: Sequence[int]) -> Iterator[Tensor]:
    """Indices (seeds, batch) without end: every seed shuffles the data anew for each epoch."""
    generators = [seeded(2**32 + seed) for seed in seeds]  # not the stream that drew the weights
    while True:
        order = torch.stack([torch.randperm(examples, generator=generator) for generator in generators])
        for start in range(0, examples - batch + 1, batch):
            yield order[:, start : start + batch]


def _loss_per_seed(loss, outputs: Tensor, targets: Tensor) -> Tensor:
    losses = vmap(loss)(outputs, targets)
    if losses.dim() != 1:
        raise ValueError(
            f"the loss of one seed has shape {tuple(losses.shape[1:])}\nexpected a scalar, such as a mean over the batch"
        )
    return losses


def _silence_(gradients: Sequence[Tensor], alive: Tensor) -> None:
    """Sets the gradients of diverged seeds to 0, so that an infinite one is not carried on."""
    if not alive.all():
        for gradient in gradients:
            gradient[~alive] = 0


def _norm_over(gradients: Sequence[Tensor]) -> Tensor:
    """The norm over all tensors, (seeds,), in float64: the square of a finite float32 may not be one."""
    return torch.linalg.vector_norm(torch.stack([_norm(gradient) for gradient in gradients]), dim=0)


def _norm(gradient: Tensor) -> Tensor:
    return torch.linalg.vector_norm(gradient.flatten(1), dim=1, dtype=torch.float64)


def _shrink_(gradient: Tensor, limit: float, norm: Tensor) -> None:
    """Scales each seed's gradient so that `norm` becomes at most the limit."""
    factor = (limit / (norm + 1e-6)).clamp(max=1)  # torch's own 1e-6, so that one seed alone agrees with torch
    gradient.mul_(factor.to(gradient.dtype).reshape(-1, *[1] * (gradient.dim() - 1)))


def _check_limit(limit: float) -> None:
    if not limit > 0:
        raise ValueError(f"limit={limit}\nexpected a positive number")


@torch.no_grad()
def _accuracy(network, data: Dataset) -> Tensor:
    """The share of test examples named right, (seeds,); NaN where the targets are not classes."""
    network.eval()
    seeds = network.size
    if data.test_targets.is_floating_point():
        return torch.full((seeds,), torch.nan)
    outputs = network(data.test_inputs.expand(seeds, *data.test_inputs.shape))
    return (outputs.argmax(-1) == data.test_targets).to(torch.get_default_dtype()).mean(-1).cpu()


@contextmanager
def _own_random_stream(seed: int, device: torch.device):
    """Modules that draw from torch's global stream find it seeded; afterwards it is as it was."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed) if device.type == "cuda" else torch.default_generator.manual_seed(seed)
        yield

"""Does it learn, and how fast: many seeds trained at once."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from ..arguments import available_device, check_factory, seed_list, whole_numbers
from ..datasets import Dataset
from ..processes import progress_bar
from ..randomness import global_stream, seeded
from ..signatures import checked
from ..threads import one_thread_on_two_cores
from .clipping import clip_by_global_norm_, clip_by_norm_, clip_by_value_, norm_over
from .history import History, joined
from .movement import Movement, Watch
from .optimizers import MakeOptimizer
from .stack import Loss, check_labels, losses_of, stacks

__all__ = ["History", "Movement", "clip_by_global_norm_", "clip_by_norm_", "clip_by_value_", "train"]


@checked
@one_thread_on_two_cores()
@torch.inference_mode(False)
@torch.enable_grad()
def train(
    make_model: Callable[[int], nn.Module],
    data: Dataset,
    *,
    optimizer: MakeOptimizer,
    loss: Loss = F.cross_entropy,
    steps: int = 300,
    seeds: Iterable[int] = range(8),
    batch: int = 128,
    clip: Callable[[Sequence[Tensor]], Tensor] | None = None,
    schedule: Callable[[torch.optim.Optimizer], LRScheduler] | None = None,
    movement: bool = False,
    device: torch.device | str | None = None,
    progress: bool = True,
) -> History:
    """The history of training one network per seed, all of them at once.

    make_model(seed) returns a module; optimizer(parameters) a torch optimizer, such as partial(SGD, lr=0.1);
    loss(outputs, targets) a scalar. Each seed has its own batches of `batch` examples. clip gets the gradients,
    each with a leading seeds axis, and changes them in place, such as partial(clip_by_global_norm_, limit=1.0).
    schedule(optimizer) returns one of torch's schedulers, such as partial(LinearLR, start_factor=0.01,
    total_iters=50) for a warm-up; it moves on after each step. movement: also record how far each parameter moves.
    Under torch.autocast let loss begin with outputs.float(): vmap hides it from autocast's own conversion.

    The parameters of all seeds are stacked and move through one optimizer, each layer one batched product where
    its kind is known (those of `mlp` and its siblings, torch's own linear, convolutional and normalizing layers in a
    Sequential), under vmap elsewhere; a seed gives the same curve alone or in company. optimizer is called once per
    seed, with parameters of their true shape. Where no stack can be (dropout, recurrent modules, batch normalization
    inside other modules, control flow on data, hooks, optimizers that mix entries, such as Muon, seeds that differ in
    a setting of a layer or of the optimizer) the seeds are trained one after the other, with the same result. A seed
    whose loss becomes infinite or NaN stops; the others go on. Ctrl-C or the notebook's stop button ends the run early
    and returns the steps done.
    Accuracy takes as classes the axis that cross-entropy does, (batch, classes, ...), or the one that targets lack;
    it is NaN where two may be it. Gradients are enabled inside, wherever train is called.

    Raises ValueError for sizes below 1, a batch larger than the data, a device that is not there, inputs that do
    not fit the model, class numbers without an output, a loss that is not a scalar, one module or one trained
    parameter for two seeds, an optimizer of other parameters than it was given;
    TypeError if make_model does not return a module, optimizer no optimizer, or one such as LBFGS that evaluates
    the loss itself, schedule no scheduler, or ReduceLROnPlateau, which must be told a loss.

    >>> from functools import partial
    >>> from d2lstab import digits, he_normal_, mlp
    >>> def network(seed):
    ...     return mlp([64, 32, 10], torch.relu, initializer=he_normal_, seed=seed)
    >>> history = train(network, digits(), optimizer=partial(torch.optim.SGD, lr=0.1), steps=50)
    >>> bool((history.accuracy > 0.8).all())  # of 8 seeds
    True
    >>> ax = history.plot(label="8 seeds")
    """
    check_factory("make_model", make_model)
    if not isinstance(data, Dataset):
        raise TypeError(
            f"data of type {type(data).__name__}\nexpected a Dataset(inputs, targets, test_inputs, test_targets)"
        )
    steps, batch = whole_numbers(steps=steps, batch=batch)
    seeds, device = seed_list(seeds), available_device(device)
    if batch > len(data.inputs):
        raise ValueError(f"batch={batch} of {len(data.inputs)} examples\nexpected at most as many as there are")
    models = [_model(make_model, seed, device) for seed in seeds]
    if len({id(model) for model in models}) < len(models):
        raise ValueError("make_model returned one module for two seeds\nexpected a new one for each")
    dtype = next((p.dtype for p in models[0].parameters() if p.is_floating_point()), None)
    data = data.to(device, dtype)
    networks = stacks(models, data, optimizer, loss)
    check_labels(networks[0], data, loss)
    runs = []
    with progress_bar(of="training", total=steps * len(networks), shown=progress) as bar:
        for network, group in zip(networks, [seeds] if len(networks) == 1 else [[seed] for seed in seeds]):
            watch = Watch(network, steps) if movement else None
            runs.append(_fit(network, group, data, loss, steps, batch, clip, schedule, watch, bar))
            network.hand_back()
            if runs[-1].interrupted:
                break
    return joined(runs, len(seeds), models)


def _fit(network, seeds, data, loss, steps, batch, clip, schedule, watch, bar) -> History:
    """The history of one stack; its loop is the only training loop."""
    alive = torch.ones(len(seeds), dtype=torch.bool, device=data.inputs.device)
    record = torch.full((2, steps, len(seeds)), torch.nan, dtype=torch.float64, device=data.inputs.device)
    updates, batches, done, interrupted = network.updates, _batches(data, batch, seeds), 0, False
    rate = _scheduler(schedule, updates) if schedule is not None else None
    try:
        with global_stream(seeds[0], data.inputs.device):
            for step in range(steps):
                updates.zero_grad()
                losses = losses_of(network, loss, *next(batches))
                losses.sum().backward()
                gradients = network.seed_first([p.grad for p in network.trained.values() if p.grad is not None])
                record[:, step] = torch.stack([losses.detach(), norm_over(gradients)]).masked_fill(~alive, torch.nan)
                if watch is not None:
                    watch.before_step(step)
                if clip is not None:
                    clip(gradients)
                alive = alive & losses.detach().isfinite()
                if not alive.any():
                    break
                _silence_(gradients, alive)
                updates.step()
                if rate is not None:
                    rate.step()
                if watch is not None:
                    watch.after_step(step, alive)
                done = step + 1
                bar.update()
    except KeyboardInterrupt:
        interrupted = True
        record = record[:, :done]
    moved = watch.movement(done if interrupted else steps) if watch is not None else None
    accuracy = _accuracy(network, data, loss)
    loss_record, norm_record = record.cpu().mT
    together = len(seeds) == len(network.models) > 1
    return History(loss_record, norm_record, accuracy, ~alive.cpu(), together, interrupted, moved)


def _model(make_model, seed: int, device: torch.device) -> nn.Module:
    with global_stream(seed, device):
        model = make_model(seed)
    if not isinstance(model, nn.Module):
        raise TypeError(f"make_model({seed}) returned {type(model).__name__}\nexpected an nn.Module")
    return model.to(device).train()


def _scheduler(schedule, updates: torch.optim.Optimizer) -> LRScheduler:
    made = schedule(updates) if callable(schedule) else schedule
    if not isinstance(made, LRScheduler) or isinstance(made, ReduceLROnPlateau):  # which wants to be told the loss
        raise TypeError(
            f"schedule returned {type(made).__name__}\nexpected one of torch's schedulers that step by themselves,"
            " as partial(LinearLR, total_iters=50) returns"
        )
    return made


def _batches(data: Dataset, batch: int, seeds: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs (seeds, batch, ...) and their targets without end: every seed shuffles the data for each epoch."""
    examples = len(data.inputs)
    generators = [seeded(2**32 + seed) for seed in seeds]  # not the stream that drew the weights
    while True:
        order = torch.stack([torch.randperm(examples, generator=generator, device="cpu") for generator in generators])
        for start in range(0, examples - batch + 1, batch):
            index = order[:, start : start + batch].to(data.inputs.device)
            yield data.inputs[index], data.targets[index]


def _silence_(gradients: Sequence[Tensor], alive: Tensor) -> None:
    """Sets the gradients of diverged seeds to 0, so that an infinite one is not carried on."""
    if not alive.all():
        for gradient in gradients:
            gradient[~alive] = 0


@torch.no_grad()
def _accuracy(network, data: Dataset, loss: Loss) -> Tensor:
    """The share of test examples named right, (seeds,); NaN where it is not known which outputs are the classes."""
    network.module.eval()
    seeds, unknown = len(network.models), torch.full((len(network.models),), torch.nan, device="cpu")
    if data.test_targets.is_floating_point():
        return unknown
    outputs = network(data.test_inputs.expand(seeds, *data.test_inputs.shape))
    axis = _class_axis(outputs.shape[1:], data.test_targets.shape, loss)
    if axis is None:
        return unknown
    return (outputs.argmax(axis + 1) == data.test_targets).to(torch.get_default_dtype()).flatten(1).mean(1).cpu()


def _class_axis(outputs: torch.Size, targets: torch.Size, loss: Loss) -> int | None:
    """The axis of outputs (batch, ...) that targets (batch, ...) lack; None where several or none may be it.

    Cross-entropy reads it from axis 1, where two would fit as well as elsewhere.
    """
    without = [outputs[:axis] + outputs[axis + 1 :] for axis in range(len(outputs))]
    fitting = [axis for axis in range(1, len(outputs)) if without[axis] == targets and outputs[axis] > 1]
    if 1 in fitting and _is_cross_entropy(loss):
        return 1
    return fitting[0] if len(fitting) == 1 else None


def _is_cross_entropy(loss: Loss) -> bool:
    while isinstance(loss, partial):
        loss = loss.func
    return loss is F.cross_entropy or isinstance(loss, nn.CrossEntropyLoss)

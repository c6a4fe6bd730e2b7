"""`diagnose` leaves no trace: whatever happens, the model and the world are bit for bit as before."""

import copy
import random
from contextlib import nullcontext, suppress
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from d2lstab import diagnose, record
from tests.architectures import ARCHITECTURES, build
from tests.traces import bits, picture, world

pytestmark = pytest.mark.slow


def prepared(name: str) -> tuple[nn.Module, object, Tensor]:
    """A model in the middle of training: some gradients there, some missing, modes mixed."""
    model, inputs, targets = build(name)
    for index, parameter in enumerate(model.parameters()):
        if index % 2:
            parameter.grad = torch.full_like(parameter, 0.5)
    next(model.modules()).train()
    return model, inputs, targets


def loss(outputs, targets):
    outputs = getattr(outputs, "scores", outputs)
    outputs = outputs["scores"] if isinstance(outputs, dict) else outputs[0] if isinstance(outputs, tuple) else outputs
    return nn.functional.cross_entropy(outputs.flatten(0, -2).float(), targets.flatten())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_success_leaves_no_trace(name):
    model, inputs, targets = prepared(name)
    optimizer = torch.optim.Adam(model.parameters())
    given = copy.deepcopy(inputs)
    before, settings = world(model), picture(optimizer.__dict__)
    diagnose(model, inputs, targets, loss, optimizer=optimizer)
    assert world(model) == before
    assert picture(optimizer.__dict__) == settings
    same = inputs.values() if isinstance(inputs, dict) else [inputs]
    assert all(torch.equal(*pair) for pair in zip(same, given.values() if isinstance(inputs, dict) else [given]))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_error_at_any_layer_leaves_no_trace(name, error):
    model, inputs, targets = prepared(name)
    modules = list(model.modules())
    for index, module in enumerate(modules):
        calls = []

        def raise_it(*_, calls=calls):
            calls.append(1)
            raise error("stop here")

        handle = module.register_forward_hook(raise_it)
        before = world(model)
        with suppress(error):
            diagnose(model, inputs, targets, loss)
        assert world(model) == before, f"module {index}"
        handle.remove()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_error_in_the_backward_pass_leaves_no_trace(name):
    model, inputs, targets = prepared(name)

    def loss_that_fails(outputs, targets):
        value = loss(outputs, targets)
        value.register_hook(partial(fail, RuntimeError))
        return value

    before = world(model)
    with pytest.raises(RuntimeError, match="stop here"):
        diagnose(model, inputs, targets, loss_that_fails)
    assert world(model) == before


def fail(error, *_):
    raise error("stop here")


class Drawing(nn.Module):
    """A layer that draws from every stream there is."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x):
        return self.linear(x) + torch.rand(3) + random.random() + np.random.random()


@pytest.mark.parametrize("broken", [False, True])
def test_every_stream_that_a_model_draws_from_goes_on_where_it_was(broken):
    model = Drawing()
    first = world(model)
    model(torch.ones(4, 3))
    before = world(model)
    assert all(before[1][place] != first[1][place] for place in (0, 1, 3))
    with pytest.raises(ValueError, match="stop here") if broken else nullcontext():
        diagnose(model, torch.ones(4, 3), torch.zeros(4, 3), partial(fail, RuntimeError) if broken else None)
    assert world(model) == before


def test_a_loss_with_parameters_and_statistics_is_left_as_it_was():
    model, inputs, targets = build("multilayer perceptron")
    head = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 4))

    class Learned(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = head

        def forward(self, outputs, targets):
            return nn.functional.cross_entropy(self.head(outputs), targets)

    learned = Learned()
    before = world(learned)
    diagnose(model, inputs, targets, learned)
    assert world(learned) == before


def test_a_scheduler_does_not_count_the_steps_that_are_tried():
    model, inputs, targets = build("multilayer perceptron")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    steps = []
    optimizer.register_step_post_hook(lambda *_: steps.append(1))
    before = {key: value for key, value in scheduler.__dict__.items() if isinstance(value, (int, float))}
    diagnose(model, inputs, targets, loss, optimizer=optimizer)
    assert steps == []
    assert not optimizer.state
    assert {key: value for key, value in scheduler.__dict__.items() if isinstance(value, (int, float))} == before


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_recording_changes_neither_outputs_nor_gradients_nor_hooks(name):
    plain, recorded = prepared(name), prepared(name)
    found = []
    for (model, inputs, targets), watch in ((plain, False), (recorded, True)):
        hooks = [picture(module.__dict__["_forward_hooks"])[1] for module in model.modules()]
        torch.manual_seed(1), random.seed(1)
        arguments = {"features": inputs["features"], "mask": inputs["mask"]} if isinstance(inputs, dict) else {}
        positional = () if arguments else (inputs.clone(),)
        if watch:
            with record(model, full=True):
                value = loss(model(*positional, **arguments), targets)
                value.backward()
        else:
            value = loss(model(*positional, **arguments), targets)
            value.backward()
        assert [picture(module.__dict__["_forward_hooks"])[1] for module in model.modules()] == hooks
        assert all(parameter._backward_hooks is None for parameter in model.parameters())
        found.append([bits(value), *(None if each.grad is None else bits(each.grad) for each in model.parameters())])
    assert found[0] == found[1]


def test_tensors_in_lists_and_dictionaries_that_a_pass_writes_to_are_as_before():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)
            self.sums, self.named = [torch.zeros(4)], {"last": torch.zeros(4)}

        def forward(self, x):
            self.sums[0].add_(x.detach().sum(0))
            self.named["last"].copy_(x.detach()[-1])
            return self.layer(x)

    model = Counting()
    kept = [id(each) for each in (model.sums, model.sums[0], model.named, model.named["last"])]
    diagnose(model, torch.ones(6, 4))
    assert [id(each) for each in (model.sums, model.sums[0], model.named, model.named["last"])] == kept
    assert not model.sums[0].any() and not model.named["last"].any()

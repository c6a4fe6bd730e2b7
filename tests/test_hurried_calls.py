"""What is said to somebody in a hurry: what was given, and what is expected in its place."""

from functools import partial

import matplotlib.pyplot as plt
import pytest
import torch
from torch import nn

import d2lstab
from d2lstab import digits, he_normal_, mlp
from tests.small_calls import SMALL, call

SGD = partial(torch.optim.SGD, lr=0.1)
DATA = digits()


def network(seed: int = 0) -> nn.Sequential:
    return mlp([64, 10], torch.relu, initializer=he_normal_, seed=seed)


CALLS = {
    "a network for a function": (lambda: d2lstab.train(network(), DATA, optimizer=SGD), "make_model is a Sequential"),
    "a network to sweep": (lambda: d2lstab.network_sweep(network(), inputs=DATA.inputs), "make_model is a Sequential"),
    "an LSTM for a function": (lambda: d2lstab.propagation.state_gradients(nn.LSTM(3, 4), torch.ones(5, 2, 3)), "is a LSTM"),
    "an optimizer for a function": (
        lambda: d2lstab.train(network, DATA, optimizer=SGD(network().parameters())), "optimizer of type SGD"
    ),
    "the name of an optimizer": (lambda: d2lstab.train(network, DATA, optimizer="SGD"), "optimizer of type str"),
    "the name of a loss": (lambda: d2lstab.train(network, DATA, optimizer=SGD, loss="mse"), "loss='mse'"),
    "a pair for a Dataset": (lambda: d2lstab.train(network, (DATA.inputs,) * 2, optimizer=SGD), "data of type tuple"),
    "lists for tensors": (lambda: d2lstab.Dataset([1.0], [1], [1.0], [1]), "inputs of type list"),
    "a weight for a model": (lambda: d2lstab.initialize_(torch.ones(3, 3), he_normal_), "model of type Tensor"),
    "model and data swapped": (lambda: d2lstab.initializers.lsuv_(DATA.inputs, DATA.inputs), "model of type Tensor"),
    "torch's zeros_": (lambda: d2lstab.initialize_(network(), nn.init.zeros_), "zeros_ takes no generator"),
    "a layer for a weight": (lambda: he_normal_(nn.Linear(3, 3)), "weight of type Linear"),
    "a layer for an orthogonal weight": (lambda: d2lstab.initializers.delta_orthogonal_(nn.Conv2d(3, 3, 3)), "weight of type Conv2d"),
    "a weight of whole numbers": (lambda: he_normal_(torch.ones(3, 3, dtype=torch.int)), "weight of torch.int32"),
    "layers for weights": (lambda: d2lstab.propagation.propagate(torch.ones(3, 2), [nn.Linear(2, 2)], torch.relu), "of type Linear"),
    "a normalization for a function": (
        lambda: mlp([8, 8, 2], torch.relu, initializer=he_normal_, norm=nn.LayerNorm(8)), "norm=LayerNorm"
    ),
    "the name of a normalization": (lambda: mlp([8, 8, 2], torch.relu, initializer=he_normal_, norm="b"), "norm='b'"),
    "the name of a kind": (lambda: d2lstab.record(network(), kinds="Linear").__enter__(), "kinds='Linear'"),
    "a list of patients": (lambda: d2lstab.remedy_matrix(DATA, patients=[]), "patients of type list"),
    "a list of chains": (lambda: d2lstab.floats.number_line([0.5]), "chains of type list"),
    "one gradient": (lambda: d2lstab.training.clip_by_norm_(torch.ones(3), 1.0), "gradients is one tensor"),
    "a figure for axes": (lambda: d2lstab.activations.curve(torch.tanh).plot(plt.figure()), "ax is a Figure"),
    "a list for a matrix": (lambda: d2lstab.jacobians.singular_values([[1.0]]), "matrix of type list"),
    "the name of a function to tell": (lambda: d2lstab.Monitor(network(), tell="print"), "tell='print' of type str"),
    "the name of an activation": (lambda: d2lstab.networks.Layer(nn.Linear(3, 3), "relu"), "activation='relu' of type str"),
    "nothing for a layer": (lambda: d2lstab.networks.PreActivation(torch.relu, None), "linear=None of type NoneType"),
    "a function for a branch": (lambda: d2lstab.networks.Block(torch.relu), "branch of type builtin_function_or_method"),
    "nothing to claim": (lambda: d2lstab.claim("x", None, above=0), "a claim of None"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "told"), CALLS.values(), ids=CALLS)
def test_the_error_says_what_was_given_and_what_is_expected(call, told):
    with pytest.raises(TypeError) as caught:
        call()
    given, expected, *_ = str(caught.value).splitlines()
    assert told in given
    assert expected.startswith("expected ")
    plt.close("all")


def test_a_gain_by_name_is_told_what_a_gain_is():
    with pytest.raises(ValueError, match=r"gain='relu' .*\nexpected a finite number"):
        he_normal_(torch.ones(3, 3), gain="relu")


BY_THEMSELVES = {"Dataset", "Patient", "diagnose"}  # these check what they are given in words of their own


@pytest.mark.parametrize("name", sorted(SMALL.keys() - BY_THEMSELVES - {"record"}))  # which is called through another
def test_whatever_is_offered_compares_what_it_is_given_with_its_annotations(name):
    offered = call(name).function
    assert hasattr(offered.__init__ if isinstance(offered, type) else offered, "__wrapped__")
    plt.close("all")

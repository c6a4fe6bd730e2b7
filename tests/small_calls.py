"""A small good call of every function and class that is offered: what other tests vary."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import d2lstab
from d2lstab import Dataset, he_normal_, lecun_normal_, mlp, orthogonal_, seeded
from d2lstab.randomness import normal
from d2lstab.remedies import Patient
from tests.public import PUBLIC

SGD = partial(torch.optim.SGD, lr=0.1)


class Call(NamedTuple):
    """What is called, and with which arguments; positional ones have numbers for names."""

    function: Callable[..., Any]
    arguments: dict[str, Any]

    def __call__(self) -> Any:
        return invoke(self.function, self.arguments)


def invoke(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    return function(
        *(value for name, value in arguments.items() if name.isdigit()),
        **{name: value for name, value in arguments.items() if not name.isdigit()},
    )


def network(seed: int = 0) -> nn.Sequential:
    return mlp([6, 4, 3], torch.tanh, initializer=he_normal_, seed=seed)


def sized(width: int, seed: int) -> nn.Sequential:
    return mlp([6, width, 3], torch.tanh, initializer=he_normal_, seed=seed)


def numbers(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return normal(*shape, generator=seeded(0), dtype=dtype)


def data() -> Dataset:
    targets = torch.arange(12, device="cpu") % 3
    return Dataset(numbers(12, 6), targets, numbers(12, 6), targets)


def recorded(model: nn.Module, kinds=None, full: bool = False) -> Any:
    with d2lstab.record(model, kinds=kinds, full=full) as signals:
        model(numbers(2, 6)).sum().backward()
    return signals


def cubed() -> dict[str, Any]:
    x = torch.ones(3, requires_grad=True, device="cpu")
    return {"loss": x.pow(3).sum(), "parameters": [x], "rounds": 5, "tolerance": 1e-3}


def axes() -> Any:
    return plt.figure().gca()


def weight(*shape: int) -> Tensor:
    return torch.zeros(shape or (4, 4), device="cpu")


# Each makes its arguments anew, as some are changed in place.
SMALL: dict[str, Callable[[], dict[str, Any]]] = {
    "Attention": lambda: {"width": 8, "heads": 2, "causal": True, "scale": 0.5},
    "Block": lambda: {"branch": nn.Identity(), "scale": nn.Identity(), "norm": nn.Identity(), "skip": 1.0},
    "Dataset": lambda: vars(data()),
    "Embedding": lambda: {"vocabulary": 5, "length": 4, "width": 3},
    "Layer": lambda: {"linear": nn.Identity(), "activation": torch.tanh, "norm": nn.Identity()},
    "Monitor": lambda: {"model": (model := network()), "optimizer": SGD(model.parameters()), "every": 2, "most": 4},
    "Patient": lambda: {"activation": torch.tanh, "initializer": he_normal_, "depth": 4, "width": 3, "residual": True},
    "PreActivation": lambda: {"activation": torch.tanh, "linear": nn.Identity(), "norm": nn.Identity()},
    "Reader": lambda: {"recurrent": nn.RNN(2, 3, device="cpu"), "output": nn.Identity(), "every_step": True},
    "Scale": lambda: {"factor": 2.0, "train": True},
    "adding_problem": lambda: {"length": 4, "examples": 4, "seed": 1, "dtype": torch.float64, "device": "cpu"},
    "alt_text": lambda: {"ax": axes(), "text": "a line"},
    "backward_gain": lambda: {"activation": torch.tanh},
    "batchnorm_gradient_factor": lambda: {"activation": torch.relu, "batch": 8},
    "block_round": lambda: {"x": numbers(3), "dtype": torch.float8_e5m2, "block": 2},
    "c_star": lambda: {"activation": torch.tanh, "sigma_w": 2.0, "sigma_b": 0.5},
    "chain": lambda: {"jacobians": [numbers(3, 2), numbers(4, 3)]},
    "characters": lambda: {"length": 8, "device": "cpu"},
    "check": lambda: {"number": "01.1", "answer": 1.0},
    "chi": lambda: {"activation": torch.tanh, "q": 1.0, "sigma_w": 1.0},
    "chrono_": lambda: {"module": nn.LSTM(2, 3, device="cpu"), "longest": 5, "seed": 1},
    "claim": lambda: {"what": "one", "measured": 1.0, "expected": 1.0, "within": 0.1, "above": 0, "below": 2},
    "clip_by_global_norm_": lambda: {"gradients": [numbers(2, 3)], "limit": 1.0},
    "clip_by_norm_": lambda: {"gradients": [numbers(2, 3)], "limit": 1.0},
    "clip_by_value_": lambda: {"gradients": [numbers(2, 3)], "limit": 1.0},
    "convnet": lambda: {
        "channels": [1, 2], "activation": torch.tanh, "initializer": he_normal_, "outputs": 3, "kernel_size": 3,
        "norm": nn.BatchNorm2d, "bias": True, "seed": 1, "dtype": torch.float64, "device": "cpu",
    },
    "coordinate_check": lambda: {
        "make_model": sized, "inputs": numbers(4, 6), "targets": torch.arange(4, device="cpu") % 3, "widths": [4, 8],
        "optimizer": SGD, "loss": F.cross_entropy, "steps": 2, "seeds": [0, 1], "kinds": nn.Linear,
    },
    "copy_problem": lambda: {"delay": 2, "examples": 4, "symbols": 2, "recall": 2, "seed": 1, "device": "cpu"},
    "correlation_map": lambda: {"activation": torch.tanh, "c": 0.5, "q": 1.0, "sigma_w": 1.0, "sigma_b": 0.1},
    "course_style": dict,
    "critical_sigma_w": lambda: {"activation": torch.tanh, "sigma_b": 0.1},
    "critical_std": lambda: {"n": 3},
    "curve": lambda: {"activation": torch.tanh, "low": -1.0, "high": 1.0, "step": 0.5},
    "dead_units": lambda: {"activation": torch.relu, "z": numbers(3, 2)},
    "deepnorm": lambda: {"layers": 3},
    "deepnorm_pair": lambda: {"encoder": 3, "decoder": 2},
    "delta_orthogonal_": lambda: {"weight": weight(4, 4, 3), "gain": 2.0, "generator": seeded(0)},
    "depth_scales": lambda: {"activation": torch.tanh, "sigma_w": 2.0, "sigma_b": 0.5},
    "depth_sweep": lambda: {
        "initializer": lecun_normal_, "activation": torch.tanh, "depth": 2, "width": 4, "batch": 3, "seeds": [0, 1],
        "dtype": torch.float64, "device": "cpu",
    },
    "describe": lambda: {"dtype": torch.float16},
    "diagnose": lambda: {
        "model": network(), "inputs": numbers(4, 6), "targets": torch.arange(4, device="cpu") % 3, "loss": F.cross_entropy
    },
    "digits": lambda: {"seed": 1, "dtype": torch.float64, "device": "cpu"},
    "fans": lambda: {"0": weight()},
    "fixup_factor": lambda: {"blocks": 3, "layers": 2},
    "forget_bias_": lambda: {"module": nn.LSTM(2, 3, device="cpu"), "value": 1.0},
    "forward_gain": lambda: {"activation": torch.tanh},
    "gaussian_lyapunov_exponents": lambda: {"n": 3, "std": 1.0},
    "gaussian_mean": lambda: {"activation": torch.tanh, "variance": 1.0},
    "gpt2_normal_": lambda: {"weight": weight(), "generator": seeded(0)},
    "half_life": lambda: {"forget_bias": 1.0},
    "he_normal_": lambda: {"weight": weight(), "gain": 2.0, "generator": seeded(0)},
    "he_uniform_": lambda: {"weight": weight(), "gain": 2.0, "generator": seeded(0)},
    "heatmap": lambda: {"ax": axes(), "values": numbers(2, 2), "rows": ["a", "b"], "columns": ["c", "d"], "label": "x"},
    "histogram": lambda: {"ax": axes(), "values": numbers(5), "bins": 3},
    "icnr_": lambda: {"weight": weight(4, 2, 3, 3), "upscale": 2, "inner": he_normal_, "generator": seeded(0)},
    "identity_recurrent_": lambda: {"weight": weight(), "scale": 2.0, "generator": seeded(0)},
    "initialize_": lambda: {"model": network(), "initializer": he_normal_, "seed": 1},
    "initialize_recurrent_": lambda: {
        "module": nn.GRU(2, 3, device="cpu"), "initializer": orthogonal_, "inputs": lecun_normal_, "seed": 1
    },
    "input_jacobian": lambda: {"model": network(), "inputs": numbers(2, 6)},
    "isometry": lambda: {"model": network(), "inputs": numbers(2, 6)},
    "largest_loss_scale": lambda: {"gradient": 1e-3, "dtype": torch.float16},
    "layer_jacobians": lambda: {"model": network(), "inputs": numbers(2, 6)},
    "lecun_normal_": lambda: {"weight": weight(), "gain": 2.0, "generator": seeded(0)},
    "lecun_uniform_": lambda: {"weight": weight(), "gain": 2.0, "generator": seeded(0)},
    "line_with_band": lambda: {"ax": axes(), "x": torch.arange(3, device="cpu"), "y": numbers(4, 3), "low": 0.1, "high": 0.9},
    "live": lambda: {"0": lambda ax, value: None, "value": (0, 3, 1)},
    "lost_share": lambda: {"weights": numbers(3), "updates": numbers(3)},
    "lsuv_": lambda: {"model": network(), "inputs": numbers(8, 6), "tolerance": 0.1, "max_rounds": 5, "seed": 1},
    "lyapunov_exponents": lambda: {"matrices": numbers(4, 3, 3)},
    "lyapunov_trace": lambda: {"matrices": numbers(4, 3, 3)},
    "mlp": lambda: {
        "widths": [6, 4, 3], "activation": torch.tanh, "initializer": he_normal_, "norm": nn.LayerNorm, "bias": True,
        "seed": 1, "dtype": torch.float64, "device": "cpu",
    },
    "network_sweep": lambda: {"make_model": network, "inputs": numbers(4, 6), "seeds": [0, 1]},
    "new_axes": lambda: {"ax": axes()},
    "normal": lambda: {"0": 2, "1": 3, "generator": seeded(0), "dtype": torch.float64, "device": "cpu"},
    "normal_": lambda: {"weight": weight(), "std": 2.0, "generator": seeded(0)},
    "number_line": lambda: {"chains": {"half": 0.5}, "formats": {"half": torch.float16}},
    "orthogonal_": lambda: {"weight": weight(), "gain": 2.0, "generator": seeded(0)},
    "overflow_depth": lambda: {"growth": 2.0, "dtype": torch.float16},
    "phase_diagram": lambda: {"activation": torch.tanh, "sigma_w": numbers(2).abs(), "sigma_b": numbers(2).abs()},
    "photographs": lambda: {"dtype": torch.float64, "device": "cpu"},
    "process_group": dict,
    "propagate": lambda: {"inputs": numbers(3, 4), "weights": [numbers(4, 4)], "activation": torch.tanh},
    "q_star": lambda: {"activation": torch.tanh, "sigma_w": 2.0, "sigma_b": 0.5},
    "random_product": lambda: {
        "n": 2, "factors": 3, "std": 1.0, "trials": 4, "seed": 1, "dtype": torch.float64, "device": "cpu"
    },
    "reader": lambda: {
        "kind": nn.LSTM, "inputs": 2, "width": 3, "outputs": 4, "initializer": orthogonal_,
        "input_initializer": lecun_normal_, "every_step": True, "seed": 1, "dtype": torch.float64, "device": "cpu",
    },
    "record": lambda: {"model": network(), "kinds": nn.Linear, "full": True},
    "relative_error": lambda: {"formula": torch.exp, "x": numbers(3), "dtype": torch.float32, "exact": torch.exp},
    "remedy_matrix": lambda: {
        "data": d2lstab.digits(), "patients": {"one": Patient(torch.tanh, he_normal_, depth=4, width=3)},
        "remedies": {"nothing": lambda patient: patient}, "steps": 1, "seeds": [0], "batch": 4, "device": "cpu",
        "progress": False,
    },
    "residual_convnet": lambda: {
        "channels": 2, "blocks": 1, "activation": torch.tanh, "initializer": he_normal_, "inputs": 1, "outputs": 3,
        "kernel_size": 3, "layers": 2, "norm": nn.BatchNorm2d, "post_norm": True, "branch_scale": 0.5,
        "train_scale": True, "zero_last": True, "fixup": False, "seed": 1, "dtype": torch.float64, "device": "cpu",
    },
    "residual_factor": lambda: {"blocks": 3, "branches": 2},
    "residual_mlp": lambda: {
        "width": 4, "blocks": 1, "activation": torch.tanh, "initializer": he_normal_, "inputs": 6, "outputs": 3,
        "layers": 2, "norm": nn.LayerNorm, "post_norm": True, "branch_scale": 0.5, "train_scale": True,
        "zero_last": True, "fixup": False, "seed": 1, "dtype": torch.float64, "device": "cpu",
    },
    "saturated_share": lambda: {"activation": torch.tanh, "z": numbers(3, 2), "slope_below": 0.1, "dim": 0},
    "seeded": lambda: {"seed": 1},
    "sharpness": cubed,
    "singular_values": lambda: {"matrix": numbers(3, 2)},
    "slope": lambda: {"activation": torch.tanh, "z": numbers(3)},
    "smallest_loss_scale": lambda: {"gradient": 1e-9, "dtype": torch.float16, "normal": True},
    "smallest_update": lambda: {"weight": 1.0, "dtype": torch.float16},
    "state_gradients": lambda: {
        "make_module": lambda seed: nn.LSTM(2, 3, device="cpu"), "inputs": numbers(5, 2, 2), "seeds": [0, 1]
    },
    "stochastic_round": lambda: {"x": numbers(3), "dtype": torch.bfloat16, "generator": seeded(0)},
    "theory_line": lambda: {"ax": axes(), "x": [1, 2], "y": [1.0, 2.0], "label": "theory"},
    "tied_embedding_": lambda: {"weight": weight(), "logit_std": 2.0, "generator": seeded(0)},
    "torch_default_": lambda: {"weight": weight(), "generator": seeded(0)},
    "train": lambda: {
        "make_model": network, "data": data(), "optimizer": SGD, "loss": F.cross_entropy, "steps": 2, "seeds": [0, 1],
        "batch": 4, "clip": partial(d2lstab.training.clip_by_norm_, limit=1.0),
        "schedule": partial(torch.optim.lr_scheduler.LinearLR, total_iters=2), "movement": True, "device": "cpu",
        "progress": False,
    },
    "trainability_map": lambda: {
        "activation": torch.tanh, "data": data(), "sigma_w": [1.0], "sigma_b": [0.1], "optimizer": SGD, "depth": 2, "width": 4,
        "steps": 1, "batch": 4, "seeds": [0], "device": "cpu", "progress": False,
    },
    "trajectory": lambda: {"activation": torch.tanh, "sigma_w": 1.0, "sigma_b": 0.1, "depth": 2, "second_moment": 1.0},
    "transformer": lambda: {
        "vocabulary": 5, "width": 8, "blocks": 1, "heads": 2, "length": 4, "activation": F.gelu,
        "initializer": he_normal_, "norm": nn.LayerNorm, "post_norm": True, "skip": 1.0, "scaled_residual": True,
        "with_deepnorm": True, "tied": True, "causal": True, "seed": 1, "dtype": torch.float64, "device": "cpu",
    },
    "ulp": lambda: {"x": 1.0, "dtype": torch.float16},
    "underflow_depth": lambda: {"factor": 0.5, "dtype": torch.float16, "subnormals": False},
    "upsampler": lambda: {
        "channels": [1, 2], "upscale": 2, "activation": torch.tanh, "initializer": he_normal_, "expand": he_normal_,
        "kernel_size": 3, "seed": 1, "dtype": torch.float64, "device": "cpu",
    },
    "variance_map": lambda: {"activation": torch.tanh, "q": 1.0, "sigma_w": 1.0, "sigma_b": 0.1},
    "xavier_normal_": lambda: {"weight": weight(), "gain": 2.0, "generator": seeded(0)},
    "xavier_uniform_": lambda: {"weight": weight(), "gain": 2.0, "generator": seeded(0)},
}  # fmt: skip
_THROUGH = {"record": recorded}  # a context does nothing until it is entered


def call(name: str) -> Call:
    """The small good call of this name, with fresh arguments."""
    return Call(_THROUGH.get(name, PUBLIC[name]), SMALL[name]())

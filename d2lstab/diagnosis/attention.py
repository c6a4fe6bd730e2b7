"""How sharp attention is: whether each query looks at a single key, whatever it is asked."""

import sys
from contextlib import suppress
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

FEWEST = 4  # keys: of fewer, one is soon looked at alone
_SAMPLES, QUERIES = 4, 64  # of which the logits are computed once more


@dataclass(frozen=True)
class Gaze:
    """What one call of attention looks at."""

    layer: str  # path of the module it was called in
    keys: int
    sharpness: Tensor  # mean Σ p² over queries: 1 / keys where all keys count alike, 1 where a single one does
    size: Tensor  # standard deviation of the logits


class Gazes(TorchFunctionMode):
    """Sees attention in softmax over keys, F.scaled_dot_product_attention and nn.MultiheadAttention."""

    def __init__(self, names: dict[int, str]):
        super().__init__()
        self.names = names  # of modules, by their id
        self.found: list[Gaze] = []
        self.derives = False  # whether the model differentiates something itself

    def __torch_function__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        self.derives |= func is torch.autograd.grad
        if func in LOGITS:
            with torch._C.DisableTorchFunction(), torch.no_grad(), suppress(Exception):  # a look must not disturb
                self._note(LOGITS[func](*args, **(kwargs or {})))
        return output

    def _note(self, logits: Tensor | None) -> None:
        if logits is None or not logits.is_floating_point() or logits.shape[-1] < FEWEST:
            return
        sharpness = logits.float().softmax(-1).square().sum(-1).nanmean()
        finite = logits[logits.isfinite()].float()
        if len(finite) > 1:  # else all is masked
            self.found.append(Gaze(self._layer(), logits.shape[-1], sharpness, finite.std()))

    def _layer(self) -> str:
        frame = sys._getframe(2)
        while frame is not None:
            name = self.names.get(id(frame.f_locals.get("self")))
            if name is not None:
                return name
            frame = frame.f_back
        return ""


def _of_softmax(logits: Tensor, dim: int | None = None, *_, **__) -> Tensor | None:
    """Logits are (…, queries, keys); a softmax over (samples, classes) is an answer."""
    if logits.dim() < 3 or dim not in (-1, logits.dim() - 1):
        return None
    return logits[:_SAMPLES]


def _of_scaled_dot_product(query: Tensor, key: Tensor, *_, scale: float | None = None, **__) -> Tensor:
    query, key = (each[:_SAMPLES] if each.dim() > 2 else each for each in (query, key))
    query = query[..., :: max(1, query.shape[-2] // QUERIES), :]
    if query.dim() > 3 and key.shape[-3] != query.shape[-3]:  # several heads share their keys
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    return query @ key.transpose(-2, -1) * (scale if scale is not None else 1 / sqrt(query.shape[-1]))


def _of_multi_head(query, key, value, width, heads, weight, bias, *_, **separate) -> Tensor:
    """As nn.MultiheadAttention calls it, with the batch on the second axis."""
    apart = weight is None  # for keys of another width
    weights = (separate["q_proj_weight"], separate["k_proj_weight"]) if apart else weight.chunk(3)[:2]
    biases = (None, None) if bias is None else bias.chunk(3)[:2]
    projected = [
        F.linear(each[:, :_SAMPLES] if each.dim() > 2 else each[:, None], w, b)
        for each, w, b in zip((query, key), weights, biases)
    ]
    return _of_scaled_dot_product(*(each.unflatten(-1, (heads, -1)).permute(1, 2, 0, 3) for each in projected))


LOGITS = {
    **dict.fromkeys((F.softmax, torch.softmax, Tensor.softmax), _of_softmax),
    F.scaled_dot_product_attention: _of_scaled_dot_product,
    F.multi_head_attention_forward: _of_multi_head,
}


def gazes_of(model: nn.Module) -> Gazes:
    """What sees the attention of this model, as a context around its call."""
    return Gazes({id(module): name for name, module in model.named_modules()})

"""What attention does while it trains: how evenly each query looks at its keys, and how large logits become."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from math import log
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..diagnosis.attention import FEWEST, LOGITS, QUERIES
from ..recording.functional import FunctionCalls
from ..recording.modules import in_backward

_NOISE = {torch.randn_like, torch.randn, torch.normal, Tensor.normal_}


class StepFunctions(FunctionCalls):
    """Sees, beside the activations, calls of attention, and noise that is drawn inside a pass."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        recorder = self.recorder
        if func in LOGITS and recorder.path and recorder.watching and not in_backward():
            with torch._C.DisableTorchFunction(), torch.no_grad(), suppress(Exception):  # a look must not disturb
                seen = look_of(func, args, kwargs or {})
                if seen is not None:
                    recorder.attend(seen)
        elif func in _NOISE:
            recorder.noise = True
        return super().__torch_function__(func, types, args, kwargs)


def look_of(func: Callable, args: tuple, kwargs: dict[str, Any]) -> tuple[Tensor, Tensor] | None:
    """Entropy and largest logit of one call: the entropy over that of equal weights, 0 to 1, and max |z|."""
    logits = LOGITS[func](*args, **kwargs)
    if logits is None or not logits.is_floating_point() or logits.shape[-1] < FEWEST:
        return None
    logits = _masked(func, args, kwargs, logits.float())
    shares = logits.softmax(-1)
    entropy = -torch.xlogy(shares, shares).sum(-1).nanmean() / log(logits.shape[-1])
    return entropy, logits.masked_fill(logits.isinf(), 0).abs().max()


def _masked(func: Callable, args: Sequence[Any], kwargs: dict[str, Any], logits: Tensor) -> Tensor:
    """The logits with -inf where a key is hidden; masks of other forms than (queries, keys) are left out."""
    if func not in (F.scaled_dot_product_attention, F.multi_head_attention_forward):
        return logits
    own = func is F.scaled_dot_product_attention
    mask = kwargs.get("attn_mask", args[3] if own and len(args) > 3 else None)
    causal = own and kwargs.get("is_causal", args[5] if len(args) > 5 else False)
    query: Tensor = kwargs["query"] if "query" in kwargs else args[0]
    queries = query.shape[-2 if own else 0]
    stride = max(1, queries // QUERIES)
    if causal:
        rows = torch.arange(0, queries, stride, device=logits.device)
        hidden = torch.arange(logits.shape[-1], device=logits.device) > rows[:, None]
        return logits.masked_fill(hidden, -torch.inf)
    if mask is None or mask.dim() != 2:
        return logits
    mask = mask[::stride]
    if mask.dtype == torch.bool:  # True means that it takes part, except in nn.MultiheadAttention
        return logits.masked_fill(~mask if own else mask, -torch.inf)
    return logits + mask

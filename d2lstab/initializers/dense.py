"""Independent random weights of the right scale."""

from math import sqrt

import torch
from torch import Generator, Tensor, nn

from ..signatures import checked
from .fans import check_weight, fans, scale_of


@checked
@torch.no_grad()
def normal_(weight: Tensor, *, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """The weight, filled with N(0, std²); the scale ignores its shape.

    Raises ValueError for a negative std.

    >>> weight = normal_(torch.empty(100, 400), std=0.01, generator=seeded(0))
    >>> round(float(weight.std()), 3)
    0.01
    """
    check_weight(weight)
    return weight.normal_(0, scale_of(std=std), generator=generator)


@checked
def xavier_normal_(weight: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """The weight, filled with N(0, 2 gain² / (fan_in + fan_out)): torch's own, which is right.

    Raises what `lecun_normal_` raises. Source: Glorot and Bengio 2010, eq. 16, and the normal of the same variance.

    >>> weight = xavier_normal_(torch.empty(100, 400), generator=seeded(0))
    >>> round(float(weight.std()), 3)  # √(2 / (400 + 100))
    0.063
    """
    check_weight(weight)
    fans(weight)
    return nn.init.xavier_normal_(weight, scale_of(gain=gain), generator=generator)


@checked
def xavier_uniform_(weight: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """The weight, filled uniformly on ±gain √(6 / (fan_in + fan_out)): torch's own, which is right.

    Raises what `lecun_normal_` raises. Source: Glorot and Bengio 2010, eq. 16.

    >>> weight = xavier_uniform_(torch.empty(100, 400), generator=seeded(0))
    >>> round(float(weight.abs().max()), 2), round(float(weight.std()), 3)  # √(6 / 500), √(2 / 500)
    (0.11, 0.063)
    """
    check_weight(weight)
    fans(weight)
    return nn.init.xavier_uniform_(weight, scale_of(gain=gain), generator=generator)


@checked
@torch.no_grad()
def lecun_normal_(weight: Tensor, *, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """The weight, filled with N(0, gain² / fan_in): keeps the second moment of a linear signal.

    Raises ValueError for a negative gain, and what `fans` raises.
    Source: LeCun et al. 1998, Efficient BackProp, §4.6.

    >>> weight = lecun_normal_(torch.empty(100, 400), generator=seeded(0))
    >>> round(float(weight.std()), 3)  # √(1 / 400)
    0.05
    """
    check_weight(weight)
    return weight.normal_(0, scale_of(gain=gain) / sqrt(fans(weight).fan_in), generator=generator)


@checked
@torch.no_grad()
def lecun_uniform_(weight: Tensor, *, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """The weight, filled uniformly on ±gain √(3 / fan_in), which has the variance of `lecun_normal_`.

    Raises what `lecun_normal_` raises.

    >>> weight = lecun_uniform_(torch.empty(100, 400), generator=seeded(0))
    >>> round(float(weight.abs().max()), 2), round(float(weight.std()), 3)  # √(3 / 400), √(1 / 400)
    (0.09, 0.05)
    """
    check_weight(weight)
    bound = scale_of(gain=gain) * sqrt(3 / fans(weight).fan_in)
    return weight.uniform_(-bound, bound, generator=generator)


@checked
def he_normal_(weight: Tensor, *, gain: float = sqrt(2), generator: Generator | None = None) -> Tensor:
    """The weight, filled with N(0, gain² / fan_in): keeps the second moment through a ReLU.

    Raises what `lecun_normal_` raises. Source: He et al. 2015, arXiv:1502.01852, eq. 10.

    >>> weight = he_normal_(torch.empty(100, 400), generator=seeded(0))
    >>> round(float(weight.std()), 3)  # √(2 / 400)
    0.071
    """
    return lecun_normal_(weight, gain=gain, generator=generator)


@checked
def he_uniform_(weight: Tensor, *, gain: float = sqrt(2), generator: Generator | None = None) -> Tensor:
    """The weight, filled uniformly on ±gain √(3 / fan_in), which has the variance of `he_normal_`.

    Raises what `lecun_normal_` raises. Source: He et al. 2015, arXiv:1502.01852.

    >>> weight = he_uniform_(torch.empty(100, 400), generator=seeded(0))
    >>> round(float(weight.abs().max()), 2), round(float(weight.std()), 2)  # √(6 / 400), √(2 / 400)
    (0.12, 0.07)
    """
    return lecun_uniform_(weight, gain=gain, generator=generator)


@checked
def tied_embedding_(weight: Tensor, *, logit_std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """The weight, a table (vocabulary, width), filled with N(0, logit_std² / width).

    Used as an output as well, it gives a hidden vector of second moment 1 logits of standard deviation logit_std; looked
    up, its rows are as small as its entries. Raises what `lecun_normal_` raises.
    Source: Press and Wolf 2017, arXiv:1608.05859 (tying); the scale is that of any sum of `width` terms.

    >>> table = tied_embedding_(torch.empty(1000, 64), generator=seeded(0))
    >>> round(float((table @ torch.ones(64)).std()), 1)  # the logits of a vector of second moment 1
    1.0
    """
    return lecun_normal_(weight, gain=logit_std, generator=generator)


@checked
def gpt2_normal_(weight: Tensor, *, generator: Generator | None = None) -> Tensor:
    """The weight, filled with N(0, 0.02²): a habit of transformers, which knows nothing of their width.

    Source: Radford et al. 2019, Language Models are Unsupervised Multitask Learners; its code.

    >>> weights = [gpt2_normal_(torch.empty(100, width), generator=seeded(0)) for width in (64, 1024)]
    >>> [round(float(weight.std()), 3) for weight in weights]  # whatever the width
    [0.02, 0.02]
    """
    return normal_(weight, std=0.02, generator=generator)


@checked
def torch_default_(weight: Tensor, *, generator: Generator | None = None) -> Tensor:
    """The weight, filled as torch fills Linear and convolutions: uniformly on ±1/√fan_in.

    Its variance is 1/(3 fan_in), a sixth of He's. Raises what `fans` raises.

    >>> weight = torch_default_(torch.empty(100, 400), generator=seeded(0))
    >>> round(float(weight.abs().max()), 2), round(float(weight.std()), 3)  # 1/√400, 1/√(3 · 400)
    (0.05, 0.029)
    """
    return lecun_uniform_(weight, gain=1 / sqrt(3), generator=generator)

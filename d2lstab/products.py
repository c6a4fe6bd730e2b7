"""Products of random matrices: how fast they grow, in logarithms, and what else happens to them."""

from dataclasses import dataclass
from math import log, sqrt

import torch
from torch import Tensor

from .arguments import available_device, floating_dtype, whole_numbers
from .plotting import Axes, line_with_band, new_axes
from .randomness import normal, seeded
from .results import Result

_LN10 = log(10)


@dataclass(frozen=True, eq=False, repr=False)
class ProductTrace(Result):
    """The size of running products of random matrices, and their final direction."""

    log_norm: Tensor  # (trials, factors), natural log of the Frobenius norm after each factor; float64
    direction: Tensor  # (trials, n, n), the final products divided by their norm

    @property
    def rate(self) -> Tensor:
        """Growth per factor of each trial, (trials,), natural log; over the second half, once directions have settled."""
        factors = self.log_norm.shape[1]
        start = self.log_norm[:, factors // 2 - 1] if factors > 1 else log(self.direction.shape[-1]) / 2
        return (self.log_norm[:, -1] - start) / (factors - factors // 2)

    @property
    def log10_entries(self) -> Tensor:
        """log₁₀ of the size of the entries of the final products, (trials, n, n); float64."""
        return self.direction.double().abs().log10() + (self.log_norm[:, -1] / _LN10)[:, None, None]

    def plot(self, ax: Axes | None = None, **style) -> Axes:
        """Axes with the norm against the number of factors, in powers of ten: median and 10–90 % band."""
        ax = new_axes(ax)
        ax.set(xlabel="number of factors", ylabel="log₁₀ norm of the product")
        steps = torch.arange(1, self.log_norm.shape[1] + 1)
        return line_with_band(ax, steps, self.log_norm / _LN10, **style)


@dataclass(frozen=True, eq=False, repr=False)
class LyapunovTrace(Result):
    """How far a product of matrices stretches its n orthogonal directions, factor by factor."""

    log_stretch: Tensor  # (..., factors, n), natural logs, running sums over the factors; float64

    @property
    def exponents(self) -> Tensor:
        """The mean stretch per factor in each direction, (..., n), natural logs."""
        return self.log_stretch[..., -1, :] / self.log_stretch.shape[-2]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Axes with the stretch of each direction against the number of factors, in powers of ten."""
        ax = new_axes(ax)
        ax.set(xlabel="number of factors", ylabel="log₁₀ stretch")
        factors, n = self.log_stretch.shape[-2:]
        for i, lines in enumerate(self.log_stretch.reshape(-1, factors, n).unbind(-1), 1):
            line_with_band(ax, torch.arange(1, factors + 1), lines / _LN10, label=f"direction {i}")
        return ax


def random_product(
    n: int = 4,
    factors: int = 100,
    *,
    std: float = 1.0,
    trials: int = 1000,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> ProductTrace:
    """Running products of independent n × n matrices with entries N(0, std²), many trials at once.

    The product is rescaled after every factor and its size carried as a logarithm, so nothing overflows
    or vanishes, whatever the dtype and the number of factors.
    Raises ValueError for sizes that are not whole numbers of at least 1, a std that is not positive and
    finite, an unknown dtype, or a device that is not there.
    """
    n, factors, trials = whole_numbers(n=n, factors=factors, trials=trials)
    if not 0 < std < float("inf"):
        raise ValueError(f"std={std}\nexpected a positive, finite number")
    dtype, device, generator = floating_dtype(dtype), available_device(device), seeded(seed)
    draws = {"generator": generator, "dtype": dtype, "device": device}
    # Entries are drawn as N(0, 1/n), which keeps each product near 1 in any dtype; the rest of the scale is a logarithm.
    scale, log_scale = 1 / sqrt(n), log(std) + log(n) / 2
    product, log_norms = None, []
    for _ in range(factors):
        factor = normal(trials, n, n, **draws) * scale
        product = factor if product is None else factor @ product
        norm = torch.linalg.vector_norm(product, dim=(1, 2), dtype=torch.promote_types(dtype, torch.float32))
        product = product / norm.to(dtype)[:, None, None]
        log_norms.append(norm)
    steps = torch.stack(log_norms, dim=1).double().log() + log_scale
    return ProductTrace(steps.cumsum(1), product)


def lyapunov_trace(matrices: Tensor) -> LyapunovTrace:
    """The stretch of n orthogonal directions under the running products of the matrices, by repeated QR.

    matrices: (..., factors, n, n), the first one acts first. For independent Gaussian matrices the
    steps in direction i are independent, each ½ ln of a χ² variable with n − i + 1 degrees of freedom.
    Raises ValueError if the matrices are not square.
    Source: Benettin et al. 1980, Meccanica 15, 9–20 (the method); Newman 1986, Commun. Math. Phys. 103,
    121–126 (the law).
    """
    if matrices.dim() < 3 or matrices.shape[-1] != matrices.shape[-2]:
        raise ValueError(f"matrices of shape {tuple(matrices.shape)}\nexpected (..., factors, n, n)")
    frame, steps = torch.eye(matrices.shape[-1], dtype=torch.float64, device=matrices.device), []
    for matrix in matrices.double().unbind(-3):
        frame, triangle = torch.linalg.qr(matrix @ frame)
        steps.append(triangle.diagonal(dim1=-2, dim2=-1).abs().log())
    return LyapunovTrace(torch.stack(steps, dim=-2).cumsum(-2))


def lyapunov_exponents(matrices: Tensor) -> Tensor:
    """The mean stretch per factor in n orthogonal directions, (..., n), natural logs, largest first on average.

    matrices: (..., factors, n, n). Raises what `lyapunov_trace` raises.
    """
    return lyapunov_trace(matrices).exponents


def gaussian_lyapunov_exponents(n: int, std: float = 1.0) -> Tensor:
    """The Lyapunov exponents of products of n × n matrices with entries N(0, std²), (n,) float64, largest first.

    λᵢ = ln std + ½ (ln 2 + ψ((n − i + 1) / 2)), natural logs per factor.
    Raises ValueError unless n is a whole number of at least 1 and std is positive.
    Source: Newman 1986, Commun. Math. Phys. 103, 121–126.
    """
    (n,) = whole_numbers(n=n)
    if not 0 < std < float("inf"):
        raise ValueError(f"std={std}\nexpected a positive, finite number")
    freedom = torch.arange(n, 0, -1, dtype=torch.float64)
    return log(std) + (log(2) + torch.digamma(freedom / 2)) / 2


def critical_std(n: int) -> float:
    """The std at which a typical product neither grows nor shrinks: the top Lyapunov exponent is 0.

    It is a little above 1/√n, which keeps the *mean square*. Raises ValueError unless n ≥ 1.
    """
    return float(torch.exp(-gaussian_lyapunov_exponents(n)[0]))

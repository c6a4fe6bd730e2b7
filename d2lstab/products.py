"""Products of random matrices: how fast they grow, in logarithms, and what else happens to them."""

from dataclasses import dataclass
from functools import partial
from math import inf, log, sqrt
from typing import Any

import torch
from torch import Tensor

from .arguments import available_device, floating_dtype, whole_numbers
from .plotting import Axes, line_with_band, new_axes
from .randomness import normal, seeded
from .results import Result
from .signatures import checked
from .threads import one_thread_on_two_cores

__all__ = [
    "LyapunovTrace",
    "ProductTrace",
    "critical_std",
    "gaussian_lyapunov_exponents",
    "lyapunov_exponents",
    "lyapunov_trace",
    "random_product",
]

_LN10 = log(10)
_LARGE = 8  # the size from which torch's own batched matmul is fast


@dataclass(frozen=True, eq=False, repr=False)
class ProductTrace(Result):
    """The size of running products of random matrices, and their final direction.

    >>> products = random_product(n=4, factors=100, trials=50)
    >>> products.log_norm.shape, products.rate.shape, products.log10_entries.shape
    (torch.Size([50, 100]), torch.Size([50]), torch.Size([50, 4, 4]))
    """

    log_norm: Tensor  # (trials, factors), natural log of the Frobenius norm after each factor; float64
    direction: Tensor  # (trials, n, n), the final products divided by their norm

    @property
    def rate(self) -> Tensor:
        """Growth per factor of a fixed vector, the first unit vector, (trials,), natural log; float64.

        Over the trials its mean is λ₁ and its standard deviation ½ √(ψ′(n / 2) / factors), exactly and for any
        number of factors. The norm of the product is no such ruler: it approaches the rate λ₁ only after some n factors.
        """
        stretch = torch.linalg.vector_norm(self.direction[:, :, 0].double(), dim=1).log() + self.log_norm[:, -1]
        return stretch / self.log_norm.shape[1]

    @property
    def log10_entries(self) -> Tensor:
        """log₁₀ of the size of the entries of the final products, (trials, n, n), −∞ for an entry of 0; float64."""
        return self.direction.double().abs().log10() + (self.log_norm[:, -1] / _LN10)[:, None, None]

    def plot(self, ax: Axes | None = None, **style: Any) -> Axes:
        """Axes with the norm against the number of factors, in powers of ten: median and 10–90 % band."""
        ax = new_axes(ax)
        ax.set(xlabel="number of factors", ylabel="log₁₀ norm of the product")
        steps = torch.arange(1, self.log_norm.shape[1] + 1, device="cpu")
        return line_with_band(ax, steps, self.log_norm / _LN10, **style)


@dataclass(frozen=True, eq=False, repr=False)
class LyapunovTrace(Result):
    """How far a product of matrices stretches its n orthogonal directions, factor by factor.

    >>> trace = lyapunov_trace(2 * torch.eye(3).expand(10, 3, 3))
    >>> trace.log_stretch.shape, [round(float(each), 4) for each in trace.exponents]  # ln 2 each
    (torch.Size([10, 3]), [0.6931, 0.6931, 0.6931])
    """

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
            name: dict[str, Any] = {"label": f"direction {i}"} if n <= 8 else {}  # a longer legend fills the figure
            line_with_band(ax, torch.arange(1, factors + 1, device="cpu"), lines / _LN10, **name)
        return ax


@checked
@one_thread_on_two_cores()
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
    or vanishes, whatever the dtype and the number of factors. Factors and products are rounded to the dtype, float32
    at least holds the sums in between. A seed means the same matrices in every dtype, and the first ones of a longer
    product.
    Raises ValueError for sizes that are not whole numbers of at least 1, a std that is not positive and
    finite, a dtype other than float16, bfloat16, float32 and float64, or a device that is not there.

    >>> products = random_product(n=4, factors=100, trials=10_000)
    >>> round(float(products.rate.mean()), 2)  # growth per factor, as a natural logarithm
    0.56
    >>> ax = products.plot()
    """
    n, factors, trials = whole_numbers(n=n, factors=factors, trials=trials)
    log_std, dtype, device, generator = _log(std), floating_dtype(dtype), available_device(device), seeded(seed)
    if dtype.itemsize == 1:
        raise ValueError(f"dtype={dtype}\nexpected torch.float16, bfloat16, float32 or float64: 8 bits are too few")
    wide = torch.promote_types(dtype, torch.float32)
    draw = partial(normal, generator=generator, dtype=dtype, device=device)
    product, norms = torch.eye(n, dtype=wide, device=device) / sqrt(n), []
    for index in range(factors):
        factor = draw(n, n, trials).movedim(-1, 0) if n < _LARGE else draw(trials, n, n)
        longer = _matmul(factor.to(wide), product) if index else factor.to(wide)
        norm = longer.square().sum((1, 2), keepdim=True).sqrt()
        # A Gaussian product is never 0, a rounded one can be (n = 1: once in 10⁷ factors): that factor is left out.
        lost = (norm == 0).to(wide)
        norm += lost
        product = (longer.addcmul_(product, lost) / norm).to(dtype).to(wide)
        norms.append(norm.flatten())
    steps = torch.stack(norms).log().double() + log_std  # drawn as N(0, 1): std is only a logarithm
    return ProductTrace(steps.cumsum(0).mT, product.to(dtype).contiguous())


@checked
@one_thread_on_two_cores()
def lyapunov_trace(matrices: Tensor) -> LyapunovTrace:
    """The stretch of n orthogonal directions under the running products of the matrices, by repeated QR.

    matrices: (..., factors, n, n), real, the first one acts first; a singular one gives −∞. For independent
    Gaussian matrices the steps in direction i are independent, each ½ ln of a χ² variable with n − i + 1 degrees of
    freedom; direction 1 is the fate of a fixed vector.
    Raises TypeError for anything but a tensor of real numbers, ValueError if the matrices are not square or there
    are none.
    Source: Benettin et al. 1980, Meccanica 15, 9–20 (the method); Newman 1986, Commun. Math. Phys. 103,
    121–126 (the law).

    >>> ax = lyapunov_trace(normal(20, 100, 4, 4, generator=seeded(0))).plot()
    """
    if not isinstance(matrices, Tensor) or matrices.is_complex():
        given = matrices.dtype if isinstance(matrices, Tensor) else type(matrices).__name__
        raise TypeError(f"matrices of type {given}\nexpected a tensor of real numbers, such as torch.stack(weights)")
    if matrices.dim() < 3 or matrices.shape[-1] != matrices.shape[-2] or 0 in matrices.shape[-3:]:
        raise ValueError(
            f"matrices of shape {tuple(matrices.shape)}\nexpected (..., factors, n, n), at least one factor"
        )
    frame, steps = torch.eye(matrices.shape[-1], dtype=torch.float64, device=matrices.device), []
    for matrix in matrices.double().unbind(-3):
        frame, triangle = torch.linalg.qr(matrix @ frame)
        steps.append(triangle.diagonal(dim1=-2, dim2=-1).abs().log())
    return LyapunovTrace(torch.stack(steps, dim=-2).cumsum(-2))


@checked
def lyapunov_exponents(matrices: Tensor) -> Tensor:
    """The mean stretch per factor in n orthogonal directions, (..., n), natural logs, largest first on average.

    matrices: (..., factors, n, n). Raises what `lyapunov_trace` raises.

    >>> halving = torch.diag(torch.tensor([1.0, 0.5]))
    >>> [round(exponent, 4) for exponent in lyapunov_exponents(halving.expand(10, 2, 2)).tolist()]  # 0 and ln ½
    [0.0, -0.6931]
    """
    return lyapunov_trace(matrices).exponents


@checked
def gaussian_lyapunov_exponents(n: int, std: float = 1.0) -> Tensor:
    """The Lyapunov exponents of products of n × n matrices with entries N(0, std²), (n,) float64, largest first.

    λᵢ = ln std + ½ (ln 2 + ψ((n − i + 1) / 2)), natural logs per factor.
    Raises ValueError unless n is a whole number of at least 1 and std is positive and finite.
    Source: Newman 1986, Commun. Math. Phys. 103, 121–126.

    >>> [round(exponent, 2) for exponent in gaussian_lyapunov_exponents(2).tolist()]
    [0.06, -0.64]
    """
    (n,) = whole_numbers(n=n)
    freedom = torch.arange(n, 0, -1, dtype=torch.float64, device="cpu")
    return _log(std) + (log(2) + torch.digamma(freedom / 2)) / 2


@checked
def critical_std(n: int) -> float:
    """The std at which a typical product neither grows nor shrinks: the top Lyapunov exponent is 0.

    It is a little above 1/√n, which keeps the *mean square*. Raises ValueError unless n ≥ 1.

    >>> round(critical_std(4), 3)  # above 1/√4
    0.572
    """
    return float(torch.exp(-gaussian_lyapunov_exponents(n)[0]))


def _matmul(a: Tensor, b: Tensor) -> Tensor:
    """a @ b for stacks (trials, n, n)."""
    if len(a[0]) >= _LARGE:
        return a @ b
    # Torch multiplies small matrices one by one; entry by entry, over all trials at once, is eight times as fast.
    product = a[:, :, :1] * b[:, :1]
    for k in range(1, a.shape[-1]):
        product.addcmul_(a[:, :, k, None], b[:, k, None])
    return product


def _log(std: float) -> float:
    if not 0 < std < inf:
        raise ValueError(f"std={std}\nexpected a positive, finite number")
    return log(std)

"""The tangent kernel: how the outputs of different samples move when parameters do."""

import torch
from torch import Tensor

from ..randomness import seeded
from ..recording.statistics import dense

_KEPT = 2**16  # entries of one parameter; of larger ones so many are drawn, enough for a few samples' inner products
_LEAST = 1e-6  # of the largest eigenvalue; beyond, rounding errors speak


def tangent_kernel(outputs: Tensor, parameters: list[Tensor], *, samples: int) -> Tensor:
    """The inner products, over all parameters, of the gradients of the first outputs: (samples, samples), float64.

    outputs: (batch, ...), with their graph; of each sample one random ±1 combination is taken. Gradients of one
    sample after the other are kept, at most 2¹⁶ entries of each parameter.
    Source: Jacot et al. 2018, arXiv:1806.07572.
    """
    generator = seeded(0)
    signs = torch.randint(0, 2, outputs.shape[1:], generator=generator, device="cpu").to(outputs.device) * 2 - 1
    kept = [
        torch.randperm(each.numel(), generator=generator, device="cpu")[:_KEPT] if each.numel() > _KEPT else None
        for each in parameters
    ]
    rows = [[] for _ in parameters]
    for i in range(samples):
        combined = (outputs[i] * signs).sum()
        combined = combined.real if combined.is_complex() else combined
        for row, indices, gradient in zip(rows, kept, _gradients(combined, parameters)):
            row.append(gradient if indices is None else gradient[indices.to(gradient.device)])
    kernel = torch.zeros(samples, samples, dtype=torch.float64, device="cpu")
    for row in rows:
        gradients = torch.stack(row).double()
        kernel += (gradients @ gradients.T).cpu()
    return kernel


def independent_directions(kernel: Tensor, wanted: Tensor) -> float:
    """How readily samples move apart in the ways that are wanted: 1 if as readily as in any way, 0 if not at all.

    kernel: (samples, samples). wanted: (samples, ...), where each sample's answer is to go. It is the geometric mean of
    the eigenvalues of the centred kernel over its largest, each as often as its direction has a share in what is wanted;
    an eigenvalue counts as at least a millionth.
    """
    if not kernel.isfinite().all():
        return 0.0
    centred = kernel - kernel.mean(0) - kernel.mean(1, keepdim=True) + kernel.mean()
    values, directions = torch.linalg.eigh(centred)
    if not values[-1] > 0:
        return 0.0
    wanted = wanted.detach().flatten(1).cpu().double() if wanted.dim() > 1 else wanted.detach().cpu().double()[:, None]
    shares = (directions.T @ (wanted - wanted.mean(0))).square().sum(1)
    if not (shares.sum() > 0 and shares.isfinite().all()):
        shares = (torch.arange(len(values)) > 0).double()  # nothing in particular is wanted; one direction is the mean
    logs = (values / values[-1]).clamp(min=_LEAST).log()
    return float((shares * logs).sum().div(shares.sum()).exp())


def _gradients(scalar: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    found = torch.autograd.grad(scalar, parameters, retain_graph=True, allow_unused=True)
    found = [
        torch.zeros_like(each) if gradient is None else dense(gradient) for each, gradient in zip(parameters, found)
    ]
    return [(torch.view_as_real(each) if each.is_complex() else each).flatten() for each in found]

"""The tangent kernel: how the outputs of different samples move when parameters do."""

import torch
from torch import Tensor

from ..randomness import seeded
from ..recording.statistics import dense

_KEPT = 2**16  # entries of one parameter; of larger ones so many are drawn, enough for a few samples' inner products


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


def independent_directions(kernel: Tensor) -> float:
    """The middle eigenvalue of the centred kernel over its largest: 0 where samples can only move apart along a line."""
    if not kernel.isfinite().all():
        return 0.0
    centred = kernel - kernel.mean(0) - kernel.mean(1, keepdim=True) + kernel.mean()
    values = torch.linalg.eigvalsh(centred)[1:].clamp(min=0)  # one is 0: it is the mean
    return float(values[len(values) // 2] / values[-1]) if len(values) and values[-1] > 0 else 0.0


def _gradients(scalar: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    found = torch.autograd.grad(scalar, parameters, retain_graph=True, allow_unused=True)
    found = [
        torch.zeros_like(each) if gradient is None else dense(gradient) for each, gradient in zip(parameters, found)
    ]
    return [(torch.view_as_real(each) if each.is_complex() else each).flatten() for each in found]

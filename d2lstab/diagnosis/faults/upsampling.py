"""Upsampling that prints a grid."""

from torch import Tensor, nn

from ..evidence import Evidence
from ..findings import Finding
from ..repairs import without_checkerboard


def checkerboard(evidence: Evidence) -> Finding | None:
    """A pixel shuffle whose sub-pixels come from unrelated filters, or a transposed convolution that overlaps unevenly."""
    modules = evidence.modules
    for before, row in zip(evidence.rows, evidence.rows[1:]):
        shuffle, weight = modules.get(row.name), getattr(modules.get(before.name), "weight", None)
        if isinstance(shuffle, nn.PixelShuffle) and isinstance(weight, Tensor):
            grid = _disagreement(weight.detach().double(), shuffle.upscale_factor**2)
            if grid > 0.5:
                return _found(
                    before.label,
                    f"{grid:.0%} of the weights before {row.label} differs between the pixels of a cell; 0 % is expected",
                    grid,
                )
    for row in evidence.rows:
        conv = modules.get(row.name)
        if isinstance(conv, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
            uneven = [(k, s) for k, s in zip(conv.kernel_size, conv.stride) if k % s]
            if uneven:
                (kernel, stride), *_ = uneven
                text = (
                    f"a kernel of {kernel} with stride {stride} overlaps unevenly; a multiple of the stride is expected"
                )
                return _found(row.label, text, kernel % stride, "warning")
    return None


def _disagreement(weight: Tensor, phases: int) -> float:
    """The share of the weights' square that differs between the filters of one output channel."""
    cells = weight.reshape(-1, phases, weight[0].numel())
    return float((cells - cells.mean(1, keepdim=True)).square().sum() / cells.square().sum().clamp(min=1e-300))


def _found(layer: str, evidence: str, measured: float, severity: str = "fault") -> Finding:
    remedy = "the ICNR initialization: one filter per channel, repeated for each sub-pixel; or upsample, then convolve"
    return Finding("checkerboard", layer, evidence, remedy, measured, 0.0, severity, (without_checkerboard,))

"""Networks to experiment on: plain, normalized, residual; of linear maps or of convolutions."""

from .convolutional import convnet, residual_convnet
from .plain import Layer, mlp
from .residual import Block, PreActivation, Scale, fixup_factor, residual_mlp

__all__ = [
    "Block", "Layer", "PreActivation", "Scale", "convnet", "fixup_factor", "mlp", "residual_convnet", "residual_mlp",
]  # fmt: skip

"""Networks to experiment on: plain, normalized and residual, convolutional, recurrent, transformers."""

from .convolutional import convnet, residual_convnet
from .plain import Layer, mlp
from .recurrent import Reader, reader
from .residual import Block, PreActivation, Scale, residual_mlp
from .transformer import Attention, Embedding, transformer
from .upsampling import upsampler

__all__ = [
    "Attention", "Block", "Embedding", "Layer", "PreActivation", "Reader", "Scale", "convnet", "mlp", "reader",
    "residual_convnet", "residual_mlp", "transformer", "upsampler",
]  # fmt: skip

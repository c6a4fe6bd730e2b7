"""How many multiplications and additions a pass costs."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_GROUPED = 6  # times as long as any other takes an operation of a convolution in groups: measured, forward and backward


class Operations(TorchDispatchMode):
    """A context that counts them, by torch's own formulas for products, convolutions and attention.

    Those of a convolution in groups count for what they cost: there is little to share between them.

    torch's `FlopCounterMode` counts the same and more, and fails on models that give a layer an expanded parameter.
    """

    def __init__(self):
        from torch.utils.flop_counter import flop_registry  # which imports a compiler of kernels

        super().__init__()
        self.formulas, self.total = flop_registry, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        formula = self.formulas.get(func.overloadpacket)
        if formula is not None:
            grouped = func is torch.ops.aten.convolution.default and args[8] > 1
            self.total += formula(*args, **(kwargs or {}), out_val=output) * (_GROUPED if grouped else 1)
        return output

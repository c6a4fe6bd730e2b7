"""How many multiplications and additions a pass costs."""

from torch.utils._python_dispatch import TorchDispatchMode


class Operations(TorchDispatchMode):
    """A context that counts them, by torch's own formulas for products, convolutions and attention.

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
            self.total += formula(*args, **(kwargs or {}), out_val=output)
        return output

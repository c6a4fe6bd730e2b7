"""How many multiplications and additions a pass costs."""

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class Operations(TorchDispatchMode):
    """A context that counts them, by torch's own formulas for products, convolutions and attention.

    torch's `FlopCounterMode` counts the same and more, imports a compiler when it is entered, which takes seconds, and
    refuses models that expand a parameter before they call a layer.
    """

    def __init__(self):
        super().__init__()
        self.total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # what torch would wrap here so as to skip its compiler would import it

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=output)
        return output

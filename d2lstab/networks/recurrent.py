"""Networks that read a sequence step by step."""

from typing import Any

import torch
from torch import Tensor, nn

from ..arguments import available_device, floating_dtype, whole_numbers
from ..initializers import Initializer, initialize_, initialize_recurrent_, lecun_normal_, orthogonal_
from ..randomness import streams_kept
from ..signatures import checked


class Reader(nn.Module):
    """A recurrent module and a linear map of its last state, or of every state.

    recurrent: an nn.RNN, LSTM or GRU with batch_first. output: the linear map. every_step: of every state.

    >>> gru, x = nn.GRU(2, 8, batch_first=True), torch.ones(4, 10, 2)
    >>> Reader(gru, nn.Linear(8, 1))(x).shape, Reader(gru, nn.Linear(8, 1), every_step=True)(x).shape
    (torch.Size([4, 1]), torch.Size([4, 10, 1]))
    """

    @checked
    def __init__(self, recurrent: nn.RNNBase, output: nn.Module, *, every_step: bool = False):
        super().__init__()
        self.recurrent = recurrent
        self.output = output
        self.every_step = every_step

    def forward(self, x: Tensor) -> Tensor:
        """What is read in x, (batch, steps, inputs): (batch, outputs), or (batch, steps, outputs) of every step."""
        states, _ = self.recurrent(x)
        return self.output(states if self.every_step else states[:, -1])


@checked
@streams_kept()  # torch fills every new module from the global random stream
def reader(
    kind: type[nn.RNN] | type[nn.LSTM] | type[nn.GRU],
    inputs: int,
    width: int,
    outputs: int,
    *,
    initializer: Initializer = orthogonal_,
    input_initializer: Initializer = lecun_normal_,
    every_step: bool = False,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    **settings: Any,
) -> Reader:
    """A recurrent network for sequences (batch, steps, inputs): (batch, outputs) from its last state.

    kind: nn.RNN, nn.LSTM or nn.GRU, of so many units as width says; settings are its own, such as nonlinearity="relu". initializer fills the
    hidden-to-hidden weights gate by gate, input_initializer the others; biases start at 0. every_step: outputs
    (batch, steps, outputs) from every state.
    Raises ValueError for sizes below 1 or a bad dtype or device; TypeError for another kind, and what
    `initialize_recurrent_` raises.

    >>> network = reader(nn.LSTM, inputs=2, width=16, outputs=1)
    >>> network(torch.ones(4, 10, 2)).shape  # what it says of each sequence at its end
    torch.Size([4, 1])
    """
    inputs, width, outputs = whole_numbers(inputs=inputs, width=width, outputs=outputs)
    if not (isinstance(kind, type) and issubclass(kind, nn.RNNBase)):
        raise TypeError(f"kind={kind!r}\nexpected nn.RNN, nn.LSTM or nn.GRU")
    dtype, device = floating_dtype(dtype), available_device(device)
    recurrent = kind(inputs, width, batch_first=True, device="cpu", **settings)
    initialize_recurrent_(recurrent, initializer, inputs=input_initializer, seed=seed)
    features = (2 if recurrent.bidirectional else 1) * (recurrent.proj_size or width)
    output = initialize_(nn.Linear(features, outputs, device="cpu"), input_initializer, seed=2**33 + seed)
    return Reader(recurrent, output, every_step=every_step).to(device, dtype)

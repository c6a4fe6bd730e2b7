"""Small transformers."""

import copy
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..activations import Activation, check_elementwise
from ..arguments import whole_numbers
from ..initializers import Initializer, deepnorm, gpt2_normal_, residual_factor
from ..initializers.filling import draw_weight
from ..randomness import seeded, streams_kept
from ..signatures import checked
from .plain import Layer, Norm, drawn, normalization, place
from .residual import Block


class Attention(nn.Module):
    """Self-attention with heads: (..., length, width) to the same shape.

    heads: each sees width / heads of the width. causal: no place sees a later one. scale: of the logits; 1/√(width
    per head) for None. qk_norm: queries and keys are normalized, each head's vectors to mean 0 and length
    √(width per head), which bounds the logits by the same number.
    Raises ValueError for sizes below 1 or a width that heads does not divide, TypeError for other kinds.
    Sources: Vaswani et al. 2017, arXiv:1706.03762, section 3.2; Dehghani et al. 2023, arXiv:2302.05442 (qk_norm).

    >>> attention, h = Attention(8, heads=2), normal(5, 8, generator=seeded(0))
    >>> later = h + nn.functional.one_hot(torch.tensor(4), 5)[:, None]  # another last place
    >>> torch.allclose(attention(h)[:-1], attention(later)[:-1])  # which the places before do not see
    True
    """

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    output: nn.Linear

    @checked
    def __init__(
        self, width: int, heads: int, *, causal: bool = True, scale: float | None = None, qk_norm: bool = False
    ):
        super().__init__()
        width, heads = _headed(width, heads)
        self.query, self.key, self.value, self.output = (nn.Linear(width, width, device="cpu") for _ in range(4))
        self.heads = heads
        self.causal = causal
        self.scale = scale
        self.qk_norm = qk_norm

    def forward(self, h: Tensor) -> Tensor:
        """What attention makes of h, (..., length, width): the same shape."""
        query, key, value = (self._by_head(project(h)) for project in (self.query, self.key, self.value))
        if self.qk_norm:
            query, key = (F.layer_norm(x, x.shape[-1:]) for x in (query, key))
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal, scale=self.scale)
        return self.output(mixed.transpose(-2, -3).flatten(-2))

    def _by_head(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(-2, -3)

    def extra_repr(self) -> str:
        scale, normed = f", scale={self.scale:g}" if self.scale else "", ", qk_norm=True" if self.qk_norm else ""
        return f"heads={self.heads}, causal={self.causal}{scale}{normed}"


class Embedding(nn.Module):
    """Tokens and their places: (..., length) whole numbers to (..., length, width).

    vocabulary: how many tokens there are, from 0.
    Raises ValueError for sizes below 1.

    >>> embedding = Embedding(vocabulary=50, length=16, width=8)
    >>> embedding(torch.tensor([[3, 1, 3]])).shape  # the same token at two places has two vectors
    torch.Size([1, 3, 8])
    """

    @checked
    def __init__(self, vocabulary: int, length: int, width: int):
        super().__init__()
        vocabulary, length, width = whole_numbers(vocabulary=vocabulary, length=length, width=width)
        self.tokens: nn.Embedding = nn.Embedding(vocabulary, width, device="cpu")
        self.places: nn.Embedding = nn.Embedding(length, width, device="cpu")

    def forward(self, tokens: Tensor) -> Tensor:
        """The vectors of tokens (..., up to length), each that of the token plus that of its place: (..., width)."""
        places = torch.arange(tokens.shape[-1], device=tokens.device).expand(tokens.shape)
        return self.tokens(tokens) + self.places(places)


@checked
@streams_kept()  # torch fills every new module from the global random stream
def transformer(
    vocabulary: int,
    width: int,
    blocks: int,
    *,
    heads: int = 4,
    length: int = 64,
    activation: Activation = F.gelu,
    initializer: Initializer = gpt2_normal_,
    norm: Norm | None = nn.LayerNorm,
    post_norm: bool = False,
    skip: float = 1.0,
    scaled_residual: bool = False,
    with_deepnorm: bool = False,
    tied: bool = False,
    causal: bool = True,
    qk_norm: bool = False,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> nn.Sequential:
    """A transformer that maps tokens (batch, steps) to logits (batch, steps, vocabulary), as a Sequential.

    embedding, then in each block attention and feed-forward (4 × width), each a branch of its own with its skip, then
    norm and output. steps: at most `length`. The initializer fills every weight, embeddings too; biases start at 0.
    norm: a function of the width, before each branch, or with post_norm after each addition; None for none.
    skip: the factor of the skips; 0 leaves them out. scaled_residual: the last weight of each branch times
    `residual_factor(blocks)`. with_deepnorm: post_norm, with `deepnorm(blocks)` for skips and weights. tied: the output's
    weight is that of the tokens. causal: no step sees a later one. qk_norm: as for `Attention`.
    Raises ValueError for sizes below 1, a width that heads does not divide, post_norm or with_deepnorm without norm, and
    what `mlp` raises.
    Sources: Radford et al. 2019 (the default); Xiong et al. 2020, arXiv:2002.04745; Wang et al. 2022, arXiv:2203.00555.

    >>> network = transformer(vocabulary=50, width=16, blocks=2)
    >>> network(torch.zeros(3, 10, dtype=torch.long)).shape
    torch.Size([3, 10, 50])
    """
    vocabulary, blocks, length = whole_numbers(vocabulary=vocabulary, blocks=blocks, length=length)
    width, heads = _headed(width, heads)
    check_elementwise(activation)
    post_norm = post_norm or with_deepnorm
    if post_norm and norm is None:
        raise ValueError("post_norm or with_deepnorm without norm\nexpected norm=, such as nn.LayerNorm")
    skip = deepnorm(blocks).alpha if with_deepnorm else skip

    def block(branch: nn.Module) -> Block:
        made = normalization(norm, width)
        if made is None or post_norm:
            return Block(branch, norm=made, skip=skip)
        return Block(nn.Sequential(OrderedDict(norm=made, branch=branch)), skip=skip)

    embedding = Embedding(vocabulary, length, width)
    network: OrderedDict[str, nn.Module] = OrderedDict(embedding=embedding)
    inner, last = [], []  # DeepNorm's of each branch, all but queries and keys
    for index in range(1, blocks + 1):
        attention = Attention(width, heads, causal=causal, qk_norm=qk_norm)
        widen, narrow = (nn.Linear(*sizes, device="cpu") for sizes in ((width, 4 * width), (4 * width, width)))
        hidden = Layer(widen, copy.deepcopy(activation))
        feedforward = nn.Sequential(OrderedDict(hidden=hidden, output=narrow))
        inner += [attention.value, widen]
        last += [attention.output, narrow]
        pair = {"attention": block(attention), "feedforward": block(feedforward)}
        network[f"block{index}"] = nn.Sequential(OrderedDict[str, nn.Module](pair))
    final = None if post_norm else normalization(norm, width)
    if final is not None:
        network["norm"] = final
    network["output"] = output = nn.Linear(width, vocabulary, bias=False, device="cpu")
    device, dtype = place(dtype, device)
    made = drawn(nn.Sequential(network), initializer, seed, torch.float32, None)
    _fill_embedding_(embedding, initializer, seed)
    _scale_(last, residual_factor(blocks) if scaled_residual else 1.0)
    _scale_(inner + last, deepnorm(blocks).beta if with_deepnorm else 1.0)
    if tied:
        output.weight = embedding.tokens.weight
    return made.to(device, dtype)


def _headed(width: int, heads: int) -> tuple[int, int]:
    """Both, if the heads share the width out."""
    width, heads = whole_numbers(width=width, heads=heads)
    if width % heads:
        raise ValueError(f"width={width} for heads={heads}\nexpected a width that heads divides")
    return width, heads


@torch.no_grad()
def _fill_embedding_(embedding: Embedding, initializer: Initializer, seed: int) -> None:
    generator = seeded(2**33 + seed)
    for table in (embedding.tokens, embedding.places):
        table.weight.copy_(draw_weight(initializer, tuple(table.weight.shape), generator))


@torch.no_grad()
def _scale_(layers: list[nn.Linear], factor: float) -> None:
    for layer in layers:
        layer.weight.mul_(factor)

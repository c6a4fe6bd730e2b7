"""Factors that depend on how deep a residual network is."""

from dataclasses import dataclass

from ..arguments import whole_numbers
from ..results import Result
from ..signatures import checked


@checked
def residual_factor(blocks: int, branches: int = 2) -> float:
    """What the last weight of each branch is multiplied by: 1/√(blocks · branches), GPT-2's 1/√(2N).

    Then the branches together add as much as the input. Raises ValueError for numbers below 1.
    Source: Radford et al. 2019, Language Models are Unsupervised Multitask Learners, section 2.3.

    >>> residual_factor(blocks=8)  # 1/√16: two branches a block
    0.25
    """
    blocks, branches = whole_numbers(blocks=blocks, branches=branches)
    return (blocks * branches) ** -0.5


@checked
def fixup_factor(blocks: int, layers: int = 2) -> float:
    """What Fixup multiplies a branch's weights by, save its last: blocks^(−1/(2·layers − 2)).

    Raises ValueError for blocks below 1 or layers below 2.
    Source: Zhang et al. 2019, arXiv:1901.09321, section 3, rule 2.

    >>> fixup_factor(blocks=16)  # 1/√16
    0.25
    """
    (blocks,) = whole_numbers(blocks=blocks)
    (layers,) = whole_numbers(layers=layers, at_least=2)
    return blocks ** (-1 / (2 * layers - 2))


@dataclass(frozen=True, eq=False, repr=False)
class DeepNorm(Result):
    """The two constants of a stack of post-norm blocks, N(alpha · h + branch(h)).

    >>> constants = deepnorm(8)
    >>> Block(nn.Linear(4, 4), norm=nn.LayerNorm(4), skip=constants.alpha).skip
    2.0
    """

    alpha: float  # what the skip is multiplied by
    beta: float  # what the branch's value, output and feed-forward weights are multiplied by


@checked
def deepnorm(layers: int) -> DeepNorm:
    """The constants of an encoder or decoder alone: alpha = (2·layers)^¼, beta = (8·layers)^(−¼).

    Raises ValueError for layers below 1. Source: Wang et al. 2022, arXiv:2203.00555, fig. 2.

    >>> deepnorm(512)  # 1024 to the power of ¼, 4096 to that of −¼
    DeepNorm(alpha: 5.657, beta: 0.125)
    """
    (layers,) = whole_numbers(layers=layers)
    return DeepNorm((2 * layers) ** 0.25, (8 * layers) ** -0.25)


@checked
def deepnorm_pair(encoder: int, decoder: int) -> tuple[DeepNorm, DeepNorm]:
    """The constants of an encoder and of the decoder that reads it, of so many layers each.

    Raises ValueError for layers below 1. Source: Wang et al. 2022, arXiv:2203.00555, fig. 2.

    >>> encoder, decoder = deepnorm_pair(6, 6)
    >>> round(encoder.alpha, 2), round(decoder.alpha, 2)
    (1.42, 2.06)
    """
    encoder, decoder = whole_numbers(encoder=encoder, decoder=decoder)
    both = (encoder**4 * decoder) ** (1 / 16)
    return DeepNorm(0.81 * both, 0.87 / both), DeepNorm((3 * decoder) ** 0.25, (12 * decoder) ** -0.25)

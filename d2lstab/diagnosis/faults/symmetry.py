"""Units that are copies of each other."""

from itertools import pairwise

from torch import nn

from ..evidence import Evidence
from ..findings import Finding
from ..repairs import normalized, reinitialized

_HARMLESS = (nn.Embedding, nn.EmbeddingBag, nn.LayerNorm)  # their entries are told apart by what comes in


def symmetric(evidence: Evidence) -> Finding | None:
    """Layers whose units have equal weights and equal gradients: they stay copies for ever."""
    found = [
        name
        for name in evidence.copied
        if not isinstance(evidence.modules.get(_layer(name)), _HARMLESS) and _layer(name) not in _upsampling(evidence)
    ]
    if not found:
        return None
    layer, units = _layer(found[0]), len(dict(evidence.subject.model.named_parameters())[found[0]])
    return Finding(
        "symmetric",
        layer,
        f"all {units} units of {layer or found[0]} have the same weights and the same gradients ({len(found)} such weights); "
        f"{units} different ones are expected",
        "draw the weights at random: nn.init.kaiming_normal_(layer.weight), and leave only biases constant",
        measured=1,
        expected=units,
        repairs=(reinitialized, normalized),
    )


def _upsampling(evidence: Evidence) -> set[str]:
    """The layers before a pixel shuffle, whose units begin as copies, one for each sub-pixel, on purpose."""
    pairs = pairwise(evidence.rows)
    return {before.name for before, row in pairs if isinstance(evidence.modules.get(row.name), nn.PixelShuffle)}


def _layer(parameter: str) -> str:
    return parameter.rpartition(".")[0]

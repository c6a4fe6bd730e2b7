"""Normalization with statistics that say little."""

from torch import nn

from ..evidence import Evidence
from ..findings import Finding
from ..repairs import group_normalized


def batch_statistics(evidence: Evidence) -> Finding | None:
    """Batch normalization in training mode over a handful of samples."""
    batch = evidence.subject.batch
    if batch is None or batch > 3:
        return None
    for row in evidence.rows:
        module = evidence.modules.get(row.name)
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.training or module.running_mean is None):
            return Finding(
                "batch_statistics",
                row.label,
                f"mean and variance are taken over a batch of {batch}; 16 or more samples are expected",
                "a larger batch, nn.GroupNorm or nn.LayerNorm, or eval() where the layer is pretrained",
                batch,
                16,
                severity="fault" if batch == 1 else "warning",
                repairs=(group_normalized,),
            )
    return None

"""`diagnose` on a model that two processes train together."""

import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from d2lstab import diagnose
from tests.architectures import build

pytestmark = pytest.mark.slow


def diagnosed_by(rank: int, rendezvous: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    model, inputs, targets = build("in-place ReLU")
    wrapped = DistributedDataParallel(model)
    report = diagnose(wrapped, inputs, targets, F.cross_entropy, optimizer=torch.optim.SGD(wrapped.parameters(), 0.01))
    assert report.verdict == "healthy"
    assert report.signals[0].label == "0"
    for _ in range(2):  # the reducer still works
        F.cross_entropy(wrapped(inputs), targets).backward()
    dist.barrier()
    os._exit(0)  # gloo's threads may abort an interpreter that shuts down, and that is not what is tested


@pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="needs gloo")
@pytest.mark.filterwarnings("ignore")
def test_a_model_wrapped_for_two_processes_is_diagnosed_in_each(tmp_path):
    mp.spawn(diagnosed_by, args=(str(tmp_path / "rendezvous"),), nprocs=2)

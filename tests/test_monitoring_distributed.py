"""`Monitor` under data parallelism: the statistics of the whole batch, the same on every process, told once."""

import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from d2lstab import Monitor, he_normal_, mlp, seeded
from d2lstab.randomness import normal

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="needs gloo"),
    pytest.mark.filterwarnings("ignore"),
]
STEPS = 3


def trained(model: nn.Module, part: slice, told: list, *, fails_at: int | None = None) -> Monitor:
    """A monitored run on the part of each batch that is this process's; its middle layer dies in step 2."""
    inputs, targets = normal(64 * STEPS, 64, generator=seeded(1)), torch.arange(64 * STEPS) % 10
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    with Monitor(model, optimizer=optimizer, every=1, tell=told.append) as monitor:
        for step in range(STEPS):
            if step == 1:
                inner = model.module if isinstance(model, DistributedDataParallel) else model
                nn.init.constant_(inner.layer2.linear.bias, -1e3)
            if step == fails_at:
                raise ArithmeticError("this process fails")
            x, y = (each[64 * step : 64 * step + 64][part] for each in (inputs, targets))
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            monitor.step(loss)
    return monitor


def network() -> nn.Module:
    return mlp([64, 32, 32, 32, 10], torch.relu, initializer=he_normal_)


def one_shard_of_two(rank: int, folder: str) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    model, mesh, told = network(), init_device_mesh("cpu", (2,)), []
    for each in (model.layer1, model.layer3, model):
        fully_shard(each, mesh=mesh)
    inputs, targets = normal(64 * STEPS, 64, generator=seeded(1)), torch.arange(64 * STEPS) % 10
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    with Monitor(model, optimizer=optimizer, every=1, tell=told.append) as monitor:
        for step in range(STEPS):
            mine = slice(64 * step + 32 * rank, 64 * step + 32 * rank + 32)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(inputs[mine]), targets[mine])
            loss.backward()
            optimizer.step()
            monitor.step(loss)
    torch.save({"state": monitor.state_dict(), "told": [str(each) for each in told]}, f"{folder}/rank{rank}.pt")
    dist.barrier()
    os._exit(0)


def test_norms_of_a_sharded_model_are_those_of_the_whole(tmp_path):
    """A shard's own are too small by about √2 for two processes."""
    mp.spawn(one_shard_of_two, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2))
    mine, other = (Monitor(network()) for _ in range(2))
    mine.load_state_dict(first["state"])
    other.load_state_dict(second["state"])
    model, inputs, targets = network(), normal(64 * STEPS, 64, generator=seeded(1)), torch.arange(64 * STEPS) % 10
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    with Monitor(model, optimizer=optimizer, every=1, tell=None) as alone:
        for step in range(STEPS):
            x, y = (each[64 * step : 64 * step + 64] for each in (inputs, targets))
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            alone.step(loss)
    whole, parts = alone.signals, mine.signals
    assert parts.to_dict() == other.signals.to_dict()
    assert parts.layers == whole.layers and parts.weights == whole.weights and first["told"] == second["told"] == []
    for name in ("loss", "moment", "gradient", "dead", "largest", "gradient_norm", "update_norm", "weight_norm"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-4, atol=1e-9, equal_nan=True)


def one_of_two(rank: int, folder: str, fails: bool) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    told: list = []
    part = slice(32 * rank, 32 * rank + 32)
    fails_at = 1 if fails and rank == 1 else None
    monitor = trained(DistributedDataParallel(network()), part, told, fails_at=fails_at)
    torch.save({"state": monitor.state_dict(), "told": [str(each) for each in told]}, f"{folder}/rank{rank}.pt")
    dist.barrier()
    os._exit(0)  # gloo's threads may abort an interpreter that shuts down, and that is not what is tested


def test_two_processes_record_the_whole_batch_and_tell_once(tmp_path):
    mp.spawn(one_of_two, args=(str(tmp_path), False), nprocs=2)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2))
    told: list = []
    alone = trained(network(), slice(None), told)
    assert first["told"] == [str(each) for each in told] and len(told) == 1
    assert second["told"] == []
    mine, other = (Monitor(network()) for _ in range(2))
    mine.load_state_dict(first["state"])
    other.load_state_dict(second["state"])
    assert mine.signals.to_dict() == other.signals.to_dict()
    whole, parts = alone.signals, mine.signals
    assert parts.layers == whole.layers and parts.weights == whole.weights
    for name in ("loss", "moment", "gradient", "dead", "largest", "gradient_norm", "update_norm", "weight_norm"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-4, atol=1e-9, equal_nan=True)
    assert (whole.dead > 0).any()


def test_a_process_that_fails_ends_the_run_with_its_error(tmp_path):
    with pytest.raises(mp.ProcessRaisedException, match="this process fails|[Cc]onnection"):
        mp.spawn(one_of_two, args=(str(tmp_path), True), nprocs=2)

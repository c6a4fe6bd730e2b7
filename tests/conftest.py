"""What holds for every test: in another order it must say the same, so it leaves nothing of the process changed."""

import pytest
import torch


def surroundings() -> dict:
    """What of the process torch reads without being given it."""
    return {
        "modes": len(torch.overrides._get_current_function_mode_stack()),  # the default device is one of them
        "dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matmul": torch.get_float32_matmul_precision(),
        "anomalies": torch.is_anomaly_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
    }


@pytest.fixture(autouse=True)
def nothing_left_behind():
    before = surroundings()
    yield
    assert surroundings() == before

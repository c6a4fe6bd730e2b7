"""Attention whose softmax is at an end from the start: seen wherever it is computed, and nowhere else."""

from importlib import import_module
from unittest.mock import patch

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from d2lstab import diagnose, seeded
from d2lstab.diagnosis.attention import gazes_of
from d2lstab.diagnosis.evidence import NOT_MEASURED
from d2lstab.networks import transformer
from tests.test_diagnosis import fresh

module = import_module("d2lstab.diagnosis.diagnose")  # the package has a function of that name
TOKENS = torch.stack([torch.randperm(32, generator=seeded(i))[:16] for i in range(16)])  # equal ones have equal logits


class Attention(nn.Module):
    """One head: `how` says by which function; the first weights are those of queries and keys."""

    def __init__(self, how: str, width: int = 32):
        super().__init__()
        self.how, self.together = how, nn.MultiheadAttention(width, 1, batch_first=True)
        nn.init.zeros_(self.together.in_proj_bias)

    def forward(self, x):
        if self.how == "module":
            return self.together(x, x, x, need_weights=False)[0]
        query, key, value = F.linear(x, self.together.in_proj_weight).chunk(3, -1)
        if self.how == "fused":
            mixed = F.scaled_dot_product_attention(query, key, value)
        else:
            logits = query @ key.transpose(-2, -1) / x.shape[-1] ** 0.5
            mixed = {
                "method": lambda: logits.softmax(-1),
                "function": lambda: F.softmax(logits, dim=-1),
                "torch": lambda: torch.softmax(logits, 2),
                "layer": lambda: nn.Softmax(dim=-1)(logits),
            }[self.how]() @ value
        return self.together.out_proj(mixed)


class Reader(nn.Module):
    def __init__(self, how: str, factor: float = 1.0, blocks: int = 2):
        super().__init__()
        self.embedding, self.output = nn.Embedding(32, 32), nn.Linear(32, 32)
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(blocks))
        self.blocks = nn.ModuleList(Attention(how) for _ in range(blocks))
        with torch.no_grad():
            for block in self.blocks:
                block.together.in_proj_weight[:64] *= factor

    def forward(self, tokens):
        h = self.embedding(tokens)
        for norm, block in zip(self.norms, self.blocks):
            h = h + block(norm(h))
        return self.output(h)


WAYS = ["module", "fused", "method", "function", "torch", "layer"]


def told(model: nn.Module):
    with patch.object(module, "trainability", lambda *_: NOT_MEASURED):
        return diagnose(model, TOKENS, TOKENS.roll(3, 1))


@pytest.mark.parametrize("how", WAYS)
def test_every_way_to_compute_it_is_seen_with_the_same_numbers(how):
    model = fresh(lambda: Reader(how))
    with torch.no_grad(), gazes_of(model) as gazes:
        model(TOKENS)
    with torch.no_grad():
        h = model.norms[0](model.embedding(TOKENS[:4]))
        query, key, _ = F.linear(h, model.blocks[0].together.in_proj_weight).chunk(3, -1)
        logits = query @ key.transpose(1, 2) / 32**0.5
    assert [gaze.layer.partition(".together")[0] for gaze in gazes.found] == ["blocks.0", "blocks.1"]
    assert gazes.found[0].keys == 16
    assert float(gazes.found[0].sharpness) == pytest.approx(float(logits.softmax(-1).square().sum(-1).mean()), rel=1e-5)
    assert float(gazes.found[0].size) == pytest.approx(float(logits.std()), rel=1e-5)


# Measured with AdamW on copying the token three places before, 400 steps: with Xavier's weights the loss falls to 0.01
# at 1e-3 and at 3e-3; with N(0, 1) for queries and keys to 0.2 at 1e-3, and stays at 3.4, chance, at 3e-3.
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("how", WAYS)
def test_logits_far_too_large_are_saturated_and_xaviers_are_not(how, seed):
    finding = told(fresh(lambda: Reader(how, factor=10.0), seed)).findings[0]
    assert (finding.fault, finding.severity) == ("saturated", "warning")
    assert finding.layer.startswith("blocks.0")
    assert finding.measured > 0.93
    assert told(fresh(lambda: Reader(how), seed)).verdict == "healthy"


def test_one_sharp_call_among_four_is_none():
    model = fresh(lambda: Reader("fused", blocks=4))
    with torch.no_grad():
        model.blocks[2].together.in_proj_weight[:64] *= 10.0
    assert told(model).verdict == "healthy"


@pytest.mark.parametrize("seed", range(5))
def test_small_transformers_are_none(seed):
    assert told(transformer(32, 32, 3, seed=seed)).verdict == "healthy"


def test_keys_of_another_width_and_sequences_without_a_batch_are_seen():
    attention = fresh(lambda: nn.MultiheadAttention(16, 2, kdim=8, vdim=8, bias=False))
    query, memory = torch.randn(5, 3, 16), torch.randn(7, 3, 8)
    with torch.no_grad(), gazes_of(attention) as gazes:
        attention(query, memory, memory)
        attention(query[:, 0], memory[:, 0], memory[:, 0])
    with torch.no_grad():
        weights = attention(query, memory, memory, average_attn_weights=False)[1]
    assert [gaze.keys for gaze in gazes.found] == [7, 7]
    assert float(gazes.found[0].sharpness) == pytest.approx(float(weights.square().sum(-1).mean()), rel=1e-4)


def test_keys_shared_by_heads_masks_and_lone_keys_do_not_disturb():
    query, key = torch.randn(2, 4, 8, 16), torch.randn(2, 2, 8, 16)
    with gazes_of(nn.Identity()) as gazes:
        F.scaled_dot_product_attention(query, key, key, is_causal=True, enable_gqa=True)
        F.scaled_dot_product_attention(query, query[:, :, :1], query[:, :, :1])  # a single key
        torch.softmax(torch.randn(3, 7), -1)  # a classifier's
        torch.softmax(torch.full((2, 8, 8), -torch.inf), -1)  # all masked
    assert len(gazes.found) == 1
    assert 0.125 < float(gazes.found[0].sharpness) < 0.9

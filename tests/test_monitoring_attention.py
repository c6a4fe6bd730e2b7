"""Entropy and largest logit of attention, as they are by hand, however it is called."""

from math import log

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from d2lstab import Monitor


class Attending(nn.Module):
    """One call of attention, in one of its three forms, with logits that the test knows."""

    def __init__(self, form: str, *, causal: bool = False):
        super().__init__()
        self.form, self.causal, self.values = form, causal, nn.Linear(8, 8)

    def forward(self, q, k):
        v = self.values(k)
        if self.form == "scaled_dot_product":
            return F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        logits = q @ k.transpose(-2, -1) / 8**0.5
        if self.causal:
            logits = logits.masked_fill(torch.ones_like(logits).triu(1).bool(), -torch.inf)
        return (logits.softmax(-1) if self.form == "softmax" else F.softmax(logits, -1)) @ v


def seen(model, *inputs):
    with Monitor(model, every=1, tell=None) as monitor:
        output = model(*inputs)
        loss = (output[0] if isinstance(output, tuple) else output).square().mean()
        loss.backward()
        monitor.step(loss)
    return monitor.signals


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("form", ["scaled_dot_product", "softmax", "F.softmax"])
def test_entropy_and_logit_are_those_by_hand(form, causal):
    torch.manual_seed(0)
    q, k = 3 * torch.randn(2, 4, 6, 8)  # (samples, queries, width), as many samples as are looked at
    signals = seen(Attending(form, causal=causal), q, k)
    logits = (q @ k.transpose(-2, -1) / 8**0.5).double()
    hidden = torch.ones(6, 6).triu(1).bool() if causal else torch.zeros(6, 6).bool()
    shares = logits.masked_fill(hidden, -torch.inf).softmax(-1)
    entropy = -torch.xlogy(shares, shares).sum(-1).mean() / log(6)
    assert signals.attentions == ("",)
    assert float(signals.entropy[0, 0]) == pytest.approx(float(entropy), rel=1e-4)
    assert float(signals.logit[0, 0]) == pytest.approx(float(logits.masked_fill(hidden, 0).abs().max()), rel=1e-4)


def test_equal_weights_have_entropy_one_and_a_single_key_has_none():
    q, k = torch.zeros(2, 5, 8), torch.eye(8)[:5].expand(2, 5, 8)
    assert float(seen(Attending("softmax"), q, k).entropy) == pytest.approx(1)
    signals = seen(Attending("softmax"), 300 * k, k)
    assert float(signals.entropy) == pytest.approx(0, abs=1e-6)
    assert float(signals.logit) == pytest.approx(300 / 8**0.5, rel=1e-4)


def test_each_layer_of_an_encoder_has_a_column_and_a_name_for_loggers():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    signals = seen(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), torch.randn(4, 6, 16))
    assert signals.attentions == ("layers.0.self_attn", "layers.1.self_attn")
    assert ((signals.entropy > 0.5) & (signals.entropy <= 1)).all() and (signals.logit > 0).all()
    columns = signals.to_dict(flat=True)
    assert columns["entropy/layers.0.self_attn"] == signals.entropy[:, 0].tolist()
    assert columns["logit/layers.1.self_attn"] == signals.logit[:, 1].tolist()


def test_calls_in_one_pass_are_counted_and_passes_are_taken_together():
    class Twice(Attending):
        def forward(self, q, k):
            return super().forward(q, k) + super().forward(0 * q, k)

    torch.manual_seed(0)
    q, k = torch.randn(2, 4, 6, 8)
    model = Twice("softmax")
    with Monitor(model, every=1, tell=None) as monitor:
        for _ in range(2):
            model(q, k).sum().backward()
        monitor.step()
    signals = monitor.signals
    assert signals.attentions == ("", "#2") and signals.entropy.shape == (1, 2)
    assert float(signals.entropy[0, 1]) == pytest.approx(1)


def test_an_answer_of_probabilities_is_no_attention():
    assert seen(nn.Sequential(nn.Linear(8, 6), nn.Softmax(-1)), torch.randn(4, 8)).attentions == ()

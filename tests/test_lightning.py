"""Laws of `StabilityMonitor`: a Trainer trains as it would without it, and its logger gets what a Monitor records."""

import csv
import logging
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

pytestmark = pytest.mark.filterwarnings("ignore")  # the Trainer's own, about loaders and loggers
lightning = pytest.importorskip("lightning.pytorch")

from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins import MixedPrecision

from d2lstab.datasets import digits
from d2lstab.lightning import StabilityMonitor
from d2lstab.monitoring.signals import signals_of

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
DATA = digits()


class Classifier(lightning.LightningModule):
    def __init__(self, *, adam: bool = False):
        super().__init__()
        torch.manual_seed(0)
        self.net, self.drop, self.adam = (
            nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)),
            nn.Dropout(0.2),
            adam,
        )

    def training_step(self, batch, index):
        x, y = batch
        return F.cross_entropy(self.net(self.drop(x)), y)

    def validation_step(self, batch, index):
        self.log("validation", F.cross_entropy(self.net(1000 * batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-3) if self.adam else torch.optim.SGD(self.parameters(), 0.1)


def loader() -> DataLoader:
    return DataLoader(TensorDataset(DATA.inputs[:256], DATA.targets[:256]), batch_size=32)


def trainer(callbacks, folder, **settings) -> lightning.Trainer:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    settings = {"max_epochs": 2, "accelerator": "cpu", "devices": 1, "default_root_dir": folder} | quiet | settings
    return lightning.Trainer(callbacks=callbacks, **settings)


def fit(callbacks, folder, *, adam: bool = False, **settings) -> nn.Module:
    torch.manual_seed(0)
    model = Classifier(adam=adam)
    trainer(callbacks, folder, **settings).fit(model, loader(), loader())
    return model


SETTINGS = {
    "plain": {},
    "Adam": {"adam": True},
    "accumulated gradients": {"accumulate_grad_batches": 4},
    "clipped gradients": {"gradient_clip_val": 0.1},
    "16 bits": {"precision": "bf16-mixed"},
    "16 bits throughout": {"precision": "16-true"},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_training_is_bit_for_bit_what_it_is_without_the_callback(name, tmp_path):
    callback = StabilityMonitor(every=3)
    watched, alone = fit([callback], tmp_path, **SETTINGS[name]), fit([], tmp_path, **SETTINGS[name])
    assert all(torch.equal(a, b) for a, b in zip(watched.parameters(), alone.parameters()))
    assert all(not each._forward_hooks for each in watched.modules())
    steps = 4 if name == "accumulated gradients" else 16
    assert callback.signals.steps.tolist() == list(range(1, steps + 1, 3))
    assert callback.signals.layers == ("drop", "net.0", "net.1", "net.2")
    assert callback.signals.onsets == ()
    assert not callback.signals.update_norm.isnan().any()
    if name == "clipped gradients":
        torch.testing.assert_close(callback.signals.gradient_norm.norm(dim=1), torch.full((6,), 0.1).double(), rtol=1e-3, atol=0)  # fmt: skip


def test_gradients_are_those_of_the_loss_whatever_a_scaler_multiplies_it_by(tmp_path):
    # It multiplies by more after each step, as one of Lightning's own does now and then.
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_factor=1.25, growth_interval=1)
    scaled, plain = StabilityMonitor(every=3), StabilityMonitor(every=3)
    fit([scaled], tmp_path, plugins=MixedPrecision("16-mixed", "cpu", scaler))
    fit([plain], tmp_path)
    assert scaler.get_scale() == pytest.approx(1024 * 1.25**16)
    for name in ("gradient", "gradient_norm", "update_norm"):
        here, there = getattr(scaled.signals, name), getattr(plain.signals, name)
        torch.testing.assert_close(here, there, rtol=0.02, atol=0, equal_nan=True)
    fit([scaled], tmp_path)  # the callback once more, by a trainer without a scaler
    assert torch.equal(scaled.signals.gradient.nan_to_num(), plain.signals.gradient.nan_to_num())


def test_records_go_to_the_trainers_logger(tmp_path):
    callback = StabilityMonitor(every=4)
    fit([callback], tmp_path, logger=CSVLogger(tmp_path, "", ""))
    rows = [row for row in csv.DictReader((tmp_path / "metrics.csv").open()) if row.get("ratio/net.0")]
    expected = callback.signals.ratio[:, callback.signals.layers.index("net.0")]
    assert [float(row["ratio/net.0"]) for row in rows] == pytest.approx(expected.tolist(), rel=1e-4)
    assert [int(row["step"]) for row in rows] == callback.signals.steps.tolist()
    assert {"moment/net.2", "gradient/net.2", "dead/net.1"} <= rows[0].keys()


def test_a_record_is_logged_without_a_look_at_those_before(tmp_path, monkeypatch):
    looked_at = []

    def counted(records, onsets):
        looked_at.append(len(records))
        return signals_of(records, onsets)

    monkeypatch.setattr("d2lstab.monitoring.signals.signals_of", counted)
    fit([StabilityMonitor(every=1, most=2)], tmp_path, logger=CSVLogger(tmp_path, "", ""))
    rows = [row for row in csv.DictReader((tmp_path / "metrics.csv").open()) if row.get("ratio/net.0")]
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 5, 9]  # `every` doubles again and again
    assert looked_at == [1] * 5


def test_a_checkpoint_carries_the_records_on(tmp_path):
    whole = StabilityMonitor(every=3)
    fit([whole], tmp_path / "whole")
    first, second = StabilityMonitor(every=3), StabilityMonitor(every=3)
    torch.manual_seed(0)
    run = trainer([first], tmp_path, max_epochs=1)
    run.fit(Classifier(), loader())
    run.save_checkpoint(tmp_path / "half.ckpt")
    trainer([second], tmp_path).fit(Classifier(), loader(), ckpt_path=tmp_path / "half.ckpt")
    assert second.signals.steps.tolist() == whole.signals.steps.tolist()
    assert torch.equal(second.signals.moment[: len(first.signals)], first.signals.moment)


def test_what_the_module_raises_passes_through_and_nothing_stays_behind(tmp_path):
    class Failing(Classifier):
        def training_step(self, batch, index):
            if index == 2:
                raise ArithmeticError
            return super().training_step(batch, index)

    model, callback = Failing(), StabilityMonitor(every=1)
    with pytest.raises(ArithmeticError):
        trainer([callback], tmp_path).fit(model, loader())
    assert all(not each._forward_hooks for each in model.modules())
    assert len(callback.signals) == 2


def test_signals_before_training_are_an_error():
    with pytest.raises(RuntimeError, match="nothing was recorded yet\nexpected Trainer"):
        _ = StabilityMonitor().signals


def test_without_lightning_the_import_says_what_to_install():
    code = "import sys; sys.modules['lightning'] = None; import d2lstab, d2lstab.lightning"
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=120)
    assert "not installed\nexpected it from: pip install" in ended.stderr

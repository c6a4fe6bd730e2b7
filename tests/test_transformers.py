"""Laws of `StabilityCallback`: a Trainer trains as it would without it, and what it averages out is told."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

pytestmark = pytest.mark.filterwarnings("ignore")  # the Trainer's own
transformers = pytest.importorskip("transformers", reason='needs pip install "d2lstab[transformers]"')

from d2lstab.datasets import digits
from d2lstab.transformers import StabilityCallback

DATA = digits()


class Classifier(nn.Module):
    """A model as Trainer takes it; one sample may be spoilt."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net, self.drop = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)), nn.Dropout(0.2)

    def forward(self, x, labels):
        logits = self.net(self.drop(x))
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


class OverItems(Classifier):
    """A loss over the items of all batches of a step, as the language models have it."""

    def forward(self, x, labels, num_items_in_batch=None):
        logits = self.net(self.drop(x))
        loss = F.cross_entropy(logits, labels, reduction="sum")
        return {"loss": loss / (num_items_in_batch or len(labels)), "logits": logits}


class Samples(Dataset):
    def __init__(self, spoilt: int | None = None):
        self.spoilt = spoilt

    def __len__(self):
        return 256

    def __getitem__(self, place):
        x = DATA.inputs[place]
        return {"x": x * torch.nan if place == self.spoilt else x, "labels": DATA.targets[place]}


def fit(callbacks, folder, *, kind=Classifier, spoilt=None, resume=None, **settings):
    settings = {"max_steps": 12, "optim": "sgd", "learning_rate": 0.1, "seed": 0} | settings
    quiet = {"report_to": [], "disable_tqdm": True, "save_strategy": "no", "logging_strategy": "no"}
    place = {"output_dir": str(folder), "use_cpu": True, "per_device_train_batch_size": 16}
    arguments = transformers.TrainingArguments(**place | quiet | settings)
    model = kind()
    trainer = transformers.Trainer(model=model, args=arguments, train_dataset=Samples(spoilt), callbacks=callbacks)
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train(resume_from_checkpoint=resume)
    return model, trainer


SETTINGS = {
    "plain": {},
    "AdamW": {"optim": "adamw_torch", "learning_rate": 1e-3},
    "accumulated gradients": {"gradient_accumulation_steps": 3},
    "clipped gradients": {"max_grad_norm": 0.1},
    "16 bits": {"bf16": True},
    "over items": {"kind": OverItems, "gradient_accumulation_steps": 3},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_training_is_bit_for_bit_what_it_is_without_the_callback(name, tmp_path):
    callback = StabilityCallback(every=3)
    watched, alone = fit([callback], tmp_path, **SETTINGS[name])[0], fit([], tmp_path, **SETTINGS[name])[0]
    assert all(torch.equal(a, b) for a, b in zip(watched.parameters(), alone.parameters()))
    assert all(not each._forward_hooks and not each._forward_pre_hooks for each in watched.modules())
    signals = callback.signals
    assert signals.steps.tolist() == [1, 4, 7, 10] and signals.onsets == ()
    assert signals.layers == ("drop", "net.0", "net.1", "net.2")
    assert not signals.update_norm.isnan().any() and (signals.loss > 0).all()
    if name == "clipped gradients":
        torch.testing.assert_close(signals.gradient_norm.norm(dim=1), torch.full((4,), 0.1).double(), rtol=1e-3, atol=0)


def test_a_step_of_several_batches_has_the_loss_and_gradients_of_all_of_them(tmp_path):
    found = [StabilityCallback(every=1) for _ in range(3)]
    fit(found[:1], tmp_path, per_device_train_batch_size=48, max_steps=1)
    fit(found[1:2], tmp_path, gradient_accumulation_steps=3, max_steps=1)
    fit(found[2:], tmp_path, gradient_accumulation_steps=3, max_steps=1, kind=OverItems)
    whole, *parts = (each.signals for each in found)
    for each in parts:  # dropout differs from batch to batch
        torch.testing.assert_close(each.loss, whole.loss, rtol=0.1, atol=0)
        torch.testing.assert_close(each.gradient_norm, whole.gradient_norm, rtol=0.2, atol=0)
        torch.testing.assert_close(each.gradient[:, 1:], whole.gradient[:, 1:], rtol=0.2, atol=0)
    torch.testing.assert_close(parts[0].loss, parts[1].loss, rtol=1e-5, atol=0)


def test_a_nan_that_trainer_averages_out_of_its_log_is_told_in_its_step(tmp_path):
    told: list = []
    callback = StabilityCallback(every=1, tell=told.append)
    _, trainer = fit([callback], tmp_path, spoilt=200, max_steps=16, logging_strategy="steps", logging_steps=16)
    first = int(callback.signals.loss.isnan().nonzero()[0]) + 1
    assert all(row["loss"] == row["loss"] for row in trainer.state.log_history if "loss" in row)
    assert [(each.step, each.finding.fault) for each in told] == [(first, "non_finite_forward")]


def test_records_go_to_log_with_the_trainers_step(tmp_path):
    logged: list = []
    fit([StabilityCallback(every=4, log=lambda *given: logged.append(given))], tmp_path)
    assert [step for step, _ in logged] == [1, 5, 9]
    assert {"loss", "ratio/net.0", "moment/net.2", "gradient/net.2", "dead/net.1"} <= logged[0][1].keys()


def test_a_checkpoint_carries_the_records_on(tmp_path):
    whole, first, second = (StabilityCallback(every=3) for _ in range(3))
    fit([whole], tmp_path / "whole")
    fit([first], tmp_path / "parts", max_steps=12, save_strategy="steps", save_steps=5)
    fit([second], tmp_path / "parts", resume=str(tmp_path / "parts" / "checkpoint-5"))
    assert second.signals.steps.tolist() == whole.signals.steps.tolist() == [1, 4, 7, 10]
    assert torch.equal(second.signals.moment.nan_to_num(), whole.signals.moment.nan_to_num())


def test_a_run_that_is_resumed_without_its_records_counts_the_trainers_steps(tmp_path):
    callback = StabilityCallback(every=3)
    fit([], tmp_path, save_strategy="steps", save_steps=5)
    fit([callback], tmp_path, resume=str(tmp_path / "checkpoint-5"))
    assert callback.signals.steps.tolist() == [7, 10]


def test_what_the_model_raises_passes_through_and_the_next_run_begins_clean(tmp_path):
    class Failing(Classifier):
        def forward(self, x, labels):
            raise ArithmeticError

    callback = StabilityCallback(every=1)
    with pytest.raises(ArithmeticError):
        fit([callback], tmp_path, kind=Failing)
    model = callback.monitor.model
    callback.stop()
    assert all(not each._forward_pre_hooks and not each._forward_hooks for each in model.modules())
    fit([callback], tmp_path)
    assert len(callback.signals) == 12


def test_signals_before_training_are_an_error():
    with pytest.raises(RuntimeError, match="nothing was recorded yet\nexpected Trainer"):
        _ = StabilityCallback().signals


def test_without_transformers_the_import_says_what_to_install():
    code = "import sys; sys.modules['transformers'] = None; import d2lstab, d2lstab.transformers"
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=120)
    assert "not installed\nexpected it from: pip install" in ended.stderr

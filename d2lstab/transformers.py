"""A callback for Hugging Face's Trainer. Needs the extra: pip install "d2lstab[transformers]"."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

try:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ImportError as error:
    raise ImportError(
        "d2lstab.transformers needs the package transformers, which is not installed\n"
        'expected it from: pip install "d2lstab[transformers]"'
    ) from error

from .monitoring import Monitor, Onset, TrainingSignals
from .monitoring.selection import Selection

_FILE = "stability.pt"  # beside what the Trainer saves


class StabilityCallback(TrainerCallback):
    """A Monitor around a Trainer's training steps: `Trainer(..., callbacks=[StabilityCallback()])`.

    `.signals` hold all records, and checkpoints carry them on. The arguments are those of `Monitor`; a step is one of
    the optimizer, however many batches it accumulates. Its loss is the one that the model returns, as Trainer takes
    it: of a loss that Trainer computes itself nothing is known here, and gradients are then not judged. A NaN is told
    in the step that has it, where Trainer's own log has the mean of the others. Training stays bit for bit what it
    is. Where it raises, `.stop()` takes the hooks off.
    """

    def __init__(
        self,
        every: int = 100,
        *,
        histograms: bool = False,
        tell: Callable[[Onset], None] | None = print,
        log: Callable[[int, dict[str, float]], object] | None = None,
        layers: Selection | None = None,
        most: int = 1000,
    ):
        self.settings: dict[str, Any] = {
            "every": every, "histograms": histograms, "tell": tell, "log": log, "layers": layers, "most": most
        }  # fmt: skip
        self.monitor: Monitor | None = None
        self._losses: list[torch.Tensor] = []  # of the batches of this step
        self._of_all = False  # whether each is a part of the step's loss, over the items of all its batches
        self._scale = 1.0  # by which the losses of this step are multiplied
        self._handle: Any = None

    @property
    def signals(self) -> TrainingSignals:
        """What was recorded so far. Raises RuntimeError before training has begun."""
        return self._watching().signals

    def _watching(self) -> Monitor:
        if self.monitor is None:
            raise RuntimeError("nothing was recorded yet\nexpected Trainer(..., callbacks=[this]).train() before")
        return self.monitor

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        if self.monitor is not None:
            self.stop()
        optimizer = given.get("optimizer")
        group = dist.group.WORLD if dist.is_available() and dist.is_initialized() else None
        self.monitor = Monitor(given["model"], optimizer=getattr(optimizer, "optimizer", optimizer), **self.settings)
        self.monitor.share(group)
        saved = _checkpoint(args, state) / _FILE
        if saved.exists():
            self.monitor.load_state_dict(torch.load(saved, weights_only=True))
        elif state.global_step:
            self.monitor.steps = state.global_step
        self.monitor.start()

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        if not self._watching().recording:
            return
        scaler = getattr(given.get("optimizer"), "scaler", None)
        self._scale = scaler.get_scale() if scaler is not None else 1.0  # asked before the step, which may change it
        self._losses = []
        self._handle = given["model"].register_forward_hook(self._keep_loss, with_kwargs=True)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        self._let_go()
        losses, self._losses = [float(each) for each in self._losses], []
        loss = sum(losses) / (1 if self._of_all else len(losses)) if losses else None
        self._watching().step(loss, scale=self._scale)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        self.stop()

    def stop(self) -> None:
        """Takes the hooks off the model, as the end of training does."""
        self._let_go()
        self._watching().stop()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        folder = _checkpoint(args, state)
        if state.is_world_process_zero and folder.exists():
            torch.save(self._watching().state_dict(), folder / _FILE)

    def _keep_loss(self, module: nn.Module, arguments: tuple, keywords: dict[str, Any], output: Any) -> None:
        loss = output.get("loss") if hasattr(output, "get") else output[0] if isinstance(output, tuple) else None
        if torch.is_grad_enabled() and isinstance(loss, torch.Tensor) and loss.numel() == 1:
            self._losses.append(loss.detach().reshape(()))
            self._of_all = keywords.get("num_items_in_batch") is not None

    def _let_go(self) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None


def _checkpoint(args: TrainingArguments, state: TrainerState) -> Path:
    """The folder in which the Trainer saves this step."""
    return Path(args.output_dir or ".") / f"checkpoint-{state.global_step}"

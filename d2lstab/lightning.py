"""A callback for Lightning's Trainer. Needs the extra: pip install "d2lstab[lightning]"."""

from collections.abc import Callable
from typing import Any

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError as error:
    raise ImportError(
        "d2lstab.lightning needs the package lightning, which is not installed\n"
        'expected it from: pip install "d2lstab[lightning]"'
    ) from error

from .monitoring import Monitor, Onset, TrainingSignals
from .monitoring.selection import Selection


class StabilityMonitor(Callback):
    """A Monitor around a Trainer's training steps: `Trainer(callbacks=[StabilityMonitor()])`.

    Every record goes to the trainer's loggers as "loss", "moment/layer", "gradient/layer", "ratio/layer", "dead/layer"
    and "saturated/layer"; `.signals` holds them all, and checkpoints carry them on. The arguments are those of
    `Monitor`; a step is one of the optimizer, however many batches it accumulates. Training stays bit for bit what it is.
    """

    def __init__(
        self,
        every: int = 100,
        *,
        histograms: bool = False,
        tell: Callable[[Onset], None] | None = print,
        layers: Selection | None = None,
        most: int = 1000,
    ):
        self.settings: dict[str, Any] = {
            "every": every, "histograms": histograms, "tell": tell, "layers": layers, "most": most
        }  # fmt: skip
        self.monitor: Monitor | None = None
        self._state: dict[str, Any] = {}  # of the run that a checkpoint came from
        self._steps = 0  # of the trainer, when last seen
        self._scale = 1.0  # by which the losses of this step are multiplied

    @property
    def signals(self) -> TrainingSignals:
        """What was recorded so far. Raises RuntimeError before training has begun."""
        return self._watching().signals

    def _watching(self) -> Monitor:
        if self.monitor is None:
            raise RuntimeError("nothing was recorded yet\nexpected Trainer(callbacks=[this]).fit(...) before")
        return self.monitor

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        optimizers = trainer.optimizers
        optimizer = optimizers[0] if len(optimizers) == 1 else None

        def log(step: int, numbers: dict[str, float]) -> None:
            for logger in trainer.loggers:
                logger.log_metrics(numbers, step=trainer.global_step)

        self.monitor = Monitor(trainer.model or pl_module, optimizer=optimizer, log=log, **self.settings)
        if self._state:
            self.monitor.load_state_dict(self._state)
        self.monitor.start()
        self._steps, self._scale = trainer.global_step, 1.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if scaler is not None and self._watching().recording:  # asked before the step, which may change it
            self._scale = scaler.get_scale()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self._steps:  # gradients are still being accumulated
            return
        self._steps = trainer.global_step
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        self._watching().step(loss, scale=self._scale)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._watching().stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self.monitor is not None:
            self.monitor.stop()

    def state_dict(self) -> dict[str, Any]:
        return self.monitor.state_dict() if self.monitor is not None else self._state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._state = state_dict

"""Keep the weights of the best validation, and stop a run that no longer improves on them."""

import math
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as L
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn

from polyclinic.training.checkpoints import checkpoint_folder, save_named

BEST = "best.ckpt"
_LOSS = "val/loss"


class BestCheckpoint(Checkpoint):
    """Saves ``best.ckpt`` beside ``last.ckpt`` after every validation with a better metric than all before.

    The value is logged as ``best/<metric>``, which compares runs by the weights that they keep.

    Nothing is saved without a validation split, or where ``trainer.callbacks`` has a ``ModelCheckpoint``.

    Args:
        metric: metric of the validation; that of the task unless set.
        mode: whether a smaller (``min``) or larger (``max``) value is better; that of the task unless set.
        patience: validations without a better metric after which the run stops. Unless set, it stops after a quarter
            of its epochs if it chose their number itself, and otherwise not before its end.

    Attributes:
        score: best value so far; None before the first validation.
        epoch: number of complete epochs at the best validation.

    Raises:
        ValueError: only one of ``metric`` and ``mode`` is set, or ``patience`` is below one.
    """

    def __init__(
        self, metric: str | None = None, mode: Literal["min", "max"] | None = None, patience: int | None = None
    ) -> None:
        if (metric is None) != (mode is None):
            raise ValueError(f"got metric {metric} with mode {mode}; set `best.metric` and `best.mode`")
        if patience is not None and patience < 1:
            raise ValueError(f"got patience {patience}, expected at least 1; set `best.patience`")
        self.metric, self.mode, self.patience = metric, mode, patience
        self.score: float | None = None
        self.epoch = 0
        self._configured = metric is not None
        self._path: Path | None = None
        self._waited = 0

    @property
    def state_key(self) -> str:
        """Stable checkpoint key, independent of the module path."""
        return "BestCheckpoint"

    @property
    def best_model_path(self) -> str:
        """Path of the best checkpoint; empty before there is one."""
        return "" if self._path is None or self.score is None else str(self._path)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Choose the metric and the file."""
        own = any(isinstance(callback, ModelCheckpoint) for callback in trainer.checkpoint_callbacks)
        if stage != "fit" or own or getattr(trainer, "fast_dev_run", False):
            return
        if self.metric is None and (monitor := getattr(pl_module, "monitor", None)) is not None:
            self.metric, self.mode = monitor
        if self.metric is not None:
            self._path = Path(trainer.strategy.broadcast(str(checkpoint_folder(trainer)))) / BEST

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Train no further in a resumed run that had stopped early."""
        trainer.should_stop = trainer.should_stop or self._is_out_of_patience()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the weights if they are the best, and stop the run when its patience ends.

        Raises:
            ValueError: the validation did not log the configured metric.
        """
        if self._path is None or trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        value = self._value(trainer)
        if self.improves(value):
            self.score, self.epoch, self._waited = value, trainer.current_epoch + 1, 0
            for logger in trainer.loggers:
                logger.log_metrics({f"best/{self.metric}": value}, trainer.global_step)
            save_named(trainer, self._path, "best")
            return
        self._waited += 1
        trainer.should_stop = trainer.should_stop or self._is_out_of_patience()

    def improves(self, value: float) -> bool:
        """Return whether a value of the metric is better than all before."""
        if not math.isfinite(value):
            return False
        return self.score is None or (value < self.score if self.mode == "min" else value > self.score)

    def state_dict(self) -> dict[str, Any]:
        """Return the best value, its epoch, and the number of validations since then."""
        return {"score": self.score, "epoch": self.epoch, "waited": self._waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the comparison, unless the file of the best weights is not in the folder of this run."""
        if self._path is not None and self._path.is_file():
            self.score, self.epoch, self._waited = (state_dict[key] for key in ("score", "epoch", "waited"))

    def _is_out_of_patience(self) -> bool:
        return self.patience is not None and self._waited >= self.patience

    def _value(self, trainer: L.Trainer) -> float:
        assert self.metric is not None
        logged = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        if self.metric not in logged and not self._configured and _LOSS in logged:
            rank_zero_warn(f"{self.metric} is undefined on the validation studies; {_LOSS} chooses the best weights")
            self.metric, self.mode = _LOSS, "min"
        if self.metric not in logged:
            raise ValueError(
                f"got `best.metric` {self.metric}, the validation logged {sorted(logged)}; set `best.metric`"
            )
        return logged[self.metric]

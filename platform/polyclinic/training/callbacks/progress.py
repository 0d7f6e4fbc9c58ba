"""Progress of a run: a line for each validation, and the curves as a picture at the end."""

import time
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn

from polyclinic.system.terminal import remark
from polyclinic.tracking import log_figure, training_curves
from polyclinic.training.best_checkpoint import BestCheckpoint

_LOSSES = ("train/loss", "val/loss")
_MIN_POINTS = 2


class ProgressLines(Callback):
    """Prints a line after each validation, and logs ``curves.png`` at the end of the fit.

    The line names the losses, the metric that chooses the best weights, whether this validation is the best so far,
    and the time that is left if the run is not stopped early.
    """

    def __init__(self) -> None:
        self._curves: dict[str, list[tuple[int, float]]] = {}
        self._started, self._first_step = 0.0, 0

    @property
    def state_key(self) -> str:
        """Stable checkpoint key, independent of the module path."""
        return "ProgressLines"

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._started, self._first_step = time.monotonic(), trainer.global_step

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the line of this validation."""
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING or not trainer.is_global_zero:
            return
        best = _best(trainer)
        names = dict.fromkeys([*([best.metric] if best and best.metric else []), *reversed(_LOSSES)])
        values = {name: float(trainer.callback_metrics[name]) for name in names if name in trainer.callback_metrics}
        for name, value in values.items():
            self._curves.setdefault(name, []).append((trainer.global_step, value))
        is_best = best is not None and best.metric in values and best.improves(values[best.metric])
        mark = " (best so far)" if is_best else ""
        shown = [
            f"{name} {value:.4f}{mark if place == 0 else ''}" for place, (name, value) in enumerate(values.items())
        ]
        remark(f"{_place(trainer)}: {', '.join([*shown, self._time_left(trainer)])}")

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw and log the curves."""
        curves = {name: points for name, points in self._curves.items() if len(points) >= _MIN_POINTS}
        if trainer.is_global_zero and curves:
            best = _best(trainer)
            chosen = {} if best is None or best.score is None else {str(best.metric): best.score}
            log_figure(trainer.logger, training_curves(curves, chosen), "curves.png")

    def state_dict(self) -> dict[str, Any]:
        """Return the curves."""
        return {"curves": self._curves}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the curves."""
        self._curves = {name: [tuple(point) for point in points] for name, points in state_dict["curves"].items()}

    def _time_left(self, trainer: L.Trainer) -> str:
        done = trainer.global_step - self._first_step
        total = trainer.estimated_stepping_batches
        seconds = time.monotonic() - self._started
        if not done or total == float("inf"):
            return f"{seconds:.0f} s so far"
        left = seconds / done * max(0.0, total - trainer.global_step)
        return f"{_duration(seconds)} so far, {_duration(left)} left at most"


def _best(trainer: L.Trainer) -> BestCheckpoint | None:
    return next((each for each in trainer.checkpoint_callbacks if isinstance(each, BestCheckpoint)), None)


def _place(trainer: L.Trainer) -> str:
    last = trainer.max_epochs
    epochs = f" of {last}" if last is not None and last > 0 else ""
    return f"epoch {trainer.current_epoch + 1}{epochs}, step {trainer.global_step}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

"""Callback that validates and saves an exponential moving average of the weights of a supervised task."""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.distributed.tensor import DTensor

from polyclinic.tasks import Downstream

_FIRST_STEPS = 10
"""The average keeps ``(1 + n) / (10 + n)`` of itself at step n, until that exceeds the decay."""


class AverageWeights(Callback):
    """Averages the weights of ``Downstream`` over steps, for validation and checkpoints (Polyak and Juditsky 1992).

    With few studies, weights of neighbouring epochs differ more by chance than by what they learned, and so do their
    validation metrics. Training itself continues from its own weights, which checkpoints hold too.

    Args:
        decay: share of the average that a step keeps, such as 0.98; 0 for no average. Sharded encoders are not
            averaged.

    Raises:
        ValueError: the decay is not from 0 to below 1.
    """

    def __init__(self, decay: float = 0.0) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"got decay {decay}, expected 0 or more and below 1; set `average.decay`")
        self.decay = decay
        self._average: dict[str, Tensor] = {}
        self._current: dict[str, Tensor] = {}
        self._steps = 0

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the average at the weights of the task; a resumed run has both in its checkpoint."""
        trained = {name: weight for name, weight in pl_module.named_parameters() if weight.requires_grad}
        sharded = any(isinstance(weight, DTensor) for weight in trained.values())
        if not self.decay or sharded or not isinstance(pl_module, Downstream):
            return
        self._average = {name: weight.detach().clone() for name, weight in trained.items()}
        with torch.no_grad():
            for name, value in self._current.items():
                trained[name].copy_(value)
        self._current = dict(trained)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Move the average towards the weights after each step of the optimiser."""
        if trainer.global_step == self._steps:
            return  # gradients of several batches are added up
        self._steps = trainer.global_step
        keep = min(self.decay, (1 + self._steps) / (_FIRST_STEPS + self._steps))
        for name, average in self._average.items():
            average.lerp_(self._current[name].detach(), 1 - keep)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Validate the average."""
        self._swap()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Continue with the weights of training; checkpoints are written after this."""
        self._swap()

    def state_dict(self) -> dict[str, Any]:
        """Return the weights of training, and the number of steps; nothing without an average."""
        if not self._average:
            return {}
        return {"weights": {name: weight.detach() for name, weight in self._current.items()}, "steps": self._steps}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore the weights of training."""
        self._current, self._steps = dict(state_dict.get("weights", {})), state_dict.get("steps", 0)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Save the average as the weights of the task."""
        checkpoint["state_dict"] |= {name: value.clone() for name, value in self._average.items()}

    @torch.no_grad()
    def _swap(self) -> None:
        for name, average in self._average.items():
            current = self._current[name]
            kept = current.detach().clone()
            current.copy_(average)
            average.copy_(kept)

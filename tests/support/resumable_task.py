"""A task with everything that a resume could get wrong, and callbacks that record its studies."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.nn import functional as F

from polyclinic.data import Batch
from polyclinic.tasks import ContrastivePretraining


class OneCycle(ContrastivePretraining):
    """Contrastive task with dropout and a schedule that needs the number of steps before the checkpoint is read."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return {name: F.dropout(value, 0.2, self.training) for name, value in super().forward(batch).items()}

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=self.lr, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Witness(Callback):
    """Records the studies of each batch, and kills its process after one of them.

    Args:
        file: to append to.
        kill_after: the batch, counted over epochs; none unless set.
        by: the signal.
    """

    def __init__(self, file: Path, kill_after: int | None = None, by: str = "SIGKILL") -> None:
        self._file, self._kill_after, self._by = file, kill_after, by

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        batches = trainer.fit_loop.total_batch_idx + 1
        report = [batches, trainer.current_epoch, batch_idx, list(batch.study_ids), float(outputs["loss"])]
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(report) + "\n")
        if batches == self._kill_after:
            os.kill(os.getpid(), getattr(signal, self._by))


class Compiled(Callback):
    """Compiles the encoders in place."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        for encoder in pl_module.encoders.values():
            encoder.compile(backend="eager")


class Readings(Callback):
    """Records the outputs of the trained model for the first batch of the test split.

    Args:
        file: to write.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        pl_module.eval()
        with torch.no_grad():
            batch = next(iter(trainer.datamodule.test_dataloader()))
            report = {"ids": list(batch.study_ids), "readings": pl_module(batch)}
        if trainer.is_global_zero:
            torch.save(report, self._file)

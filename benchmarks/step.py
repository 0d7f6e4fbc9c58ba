"""Training through `fit`: studies per second, and the share of a step outside the model.

Inside the model are ``training_step``, ``backward`` and the optimizer step; the rest is waiting for data, the trainer
and logging.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback

from benchmarks.measure import Figure
from polyclinic.cli import main
from polyclinic.cli.demo.inputs import RECIPES
from polyclinic.files.yaml_loader import load_yaml
from polyclinic.training.restore import build

STUDIES, WARM_EPOCHS, EPOCHS = 3000, 1, 4
COMMAND = "python -m benchmarks step"


class Clock(Callback):
    """Callback that sums the time from the arrival of a batch to the end of its optimizer step."""

    def __init__(self) -> None:
        self.inside = 0.0
        self.studies = 0
        self._started = self.first = self.last = 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Discard the epochs in which workers start and files are first mapped."""
        if trainer.current_epoch == WARM_EPOCHS:
            self.inside, self.studies, self.first = 0.0, 0, time.perf_counter()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Start the clock when a batch arrives."""
        self._started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop the clock after the optimizer step of the batch."""
        self.last = time.perf_counter()
        self.inside += self.last - self._started
        self.studies += len(batch)


def measure() -> list[Figure]:
    """Train the phantom experiment for a few epochs without validation, on as many studies as the demo."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        cohort = Path(folder) / "cohort"
        if main(["cohort", "phantom", str(cohort), "--studies", str(STUDIES)]):
            raise RuntimeError("the phantom cohort could not be written")
        config = load_yaml((RECIPES / "symile.yaml").read_bytes(), name="symile.yaml")
        data = config["data"] | {"cohort": str(cohort / "cohort.yaml"), "prepared": str(Path(folder) / "prepared")}
        built = build({"model": config["model"], "data": data})
        clock = Clock()
        trainer = L.Trainer(
            accelerator="cpu", max_epochs=EPOCHS, limit_val_batches=0, logger=False, callbacks=[clock],
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            use_distributed_sampler=False, default_root_dir=folder,
        )  # fmt: skip
        trainer.fit(built.model, datamodule=built.data)
    seconds = clock.last - clock.first
    outside = Figure(
        name="step.outside_model_share", value=1 - clock.inside / seconds, unit="", goal=0.10, at_most=True,
        command=COMMAND,
    )  # fmt: skip
    rate = Figure(name="step.studies_per_second", value=clock.studies / seconds, unit="studies/s", command=COMMAND)
    return [outside, rate]

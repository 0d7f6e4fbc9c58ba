"""Settings that ``fit`` chooses from the cohort where the configuration leaves them open."""

from pathlib import Path
from typing import NamedTuple

import lightning.pytorch as L

from polyclinic.data import CohortDataModule
from polyclinic.training.best_checkpoint import BestCheckpoint
from polyclinic.training.resume import run_folder

STEPS, MIN_EPOCHS, MAX_EPOCHS = 1000, 10, 100
PREPARED = "prepared"


class Chosen(NamedTuple):
    """Settings in use, whether chosen or configured.

    Attributes:
        batch_size: studies per step and rank.
        prepared: folder of prepared items; None for no cache.
        max_epochs: number of epochs; None where the configuration limits the run.
    """

    batch_size: int
    prepared: Path | None
    max_epochs: int | None


def epochs_of(steps: int) -> int:
    """Return the number of epochs that give about 1,000 steps, from 10 to 100.

    Args:
        steps: optimizer steps in an epoch.
    """
    return min(MAX_EPOCHS, max(MIN_EPOCHS, round(STEPS / max(1, steps))))


def choose(trainer: L.Trainer, data: CohortDataModule, *, cache: bool, epochs: bool) -> Chosen:
    """Choose the open settings, and apply them to the trainer and the data.

    Args:
        trainer: trainer before training.
        data: data module of the run.
        cache: whether to choose the folder of prepared items: ``prepared`` beside the runs.
        epochs: whether to choose the number of epochs, and a quarter of it as patience.
    """
    if cache:
        data.prepared_folder = run_folder(trainer) / PREPARED
    batches = -(-(data.training_studies // trainer.world_size) // data.batch_size)
    if not data.cohort.split("val"):
        trainer.limit_val_batches = 0  # Lightning would warn of an empty loader.
    # Otherwise an epoch of few batches logs no loss.
    trainer.log_every_n_steps = max(1, min(trainer.log_every_n_steps, batches))  # type: ignore[attr-defined]  # set at run time
    chosen = Chosen(data.batch_size, data.prepared_folder, None)
    if not epochs or getattr(trainer, "fast_dev_run", False):
        return chosen
    number = epochs_of(-(-batches // trainer.accumulate_grad_batches))
    trainer.fit_loop.max_epochs = number
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, BestCheckpoint) and callback.patience is None:
            callback.patience = max(1, number // 4)
    return chosen._replace(max_epochs=number)

"""The moving average of weights: its values, what is validated and saved, and training that it does not touch."""

from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from torch import Tensor

from polyclinic.data import CohortDataModule
from polyclinic.objectives import Clip
from polyclinic.tasks import ContrastivePretraining, Downstream
from polyclinic.training.callbacks.average_weights import AverageWeights
from polyclinic.training.checkpoint_file import load_checkpoint
from polyclinic.training.checkpoints import AtomicCheckpoints
from pulse_plugin import Pulse

DECAY = 0.7


class _Witness(L.Callback):
    """Keeps the weights of one layer after every step, and during every validation."""

    def __init__(self) -> None:
        self.steps: list[Tensor] = []
        self.validated: list[Tensor] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self.steps.append(_weight(pl_module).clone())

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.validated.append(_weight(pl_module).clone())


def _weight(task: L.LightningModule) -> Tensor:
    return next(weight for name, weight in task.named_parameters() if name.startswith("fusion")).detach()


def _parts(cohort: Path) -> tuple[Downstream, CohortDataModule]:
    torch.manual_seed(0)
    plugins = {name: Pulse() for name in ("first", "second")}
    data = CohortDataModule(cohort=cohort, modalities=plugins, prepared=None, batch_size=16)
    return Downstream(modalities=data.modalities, targets=data.targets, linear=False, size="pico"), data


def _trainer(folder: Path, *callbacks: L.Callback, epochs: int) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu", max_epochs=epochs, enable_progress_bar=False, enable_model_summary=False, logger=False,
        callbacks=list(callbacks), default_root_dir=folder, enable_checkpointing=False, plugins=[AtomicCheckpoints()],
        num_sanity_val_steps=0,
    )  # fmt: skip


def _expected(start: Tensor, steps: list[Tensor]) -> Tensor:
    average = start.double()
    for number, weight in enumerate(steps, start=1):
        keep = min(DECAY, (1 + number) / (10 + number))
        average = keep * average + (1 - keep) * weight.double()
    return average


def test_validation_and_checkpoints_have_the_average_and_training_its_weights(
    pulse_cohort: Path, tmp_path: Path
) -> None:
    task, data = _parts(pulse_cohort)
    start, witness = _weight(task).clone(), _Witness()
    trainer = _trainer(tmp_path, AverageWeights(DECAY), witness, epochs=2)
    trainer.fit(task, data)
    per_epoch = len(witness.steps) // 2
    assert per_epoch > 3
    for epoch in (1, 2):
        expected = _expected(start, witness.steps[: epoch * per_epoch])
        torch.testing.assert_close(witness.validated[epoch - 1].double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(_weight(task), witness.steps[-1], rtol=0, atol=0)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    saved = load_checkpoint(tmp_path / "run.ckpt")["state_dict"]
    name = next(name for name in saved if name.startswith("fusion"))
    torch.testing.assert_close(saved[name], witness.validated[-1], rtol=0, atol=0)
    assert not torch.equal(saved[name], witness.steps[-1])


class _SaveFirst(L.Callback):
    """Saves a checkpoint after the first validation."""

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch == 0:
            trainer.save_checkpoint(Path(trainer.default_root_dir) / "first.ckpt")


def test_a_resumed_run_continues_from_its_weights_and_its_average(pulse_cohort: Path, tmp_path: Path) -> None:
    saved = []
    for path in (None, tmp_path / "first.ckpt"):
        task, data = _parts(pulse_cohort)
        trainer = _trainer(tmp_path, AverageWeights(DECAY), *([] if path else [_SaveFirst()]), epochs=3)
        trainer.fit(task, data, ckpt_path=path)
        trainer.save_checkpoint(tmp_path / "end.ckpt")
        saved.append((load_checkpoint(tmp_path / "end.ckpt")["state_dict"], task.state_dict()))
    for whole, resumed in zip(*saved, strict=True):
        for name, value in whole.items():
            torch.testing.assert_close(resumed[name], value, rtol=0, atol=0)


def test_a_checkpoint_without_an_average_starts_one(pulse_cohort: Path, tmp_path: Path) -> None:
    task, data = _parts(pulse_cohort)
    trainer = _trainer(tmp_path, AverageWeights(0), epochs=1)
    trainer.fit(task, data)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    torch.testing.assert_close(load_checkpoint(tmp_path / "run.ckpt")["state_dict"], task.state_dict())
    start, witness = _weight(task).clone(), _Witness()
    again, data = _parts(pulse_cohort)
    _trainer(tmp_path, AverageWeights(DECAY), witness, epochs=2).fit(again, data, ckpt_path=tmp_path / "run.ckpt")
    before, average = len(data.train_dataloader()), start.double()
    for number, weight in enumerate(witness.steps, start=before + 1):
        keep = min(DECAY, (1 + number) / (10 + number))
        average = keep * average + (1 - keep) * weight.double()
    torch.testing.assert_close(witness.validated[-1].double(), average, rtol=1e-5, atol=1e-6)


def test_frozen_weights_and_other_tasks_are_left_alone(pulse_cohort: Path, tmp_path: Path) -> None:
    plugins = {name: Pulse() for name in ("first", "second")}
    data = CohortDataModule(cohort=pulse_cohort, modalities=plugins, prepared=None, batch_size=16)
    task, witness = (
        ContrastivePretraining(modalities=data.modalities, objective=Clip(), size="pico"),
        AverageWeights(DECAY),
    )
    _trainer(tmp_path, witness, epochs=1).fit(task, data)
    assert witness.state_dict() == {}
    supervised, data = _parts(pulse_cohort)
    supervised.encoders.requires_grad_(requires_grad=False)
    average = AverageWeights(DECAY)
    _trainer(tmp_path, average, epochs=1).fit(supervised, data)
    assert average.state_dict()["weights"]
    assert not [name for name in average.state_dict()["weights"] if name.startswith("encoders.")]


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_a_decay_out_of_range_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=r"set `average\.decay`"):
        AverageWeights(decay)

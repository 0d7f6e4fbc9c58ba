"""What users expect beside plain training: averaged weights, a learning rate finder, early stopping, bf16."""

from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, LearningRateFinder

from polyclinic.data import CohortDataModule
from polyclinic.objectives import Symile
from polyclinic.tasks import ContrastivePretraining
from polyclinic.training import CompileEncoders
from pulse_plugin import Pulse

NAMES = ("first", "second")


def _data(cohort: Path, **settings: Any) -> CohortDataModule:
    modalities = {name: Pulse() for name in NAMES}
    return CohortDataModule(cohort=cohort, modalities=modalities, **{"batch_size": 16} | settings)


def _task(**settings: Any) -> ContrastivePretraining:
    torch.manual_seed(0)
    modalities = {name: Pulse() for name in NAMES}
    return ContrastivePretraining(modalities=modalities, objective=Symile(), size="pico", embedding=8, **settings)


def _fit(
    task: L.LightningModule, data: CohortDataModule, folder: Path, *callbacks: L.Callback, **settings: Any
) -> L.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = L.Trainer(
        **quiet, callbacks=list(callbacks), use_distributed_sampler=False, default_root_dir=folder,
        **{"max_epochs": 3, "enable_checkpointing": False} | settings,
    )  # fmt: skip
    trainer.fit(task, datamodule=data)
    return trainer


class Weights(L.Callback):
    """Records the weights and the learning rate after each step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []
        self.rates: list[float] = []

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self.steps.append({name: value.detach().clone() for name, value in pl_module.state_dict().items()})


@pytest.mark.filterwarnings("ignore:You're using the WeightAveraging callback with a model that overrides")
def test_averaged_weights_are_the_exponential_mean_of_the_steps(pulse_cohort: Path, tmp_path: Path) -> None:
    recorded, average = Weights(), EMAWeightAveraging(decay=0.8)
    trainer = _fit(_task(), _data(pulse_cohort), tmp_path, recorded, average)
    assert len(recorded.steps) == trainer.global_step > 5
    expected = dict(recorded.steps[0])
    for step in recorded.steps[1:]:
        expected = {name: 0.8 * expected[name] + 0.2 * value for name, value in step.items()}
    trainer.save_checkpoint(tmp_path / "averaged.ckpt")
    report = torch.load(tmp_path / "averaged.ckpt", weights_only=True)["state_dict"]
    assert report.keys() == expected.keys()
    for name, value in expected.items():
        if report[name].is_floating_point():
            torch.testing.assert_close(report[name], value, rtol=1e-5, atol=1e-6)
    name = "encoders.first.tokenizer.embed.weight"
    assert not torch.allclose(report[name], recorded.steps[-1][name], atol=1e-6)


def test_a_learning_rate_is_found_and_used(pulse_cohort: Path, tmp_path: Path) -> None:
    task, recorded = _task(lr=1e-9, warmup=0.0), Weights()
    finder = LearningRateFinder(min_lr=1e-6, max_lr=1.0, num_training_steps=30)
    _fit(task, _data(pulse_cohort), tmp_path, finder, recorded, max_epochs=10)
    assert 1e-6 < task.lr < 1.0
    assert finder.optimal_lr is not None
    assert task.lr == finder.optimal_lr.suggestion()
    # The schedule was made from the previous rate; it must not restore that one after a step.
    assert recorded.rates[:3] == pytest.approx([task.lr] * 3, rel=0.02)
    assert list(tmp_path.glob(".lr_find*")) == []


def test_training_stops_early_when_validation_stops_improving(pulse_cohort: Path, tmp_path: Path) -> None:
    stop = EarlyStopping(monitor="val/loss", patience=1, min_delta=100.0)
    trainer = _fit(_task(), _data(pulse_cohort), tmp_path, stop, max_epochs=50)
    assert trainer.current_epoch == 2
    assert stop.stopped_epoch == 1


def test_bf16_training_keeps_weights_in_single_precision(pulse_cohort: Path, tmp_path: Path) -> None:
    task, reference = _task(), _task()
    trainer = _fit(task, _data(pulse_cohort), tmp_path, precision="bf16-mixed")
    _fit(reference, _data(pulse_cohort), tmp_path)
    assert {value.dtype for value in task.parameters()} == {torch.float32}
    assert trainer.callback_metrics["train/loss"].dtype == torch.float32
    for (name, value), parameter in zip(task.named_parameters(), reference.parameters(), strict=True):
        assert not torch.equal(value, parameter) or not value.requires_grad, name
        torch.testing.assert_close(value, parameter, rtol=0.1, atol=0.02)


def test_an_unknown_modality_is_not_compiled(pulse_cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"got modality 'third', expected one of \['first', 'second'\].*CompileEncoders"
    ):
        _fit(_task(), _data(pulse_cohort), tmp_path, CompileEncoders(modalities=["third"]))


def test_torchs_batchnorm_over_ranks_is_refused() -> None:
    task = _task()
    task.heads = torch.nn.SyncBatchNorm.convert_sync_batchnorm(task.heads)
    with pytest.raises(ValueError, match=r"got `trainer.sync_batchnorm` true.*set it to false"):
        task.configure_optimizers()

"""A few stays of the phantom are enough to learn from: a head beats chance, and a masked model the last value."""

import warnings
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from polyclinic.cohort import write_phantom_cohort
from polyclinic.data import CohortDataModule
from polyclinic.tasks import Downstream, MaskedPretraining
from polyclinic_timeline import Timeline

FINDINGS = ["consolidation", "renal_impairment", "anemia"]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stays") / "cohort"
    return write_phantom_cohort(folder, studies=160, seed=5, modalities={"timeline": Timeline()}, workers=1)


def fit(task: L.LightningModule, data: CohortDataModule, epochs: int) -> None:
    trainer = L.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0, num_sanity_val_steps=0,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(task, data)


def test_a_head_of_a_hundred_stays_beats_chance_on_other_patients(cohort: Path) -> None:
    L.seed_everything(0)
    modalities = {"timeline": Timeline(max_codes=16, max_events=64)}
    data = CohortDataModule(cohort=cohort, modalities=modalities, labels=FINDINGS, batch_size=16)
    data.setup("fit")
    task = Downstream(modalities=modalities, targets=data.targets, size="pico", linear=False, lr=4e-3)
    fit(task, data, epochs=8)
    task.eval()
    batches = list(data.loader("test"))
    with torch.no_grad():
        scores = torch.cat([task(batch) for batch in batches]).numpy()
    truth = torch.cat([batch.labels for batch in batches]).numpy()
    areas = [roc_auc_score(truth[:, place], scores[:, place]) for place in range(len(FINDINGS))]
    assert np.mean(areas) > 0.85, areas


@pytest.mark.slow
def test_masked_pretraining_predicts_values_better_than_their_mean(cohort: Path) -> None:
    L.seed_everything(0)
    modalities = {"timeline": Timeline(max_codes=16, max_events=64)}
    data = CohortDataModule(cohort=cohort, modalities=modalities, batch_size=16)
    data.setup("fit")
    task = MaskedPretraining(modalities=modalities, size="pico", decoder_width=32, lr=4e-3)
    fit(task, data, epochs=8)
    reconstruction, encoder = task.decoders.reconstruction("timeline"), task.encoders["timeline"]
    generator, losses, constants = torch.Generator().manual_seed(0), [], []
    task.eval()
    for batch in data.loader("test"):
        inputs = batch.inputs["timeline"]
        hidden = inputs["observed"] & (torch.rand(inputs["observed"].shape, generator=generator) < 0.3)
        targets = reconstruction.targets(inputs, hidden)
        with torch.no_grad():
            visible = encoder.encode(encoder.tokenize(inputs), hidden)
            predicted = task.decoders.each["timeline"](visible, None, inputs, inputs["padding"], hidden)
        losses.append(reconstruction.loss(predicted, targets))
        constants.append(torch.square(targets - targets.mean())[:, 0])
    assert float(torch.cat(losses).mean()) < 0.6 * float(torch.cat(constants).mean())

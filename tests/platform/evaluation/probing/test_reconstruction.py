"""Reconstruction errors of a masked autoencoder against loops over studies and tokens."""

from pathlib import Path

import numpy as np
import pytest
import torch

from masked_tasks import MODALITIES, batch_of, masked_task
from polyclinic.data import Batch
from polyclinic.evaluation.probing.reconstruction import mean_fills, reconstruction_report


@pytest.fixture(scope="module")
def batch(phantom_cohort: Path) -> Batch:
    return batch_of(phantom_cohort, 24)


def test_the_mean_fill_is_the_mean_of_training_at_each_place(batch: Batch) -> None:
    task = masked_task()
    halves = [batch.select(torch.arange(24) < 10), batch.select(torch.arange(24) >= 10)]
    fills = mean_fills(task, halves)
    images = batch.inputs["xray"]["image"].numpy()
    patch = images[:, 0, 8:16, 16:24].mean(axis=0)
    np.testing.assert_allclose(fills["xray"][6].reshape(8, 8), patch, atol=1e-5)
    sodium = MODALITIES["tabular"].numeric.index("sodium")
    inputs = batch.inputs["tabular"]
    values = inputs["values"][:, sodium][inputs["observed"][:, sodium]]
    assert float(fills["tabular"][sodium, 0]) == pytest.approx(float((values.mean() - 0.5) * 12**0.5), abs=1e-5)
    words = batch.inputs["report"]
    token = int(words["tokens"][0, 5])
    occurrences = int(((words["tokens"] == token) & (words["word"] >= 0)).sum())
    share = (occurrences + 1) / (int((words["word"] >= 0).sum()) + 400)
    assert float(fills["report"][3, token]) == pytest.approx(np.log(share), abs=1e-4)


def test_errors_are_means_over_hidden_tokens_and_gains_are_against_the_mean_fill(batch: Batch) -> None:
    task = masked_task(budget=40).eval()
    halves = [batch.select(torch.arange(24) < 10), batch.select(torch.arange(24) >= 10)]
    fills = mean_fills(task, halves)
    report = reconstruction_report(task, halves, fills, resamples=50, seed=0)
    results = {(result.mask, result.name): result for result in report.results}
    assert set(results) == {(mask, name) for mask in ("masked", "absent") for name in MODALITIES}
    with torch.no_grad():
        hidden = task.draw_masks(batch)
        losses = task.losses(batch, hidden, task(batch, hidden))
    for name in MODALITIES:
        result = results["masked", name]
        assert result.tokens == len(losses[name])
        assert result.studies == int(batch.present[name].sum())
        assert result.errors["model"].value == pytest.approx(float(losses[name].mean()), rel=1e-4)
        fill = result.errors["mean fill"]
        assert fill.against_mean_fill == 0
        assert result.errors["model"].against_mean_fill == pytest.approx(
            1 - result.errors["model"].value / fill.value, abs=1e-9
        )
        assert result.errors["model"].ci95.low <= result.errors["model"].value <= result.errors["model"].ci95.high
    several = torch.stack(list(batch.present.values())).sum(dim=0) > 1
    absent = results["absent", "ecg"]
    assert absent.studies == int((several & batch.present["ecg"]).sum())
    assert set(absent.errors) == {"from the others", "from nothing", "mean fill"}
    assert absent.errors["from the others"].value != absent.errors["from nothing"].value


def test_interpolation_is_a_straight_line_between_visible_samples_of_a_lead(batch: Batch) -> None:
    task = masked_task(["ecg"])
    inputs = {key: value[:1].clone() for key, value in batch.inputs["ecg"].items()}
    reconstruction = task.decoders.reconstruction("ecg")
    ramp = torch.linspace(-1, 1, 200).expand(1, 12, 200)
    inputs |= {"signal": ramp.clone(), "sample_mask": torch.ones(1, 12, 200, dtype=torch.bool)}
    inputs["sample_mask"][0, 3] = False
    hidden = torch.zeros(1, 10, dtype=torch.bool)
    hidden[0, [2, 3, 7]] = True
    guess = reconstruction.alternatives(inputs, hidden)["linear interpolation"]
    targets = reconstruction.targets(inputs, hidden)
    known = ~targets.isnan()
    assert int(known.sum()) == 3 * 11 * 20
    torch.testing.assert_close(guess[known], targets[known], rtol=1e-4, atol=1e-4)


def test_an_only_modality_is_not_measured_as_absent(batch: Batch) -> None:
    task = masked_task(["xray"]).eval()
    xrays = Batch(
        inputs={"xray": batch.inputs["xray"]}, present={"xray": batch.present["xray"]}, labels=batch.labels,
        study_ids=batch.study_ids, patient_ids=batch.patient_ids, broken=(),
    )  # fmt: skip
    report = reconstruction_report(task, [xrays], mean_fills(task, [xrays]), resamples=10, seed=0)
    assert [(result.mask, result.name) for result in report.results] == [("masked", "xray")]

"""The baseline of a cohort: a model per modality, their join, and the comparison with a trained model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from polyclinic.cohort import Study
from polyclinic.data import CohortDataModule
from polyclinic.evaluation.baseline.predictions import BaselinePredictions, Column, predict_baseline
from polyclinic.evaluation.baseline.report import BaselineReport, baseline_report, folds_verdict
from polyclinic.evaluation.metrics.auroc import auroc
from polyclinic.evaluation.metrics.intervals import Estimate, Interval
from polyclinic.modality import BaselineFeatures, Modality
from pulse_plugin import Pulse

COHORT = """
table: studies.csv
study_id: id
patient_id: id
split: split
modalities: {first: {text: first}, second: {text: second}}
labels: {sick: {column: sick}, age: {column: age, unit: years}, view: {column: view, classes: [AP, PA]}}
"""


class SimplePulse(Pulse):
    def baseline(self) -> BaselineFeatures:
        return BaselineFeatures(name="rate and temperature", learn=lambda raws: np.array)


def _cohort(folder: Path) -> CohortDataModule:
    """Write a cohort whose first modality holds half of what decides the label, and the second the other half."""
    rng = np.random.default_rng(0)
    rows = ["id,split,first,second,sick,age,view"]
    for study in range(400):
        split = ("train", "train", "val", "test")[study % 4]
        causes = rng.normal(size=2)
        cells = ["" if rng.random() < 0.2 else f"{70 + 10 * cause:.2f} 37" for cause in causes]
        sick, age = int(causes.sum() + 0.3 * rng.normal() > 0), 50 + 10 * causes[0]
        rows.append(f"{study},{split},{cells[0]},{cells[1]},{sick},{age:.1f},{'AP' if causes[1] > 0 else 'PA'}")
    (folder / "studies.csv").write_text("\n".join(rows))
    (folder / "cohort.yaml").write_text(COHORT)
    plugins: dict[str, Modality] = {"first": SimplePulse(), "second": SimplePulse()}
    data = CohortDataModule(cohort=folder / "cohort.yaml", modalities=plugins)
    data.setup("predict")
    return data


def test_the_join_uses_what_each_study_has(tmp_path: Path) -> None:
    predictions = predict_baseline(_cohort(tmp_path), "test", seed=0)
    assert predictions.trained == 300
    assert [column.name for column in predictions.columns] == ["sick", "age", "view=AP", "view=PA"]
    sick = predictions.columns[0]
    alone = []
    for name in ("first", "second"):
        values = predictions.by_modality[name]["sick"]
        present = np.array([name in study.sources for study in predictions.studies])
        assert (~np.isnan(values) == present).all()
        alone.append(auroc(values[present], sick.tested[present]))
    joined = auroc(predictions.joined["sick"], sick.tested)
    assert joined > max(alone) + 0.02
    age = predictions.columns[1]
    seen = np.array(["first" in study.sources for study in predictions.studies])
    assert np.abs(predictions.joined["age"] - age.tested)[seen].mean() < 2
    # The mean, as nothing else depends on the age.
    assert np.abs(predictions.joined["age"] - age.tested)[~seen].mean() > 5


def test_a_training_split_and_modalities_without_features_are_refused(tmp_path: Path) -> None:
    data = _cohort(tmp_path)
    with pytest.raises(ValueError, match="got split 'val', on which the baseline is trained"):
        predict_baseline(data, "val", seed=0)
    data.modalities = {"first": Pulse()}
    with pytest.raises(ValueError, match="has features for a simple model"):
        predict_baseline(data, "test", seed=0)


def _compared(model: np.ndarray, baseline: np.ndarray, labels: np.ndarray) -> BaselineReport:
    studies = [
        Study(study_id=str(row), patient_id=str(row), split="test", sources={}, labels=(), groups={})
        for row in range(len(labels))
    ]
    column = Column(name="sick", binary=True, unit="", training=labels, tested=labels)
    predictions = BaselinePredictions(
        columns=(column,), by_modality={"first": {"sick": baseline}}, joined={"sick": baseline},
        features={"first": "x"}, left_out=(), trained=1, studies=studies,
    )  # fmt: skip
    return baseline_report(predictions, {"sick": model}, resamples=300, seed=0)


def test_the_verdict_follows_the_paired_interval() -> None:
    rng = np.random.default_rng(0)
    labels = (np.arange(200) % 2).astype(float)
    good, poor = labels + rng.normal(size=200), labels + 4 * rng.normal(size=200)
    better, worse, equal = (
        _compared(*pair, labels) for pair in ((good, poor), (poor, good), (good, good + 0.3 * rng.normal(size=200)))
    )
    assert better.macro_gain is not None
    assert worse.macro_gain is not None
    assert better.macro_gain.value == pytest.approx(auroc(good, labels) - auroc(poor, labels))
    assert better.macro_gain.ci95.low > 0 > worse.macro_gain.ci95.high
    assert better.verdict.startswith("The model is better than the baseline: mean AUROC")
    assert worse.verdict.startswith("The model is worse than the baseline")
    assert equal.verdict.startswith("The model does not beat the baseline")
    (label,) = better.labels
    assert label.gain is not None
    assert (label.n, label.n_positive) == (200, 100)
    assert label.gain.value == better.macro_gain.value


def _of_fold(gain: float, *, binary: bool = True) -> BaselineReport:
    labels = (np.arange(40) % 2).astype(float)
    report = _compared(labels, labels, labels)
    measured = Estimate(gain, Interval(gain - 0.1, gain + 0.1, 0))
    label = replace(report.labels[0], name="sick", gain=measured)
    return replace(report, labels=(label,), macro=0.8, macro_model=0.8 + gain, macro_gain=measured if binary else None)


def test_the_verdict_over_folds_corrects_for_shared_training_studies() -> None:
    """By hand: mean 0.03, variance 0.00025 (1/5 + 1/4), and 2.776 as the quantile of t with four degrees of freedom."""
    gains = (0.02, 0.05, 0.01, 0.04, 0.03)
    assert folds_verdict([_of_fold(gain) for gain in gains]) == (
        "The model is better than the baseline: mean AUROC 0.830 against 0.800, difference +0.030 (+0.001 to +0.059), "
        "over 5 folds."
    )
    unsure = folds_verdict([_of_fold(gain) for gain in (-0.03, *gains[1:])])
    assert unsure.startswith("The model does not beat the baseline: mean AUROC 0.820 against 0.800")
    quantities = [_of_fold(gain, binary=False) for gain in gains]
    assert folds_verdict(quantities) == "The model is better than the baseline for 1 of 1 labels (sick), over folds."
    worse = [_of_fold(-gain, binary=False) for gain in gains]
    assert folds_verdict(worse) == "The model is better than the baseline for 0 of 1 labels, over folds."


def test_few_patients_of_a_class_give_no_interval() -> None:
    labels = np.zeros(100)
    labels[:4] = 1
    report = _compared(labels + 0.1, -labels, labels)
    (label,) = report.labels
    assert label.gain is not None
    assert label.gain.value == 1
    assert np.isnan(label.gain.ci95.low)

"""Quality of the baseline, and its comparison with a trained model on the same studies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float
from scipy import stats

from polyclinic.evaluation.baseline.predictions import BaselinePredictions, Column
from polyclinic.evaluation.metrics.arrays import Array, as_float64
from polyclinic.evaluation.metrics.comparison import FEWEST_PATIENTS
from polyclinic.evaluation.metrics.intervals import (
    Estimate,
    Interval,
    estimate,
    patient_resamples,
    percentile_interval,
    weighted_auroc,
    weighted_mean,
)
from polyclinic.evaluation.metrics.score_intervals import estimate_auroc, fewest_patients, patient_codes


@dataclass(frozen=True, kw_only=True)
class BaselineLabel:
    """Results of one label: AUROC of a class, or mean absolute error.

    Attributes:
        measure: ``auroc`` or ``mean absolute error``.
        unit: unit of the error.
        by_modality: quality of the simple model of each modality.
        joined: quality of the join of all modalities.
        model: quality of the trained model; None without one.
        gain: how much better the trained model is than the join, with its paired 95 % interval over patients; NaN with
            fewer than five patients in a class; None without a trained model.
        n: number of test studies with a known label.
        n_positive: number of these in the class; None for a quantity.
    """

    name: str
    measure: str
    unit: str
    by_modality: Mapping[str, Estimate]
    joined: Estimate
    model: Estimate | None
    gain: Estimate | None
    n: int
    n_positive: int | None


@dataclass(frozen=True, kw_only=True)
class BaselineReport:
    """Results of the baseline.

    Attributes:
        labels: results by label.
        macro: mean AUROC of the join; NaN without classes.
        macro_model: mean AUROC of the trained model; None without one.
        macro_gain: difference of the two, with its paired interval.
        features: features of the simple model of each modality.
        left_out: modalities without a simple model.
        trained: number of studies that the simple models were trained on.
        verdict: sentence on whether the trained model is better.
    """

    labels: tuple[BaselineLabel, ...]
    macro: float
    macro_model: float | None
    macro_gain: Estimate | None
    features: Mapping[str, str]
    left_out: tuple[str, ...]
    trained: int
    studies: int
    patients: int
    resamples: int
    seed: int
    verdict: str


def baseline_report(
    predictions: BaselinePredictions,
    model: Mapping[str, Float[Array, " N"]] | None,
    *,
    resamples: int,
    seed: int,
) -> BaselineReport:
    """Measure the baseline, and compare a trained model with it.

    Args:
        predictions: predictions of the simple models.
        model: predictions of the trained model for the same studies, by label; None without one.
        resamples: number of resamples of patients, shared by all labels.
        seed: seed of the resamples.
    """
    patients = [study.patient_id for study in predictions.studies]
    weights = patient_resamples(patients, resamples, seed)
    labels = tuple(_label(column, predictions, model, weights) for column in predictions.columns)
    classes = [label for label in labels if label.measure == "auroc" and label.joined.value == label.joined.value]
    macro_gain = None if model is None or not classes else _macro_gain(predictions, classes, model, weights)
    macro = float(np.mean([label.joined.value for label in classes])) if classes else float("nan")
    macro_model = (
        float(np.mean([label.model.value for label in classes if label.model is not None]))
        if model is not None and classes
        else None
    )
    return BaselineReport(
        labels=labels, macro=macro, macro_model=macro_model, macro_gain=macro_gain, features=predictions.features,
        left_out=predictions.left_out, trained=predictions.trained, studies=len(patients), patients=len(set(patients)),
        resamples=resamples, seed=seed, verdict=_verdict(macro, macro_model, macro_gain, labels),
    )  # fmt: skip


def _label(
    column: Column,
    predictions: BaselinePredictions,
    model: Mapping[str, Float[Array, " N"]] | None,
    weights: np.ndarray,
) -> BaselineLabel:
    measured = partial(_measured, column, weights=weights)
    joined = predictions.joined[column.name]
    ours = None if model is None else as_float64(model[column.name])
    return BaselineLabel(
        name=column.name,
        measure="auroc" if column.binary else "mean absolute error",
        unit=column.unit,
        by_modality={
            name: measured(values[column.name])
            for name, values in predictions.by_modality.items()
            if column.name in values
        },
        joined=measured(joined),
        model=None if ours is None else measured(ours),
        gain=None if ours is None else _gain(column, ours, joined, weights),
        n=int((~np.isnan(column.tested)).sum()),
        n_positive=int((column.tested == 1).sum()) if column.binary else None,
    )


def _measured(column: Column, values: Float[np.ndarray, " N"], *, weights: np.ndarray) -> Estimate:
    """Measure predictions on the studies that have one."""
    known = ~np.isnan(values)
    if not column.binary:
        return estimate(partial(weighted_mean, np.abs(values - column.tested)), weights)
    return estimate_auroc(values[known], column.tested[known], patient_codes(weights)[known])


def _gain(
    column: Column, ours: Float[np.ndarray, " N"], theirs: Float[np.ndarray, " N"], weights: np.ndarray
) -> Estimate:
    if not column.binary:
        saved = np.abs(theirs - column.tested) - np.abs(ours - column.tested)
        return estimate(partial(weighted_mean, saved), weights)
    draws = _differences(column, ours, theirs, weights)
    if fewest_patients(column.tested, weights) < FEWEST_PATIENTS:
        return Estimate(_difference(column, ours, theirs), Interval(float("nan"), float("nan"), len(draws)))
    return Estimate(_difference(column, ours, theirs), percentile_interval(draws))


def _difference(column: Column, ours: Float[np.ndarray, " N"], theirs: Float[np.ndarray, " N"]) -> float:
    return float(_differences(column, ours, theirs, np.ones((1, len(ours)), dtype=np.int32))[0])


def _differences(
    column: Column, ours: Float[np.ndarray, " N"], theirs: Float[np.ndarray, " N"], weights: np.ndarray
) -> Float[np.ndarray, " R"]:
    return np.subtract(*(weighted_auroc(scores, column.tested, weights) for scores in (ours, theirs)))


def _macro_gain(
    predictions: BaselinePredictions,
    classes: Sequence[BaselineLabel],
    model: Mapping[str, Float[Array, " N"]],
    weights: np.ndarray,
) -> Estimate:
    by_name = {column.name: column for column in predictions.columns}
    pairs = [(by_name[label.name], as_float64(model[label.name]), predictions.joined[label.name]) for label in classes]
    draws = np.mean([_differences(column, ours, theirs, weights) for column, ours, theirs in pairs], axis=0)
    value = float(np.mean([_difference(column, ours, theirs) for column, ours, theirs in pairs]))
    return Estimate(value, percentile_interval(draws))


def _verdict(macro: float, macro_model: float | None, gain: Estimate | None, labels: Sequence[BaselineLabel]) -> str:
    """Return a sentence on whether the trained model is better than the baseline."""
    if macro_model is None or gain is None:
        errors = [label for label in labels if label.gain is not None and label.gain.value == label.gain.value]
        if not errors:
            return ""
        better = [label.name for label in errors if label.gain is not None and label.gain.ci95.low > 0]
        names = f" ({', '.join(better)})" if better else ""
        return f"The model is better than the baseline for {len(better)} of {len(errors)} labels{names}."
    return _compared(macro_model, macro, gain)


def folds_verdict(reports: Sequence[BaselineReport]) -> str:
    """Return a sentence on whether the models of several folds are better than the baselines of their folds.

    The interval of the mean gain is that of Student's t over folds, with the variance that shared training studies need
    (Nadeau and Bengio 2003, section 3.1, corrected resampled t-test).

    Args:
        reports: reports of the folds, with a trained model in each.
    """
    gains = [report.macro_gain.value for report in reports if report.macro_gain is not None]
    if len(gains) == len(reports):
        macro = float(np.mean([report.macro for report in reports]))
        macro_model = float(np.mean([report.macro_model for report in reports]))
        return f"{_compared(macro_model, macro, _over_folds(gains))[:-1]}, over {len(reports)} folds."
    by_label = {label.name: [_gain_of(report, label.name) for report in reports] for label in reports[0].labels}
    better = [name for name, values in by_label.items() if _over_folds(values).ci95.low > 0]
    names = f" ({', '.join(better)})" if better else ""
    return f"The model is better than the baseline for {len(better)} of {len(by_label)} labels{names}, over folds."


def _gain_of(report: BaselineReport, name: str) -> float:
    gains = [label.gain for label in report.labels if label.name == name and label.gain is not None]
    return gains[0].value if gains else float("nan")


def _over_folds(gains: Sequence[float]) -> Estimate:
    folds, mean = len(gains), float(np.mean(gains))
    variance = float(np.var(gains, ddof=1)) * (1 / folds + 1 / (folds - 1))
    half = float(stats.t.ppf(0.975, folds - 1)) * variance**0.5
    return Estimate(mean, Interval(mean - half, mean + half, 0))


def _compared(macro_model: float, macro: float, gain: Estimate) -> str:
    numbers = (
        f"mean AUROC {macro_model:.3f} against {macro:.3f}, difference {gain.value:+.3f} "
        f"({gain.ci95.low:+.3f} to {gain.ci95.high:+.3f})"
    )
    if gain.ci95.low > 0:
        return f"The model is better than the baseline: {numbers}."
    if gain.ci95.high < 0:
        return f"The model is worse than the baseline: {numbers}."
    return f"The model does not beat the baseline: {numbers}."

"""Agreement of predicted classes, levels and quantities with the labels, with intervals over patients."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from polyclinic.cohort import Target
from polyclinic.evaluation.metrics.arrays import Array, as_float64
from polyclinic.evaluation.metrics.intervals import Estimate, patient_resamples, percentile_interval, weighted_mean
from polyclinic.evaluation.metrics.score_intervals import estimate_share, patient_codes


@dataclass(frozen=True, kw_only=True)
class AgreementResult:
    """Agreement on one label that is not a finding.

    Attributes:
        name: name of the label.
        kind: ``class``, ``level`` or ``quantity``.
        unit: unit of a quantity.
        n: number of studies with a known label.
        measures: ``accuracy`` of a class; ``mean absolute error`` and ``quadratic kappa`` of a level, in levels;
            ``mean absolute error``, in its unit, and ``r2`` of a quantity. NaN where undefined.
    """

    name: str
    kind: str
    unit: str
    n: int
    measures: dict[str, Estimate]


class Binary(NamedTuple):
    """Log-odds and binary labels (0, 1, NaN) of the findings and of each class against the others."""

    scores: Float[np.ndarray, "N F"]
    labels: Float[np.ndarray, "N F"]
    names: list[str]


def binary_columns(predictions: Float[Array, "N K"], labels: Float[Array, "N C"], targets: Sequence[Target]) -> Binary:
    """Return the columns that AUROC applies to: findings, and each class against the others.

    Args:
        predictions: result of ``Targets.predictions`` of a task.
        labels: labels, one column per target.
        targets: targets of the columns.
    """
    values, truth = as_float64(predictions), as_float64(labels)
    scores, columns, names = [values[:, :0]], [truth[:, :0]], []
    for target, at, column in _parts(targets, truth):
        if target.kind == "finding":
            scores.append(values[:, at])
            columns.append(column[:, None])
            names.append(target.name)
        elif target.kind == "class":
            scores.append(values[:, at])
            places = np.arange(len(target.names))
            columns.append(np.where(np.isnan(column)[:, None], np.nan, column[:, None] == places))
            names += [f"{target.name}={value}" for value in target.names]
    return Binary(np.concatenate(scores, axis=1), np.concatenate(columns, axis=1), names)


class Estimates(NamedTuple):
    """Predictions, labels (NaN where unknown) and targets of the levels and quantities."""

    values: Float[np.ndarray, "N E"]
    labels: Float[np.ndarray, "N E"]
    targets: list[Target]


def estimate_columns(
    predictions: Float[Array, "N K"], labels: Float[Array, "N C"], targets: Sequence[Target]
) -> Estimates:
    """Return the columns that a mean absolute error applies to: levels and quantities.

    Args:
        predictions: result of ``Targets.predictions`` of a task.
        labels: labels, one column per target.
        targets: targets of the columns.
    """
    values, truth = as_float64(predictions), as_float64(labels)
    parts = [part for part in _parts(targets, truth) if part[0].kind in ("level", "quantity")]
    return Estimates(
        np.concatenate([values[:, :0], *(values[:, at] for _, at, _ in parts)], axis=1),
        np.concatenate([truth[:, :0], *(column[:, None] for _, _, column in parts)], axis=1),
        [target for target, _, _ in parts],
    )


def agreement_report(
    *,
    predictions: Float[Array, "N K"],
    labels: Float[Array, "N C"],
    targets: Sequence[Target],
    patient_ids: Sequence[str],
    resamples: int,
    seed: int,
) -> tuple[AgreementResult, ...]:
    """Measure every class, level and quantity; return an empty tuple if there are only findings.

    Args:
        predictions: result of ``Targets.predictions`` of a task.
        labels: labels, one column per target.
        targets: targets of the columns.
        patient_ids: patient id of each study.
        resamples: number of resamples of patients.
        seed: seed of the resamples.
    """
    values, truth = as_float64(predictions), as_float64(labels)
    if all(target.kind == "finding" for target in targets):
        return ()
    complete = np.ones((1, len(truth)), dtype=np.int32)
    weights = np.concatenate([complete, patient_resamples(patient_ids, resamples, seed)])
    return tuple(
        _result(target, values[:, at], column, weights)
        for target, at, column in _parts(targets, truth)
        if target.kind != "finding"
    )


def weighted_r2(
    predicted: Float[np.ndarray, " N"], truth: Float[np.ndarray, " N"], weights: Integer[np.ndarray, "R N"]
) -> Float[np.ndarray, " R"]:
    """Return the coefficient of determination of every resample; NaN where the truth does not vary."""
    error = weighted_mean(np.square(predicted - truth), weights)
    variance = _variance(np.where(np.isnan(predicted), np.nan, truth), weights)
    return np.where(variance > 0, 1 - error / np.where(variance > 0, variance, 1.0), np.nan)


def weighted_kappa(
    predicted: Float[np.ndarray, " N"], truth: Float[np.ndarray, " N"], weights: Integer[np.ndarray, "R N"]
) -> Float[np.ndarray, " R"]:
    """Return the quadratically weighted kappa (Cohen 1968) of every resample; NaN where neither variable varies.

    With quadratic weights the disagreement expected by chance follows from means and variances alone (Fleiss and
    Cohen 1973).
    """
    paired = np.where(np.isnan(truth), np.nan, predicted)
    error = weighted_mean(np.square(paired - truth), weights)
    shift = weighted_mean(paired, weights) - weighted_mean(truth, weights)
    chance = _variance(paired, weights) + _variance(truth, weights) + np.square(shift)
    return np.where(chance > 0, 1 - error / np.where(chance > 0, chance, 1.0), np.nan)


def _variance(values: Float[np.ndarray, " N"], weights: Integer[np.ndarray, "R N"]) -> Float[np.ndarray, " R"]:
    # Centring on the overall mean avoids cancellation where the mean is far from zero.
    centred = values - np.nanmean(values) if np.isfinite(values).any() else values
    return weighted_mean(np.square(centred), weights) - np.square(weighted_mean(centred, weights))


def _parts(targets: Sequence[Target], truth: Float[np.ndarray, "N C"]) -> list[tuple[Target, slice, np.ndarray]]:
    start, parts = 0, []
    for target, column in zip(targets, truth.T, strict=True):
        stop = start + (len(target.names) if target.kind == "class" else 1)
        parts.append((target, slice(start, stop), column))
        start = stop
    return parts


def _result(
    target: Target, values: Float[np.ndarray, "N k"], truth: Float[np.ndarray, " N"], weights: np.ndarray
) -> AgreementResult:
    return AgreementResult(
        name=target.name,
        kind=target.kind,
        unit=target.unit,
        n=int((~np.isnan(truth)).sum()),
        measures={
            "accuracy": estimate_share(values.argmax(axis=1) == truth, ~np.isnan(truth), patient_codes(weights[1:]))
        }
        if target.kind == "class"
        else {
            name: Estimate(float(draws[0]), percentile_interval(draws[1:]))
            for name, draws in _draws(target, values[:, 0], truth, weights).items()
        },
    )


def _draws(
    target: Target, values: Float[np.ndarray, " N"], truth: Float[np.ndarray, " N"], weights: np.ndarray
) -> dict[str, Float[np.ndarray, " R"]]:
    """Return every measure of a level or a quantity on all studies, then on each resample."""
    error = weighted_mean(np.abs(values - truth), weights)
    if target.kind == "level":
        return {"mean absolute error": error, "quadratic kappa": weighted_kappa(np.rint(values), truth, weights)}
    return {"mean absolute error": error, "r2": weighted_r2(values, truth, weights)}

"""Subgroup analysis: every metric by group of patients, and the largest gaps between groups."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float, Integer
from scipy.special import expit

from polyclinic.evaluation.metrics.arrays import Array, checked_labels, checked_scores
from polyclinic.evaluation.metrics.calibration import weighted_brier, weighted_calibration_error
from polyclinic.evaluation.metrics.intervals import Estimate, check_lengths, estimate
from polyclinic.evaluation.metrics.score_intervals import (
    difference_interval,
    estimate_auroc,
    estimate_average_precision,
    estimate_share,
    patient_codes,
)

NOT_STATED = "not stated"
"""Name of the group of studies with an empty cell."""


@dataclass(frozen=True, kw_only=True)
class Subgroup:
    """Metrics of the studies with one value of a group column.

    Attributes:
        n: number of studies with a known label.
        n_positive: number of these with the finding.
        metrics: estimates by name of the metric; instead of an estimate, the reason why there is none.
    """

    name: str
    n: int
    n_positive: int
    metrics: dict[str, Estimate | str]


@dataclass(frozen=True, kw_only=True)
class Gap:
    """The largest difference of a metric between two groups of a column.

    Attributes:
        highest: group of the highest value.
        lowest: group of the lowest value.
        difference: highest minus lowest value, with an interval from the intervals of both (MOVER). Because the two
            groups are selected for their difference, it is biased away from 0, more so with more groups.
    """

    highest: str
    lowest: str
    difference: Estimate


@dataclass(frozen=True, kw_only=True)
class GroupColumn:
    """Groups of one column, sorted by name, and the gap of each metric or the reason why there is none."""

    groups: tuple[Subgroup, ...]
    gaps: dict[str, Gap | str]


@dataclass(frozen=True, kw_only=True)
class SubgroupReport:
    """Metrics of all studies and of every group.

    Attributes:
        overall: metrics of all studies.
        columns: groups by name of the column.
        threshold: log-odds at or above which a study is flagged.
        minimum: minimum number of studies in a group.
    """

    overall: Subgroup
    columns: dict[str, GroupColumn]
    threshold: float
    minimum: int


def subgroup_report(
    *,
    log_odds: Float[Array, " N"],
    labels: Float[Array, " N"],
    groups: Mapping[str, Sequence[str | None]],
    threshold: float,
    weights: Integer[np.ndarray, "R N"],
    minimum: int,
    bins: int = 10,
) -> SubgroupReport:
    """Measure AUROC, average precision, sensitivity, specificity, calibration error and Brier score by group.

    All have 95 % intervals over patients. If a group has fewer than ``minimum`` studies, or lacks a class that a metric
    needs, its size and the reason are reported instead.

    Args:
        log_odds: log-odds of the finding.
        labels: 0, 1, or NaN where unknown; studies with an unknown label are ignored.
        groups: value of each study, by column; studies without a value (empty or None) form a separate group.
        threshold: threshold on the log-odds for sensitivity and specificity; NaN if no rule could set one.
        weights: resamples from ``patient_resamples``.
        minimum: minimum number of studies in a group.
        bins: number of bins of equal width for the calibration error.

    Raises:
        ValueError: lengths differ, log-odds are not finite, or labels are other than 0, 1 and NaN.
    """
    values, truth = checked_scores(log_odds), checked_labels(labels)
    columns = {f"values of group column {column!r}": names for column, names in groups.items()}
    check_lengths(weights, log_odds=values, labels=truth, **columns)
    measure = partial(_measure, values, truth, weights, threshold=threshold, minimum=minimum, bins=bins)
    overall = measure(np.arange(len(values)))
    return SubgroupReport(
        overall=_subgroup("all", overall, truth),
        columns={column: _column(names, truth, measure) for column, names in groups.items()},
        threshold=threshold,
        minimum=minimum,
    )


def _column(
    names: Sequence[str | None],
    truth: Float[np.ndarray, " N"],
    measure: Callable[[Integer[np.ndarray, " n"]], dict[str, Estimate | str]],
) -> GroupColumn:
    of_study = np.array([name or NOT_STATED for name in names], dtype=object)
    rows = {str(name): np.flatnonzero(of_study == name) for name in sorted(set(of_study))}
    measured = {name: measure(studies) for name, studies in rows.items()}
    metrics = next(iter(measured.values()), {})
    return GroupColumn(
        groups=tuple(_subgroup(name, values, truth[rows[name]]) for name, values in measured.items()),
        gaps={metric: _gap({name: values[metric] for name, values in measured.items()}) for metric in metrics},
    )


def _measure(
    values: Float[np.ndarray, " N"],
    truth: Float[np.ndarray, " N"],
    weights: Integer[np.ndarray, "R N"],
    studies: Integer[np.ndarray, " n"],
    *,
    threshold: float,
    minimum: int,
    bins: int,
) -> dict[str, Estimate | str]:
    """Measure each metric of some studies; return the reason where it cannot be measured."""
    scores, labels, drawn = values[studies], truth[studies], weights[:, studies]
    chance, patients, flagged = np.asarray(expit(scores)), patient_codes(drawn), scores >= threshold
    statistics: dict[str, tuple[str, Callable[[], Estimate]]] = {
        "auroc": ("both", lambda: estimate_auroc(scores, labels, patients)),
        "average_precision": ("both", lambda: estimate_average_precision(scores, labels, drawn)),
        "sensitivity": ("positive", lambda: estimate_share(flagged, labels == 1, patients)),
        "specificity": ("negative", lambda: estimate_share(~flagged, labels == 0, patients)),
        "calibration_error": (
            "any",
            lambda: estimate(partial(weighted_calibration_error, chance, labels, bins=bins), drawn),
        ),
        "brier": ("any", lambda: estimate(partial(weighted_brier, chance, labels), drawn)),
    }
    measured: dict[str, Estimate | str] = {}
    for name, (needs, statistic) in statistics.items():
        if name in ("sensitivity", "specificity") and threshold != threshold:
            measured[name] = "no threshold was set"
        elif (reason := _lacking(labels, needs, minimum)) is not None:
            measured[name] = reason
        else:
            measured[name] = statistic()
    return measured


def _lacking(labels: Float[np.ndarray, " n"], needs: str, minimum: int) -> str | None:
    positives, negatives = int((labels == 1).sum()), int((labels == 0).sum())
    size = positives + negatives
    if size < max(minimum, 1):
        return f"{size} studies of known label, fewer than the minimum of {max(minimum, 1)}"
    if needs in ("both", "positive") and not positives:
        return f"no positive study among {size}"
    if needs in ("both", "negative") and not negatives:
        return f"no negative study among {size}"
    return None


def _subgroup(name: str, measured: Mapping[str, Estimate | str], labels: Float[np.ndarray, " n"]) -> Subgroup:
    return Subgroup(
        name=name, n=int((~np.isnan(labels)).sum()), n_positive=int((labels == 1).sum()), metrics=dict(measured)
    )


def _gap(measured: Mapping[str, Estimate | str]) -> Gap | str:
    known = {name: value for name, value in measured.items() if isinstance(value, Estimate)}
    if len(known) < 2:
        return f"{len(known)} of {len(measured)} groups have a value; a gap needs two"
    highest = max(known, key=lambda name: known[name].value)
    lowest = min(known, key=lambda name: known[name].value)
    top, bottom = known[highest], known[lowest]
    difference = Estimate(top.value - bottom.value, difference_interval(top, bottom))
    return Gap(highest=highest, lowest=lowest, difference=difference)

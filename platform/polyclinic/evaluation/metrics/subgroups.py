"""Subgroup analysis: each metric by group of patients, and the largest gaps."""

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
    """One value of a group column.

    Attributes:
        n: number of studies with a known label.
        n_positive: number of these with the finding.
        metrics: by name; a sentence in place of an estimate says why there is none.
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
        lowest: group of the lowest.
        difference: of the two, from the intervals of both (MOVER). As they were picked for their distance, its
            interval is farther from 0 than chance alone would have it, the more so the more groups there are.
    """

    highest: str
    lowest: str
    difference: Estimate


@dataclass(frozen=True, kw_only=True)
class GroupColumn:
    """The groups of one column, by name, and the gap of each metric; a sentence says why there is none."""

    groups: tuple[Subgroup, ...]
    gaps: dict[str, Gap | str]


@dataclass(frozen=True, kw_only=True)
class SubgroupReport:
    """Every metric by group.

    Attributes:
        overall: all studies, whatever their group.
        columns: by name.
        threshold: at and above which a study is flagged.
        minimum: studies that a group needs.
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
    """AUROC, average precision, sensitivity, specificity, calibration error and Brier score by group.

    All have 95 % intervals over patients. A group with fewer than ``minimum`` studies, or without what a metric
    needs, is reported with its size and the reason.

    Args:
        log_odds: of the finding.
        labels: 0, 1, or NaN where unknown; studies with an unknown label are ignored.
        groups: by column, the value of each study; empty or None, if not stated, is a separate group.
        threshold: of the log-odds, for sensitivity and specificity; NaN where no rule could set one.
        weights: resamples from ``patient_resamples``.
        minimum: studies that a group needs.
        bins: of equal width, for the calibration error.

    Raises:
        ValueError: lengths that differ, log-odds that are not finite, or labels other than 0, 1 and NaN.
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
        groups=tuple(_subgroup(name, one, truth[rows[name]]) for name, one in measured.items()),
        gaps={metric: _gap({name: one[metric] for name, one in measured.items()}) for metric in metrics},
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
    """Each metric of some studies, or why it has none."""
    scores, labels, own = values[studies], truth[studies], weights[:, studies]
    chance, patients, flagged = np.asarray(expit(scores)), patient_codes(own), scores >= threshold
    statistics: dict[str, tuple[str, Callable[[], Estimate]]] = {
        "auroc": ("both", lambda: estimate_auroc(scores, labels, patients)),
        "average_precision": ("both", lambda: estimate_average_precision(scores, labels, own)),
        "sensitivity": ("positive", lambda: estimate_share(flagged, labels == 1, patients)),
        "specificity": ("negative", lambda: estimate_share(~flagged, labels == 0, patients)),
        "calibration_error": (
            "any",
            lambda: estimate(partial(weighted_calibration_error, chance, labels, bins=bins), own),
        ),
        "brier": ("any", lambda: estimate(partial(weighted_brier, chance, labels), own)),
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
    known = {name: one for name, one in measured.items() if isinstance(one, Estimate)}
    if len(known) < 2:
        return f"{len(known)} of {len(measured)} groups have a value, a gap needs two"
    highest = max(known, key=lambda name: known[name].value)
    lowest = min(known, key=lambda name: known[name].value)
    top, bottom = known[highest], known[lowest]
    difference = Estimate(top.value - bottom.value, difference_interval(top, bottom))
    return Gap(highest=highest, lowest=lowest, difference=difference)

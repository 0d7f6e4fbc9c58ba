"""Results of the card for one finding, and their comparison with another run on the same studies."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer
from scipy.special import expit

from polyclinic.evaluation.embedding import EmbeddedSplit
from polyclinic.evaluation.metrics.average_precision import weighted_average_precision
from polyclinic.evaluation.metrics.comparison import Comparison, WeightedMetric, delong_test, paired_bootstrap
from polyclinic.evaluation.metrics.conformal import ConformalReport, conformal_report, conformal_sets
from polyclinic.evaluation.metrics.decision import DecisionCurve, decision_curve
from polyclinic.evaluation.metrics.intervals import Estimate, estimate, weighted_auroc
from polyclinic.evaluation.metrics.operating import OperatingPoint, Threshold, operating_points, operating_threshold
from polyclinic.evaluation.metrics.recalibration import CalibrationReport, Scaling, calibration_report
from polyclinic.evaluation.metrics.score_intervals import (
    estimate_auroc,
    estimate_average_precision,
    hull,
    mean_of_estimates,
    patient_codes,
)
from polyclinic.evaluation.metrics.subgroups import SubgroupReport, subgroup_report


@dataclass(frozen=True, kw_only=True)
class FindingComparison:
    """Comparison of one finding's AUROC between this run and another."""

    name: str
    delong: Comparison
    bootstrap: Comparison


def compare(
    names: Sequence[str],
    ours: Float[np.ndarray, "N F"],
    theirs: Float[np.ndarray, "N F"],
    labels: Float[np.ndarray, "N F"],
    weights: Integer[np.ndarray, "R N"],
) -> tuple[FindingComparison, ...]:
    """Compare two runs by DeLong's test and the paired bootstrap for every finding.

    Args:
        names: names of the findings.
        ours: scores of this run.
        theirs: scores of the other run.
        labels: 0, 1, or NaN where unknown.
        weights: ``patient_resamples`` of the studies.
    """
    return tuple(
        FindingComparison(
            name=name,
            delong=delong_test(ours[:, place], theirs[:, place], labels[:, place]),
            bootstrap=paired_bootstrap(weighted_auroc, ours[:, place], theirs[:, place], labels[:, place], weights),
        )
        for place, name in enumerate(names)
    )


RULES: tuple[tuple[str, float | None], ...] = (("youden", None), ("sensitivity", 0.9), ("specificity", 0.9))
"""Rules that choose thresholds on validation; the threshold of the first rule also applies to the subgroups."""

DECISIONS = np.linspace(0.05, 0.95, 19)
"""Threshold probabilities of decision curves."""

BINS = 15
"""Number of bins of reliability diagrams and calibration errors."""

_MAX_THREADS = 2


@dataclass(frozen=True, kw_only=True)
class FindingCard:
    """Results for one finding on the test split.

    Attributes:
        n: number of studies with a known label.
        n_positive: number of these with the finding.
        problem: reason why the finding cannot be evaluated; None if it can.
        scale: description of the map from scores to probabilities for operating points, subgroups and decisions:
            Platt's fit on validation, or the score as log-odds without a usable fit.
        operating: operating points, with probabilities as thresholds.
    """

    name: str
    n: int
    n_positive: int
    problem: str | None
    scale: str
    auroc: Estimate
    average_precision: Estimate
    operating: tuple[OperatingPoint, ...]
    calibration: CalibrationReport
    conformal: ConformalReport
    decision: DecisionCurve
    subgroups: SubgroupReport


@dataclass(frozen=True, kw_only=True)
class Macro:
    """Means over the findings that have both classes on the test split.

    Attributes:
        used: number of these findings.
        total: number of all findings.
    """

    auroc: Estimate
    average_precision: Estimate
    used: int
    total: int


def finding_cards(
    *,
    names: Sequence[str],
    validation: tuple[Float[np.ndarray, "M F"], Float[np.ndarray, "M F"]],
    test: tuple[Float[np.ndarray, "N F"], Float[np.ndarray, "N F"]],
    studies: EmbeddedSplit,
    weights: Integer[np.ndarray, "R N"],
    alpha: float,
    minimum: int,
    stated: Sequence[float],
) -> tuple[FindingCard, ...]:
    """Compute all results of every finding.

    Args:
        names: names of the findings.
        validation: scores and labels for thresholds, calibration and prediction sets.
        test: reported scores and labels.
        studies: test split, for its groups.
        weights: ``patient_resamples`` of the test split.
        alpha: share of each class that a prediction set may miss.
        minimum: minimum number of studies in a subgroup.
        stated: probabilities to use as additional thresholds.

    Raises:
        ValueError: a stated threshold is not between 0 and 1.
    """
    if wrong := [value for value in stated if not 0 < value < 1]:
        raise ValueError(f"got threshold {wrong[0]}, expected a probability between 0 and 1; set `--thresholds`")
    thresholds = [Threshold(value, "stated") for value in stated]

    def card(place: int) -> FindingCard:
        return _card(
            names[place],
            (validation[0][:, place], validation[1][:, place]),
            (test[0][:, place], test[1][:, place]),
            studies,
            weights,
            alpha,
            minimum,
            thresholds,
        )

    # numpy and scipy release the GIL in their long computations.
    with ThreadPoolExecutor(_MAX_THREADS) as pool:
        return tuple(pool.map(card, range(len(names))))


def macro(
    scores: Float[np.ndarray, "N F"], labels: Float[np.ndarray, "N F"], weights: Integer[np.ndarray, "R N"]
) -> Macro:
    """Average over the findings with both classes.

    The interval is the hull of two: the bootstrap interval, without resamples in which a finding is undefined, and the
    interval derived from those of the findings (MOVER).
    """
    used = [place for place, column in enumerate(labels.T) if len(np.unique(column[~np.isnan(column)])) == 2]
    patients = patient_codes(weights)
    columns = [(scores[:, place], labels[:, place]) for place in used]
    return Macro(
        auroc=_mean(weighted_auroc, [estimate_auroc(*column, patients) for column in columns], columns, weights),
        average_precision=_mean(
            weighted_average_precision,
            [estimate_average_precision(*column, weights) for column in columns],
            columns,
            weights,
        ),
        used=len(used),
        total=labels.shape[1],
    )


def calibrated(scores: Float[np.ndarray, " N"], fit: Scaling) -> Float[np.ndarray, " N"]:
    """Apply Platt's map to log-odds; return them unchanged unless the map preserves their order."""
    return fit.slope * scores + fit.intercept if _usable(fit) else scores


def _card(
    name: str,
    validation: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    studies: EmbeddedSplit,
    weights: np.ndarray,
    alpha: float,
    minimum: int,
    stated: Sequence[Threshold],
) -> FindingCard:
    scores, labels = test
    calibration = calibration_report(
        log_odds=scores, labels=labels, validation_log_odds=validation[0], validation_labels=validation[1],
        weights=weights, bins=BINS,
    )  # fmt: skip
    validation_log_odds, log_odds = (calibrated(values, calibration.platt) for values in (validation[0], scores))
    thresholds = [
        operating_threshold(expit(validation_log_odds), validation[1], rule, at_least) for rule, at_least in RULES
    ]
    return FindingCard(
        name=name,
        n=int((~np.isnan(labels)).sum()),
        n_positive=int((labels == 1).sum()),
        problem=_problem(labels),
        scale=_scale(calibration.platt),
        auroc=estimate_auroc(scores, labels, patient_codes(weights)),
        average_precision=estimate_average_precision(scores, labels, weights),
        operating=operating_points(
            scores=expit(log_odds), labels=labels, thresholds=[*thresholds, *stated], weights=weights
        ),
        calibration=calibration,
        conformal=conformal_report(
            calibrated=conformal_sets(*validation, alpha), scores=scores, labels=labels, weights=weights
        ),
        decision=decision_curve(probabilities=expit(log_odds), labels=labels, thresholds=DECISIONS, weights=weights),
        subgroups=subgroup_report(
            log_odds=log_odds, labels=labels, groups=studies.groups, threshold=_log_odds(thresholds[0]),
            weights=weights, minimum=minimum, bins=BINS,
        ),
    )  # fmt: skip


def _problem(labels: Float[np.ndarray, " N"]) -> str | None:
    positives, negatives = int((labels == 1).sum()), int((labels == 0).sum())
    if positives and negatives:
        return None
    return f"the test split has {positives} studies with the finding and {negatives} without it"


def _usable(fit: Scaling) -> bool:
    return fit.reason is None and fit.slope > 0


def _scale(fit: Scaling) -> str:
    if _usable(fit):
        return f"log-odds = {fit.slope:.4g} x score {fit.intercept:+.4g}, fitted on validation (Platt)"
    reason = fit.reason or f"on validation higher scores indicate absence of the finding (slope {fit.slope:.4g})"
    return f"the score as log-odds: {reason}"


def _log_odds(threshold: Threshold) -> float:
    value = threshold.value
    return float(np.log(value) - np.log1p(-value)) if 0 < value < 1 else value


def _mean(
    statistic: WeightedMetric,
    parts: Sequence[Estimate],
    columns: Sequence[tuple[np.ndarray, np.ndarray]],
    weights: np.ndarray,
) -> Estimate:
    analytic = mean_of_estimates(parts)
    if not parts:
        return analytic
    resampled = estimate(lambda drawn: np.mean([statistic(*column, drawn) for column in columns], axis=0), weights)
    return Estimate(resampled.value, hull(resampled.ci95, analytic.ci95))

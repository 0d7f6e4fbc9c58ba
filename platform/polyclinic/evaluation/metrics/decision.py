"""Decision curves: net benefit of acting on a model, compared with acting on everybody or on nobody."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer

from polyclinic.evaluation.metrics.arrays import Array, checked_labels
from polyclinic.evaluation.metrics.calibration import checked_probabilities
from polyclinic.evaluation.metrics.confusion import Confusion, weighted_confusion
from polyclinic.evaluation.metrics.intervals import Estimate, check_lengths, counted_once, percentile_interval, ratio


@dataclass(frozen=True, kw_only=True)
class DecisionCurve:
    """Net benefit over threshold probabilities, in true positives per study.

    Attributes:
        thresholds: T probabilities of the finding at which a clinician is indifferent between acting and not acting.
        model: net benefit of acting if the model's probability is at least the threshold.
        treat_all: net benefit of acting on everybody.
        treat_none: net benefit of acting on nobody, which is 0.
        gain: net benefit of the model minus that of the better of the two alternatives, over the same resamples.
        n: number of studies with a known label.
    """

    thresholds: Float[np.ndarray, " T"]
    model: tuple[Estimate, ...]
    treat_all: tuple[Estimate, ...]
    treat_none: tuple[float, ...]
    gain: tuple[Estimate, ...]
    n: int


def decision_curve(
    *,
    probabilities: Float[Array, " N"],
    labels: Float[Array, " N"],
    thresholds: Float[np.ndarray, " T"],
    weights: Integer[np.ndarray, "R N"],
) -> DecisionCurve:
    """Compute the net benefit ``TP / n - FP / n * p / (1 - p)`` at each threshold p (Vickers and Elkin 2006, "Method").

    The probabilities must be calibrated. Intervals are 95 % intervals over patients.

    Args:
        probabilities: predicted probabilities of the finding.
        labels: 0, 1, or NaN where unknown; studies with an unknown label are ignored.
        thresholds: threshold probabilities, such as 0.01 to 0.5.
        weights: resamples from ``patient_resamples``.

    Raises:
        ValueError: lengths differ, a threshold is not between 0 and 1, probabilities are not from 0 to 1, or labels are
            other than 0, 1 and NaN.
    """
    check_lengths(weights, probabilities=probabilities, labels=labels)
    if not ((thresholds > 0) & (thresholds < 1)).all():
        raise ValueError(f"got threshold probabilities {thresholds.tolist()}, expected each between 0 and 1; set them")
    values, truth = checked_probabilities(probabilities), checked_labels(labels)
    odds = (thresholds / (1 - thresholds))[:, None]
    complete, draws = (_benefits(values, truth, thresholds, odds, drawn) for drawn in (counted_once(weights), weights))
    model, everybody, gain = (
        tuple(Estimate(float(value[0]), percentile_interval(drawn)) for value, drawn in zip(*pair, strict=True))
        for pair in zip(complete, draws, strict=True)
    )
    return DecisionCurve(
        thresholds=thresholds,
        model=model,
        treat_all=everybody,
        treat_none=(0.0,) * len(thresholds),
        gain=gain,
        n=int((~np.isnan(truth)).sum()),
    )


def _benefits(
    probabilities: np.ndarray, labels: np.ndarray, thresholds: np.ndarray, odds: np.ndarray, weights: np.ndarray
) -> tuple[Float[np.ndarray, "T R"], Float[np.ndarray, "T R"], Float[np.ndarray, "T R"]]:
    counts = weighted_confusion(probabilities, labels, thresholds, weights)
    model = _net(counts.true_positive, counts.false_positive, counts, odds)
    everybody = _net(
        counts.true_positive + counts.false_negative, counts.false_positive + counts.true_negative, counts, odds
    )
    return model, everybody, model - np.maximum(everybody, 0)


def _net(right: np.ndarray, wrong: np.ndarray, counts: Confusion, odds: np.ndarray) -> Float[np.ndarray, "T R"]:
    return ratio(right - wrong * odds, counts.total)

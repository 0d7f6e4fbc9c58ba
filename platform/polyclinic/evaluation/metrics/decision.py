"""Decision curves: whether acting on a model does more good than acting on everybody, or on nobody."""

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
        thresholds: T probabilities of the finding at which a clinician would be in two minds about acting.
        model: acting where the model's probability is at least the threshold.
        treat_all: acting on everybody.
        treat_none: acting on nobody, which is 0.
        gain: of the model over the better of the two, over the same resamples.
        n: studies whose label is known.
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
    """Net benefit ``TP / n - FP / n * p / (1 - p)`` at each threshold p (Vickers and Elkin 2006, "Method").

    It takes probabilities at their word: calibrate them first. Intervals are over patients, at 95 %.

    Args:
        probabilities: of the finding.
        labels: 0, 1, or NaN where unknown; unknown studies are left out.
        thresholds: probabilities, such as 0.01 to 0.5.
        weights: from ``patient_resamples``.

    Raises:
        ValueError: lengths that differ, a threshold that is not between 0 and 1, probabilities that are not from 0 to
            1, or labels other than 0, 1 and NaN.
    """
    check_lengths(weights, probabilities=probabilities, labels=labels)
    if not ((thresholds > 0) & (thresholds < 1)).all():
        raise ValueError(f"got threshold probabilities {thresholds.tolist()}, expected each between 0 and 1; set them")
    values, truth = checked_probabilities(probabilities), checked_labels(labels)
    odds = (thresholds / (1 - thresholds))[:, None]
    whole, draws = (_benefits(values, truth, thresholds, odds, drawn) for drawn in (counted_once(weights), weights))
    model, everybody, gain = (
        tuple(Estimate(float(one[0]), percentile_interval(drawn)) for one, drawn in zip(*pair, strict=True))
        for pair in zip(whole, draws, strict=True)
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

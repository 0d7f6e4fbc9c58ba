"""Recalibration: maps from scores to probabilities, fitted on validation and evaluated on test."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer
from scipy.optimize import minimize, root
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from polyclinic.evaluation.metrics.arrays import Array, checked_labels, checked_scores
from polyclinic.evaluation.metrics.calibration import Reliability, reliability, weighted_brier
from polyclinic.evaluation.metrics.intervals import Estimate, check_lengths, estimate
from polyclinic.evaluation.metrics.platt import smoothed_platt


class Scaling(NamedTuple):
    """A linear map of log-odds.

    Attributes:
        slope: inverse temperature; negative where higher scores indicate absence of the finding; NaN without a fit.
        intercept: offset in log-odds; 0 for temperature scaling.
        reason: reason why there is no fit; None if there is one.
    """

    slope: float
    intercept: float
    reason: str | None = None

    def apply(self, log_odds: Float[Array, " N"]) -> Float[np.ndarray, " N"]:
        """Return probabilities; NaN without a fit."""
        return np.asarray(expit(self.slope * checked_scores(log_odds) + self.intercept))


class Isotonic(NamedTuple):
    """A piecewise linear, non-decreasing map, constant beyond its first and last point.

    Attributes:
        log_odds: knots in ascending order; empty without a fit.
        probabilities: values at the knots; may include 0 and 1, whose log-odds are infinite.
        reason: reason why there is no fit; None if there is one.
    """

    log_odds: Float[np.ndarray, " K"]
    probabilities: Float[np.ndarray, " K"]
    reason: str | None = None

    def apply(self, log_odds: Float[Array, " N"]) -> Float[np.ndarray, " N"]:
        """Return probabilities; NaN without a fit."""
        values = checked_scores(log_odds)
        if self.reason is not None:
            return np.full(len(values), np.nan)
        return np.interp(values, self.log_odds, self.probabilities)


@dataclass(frozen=True, kw_only=True)
class CalibrationQuality:
    """Calibration of the probabilities of a test split; each diagram includes its calibration error."""

    brier: Estimate
    equal_width: Reliability
    equal_mass: Reliability


@dataclass(frozen=True, kw_only=True)
class CalibrationReport:
    """Calibration of a test split before and after maps that were fitted on validation.

    Attributes:
        n: number of test studies with a known label.
        n_positive: number of these with the finding.
        quality: quality by ``none``, ``temperature``, ``platt`` and ``isotonic``; the reason instead where there is no
            fit.
    """

    n: int
    n_positive: int
    temperature: Scaling
    platt: Scaling
    isotonic: Isotonic
    quality: dict[str, CalibrationQuality | str]


def fit_temperature(log_odds: Float[Array, " N"], labels: Float[Array, " N"]) -> Scaling:
    """Fit the slope that minimises the log loss (Guo et al. 2017, section 4.2: the slope is the inverse temperature).

    Args:
        log_odds: log-odds of a validation split.
        labels: 0, 1, or NaN where unknown; studies with an unknown label are ignored.

    Returns:
        NaN with a reason where a class is missing or the loss has no minimum.

    Raises:
        ValueError: log-odds are not finite, or labels are other than 0, 1 and NaN.
    """
    values, truth = _known(log_odds, labels)
    if (reason := _one_class(truth) or _separable(values, truth)) is not None:
        return Scaling(float("nan"), float("nan"), reason)
    # In units of the mean absolute score, the optimiser's first step of 1 has a sensible size.
    unit = np.abs(values).mean()
    # The first column of [x, 1]: its stride fixes the order of summation, and with it the last bit of published slopes.
    loss, gradient, hessian = _log_loss(np.vander(values / unit, 2)[:, :1], truth)
    approximate = minimize(loss, np.zeros(1), jac=gradient, hess=hessian, method="trust-exact", options={"gtol": 1e-12})
    # The loss is flat to its last digit before its gradient is 0, so the root of the gradient is more accurate.
    slope = root(gradient, approximate.x, jac=hessian, tol=1e-12).x[0]
    return Scaling(float(slope / unit), 0.0)


def fit_platt(log_odds: Float[Array, " N"], labels: Float[Array, " N"]) -> Scaling:
    """Fit slope and intercept to smoothed labels; see ``smoothed_platt`` (Platt 1999).

    Args:
        log_odds: log-odds of a validation split.
        labels: 0, 1, or NaN where unknown; studies with an unknown label are ignored.

    Returns:
        NaN with a reason where a class is missing, all scores are equal, or the fit does not converge.

    Raises:
        ValueError: log-odds are not finite, or labels are other than 0, 1 and NaN.
    """
    values, truth = _known(log_odds, labels)
    slope, intercept = (float(value) for value in smoothed_platt(values, truth, np.ones((1, len(values))))[0])
    return Scaling(slope, intercept, None if np.isfinite(slope) else _one_class(truth) or _unfitted(values))


def fit_isotonic(log_odds: Float[Array, " N"], labels: Float[Array, " N"]) -> Isotonic:
    """Fit isotonic regression by least squares (Zadrozny and Elkan 2002), with scikit-learn.

    Args:
        log_odds: log-odds of a validation split.
        labels: 0, 1, or NaN where unknown; studies with an unknown label are ignored.

    Returns:
        No knots and a reason where a class is missing.

    Raises:
        ValueError: log-odds are not finite, or labels are other than 0, 1 and NaN.
    """
    values, truth = _known(log_odds, labels)
    if (reason := _one_class(truth)) is not None:
        return Isotonic(np.empty(0), np.empty(0), reason)
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(values, truth)
    return Isotonic(fitted.X_thresholds_, fitted.y_thresholds_)


def calibration_report(
    *,
    log_odds: Float[Array, " N"],
    labels: Float[Array, " N"],
    validation_log_odds: Float[Array, " M"],
    validation_labels: Float[Array, " M"],
    weights: Integer[np.ndarray, "R N"],
    bins: int = 15,
) -> CalibrationReport:
    """Measure the calibration of a test split before and after each map, with 95 % intervals over its patients.

    Args:
        log_odds: log-odds of the test split.
        labels: 0, 1, or NaN where unknown; studies with an unknown label are ignored.
        validation_log_odds: log-odds to which the maps are fitted.
        validation_labels: labels to which the maps are fitted.
        weights: ``patient_resamples`` of the test split.
        bins: number of bins of the reliability diagrams.

    Raises:
        ValueError: lengths differ, log-odds are not finite, or labels are other than 0, 1 and NaN.
    """
    truth = checked_labels(labels)
    check_lengths(weights, log_odds=log_odds, labels=labels)
    validation = validation_log_odds, validation_labels
    temperature, platt, isotonic = (
        fit_temperature(*validation), fit_platt(*validation), fit_isotonic(*validation),
    )  # fmt: skip
    quality: dict[str, CalibrationQuality | str] = {
        "none": _quality(expit(checked_scores(log_odds)), truth, weights, bins)
    }
    fits: dict[str, Scaling | Isotonic] = {"temperature": temperature, "platt": platt, "isotonic": isotonic}
    for name, fit in fits.items():
        quality[name] = fit.reason or _quality(fit.apply(log_odds), truth, weights, bins)
    return CalibrationReport(
        n=int((~np.isnan(truth)).sum()),
        n_positive=int((truth == 1).sum()),
        temperature=temperature,
        platt=platt,
        isotonic=isotonic,
        quality=quality,
    )


def _quality(
    probabilities: Float[np.ndarray, " N"],
    labels: Float[np.ndarray, " N"],
    weights: Integer[np.ndarray, "R N"],
    bins: int,
) -> CalibrationQuality:
    equal_width, equal_mass = (
        reliability(probabilities, labels, weights, bins=bins, binning=binning)
        for binning in ("equal width", "equal mass")
    )
    brier = estimate(partial(weighted_brier, probabilities, labels), weights)
    return CalibrationQuality(brier=brier, equal_width=equal_width, equal_mass=equal_mass)


def _log_loss(design: Float[np.ndarray, "N P"], truth: Float[np.ndarray, " N"]) -> tuple[Callable, Callable, Callable]:
    """Return the mean log loss of a logistic regression, its gradient and its Hessian."""

    def loss(coefficients: np.ndarray) -> float:
        linear = design @ coefficients
        return float(np.mean(np.logaddexp(0, linear) - truth * linear))

    def gradient(coefficients: np.ndarray) -> np.ndarray:
        return design.T @ (expit(design @ coefficients) - truth) / len(truth)

    def hessian(coefficients: np.ndarray) -> np.ndarray:
        probability = expit(design @ coefficients)
        return design.T @ (design * (probability * (1 - probability))[:, None]) / len(truth)

    return loss, gradient, hessian


def _known(log_odds: Array, labels: Array) -> tuple[np.ndarray, np.ndarray]:
    values, truth = checked_scores(log_odds), checked_labels(labels)
    known = ~np.isnan(truth)
    return values[known], truth[known]


def _one_class(truth: np.ndarray) -> str | None:
    positives = int(truth.sum())
    if 0 < positives < len(truth):
        return None
    return f"the validation split has {positives} positive and {len(truth) - positives} negative studies"


def _separable(values: np.ndarray, truth: np.ndarray) -> str | None:
    """Return a reason if the sign of the score separates the classes, so that the log loss has no minimum."""
    positives, negatives = values[truth == 1], values[truth == 0]
    if negatives.max() <= 0 <= positives.min() or positives.max() <= 0 <= negatives.min():
        return "the sign of the score separates the classes of the validation split, so that no slope is steep enough"
    return None


def _unfitted(values: np.ndarray) -> str:
    if np.ptp(values) == 0:
        return "all studies of the validation split have the same score"
    return "Platt's fit to the scores of the validation split does not converge"

"""Maps from scores to probabilities, fitted on validation and measured on test."""

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


class Scaling(NamedTuple):
    """Log-odds times a slope plus an intercept.

    Attributes:
        slope: one over the temperature; below 0 where the scores speak against the finding; NaN without a fit.
        intercept: 0 for a temperature alone.
        reason: why there is no fit; None where there is.
    """

    slope: float
    intercept: float
    reason: str | None = None

    def apply(self, log_odds: Float[Array, " N"]) -> Float[np.ndarray, " N"]:
        """Probabilities; NaN without a fit."""
        return np.asarray(expit(self.slope * checked_scores(log_odds) + self.intercept))


class Isotonic(NamedTuple):
    """A rising broken line through these points, level beyond them.

    Attributes:
        log_odds: rising; empty without a fit.
        probabilities: at these; 0 and 1 may be among them, which no log-odds express.
        reason: why there is no fit; None where there is.
    """

    log_odds: Float[np.ndarray, " K"]
    probabilities: Float[np.ndarray, " K"]
    reason: str | None = None

    def apply(self, log_odds: Float[Array, " N"]) -> Float[np.ndarray, " N"]:
        """Probabilities; NaN without a fit."""
        values = checked_scores(log_odds)
        if self.reason is not None:
            return np.full(len(values), np.nan)
        return np.interp(values, self.log_odds, self.probabilities)


@dataclass(frozen=True, kw_only=True)
class CalibrationQuality:
    """How well calibrated the probabilities of a test split are; the error is in the two diagrams."""

    brier: Estimate
    equal_width: Reliability
    equal_mass: Reliability


@dataclass(frozen=True, kw_only=True)
class CalibrationReport:
    """A test split before and after maps that were fitted on validation.

    Attributes:
        n: studies of the test split whose label is known.
        n_positive: of these, studies with the finding.
        quality: by ``none``, ``temperature``, ``platt``, ``isotonic``; a sentence in place of it says why there is no
            fit.
    """

    n: int
    n_positive: int
    temperature: Scaling
    platt: Scaling
    isotonic: Isotonic
    quality: dict[str, CalibrationQuality | str]


def fit_temperature(log_odds: Float[Array, " N"], labels: Float[Array, " N"]) -> Scaling:
    """The slope of least log loss (Guo et al. 2017, section 4.2; the temperature is one over it).

    Args:
        log_odds: of a validation split.
        labels: 0, 1, or NaN where unknown; unknown studies are left out.

    Returns:
        NaN with a reason where a class is absent, or where ever steeper slopes lose ever less.

    Raises:
        ValueError: log-odds that are not finite, or labels other than 0, 1 and NaN.
    """
    return _fit_scaling(log_odds, labels, intercept=False)


def fit_platt(log_odds: Float[Array, " N"], labels: Float[Array, " N"]) -> Scaling:
    """Slope and intercept of least log loss (Platt 1999, without his smoothing of the labels).

    Args:
        log_odds: of a validation split.
        labels: 0, 1, or NaN where unknown; unknown studies are left out.

    Returns:
        NaN with a reason where a class is absent, or where one threshold tells the classes apart.

    Raises:
        ValueError: log-odds that are not finite, or labels other than 0, 1 and NaN.
    """
    return _fit_scaling(log_odds, labels, intercept=True)


def fit_isotonic(log_odds: Float[Array, " N"], labels: Float[Array, " N"]) -> Isotonic:
    """The rising map of least squares (Zadrozny and Elkan 2002), by scikit-learn.

    Args:
        log_odds: of a validation split.
        labels: 0, 1, or NaN where unknown; unknown studies are left out.

    Returns:
        No points and a reason where a class is absent.

    Raises:
        ValueError: log-odds that are not finite, or labels other than 0, 1 and NaN.
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
    """Calibration of a test split as it is and after each map, with 95 % intervals over its patients.

    Args:
        log_odds: of the test split.
        labels: 0, 1, or NaN where unknown; unknown studies are left out.
        validation_log_odds: to which the maps are fitted.
        validation_labels: likewise.
        weights: from ``patient_resamples`` of the test split.
        bins: of the reliability diagrams.

    Raises:
        ValueError: lengths that differ, log-odds that are not finite, or labels other than 0, 1 and NaN.
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
    wide, heavy = (
        reliability(probabilities, labels, weights, bins=bins, binning=binning)
        for binning in ("equal width", "equal mass")
    )
    brier = estimate(partial(weighted_brier, probabilities, labels), weights)
    return CalibrationQuality(brier=brier, equal_width=wide, equal_mass=heavy)


def _fit_scaling(log_odds: Array, labels: Array, *, intercept: bool) -> Scaling:
    values, truth = _known(log_odds, labels)
    if (reason := _one_class(truth) or _separable(values, truth, intercept=intercept)) is not None:
        return Scaling(float("nan"), float("nan"), reason)
    # Around their middle and in units of their own spread, the optimiser's first step of 1 is a sensible one.
    middle = float(np.median(values)) if intercept else 0.0
    unit = np.abs(values - middle).mean()
    design = np.stack([(values - middle) / unit, np.ones_like(values)], axis=1)[:, : 1 + intercept]
    loss, gradient, hessian = _log_loss(design, truth)
    near = minimize(
        loss, np.zeros(design.shape[1]), jac=gradient, hess=hessian, method="trust-exact", options={"gtol": 1e-12}
    )
    # The loss is level to its last digit before its gradient is 0.
    slope, shift = (*root(gradient, near.x, jac=hessian, tol=1e-12).x, 0.0)[:2]
    return Scaling(float(slope / unit), float(shift - slope * middle / unit))


def _log_loss(design: Float[np.ndarray, "N P"], truth: Float[np.ndarray, " N"]) -> tuple[Callable, Callable, Callable]:
    """Mean log loss of a logistic regression, its gradient and its Hessian."""

    def loss(coefficients: np.ndarray) -> float:
        linear = design @ coefficients
        return float(np.mean(np.logaddexp(0, linear) - truth * linear))

    def gradient(coefficients: np.ndarray) -> np.ndarray:
        return design.T @ (expit(design @ coefficients) - truth) / len(truth)

    def hessian(coefficients: np.ndarray) -> np.ndarray:
        share = expit(design @ coefficients)
        return design.T @ (design * (share * (1 - share))[:, None]) / len(truth)

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


def _separable(values: np.ndarray, truth: np.ndarray, *, intercept: bool) -> str | None:
    """Where a threshold, at 0 without an intercept, has each class on one side, the loss has no minimum."""
    positives, negatives = values[truth == 1], values[truth == 0]

    def parted(low: np.ndarray, high: np.ndarray) -> bool:
        return bool(low.max() <= (high.min() if intercept else 0.0) <= high.min())

    if parted(negatives, positives) or parted(positives, negatives):
        return "a threshold tells the classes of the validation split apart, so that no slope is steep enough"
    return None

"""Calibration of probabilities: reliability diagrams, expected calibration error, Brier score."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from polyclinic.evaluation.metrics.arrays import Array, as_float64, checked_labels
from polyclinic.evaluation.metrics.intervals import (
    Estimate,
    Interval,
    counted_once,
    group_sums,
    percentile_interval,
    ratio,
    weighted_mean,
)

BINNINGS = ("equal width", "equal mass")


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """A reliability diagram of B bins and its expected calibration error.

    Attributes:
        binning: one of ``BINNINGS``.
        count: number of studies in each bin.
        edges: edges of the bins; a bin includes its upper edge, and the first bin also its lower edge.
        mean_probability: mean probability of each bin, NaN where it is empty.
        share_positive: share of positive studies in each bin, NaN where it is empty.
        share_ci95: 95 % intervals of these shares over patients.
        calibration_error: mean absolute difference of mean probability and share, weighted by the count.
    """

    binning: str
    count: Integer[np.ndarray, " B"]
    edges: Float[np.ndarray, " B+1"]
    mean_probability: Float[np.ndarray, " B"]
    share_positive: Float[np.ndarray, " B"]
    share_ci95: tuple[Interval, ...]
    calibration_error: Estimate


def checked_probabilities(probabilities: Any) -> np.ndarray:
    """Return probabilities as float64.

    Raises:
        ValueError: a probability is NaN, or not from 0 to 1.
    """
    values = as_float64(probabilities)
    if broken := int((~((values >= 0) & (values <= 1))).sum()):
        raise ValueError(
            f"got {broken} probabilities that are not from 0 to 1, expected one for each study; apply "
            "`scipy.special.expit` to log-odds"
        )
    return values


def weighted_brier(
    probabilities: Float[Array, " N"], labels: Float[Array, " N"], weights: Integer[np.ndarray, "R N"]
) -> Float[np.ndarray, " R"]:
    """Return the mean squared difference of probability and label (Brier 1950) of every resample.

    Args:
        probabilities: predicted probabilities of the finding.
        labels: 0, 1, or NaN where unknown; studies with an unknown label are ignored.
        weights: multiplicity of each study in each resample.

    Returns:
        NaN for a resample without studies.

    Raises:
        ValueError: probabilities are not from 0 to 1, or labels are other than 0, 1 and NaN.
    """
    return weighted_mean((checked_probabilities(probabilities) - checked_labels(labels)) ** 2, weights)


def bin_edges(probabilities: Float[np.ndarray, " N"], bins: int, binning: str) -> Float[np.ndarray, " {bins}+1"]:
    """Return edges of bins of equal width, or of bins with equal numbers of these probabilities.

    Raises:
        ValueError: the binning is unknown, or there are no bins.
    """
    if bins < 1:
        raise ValueError(f"got {bins} bins, expected at least 1; set `bins`")
    if binning not in BINNINGS:
        raise ValueError(f"got binning {binning!r}, expected one of {BINNINGS}; set `binning`")
    shares = np.linspace(0, 1, bins + 1)
    if binning == "equal width" or not len(probabilities):
        return shares
    return np.quantile(probabilities, shares)


def weighted_calibration_error(
    probabilities: Float[Array, " N"],
    labels: Float[Array, " N"],
    weights: Integer[np.ndarray, "R N"],
    *,
    bins: int = 15,
    binning: str = "equal width",
) -> Float[np.ndarray, " R"]:
    """Return the expected calibration error (Naeini et al. 2015; Guo et al. 2017, equation 3) of every resample.

    Every resample uses the bins of the complete set of studies. The error is biased upwards, more so with few studies
    per bin, and more in resamples than in the studies themselves; its interval can therefore lie above it.

    Args:
        probabilities: predicted probabilities of the finding.
        labels: 0, 1, or NaN where unknown; studies with an unknown label are ignored.
        weights: multiplicity of each study in each resample.
        bins: number of bins.
        binning: one of ``BINNINGS``.

    Returns:
        NaN for a resample without studies.

    Raises:
        ValueError: probabilities are not from 0 to 1, labels are other than 0, 1 and NaN, or the binning is unknown.
    """
    values, truth = checked_probabilities(probabilities), checked_labels(labels)
    known = np.flatnonzero(~np.isnan(truth))
    place = _places(values[known], bin_edges(values[known], bins, binning))
    excess = group_sums(place, known, weights, count=bins, values=truth[known] - values[known])
    return ratio(np.abs(excess).sum(axis=0), group_sums(place, known, weights, count=bins).sum(axis=0))


def reliability(
    probabilities: Float[Array, " N"],
    labels: Float[Array, " N"],
    weights: Integer[np.ndarray, "R N"],
    *,
    bins: int = 15,
    binning: str = "equal width",
) -> Reliability:
    """Compute a reliability diagram with 95 % intervals over patients.

    Args:
        probabilities: predicted probabilities of the finding.
        labels: 0, 1, or NaN where unknown; studies with an unknown label are ignored.
        weights: resamples from ``patient_resamples``.
        bins: number of bins; with equal mass, tied probabilities leave some bins empty.
        binning: one of ``BINNINGS``.

    Raises:
        ValueError: probabilities are not from 0 to 1, labels are other than 0, 1 and NaN, or the binning is unknown.
    """
    values, truth = checked_probabilities(probabilities), checked_labels(labels)
    known = np.flatnonzero(~np.isnan(truth))
    edges = bin_edges(values[known], bins, binning)
    place = _places(values[known], edges)
    count = np.bincount(place, minlength=bins)
    positive = group_sums(place, known, weights, count=bins, values=truth[known])
    shares = ratio(positive, group_sums(place, known, weights, count=bins))
    once, draws = (
        weighted_calibration_error(values, truth, drawn, bins=bins, binning=binning)
        for drawn in (counted_once(weights), weights)
    )
    return Reliability(
        binning=binning,
        count=count,
        edges=edges,
        mean_probability=ratio(np.bincount(place, values[known], bins), count),
        share_positive=ratio(np.bincount(place, truth[known], bins), count),
        share_ci95=tuple(percentile_interval(share) for share in shares),
        calibration_error=Estimate(float(once[0]), percentile_interval(draws)),
    )


def _places(probabilities: np.ndarray, edges: np.ndarray) -> Integer[np.ndarray, " N"]:
    return np.searchsorted(edges[1:-1], probabilities, side="left")

"""Whether a stated probability is the share that it says: reliability, calibration error, Brier score."""

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
        count: studies in each bin.
        edges: of the bins, each without its lower and with its upper edge, the first with both.
        mean_probability: of each bin, NaN where it is empty.
        share_positive: of each bin, NaN where it is empty.
        share_ci95: over patients.
        calibration_error: distance of the two, weighted by the count.
    """

    binning: str
    count: Integer[np.ndarray, " B"]
    edges: Float[np.ndarray, " B+1"]
    mean_probability: Float[np.ndarray, " B"]
    share_positive: Float[np.ndarray, " B"]
    share_ci95: tuple[Interval, ...]
    calibration_error: Estimate


def checked_probabilities(probabilities: Any) -> np.ndarray:
    """Probabilities as float64.

    Raises:
        ValueError: one is NaN, or not from 0 to 1.
    """
    values = as_float64(probabilities)
    if broken := int((~((values >= 0) & (values <= 1))).sum()):
        raise ValueError(
            f"got {broken} probabilities that are not from 0 to 1, expected one for each study; put log-odds through "
            "`scipy.special.expit`"
        )
    return values


def weighted_brier(
    probabilities: Float[Array, " N"], labels: Float[Array, " N"], weights: Integer[np.ndarray, "R N"]
) -> Float[np.ndarray, " R"]:
    """Mean squared distance of probability and label (Brier 1950) of every resample.

    Args:
        probabilities: of the finding.
        labels: 0, 1, or NaN where unknown; unknown studies are left out.
        weights: how often each study counts in each resample.

    Returns:
        NaN for a resample without a study.

    Raises:
        ValueError: probabilities that are not from 0 to 1, or labels other than 0, 1 and NaN.
    """
    return weighted_mean((checked_probabilities(probabilities) - checked_labels(labels)) ** 2, weights)


def bin_edges(probabilities: Float[np.ndarray, " N"], bins: int, binning: str) -> Float[np.ndarray, " {bins}+1"]:
    """Edges of bins that are equally wide, or that hold equally many of these probabilities.

    Raises:
        ValueError: an unknown binning, or no bin.
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
    """Expected calibration error (Naeini et al. 2015; Guo et al. 2017, equation 3) of every resample.

    The bins are those of all studies, in every resample. Chance alone makes it positive, the more so the fewer
    studies a bin has and in resamples more than in the studies themselves, so that its interval can lie above it.

    Args:
        probabilities: of the finding.
        labels: 0, 1, or NaN where unknown; unknown studies are left out.
        weights: how often each study counts in each resample.
        bins: number of bins.
        binning: one of ``BINNINGS``.

    Returns:
        NaN for a resample without a study.

    Raises:
        ValueError: probabilities that are not from 0 to 1, labels other than 0, 1 and NaN, or a wrong binning.
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
    """Reliability diagram, with 95 % intervals over patients.

    Args:
        probabilities: of the finding.
        labels: 0, 1, or NaN where unknown; unknown studies are left out.
        weights: from ``patient_resamples``.
        bins: number of bins; equal masses of tied probabilities leave some of them empty.
        binning: one of ``BINNINGS``.

    Raises:
        ValueError: probabilities that are not from 0 to 1, labels other than 0, 1 and NaN, or a wrong binning.
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

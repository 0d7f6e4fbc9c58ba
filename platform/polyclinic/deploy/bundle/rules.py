"""What a bundle has learned on validation about the scores and estimates of each subset of modalities."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from pydantic import ConfigDict
from scipy.special import expit

from polyclinic.deploy.bundle.fields import STRICT, Count, Distance, Number, Share, Text
from polyclinic.deploy.scores import Decision


@dataclass(frozen=True, kw_only=True)
class DecisionRule:
    """Calibration, threshold and conformal limits of one finding and one subset of modalities, learned on validation.

    Attributes:
        positives: number of validation studies with these modalities and the finding.
        negatives: number of validation studies with these modalities and without the finding.
        auroc: value and 95 % interval on these studies; None if a class is missing.
        slope: slope of Platt scaling, from score to log-odds; None without a fit.
        intercept: intercept of Platt scaling; None without a fit.
        threshold: probability at and above which the finding counts as present; None without one.
        absent_up_to: largest score whose prediction set holds "absent" (split conformal); None if all sets do.
        present_from: smallest score whose prediction set holds "present"; None if all sets do.
        problem: reason why the evidence does not support a decision; None if it does.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    positives: Count
    negatives: Count
    auroc: tuple[Share, Share, Share] | None
    slope: Number | None
    intercept: Number | None
    threshold: Share | None
    absent_up_to: Number | None
    present_from: Number | None
    problem: Text | None

    def probability(self, score: float) -> float | None:
        """Return the calibrated probability of a score; None without a fit."""
        if self.slope is None or self.intercept is None:
            return None
        return float(expit(self.slope * score + self.intercept))

    def possible(self, score: float) -> tuple[Decision, ...]:
        """Return the prediction set of a score."""
        absent = self.absent_up_to is None or score <= self.absent_up_to
        present = self.present_from is None or score >= self.present_from
        decisions: tuple[tuple[Decision, bool], ...] = (("absent", absent), ("present", present))
        return tuple(decision for decision, included in decisions if included)

    def contradiction(self) -> str | None:
        """Return the contradiction within the rule; None without one."""
        if (self.slope is None) != (self.intercept is None):
            return "it has one of slope and intercept, expected both or neither"
        if self.auroc is not None and self.auroc[1] > self.auroc[2]:
            return "the interval of its AUROC ends before it begins"
        return None


@dataclass(frozen=True, kw_only=True)
class EstimateRule:
    """Error and conformal interval of one level or quantity and one subset of modalities, learned on validation.

    The interval of an estimate is its value plus and minus ``half_width`` (split conformal prediction: Vovk et al.
    2005, section 4.1; Lei et al. 2018, algorithm 2).

    Attributes:
        studies: number of validation studies with these modalities and a known label.
        patients: number of their patients.
        error: mean absolute error on these studies, and its 95 % interval over patients; None without a study.
        guess: mean absolute error of always guessing the median of the training studies; None without a study.
        half_width: half-width of the interval; None if there are too few studies for its coverage.
        problem: reason why the evidence does not support an estimate; None if it does.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    studies: Count
    patients: Count
    error: tuple[Distance, Distance, Distance] | None
    guess: Distance | None
    half_width: Distance | None
    problem: Text | None

    def contradiction(self) -> str | None:
        """Return the contradiction within the rule; None without one."""
        if self.patients > self.studies or (self.studies > 0) != (self.patients > 0):
            return f"it has {self.patients} patients of {self.studies} studies"
        unknown = self.studies == 0
        if (self.error is None, self.guess is None) != (unknown, unknown) or (unknown and self.half_width is not None):
            return "it has one of studies and their errors, expected both or neither"
        if self.error is not None and self.error[1] > self.error[2]:
            return "the interval of its error ends before it begins"
        if self.problem is None and not self.is_better_than_guess():
            return "its error is not below that of a guess, expected a problem"
        return None

    def is_better_than_guess(self) -> bool:
        """Return whether the error is below that of always guessing the median."""
        return self.error is not None and self.guess is not None and self.error[0] < self.guess


def probability_intervals(
    scores: Float[np.ndarray, " F"], draws: Float[np.ndarray, "F R 2"]
) -> list[tuple[float, float] | None]:
    """Return the central 95 % interval of each probability over calibrations of resampled validation patients.

    Args:
        scores: score of each finding.
        draws: slope and intercept of each resample; NaN without a fit.

    Returns:
        An interval per finding; None if more than half of its resamples have no fit.
    """
    # Sorted, with NaN last: quantiles by linear interpolation between the ``fitted`` first values of each row.
    probabilities = np.sort(expit(draws[..., 0] * scores[:, None] + draws[..., 1]), axis=1)
    fitted = (~np.isnan(probabilities)).sum(axis=1)
    positions = (fitted - 1).clip(min=0)[:, None] * np.array([0.025, 0.975])
    below = np.floor(positions).astype(int)
    above = np.minimum(below + 1, (fitted - 1).clip(min=0)[:, None])
    left, right = np.take_along_axis(probabilities, below, axis=1), np.take_along_axis(probabilities, above, axis=1)
    ends = left + (right - left) * (positions - below)
    enough = fitted >= max(1, probabilities.shape[1] // 2)
    return [(float(low), float(high)) if valid else None for (low, high), valid in zip(ends, enough, strict=True)]

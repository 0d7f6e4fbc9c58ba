"""What a score means: its calibration, threshold and prediction sets, for each set of modalities by itself."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from pydantic import ConfigDict
from scipy.special import expit

from polyclinic.deploy.bundle.ranges import Count, Number, Share, Text

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
"""Every key and no other, each of its own type, numbers finite."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How a finding's score is read when exactly these modalities speak; everything was learned on validation.

    Attributes:
        positives: validation studies that have these modalities and the finding.
        negatives: those without the finding.
        auroc: value and 95 % interval there; None where a class is absent.
        slope: of log-odds on the score, by Platt; None without a fit.
        intercept: likewise.
        threshold: on the probability, at and above which the finding counts as present; None without one.
        absent_up_to: scores up to here leave "absent" possible (split conformal); None where every score does.
        present_from: scores from here leave "present" possible; None where every score does.
        problem: why the evidence is too thin for a decision; None where it is not.
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
        """Calibrated; None without a fit."""
        if self.slope is None or self.intercept is None:
            return None
        return float(expit(self.slope * score + self.intercept))

    def possible(self, score: float) -> tuple[str, ...]:
        """The prediction set."""
        absent = self.absent_up_to is None or score <= self.absent_up_to
        present = self.present_from is None or score >= self.present_from
        return tuple(name for name, there in (("absent", absent), ("present", present)) if there)


def probability_intervals(
    scores: Float[np.ndarray, " F"], draws: Float[np.ndarray, "F R 2"]
) -> list[tuple[float, float] | None]:
    """Central 95 % of each finding's probability over the calibrations of resampled validation patients.

    Args:
        scores: of the findings.
        draws: slope and intercept of each resample, NaN where there was no fit.

    Returns:
        None for a finding of which more than half of the resamples could not be fitted.
    """
    drawn = np.sort(expit(draws[..., 0] * scores[:, None] + draws[..., 1]), axis=1)
    known = (~np.isnan(drawn)).sum(axis=1)
    places = (known - 1).clip(min=0)[:, None] * np.array([0.025, 0.975])
    below = np.floor(places).astype(int)
    above = np.minimum(below + 1, (known - 1).clip(min=0)[:, None])
    left, right = np.take_along_axis(drawn, below, axis=1), np.take_along_axis(drawn, above, axis=1)
    ends = left + (right - left) * (places - below)
    enough = known >= max(1, drawn.shape[1] // 2)
    return [(float(low), float(high)) if there else None for (low, high), there in zip(ends, enough, strict=True)]

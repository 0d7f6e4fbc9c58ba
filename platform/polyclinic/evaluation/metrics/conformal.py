"""Split conformal prediction sets of a finding, and abstention where they do not decide."""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import numpy as np
from jaxtyping import Bool, Float, Integer

from polyclinic.evaluation.metrics.arrays import Array, checked_labels, checked_scores
from polyclinic.evaluation.metrics.intervals import Estimate, check_lengths
from polyclinic.evaluation.metrics.score_intervals import estimate_share, patient_codes


@dataclass(frozen=True, kw_only=True)
class ConformalSets:
    """Score limits that define the prediction set of a study.

    Attributes:
        alpha: share of each class that may be missed.
        absent_up_to: "absent" is in the set of a score up to here; infinite where validation has too few negative
            studies to leave it out of any.
        present_from: "present" is in the set of a score from here; minus infinity where positive studies are too few.
        n_negative: studies of validation without the finding.
        n_positive: studies of validation with it.
    """

    alpha: float
    absent_up_to: float
    present_from: float
    n_negative: int
    n_positive: int

    def sets(self, scores: Float[Array, " N"]) -> Bool[np.ndarray, "N 2"]:
        """Whether absent, and whether present, is in the set of each study.

        Raises:
            ValueError: scores are not finite.
        """
        values = checked_scores(scores)
        return np.stack([values <= self.absent_up_to, values >= self.present_from], axis=1)


@dataclass(frozen=True, kw_only=True)
class ConformalReport:
    """Prediction sets on a test split.

    Attributes:
        calibrated: the sets.
        limits: in words, for each class that is in every set because validation has too few studies of it.
        coverage_absent: share of the studies without the finding whose set has "absent"; at least ``1 - alpha`` in
            the mean over validation and test splits.
        coverage_present: the same of those with it.
        abstained: share of the studies whose label is known and whose set is not exactly one class.
        both: share of sets with both classes.
        neither: share of empty sets.
        accuracy: of the others, NaN where there are none.
        n: number of studies with a known label.
        answered: of these, studies whose set is one class.
    """

    calibrated: ConformalSets
    limits: tuple[str, ...]
    coverage_absent: Estimate
    coverage_present: Estimate
    abstained: Estimate
    both: Estimate
    neither: Estimate
    accuracy: Estimate
    n: int
    answered: int


def conformal_sets(scores: Float[Array, " M"], labels: Float[Array, " M"], alpha: float) -> ConformalSets:
    """Calibrate class-conditional sets (Mondrian; Vovk et al. 2005, section 4.5; Angelopoulos and Bates 2021).

    A class is in the set of a study that is not less typical of it than the k-th of its n validation studies, with
    ``k = ceil((n + 1)(1 - alpha))``; where k is more than n it is in every set. Within a class only the order of
    scores counts, so that log-odds give the sets of probabilities. The share that is covered holds for validation and
    test studies that could be exchanged: splits by patient of one hospital, one study each. Several studies per
    patient, or another hospital, void it.

    Args:
        scores: of a validation split, higher where the finding is more likely.
        labels: 0, 1, or NaN where unknown; studies with an unknown label are ignored.
        alpha: share of each class that may be missed.

    Raises:
        ValueError: ``alpha`` is not between 0 and 1, scores that are not finite, or labels other than 0, 1 and NaN.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"got alpha {alpha}, expected a share between 0 and 1; set `alpha`, such as 0.1")
    values, truth = checked_scores(scores), checked_labels(labels)
    negatives, positives = values[truth == 0], values[truth == 1]
    return ConformalSets(
        alpha=alpha,
        absent_up_to=_limit(negatives, alpha),
        present_from=-_limit(-positives, alpha),
        n_negative=len(negatives),
        n_positive=len(positives),
    )


def conformal_report(
    *,
    calibrated: ConformalSets,
    scores: Float[Array, " N"],
    labels: Float[Array, " N"],
    weights: Integer[np.ndarray, "R N"],
) -> ConformalReport:
    """Coverage, abstention and accuracy on a test split, with 95 % score intervals over patients.

    Args:
        calibrated: on another split.
        scores: on the same scale.
        labels: 0, 1, or NaN where unknown; studies with an unknown label are ignored.
        weights: resamples from ``patient_resamples``.

    Raises:
        ValueError: lengths differ, scores are not finite, or labels are other than 0, 1 and NaN.
    """
    check_lengths(weights, scores=scores, labels=labels)
    truth, patients = checked_labels(labels), patient_codes(weights)
    absent, present = calibrated.sets(scores).T
    known, single = ~np.isnan(truth), absent != present

    def share(hit: Bool[np.ndarray, " N"], among: Bool[np.ndarray, " N"]) -> Estimate:
        return estimate_share(hit, among, patients)

    return ConformalReport(
        calibrated=calibrated,
        limits=_limits(calibrated),
        coverage_absent=share(absent, truth == 0),
        coverage_present=share(present, truth == 1),
        abstained=share(~single, known),
        both=share(absent & present, known),
        neither=share(~absent & ~present, known),
        accuracy=share(present == (truth == 1), known & single),
        n=int(known.sum()),
        answered=int((known & single).sum()),
    )


def _limit(strangeness: Float[np.ndarray, " n"], alpha: float) -> float:
    # The fraction of the decimal that was written: in floats, 100 * (1 - 0.41) is more than 59.
    place = ceil((len(strangeness) + 1) * (1 - Fraction(str(alpha))))
    return float(np.sort(strangeness)[place - 1]) if place <= len(strangeness) else float("inf")


def _limits(calibrated: ConformalSets) -> tuple[str, ...]:
    classes = (
        ("absent", calibrated.absent_up_to, calibrated.n_negative),
        ("present", calibrated.present_from, calibrated.n_positive),
    )
    needed = ceil(1 / Fraction(str(calibrated.alpha))) - 1
    return tuple(
        f"{name!r} is in every set: alpha {calibrated.alpha:g} needs {needed} validation studies of that class, there "
        f"are {count}"
        for name, limit, count in classes
        if np.isinf(limit)
    )

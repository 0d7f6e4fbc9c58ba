"""Split conformal prediction sets of a finding, with abstention where a set does not decide."""

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
        absent_up_to: highest score whose set includes "absent"; infinite if there are too few negative validation
            studies to exclude it from any set.
        present_from: lowest score whose set includes "present"; minus infinity if there are too few positive ones.
        n_negative: number of validation studies without the finding.
        n_positive: number of validation studies with the finding.
    """

    alpha: float
    absent_up_to: float
    present_from: float
    n_negative: int
    n_positive: int

    def sets(self, scores: Float[Array, " N"]) -> Bool[np.ndarray, "N 2"]:
        """Return whether "absent" and whether "present" is in the set of each study.

        Raises:
            ValueError: scores are not finite.
        """
        values = checked_scores(scores)
        return np.stack([values <= self.absent_up_to, values >= self.present_from], axis=1)


@dataclass(frozen=True, kw_only=True)
class ConformalReport:
    """Prediction sets on a test split.

    Attributes:
        calibrated: limits that define the sets.
        limits: explanation for each class that is in every set because validation has too few studies of it.
        coverage_absent: share of the studies without the finding whose set includes "absent"; at least ``1 - alpha``
            on average over validation and test splits.
        coverage_present: share of the studies with the finding whose set includes "present".
        abstained: share of the studies with a known label whose set does not consist of exactly one class.
        both: share of these studies whose set includes both classes.
        neither: share of these studies whose set is empty.
        accuracy: accuracy of the sets of exactly one class; NaN if there are none.
        n: number of studies with a known label.
        answered: number of these studies whose set is exactly one class.
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

    The n validation studies of a class are sorted from most to least typical. The class is in the set of every study
    that is at least as typical as the k-th of them, with ``k = ceil((n + 1)(1 - alpha))``, and in every set if k is
    more than n. Only the order of the scores matters, so log-odds and probabilities give the same sets.

    The coverage is guaranteed only if validation and test studies are exchangeable: one study per patient, split by
    patient within one hospital. It is not guaranteed with several studies per patient or at another hospital.

    Args:
        scores: scores of a validation split, higher where the finding is more likely.
        labels: 0, 1, or NaN where unknown; studies with an unknown label are ignored.
        alpha: share of each class that may be missed.

    Raises:
        ValueError: ``alpha`` is not between 0 and 1, scores are not finite, or labels are other than 0, 1 and NaN.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"got alpha {alpha}, expected a share between 0 and 1; set `alpha`, such as 0.1")
    values, truth = checked_scores(scores), checked_labels(labels)
    negatives, positives = values[truth == 0], values[truth == 1]
    return ConformalSets(
        alpha=alpha,
        absent_up_to=conformal_limit(negatives, alpha),
        present_from=-conformal_limit(-positives, alpha),
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
    """Measure coverage, abstention and accuracy on a test split, with 95 % score intervals over patients.

    Args:
        calibrated: limits from another split.
        scores: scores of the test split, on the scale of the limits.
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


def conformal_limit(strangeness: Float[np.ndarray, " n"], alpha: float) -> float:
    """Return the ``ceil((n + 1)(1 - alpha))``-th smallest value; infinity if there are too few values."""
    # Exact for the decimal as written: in floating point, 100 * (1 - 0.41) is more than 59.
    rank = ceil((len(strangeness) + 1) * (1 - Fraction(str(alpha))))
    return float(np.sort(strangeness)[rank - 1]) if rank <= len(strangeness) else float("inf")


def _limits(calibrated: ConformalSets) -> tuple[str, ...]:
    classes = (
        ("absent", calibrated.absent_up_to, calibrated.n_negative),
        ("present", calibrated.present_from, calibrated.n_positive),
    )
    needed = ceil(1 / Fraction(str(calibrated.alpha))) - 1
    return tuple(
        f"{name!r} is in every set: alpha {calibrated.alpha:g} needs {needed} validation studies of that class, "
        f"and there are {count}"
        for name, limit, count in classes
        if np.isinf(limit)
    )

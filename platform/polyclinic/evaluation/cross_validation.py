"""AUROC over the folds of a cross-validation, with intervals over patients."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from polyclinic.evaluation.metrics.arrays import Array, checked_labels, checked_scores
from polyclinic.evaluation.metrics.auroc import auroc_per_column
from polyclinic.evaluation.metrics.intervals import (
    Estimate,
    Interval,
    patient_resamples,
    percentile_interval,
    weighted_auroc,
)
from polyclinic.evaluation.metrics.score_intervals import estimate_auroc, hull, mean_of_estimates, patient_codes


@dataclass(frozen=True, kw_only=True)
class FoldedFinding:
    """Cross-validated result of one finding.

    Attributes:
        auroc: mean of the AUROC over the folds with both classes, and its 95 % interval.
        by_fold: AUROC of each fold; NaN where a class is absent.
        n: number of studies with a known label.
        n_positive: number of these with the finding.
    """

    name: str
    auroc: Estimate
    by_fold: tuple[float, ...]
    n: int
    n_positive: int


@dataclass(frozen=True, kw_only=True)
class FoldedReport:
    """Cross-validated results by finding, and their mean over the findings that are defined in some fold."""

    findings: tuple[FoldedFinding, ...]
    macro: Estimate
    studies: int
    patients: int
    folds: int
    resamples: int
    seed: int


def folded_report(
    *,
    scores: Float[Array, "N F"],
    labels: Float[Array, "N F"],
    patient_ids: Sequence[str],
    folds: Sequence[int],
    findings: Sequence[str],
    resamples: int,
    seed: int,
) -> FoldedReport:
    """Measure out-of-fold scores: each study was scored by the model that did not train on its patient.

    Scores are compared within folds only, as the scores of two models are not on one scale (LeDell, Petersen and van
    der Laan 2015, section 3). The intervals combine those of the folds, whose patients differ, and therefore describe
    the models of these folds: they do not include how much a model depends on its training patients.

    Args:
        scores: out-of-fold scores, one column per finding.
        labels: 0, 1, or NaN where unknown.
        patient_ids: patient of each study; a patient is in one fold.
        folds: fold of each study.
        findings: names of the columns.
        resamples: number of resamples of patients, for the mean over findings.
        seed: seed of the resamples.

    Raises:
        ValueError: scores are not finite, or labels are other than 0, 1 and NaN.
    """
    values, truth, fold_of = checked_scores(scores), checked_labels(labels), np.asarray(folds)
    weights = patient_resamples(patient_ids, resamples, seed)
    patients = patient_codes(weights)
    parts = [fold_of == fold for fold in np.unique(fold_of)]
    results, draws = [], []
    for name, column, label in zip(findings, values.T, truth.T, strict=True):
        by_fold = tuple(float(auroc_per_column(column[rows, None], label[rows, None])[0]) for rows in parts)
        defined = [rows for rows, value in zip(parts, by_fold, strict=True) if value == value]
        mean = mean_of_estimates([estimate_auroc(column[rows], label[rows], patients[rows]) for rows in defined])
        known = ~np.isnan(label)
        results.append(
            FoldedFinding(
                name=name, auroc=mean, by_fold=by_fold, n=int(known.sum()), n_positive=int((label == 1).sum())
            )
        )
        if defined:
            resampled = [weighted_auroc(column[rows], label[rows], weights[:, rows]) for rows in defined]
            draws.append(np.mean(resampled, axis=0))
    return FoldedReport(
        findings=tuple(results),
        macro=_macro([result.auroc for result in results if result.auroc.value == result.auroc.value], draws),
        studies=len(values),
        patients=len(set(patient_ids)),
        folds=len(parts),
        resamples=resamples,
        seed=seed,
    )


def _macro(findings: Sequence[Estimate], draws: Sequence[Float[np.ndarray, " R"]]) -> Estimate:
    """Return the mean over findings, and the hull of its bootstrap interval and that of independent findings."""
    if not findings:
        return Estimate(float("nan"), Interval(float("nan"), float("nan"), 0))
    mean = mean_of_estimates(findings)
    return Estimate(mean.value, hull(percentile_interval(np.mean(draws, axis=0)), mean.ci95))

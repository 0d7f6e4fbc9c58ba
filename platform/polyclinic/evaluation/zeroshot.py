"""Zero-shot classification: each finding is scored with its own prompts (Tiu et al. 2022)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from polyclinic.evaluation.metrics.arrays import Array, checked_labels, checked_scores
from polyclinic.evaluation.metrics.auroc import auroc_per_column, macro_mean
from polyclinic.evaluation.metrics.intervals import (
    Estimate,
    Interval,
    patient_resamples,
    percentile_interval,
    weighted_auroc,
)
from polyclinic.evaluation.metrics.score_intervals import (
    estimate_auroc,
    estimate_share,
    hull,
    mean_of_estimates,
    patient_codes,
)
from polyclinic.prompts import finding_score


@dataclass(frozen=True, kw_only=True)
class FindingResult:
    """Zero-shot results of one finding.

    Attributes:
        auroc: area under the ROC curve; NaN if a class is absent.
        ci95: 95 % score interval over patients, which remains wide if few of them have the finding.
        accuracy: share of the studies with a known label that are classified correctly at the threshold 0, which
            depends on the prompts alone.
        accuracy_ci95: 95 % score interval over patients.
        n: number of studies with a known label.
        n_positive: number of these with the finding.
        undefined_resamples: number of resamples of a single class, left out of the interval of the mean.
        prompt_spread: result of ``prompt_spread``; None if it was not measured.
    """

    name: str
    auroc: float
    ci95: Interval
    accuracy: float
    accuracy_ci95: Interval
    n: int
    n_positive: int
    undefined_resamples: int
    prompt_spread: float | None


@dataclass(frozen=True, kw_only=True)
class ZeroShotReport:
    """Zero-shot results by finding, and their mean.

    Attributes:
        macro_auroc: mean over the findings whose AUROC is defined, NaN if none is.
        macro_ci95: hull of the bootstrap interval, over the resamples in which all these findings are defined, and of
            the interval derived from the intervals of the findings (MOVER).
        findings_used: number of findings in the mean.
        studies: number of all studies, with known labels or without.
    """

    findings: tuple[FindingResult, ...]
    macro_auroc: float
    macro_ci95: Interval
    findings_used: int
    studies: int
    patients: int
    resamples: int
    seed: int


def finding_scores(positive: Float[Array, "N P"], negative: Float[Array, "N Q"], rule: str) -> Float[np.ndarray, " N"]:
    """Compute ``finding_score`` in float64 from numpy arrays or tensors.

    Args:
        positive: scores against the P positive sentences: logits of an objective.
        negative: scores against the Q negative sentences.
        rule: one of ``SCORE_RULES``, from the prompt file.

    Raises:
        ValueError: the rule is unknown, or scores are not finite.
    """
    present, absent = (torch.from_numpy(checked_scores(scores)) for scores in (positive, negative))
    return finding_score(present, absent, rule).numpy()


def prompt_spread(positive: Float[Array, "N P"], negative: Float[Array, "N Q"], labels: Float[Array, " N"]) -> float:
    """Measure how much the AUROC depends on wording: its standard deviation over all positive-negative sentence pairs.

    A single pair gives the same score under every rule. The result is NaN if the AUROC is undefined, 0 for one pair.

    Raises:
        ValueError: scores are not finite, or labels are other than 0, 1 and NaN.
    """
    present, absent = checked_scores(positive), checked_scores(negative)
    truth = np.repeat(checked_labels(labels)[:, None], absent.shape[1], axis=1)
    return float(np.std([auroc_per_column(sentence[:, None] - absent, truth) for sentence in present.T]))


def zero_shot_report(
    *,
    scores: Float[Array, "N F"],
    labels: Float[Array, "N F"],
    patient_ids: Sequence[str],
    findings: Sequence[str],
    resamples: int,
    seed: int,
    spreads: Sequence[float] | None = None,
) -> ZeroShotReport:
    """Measure the AUROC of each finding and their mean, with 95 % intervals over patients.

    Findings are evaluated independently of each other.

    Args:
        scores: scores from ``finding_scores``, one column per finding.
        labels: 0, 1, or NaN where unknown.
        patient_ids: patient id of each study.
        findings: names of the score columns.
        resamples: number of resamples of patients; all findings share them.
        seed: seed of the resamples.
        spreads: ``prompt_spread`` of each finding.

    Raises:
        ValueError: lengths differ, scores are not finite, or labels are other than 0, 1 and NaN.
    """
    values, truth = checked_scores(scores), checked_labels(labels)
    _check_lengths(values, patient_ids, findings, spreads)
    weights = patient_resamples(patient_ids, resamples, seed)
    spread = [None] * len(findings) if spreads is None else list(spreads)
    patients, known = patient_codes(weights), ~np.isnan(truth)
    aurocs = [estimate_auroc(*pair, patients) for pair in zip(values.T, truth.T, strict=True)]
    hits = [estimate_share(*pair, patients) for pair in zip(((values > 0) == (truth == 1)).T, known.T, strict=True)]
    resampled = [weighted_auroc(column, label, weights) for column, label in zip(values.T, truth.T, strict=True)]
    results = tuple(
        FindingResult(
            name=name,
            auroc=auroc.value,
            ci95=auroc.ci95,
            accuracy=accuracy.value,
            accuracy_ci95=accuracy.ci95,
            n=int((~np.isnan(label)).sum()),
            n_positive=int((label == 1).sum()),
            undefined_resamples=int(np.isnan(draws).sum()),
            prompt_spread=width,
        )
        for name, auroc, draws, label, accuracy, width in zip(
            findings, aurocs, resampled, truth.T, hits, spread, strict=True
        )
    )
    macro = macro_mean(np.array([auroc.value for auroc in aurocs]))
    return ZeroShotReport(
        findings=results,
        macro_auroc=macro.mean,
        macro_ci95=_macro_interval(resampled, aurocs, resamples),
        findings_used=macro.used,
        studies=len(values),
        patients=len(set(patient_ids)),
        resamples=resamples,
        seed=seed,
    )


def _macro_interval(resampled: Sequence[np.ndarray], aurocs: Sequence[Estimate], resamples: int) -> Interval:
    """Return the interval of the mean, without resamples in which one of its findings is undefined."""
    used = [place for place, auroc in enumerate(aurocs) if not np.isnan(auroc.value)]
    draws = np.mean([resampled[place] for place in used], axis=0) if used else np.full(resamples, np.nan)
    return hull(percentile_interval(draws), mean_of_estimates([aurocs[place] for place in used]).ci95)


def _check_lengths(
    scores: np.ndarray, patient_ids: Sequence[str], findings: Sequence[str], spreads: Sequence[float] | None
) -> None:
    if len(patient_ids) != len(scores):
        raise ValueError(f"got {len(patient_ids)} patient ids for {len(scores)} studies; give `patient_ids` per study")
    if len(findings) != scores.shape[1] or len(set(findings)) != len(findings):
        raise ValueError(
            f"got findings {list(findings)} for {scores.shape[1]} score columns; give `findings` one unique name "
            "per column"
        )
    if spreads is not None and len(spreads) != len(findings):
        raise ValueError(f"got {len(spreads)} spreads for {len(findings)} findings; give `spreads` per finding")

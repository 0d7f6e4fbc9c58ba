"""Zero-shot classification of findings: each stands for itself, by its own prompts (Tiu et al. 2022)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from polyclinic.evaluation.metrics.arrays import Array, checked_labels, checked_scores
from polyclinic.evaluation.metrics.auroc import auroc_per_column, macro_mean
from polyclinic.evaluation.metrics.intervals import (
    Interval,
    mean_interval,
    patient_resamples,
    percentile_interval,
    weighted_auroc,
)
from polyclinic.prompts import finding_score


@dataclass(frozen=True, kw_only=True)
class FindingResult:
    """How well one finding was recognised.

    Attributes:
        auroc: NaN when one of the classes is absent.
        ci95: over resamples of patients.
        accuracy: share of the known studies whose score is above 0 where the finding is present, and only there; the
            prompts alone set that threshold.
        accuracy_ci95: over the same resamples.
        n: studies whose label is known.
        n_positive: of these, studies with the finding.
        undefined_resamples: resamples of a single class, left out of ``ci95``.
        prompt_spread: from ``prompt_spread``; None when it was not measured.
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
    """Results by finding, and their mean.

    Attributes:
        macro_auroc: mean over the findings whose AUROC is defined, NaN if none is.
        macro_ci95: over the resamples in which every one of these findings is defined.
        findings_used: how many findings the mean is over.
        studies: all of them, labels known or not.
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
    """``finding_score`` in float64, of arrays of any kind.

    Args:
        positive: scores against the P positive sentences, in logits as an objective gives them.
        negative: scores against the Q negative sentences.
        rule: one of ``SCORE_RULES``, from the prompt file.

    Raises:
        ValueError: an unknown rule, or scores that are not finite.
    """
    present, absent = (torch.from_numpy(checked_scores(one)) for one in (positive, negative))
    return finding_score(present, absent, rule).numpy()


def prompt_spread(positive: Float[Array, "N P"], negative: Float[Array, "N Q"], labels: Float[Array, " N"]) -> float:
    """How much the AUROC depends on wording: its standard deviation over all single positive-negative pairs.

    A single pair scores the same under every rule. NaN when the AUROC is undefined, 0 for one pair.

    Raises:
        ValueError: scores that are not finite, or labels other than 0, 1 and NaN.
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
    """AUROC of each finding and their mean, with 95 % intervals over patients; findings never compete.

    Args:
        scores: one column per finding, from ``finding_scores``.
        labels: 0, 1, or NaN where unknown.
        patient_ids: one per study.
        findings: names of the columns.
        resamples: of the patients; all findings share them.
        seed: of the resamples.
        spreads: one ``prompt_spread`` per finding.

    Raises:
        ValueError: lengths that differ, scores that are not finite, labels other than 0, 1 and NaN.
    """
    values, truth = checked_scores(scores), checked_labels(labels)
    _check_lengths(values, patient_ids, findings, spreads)
    weights = patient_resamples(patient_ids, resamples, seed)
    points = auroc_per_column(values, truth)
    spread = [None] * len(findings) if spreads is None else list(spreads)
    right = np.where(np.isnan(truth), np.nan, (values > 0) == (truth == 1))
    resampled = [weighted_auroc(column, label, weights) for column, label in zip(values.T, truth.T, strict=True)]
    results = tuple(
        _finding(name, point, draws, label, hits, mean_interval(hits, weights), width)
        for name, point, draws, label, hits, width in zip(
            findings, points, resampled, truth.T, right.T, spread, strict=True
        )
    )
    macro = macro_mean(points)
    return ZeroShotReport(
        findings=results,
        macro_auroc=macro.mean,
        macro_ci95=_macro_interval(resampled, points, resamples),
        findings_used=macro.used,
        studies=len(values),
        patients=len(set(patient_ids)),
        resamples=resamples,
        seed=seed,
    )


def _finding(
    name: str,
    point: float,
    draws: np.ndarray,
    labels: np.ndarray,
    right: np.ndarray,
    accuracy_interval: Interval,
    spread: float | None,
) -> FindingResult:
    interval, known = percentile_interval(draws), right[~np.isnan(right)]
    return FindingResult(
        name=name,
        auroc=float(point),
        ci95=interval,
        accuracy=float(known.mean()) if len(known) else float("nan"),
        accuracy_ci95=accuracy_interval,
        n=int((~np.isnan(labels)).sum()),
        n_positive=int((labels == 1).sum()),
        undefined_resamples=interval.undefined,
        prompt_spread=spread,
    )


def _macro_interval(resampled: Sequence[np.ndarray], points: np.ndarray, resamples: int) -> Interval:
    """A mean over fewer findings than the reported one would be another quantity: such resamples are left out."""
    used = [draws for draws, point in zip(resampled, points, strict=True) if not np.isnan(point)]
    return percentile_interval(np.mean(used, axis=0) if used else np.full(resamples, np.nan))


def _check_lengths(
    scores: np.ndarray, patient_ids: Sequence[str], findings: Sequence[str], spreads: Sequence[float] | None
) -> None:
    if len(patient_ids) != len(scores):
        raise ValueError(f"got {len(patient_ids)} patient ids for {len(scores)} studies; give `patient_ids` per study")
    if len(findings) != scores.shape[1] or len(set(findings)) != len(findings):
        raise ValueError(
            f"got findings {list(findings)} for {scores.shape[1]} score columns; give `findings` one name of its own "
            "per column"
        )
    if spreads is not None and len(spreads) != len(findings):
        raise ValueError(f"got {len(spreads)} spreads for {len(findings)} findings; give `spreads` per finding")

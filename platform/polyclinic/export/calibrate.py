"""Platt calibration, decision thresholds and conformal quantiles for a bundle."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Integer
from scipy.special import expit

from polyclinic.deploy.bundle import DecisionRule, subset_key
from polyclinic.evaluation.card.missing import every_subset
from polyclinic.evaluation.embedding import EmbeddedSplit
from polyclinic.evaluation.metrics.conformal import conformal_sets
from polyclinic.evaluation.metrics.intervals import patient_resamples
from polyclinic.evaluation.metrics.operating import operating_threshold
from polyclinic.evaluation.metrics.platt import smoothed_platt
from polyclinic.evaluation.metrics.recalibration import fit_platt
from polyclinic.evaluation.metrics.score_intervals import estimate_auroc, fewest_patients, patient_codes
from polyclinic.evaluation.scorers import Scorer

CHANCE = 0.5
FEWEST_PATIENTS = 3
"""Minimum number of validation patients per class for a decision on a finding."""


class Rules(NamedTuple):
    """Decision rules by subset and finding, and Platt's fits to resampled patients in the same order."""

    rules: dict[str, dict[str, DecisionRule]]
    draws: Float[np.ndarray, "S F R 2"]


def learn_rules(scorer: Scorer, validation: EmbeddedSplit, *, alpha: float, resamples: int, seed: int) -> Rules:
    """Calibrate every finding, and each class against the others, for every subset of the input modalities.

    Scores from two and from four modalities have different scales. Each subset is therefore calibrated separately, on
    the validation studies that have all of its modalities, with their other modalities hidden.

    Args:
        scorer: scorer of the findings.
        validation: split that was not used for training.
        alpha: share of each class that a prediction set may miss.
        resamples: number of resamples of patients.
        seed: seed of the resamples.
    """
    rules: dict[str, dict[str, DecisionRule]] = {}
    draws = []
    for names in every_subset(scorer.modalities):
        rows = torch.stack([validation.present[name] for name in names]).all(dim=0)
        studies = validation.select(rows)
        learned = _of_subset(scorer, studies, names, alpha=alpha, resamples=resamples, seed=seed)
        rules[subset_key(names, list(scorer.modalities))] = {name: rule for name, (rule, _) in learned.items()}
        draws.append([fits for _, fits in learned.values()])
    return Rules(rules, np.array(draws) if scorer.findings else np.zeros((len(rules), 0, 0, 2)))


def _of_subset(
    scorer: Scorer, studies: EmbeddedSplit, names: Sequence[str], *, alpha: float, resamples: int, seed: int
) -> dict[str, tuple[DecisionRule, Float[np.ndarray, "R 2"]]]:
    if not studies.study_ids:
        no_fits = np.full((resamples, 2), np.nan)
        return {
            finding: (_no_rule(f"no validation study has {' and '.join(names)}"), no_fits)
            for finding in scorer.findings
        }
    weights = patient_resamples(studies.patient_ids, resamples, seed)
    scores = scorer.scores(studies, names)
    return {
        finding: _of_finding(scores[:, place], studies.outcomes[:, place], weights, alpha)
        for place, finding in enumerate(scorer.findings)
    }


def _of_finding(
    scores: Float[np.ndarray, " N"], labels: Float[np.ndarray, " N"], weights: Integer[np.ndarray, "R N"], alpha: float
) -> tuple[DecisionRule, Float[np.ndarray, "R 2"]]:
    positives, negatives = int((labels == 1).sum()), int((labels == 0).sum())
    draws = smoothed_platt(scores, labels, weights)
    slope, intercept, _ = fit_platt(scores, labels)
    auroc = estimate_auroc(scores, labels, patient_codes(weights))
    auroc_with_ci = None if np.isnan(auroc.value) else (auroc.value, auroc.ci95.low, auroc.ci95.high)
    problem = _problem(fewest_patients(labels, weights), positives, negatives, slope, auroc_with_ci)
    if not slope > 0:
        slope = intercept = float("nan")
    threshold = operating_threshold(expit(slope * scores + intercept), labels, "youden") if slope > 0 else None
    sets = conformal_sets(scores, labels, alpha)
    rule = DecisionRule(
        positives=positives,
        negatives=negatives,
        auroc=auroc_with_ci,
        slope=_finite_or_none(slope),
        intercept=_finite_or_none(intercept),
        threshold=_finite_or_none(threshold.value) if threshold is not None else None,
        absent_up_to=_finite_or_none(sets.absent_up_to),
        present_from=_finite_or_none(sets.present_from),
        problem=problem,
    )
    return rule, draws


def _problem(
    fewest: int, positives: int, negatives: int, slope: float, auroc: tuple[float, float, float] | None
) -> str | None:
    if fewest < FEWEST_PATIENTS or auroc is None:
        return (
            f"validation has {positives} studies with the finding and {negatives} without it that have these "
            f"modalities; a decision needs {FEWEST_PATIENTS} patients of each"
        )
    if not auroc[1] > CHANCE:
        value, low, high = auroc
        return (
            "on validation the AUROC of these modalities is not significantly above chance "
            f"({value:.2f}, {low:.2f} to {high:.2f})"
        )
    if not slope > 0:
        return "on validation higher scores indicate absence of the finding"
    return None


def _no_rule(problem: str) -> DecisionRule:
    return DecisionRule(
        positives=0, negatives=0, auroc=None, slope=None, intercept=None, threshold=None, absent_up_to=None,
        present_from=None, problem=problem,
    )  # fmt: skip


def _finite_or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

"""Platt calibration, decision thresholds and conformal quantiles for a bundle."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Integer, Shaped
from scipy.special import expit

from polyclinic.deploy.bundle import DecisionRule, subset_key
from polyclinic.evaluation.card.missing import every_subset
from polyclinic.evaluation.metrics.conformal import conformal_sets
from polyclinic.evaluation.metrics.intervals import patient_resamples
from polyclinic.evaluation.metrics.operating import operating_threshold
from polyclinic.evaluation.metrics.score_intervals import estimate_auroc, fewest_patients, patient_codes
from polyclinic.evaluation.scorers import Scorable, Scorer

_STEPS, _CLOSE, _TOGETHER = 100, 1e-10, 64


def smoothed_platt(
    scores: Float[np.ndarray, " N"], labels: Float[np.ndarray, " N"], weights: Shaped[np.ndarray, "R N"]
) -> Float[np.ndarray, "R 2"]:
    """Slope and intercept of least log loss against smoothed labels (Platt 1999, section 2.2), by Newton's method.

    The smoothed label of a positive study is (P + 1) / (P + 2) and that of a negative one 1 / (Q + 2), where P and Q
    are their weights: a threshold that tells the classes apart then has a finite slope.

    Args:
        scores: of validation studies.
        labels: 0, 1, or NaN where unknown; unknown studies are left out.
        weights: how often each study counts in each of R resamples.

    Returns:
        NaN for a resample of a single class, or of a single score.
    """
    known = ~np.isnan(labels)
    values, truth, counts = scores[known].astype(np.float64), labels[known] == 1, weights[:, known].astype(np.float64)
    found = np.full((len(weights), 2), np.nan)
    if not len(values) or np.ptp(values) == 0:
        return found
    # In units of their own spread a first step of one is a sensible one.
    middle, unit = float(values.mean()), float(values.std())
    for start in range(0, len(weights), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        found[part] = _newton((values - middle) / unit, truth, counts[part])
    slope = found[:, 0] / unit
    return np.stack([slope, found[:, 1] - slope * middle], axis=1)


def _newton(
    x: Float[np.ndarray, " n"], truth: Shaped[np.ndarray, " n"], counts: Float[np.ndarray, "r n"]
) -> Float[np.ndarray, "r 2"]:
    positives, negatives = counts[:, truth].sum(axis=1), counts[:, ~truth].sum(axis=1)
    target = np.where(truth, ((positives + 1) / (positives + 2))[:, None], (1 / (negatives + 2))[:, None])
    prior = np.stack([np.zeros(len(counts)), np.log((positives + 1) / (negatives + 1))], axis=1)
    found, moving = prior, np.ones(len(counts), dtype=bool)
    for _ in range(_STEPS):
        share = expit(found[:, :1] * x + found[:, 1:])
        error, spread = counts * (share - target), counts * share * (1 - share)
        gradient = np.stack([error @ x, error.sum(axis=1)], axis=1)
        a, b, c = spread @ (x * x), spread @ x, spread.sum(axis=1)
        # Without curvature, where a resample holds one score, there is no minimum to go to.
        determinant = a * c - b * b
        safe = np.where(determinant > 0, determinant, np.nan)
        step = np.stack([c * gradient[:, 0] - b * gradient[:, 1], a * gradient[:, 1] - b * gradient[:, 0]], axis=1)
        # A full step far from the minimum may overshoot: none is longer than two.
        step = step / safe[:, None]
        length = np.abs(step).max(axis=1, keepdims=True)
        found = found - step * np.minimum(1.0, 2.0 / np.maximum(length, 1e-300))
        moving = ~(length[:, 0] < _CLOSE)
        if not moving[~np.isnan(length[:, 0])].any():
            break
    found[moving | (positives == 0) | (negatives == 0)] = np.nan
    return found


CHANCE = 0.5
FEWEST_PATIENTS = 3
"""Patients of either class that validation needs before a finding is decided at all."""


class Rules(NamedTuple):
    """Rules by set of modalities and finding, and the calibrations of resampled patients in the same order."""

    rules: dict[str, dict[str, DecisionRule]]
    draws: Float[np.ndarray, "S F R 2"]


def learn_rules(scorer: Scorer, validation: Scorable, *, alpha: float, resamples: int, seed: int) -> Rules:
    """Calibrate every finding for every set of the modalities that may speak.

    A score from two modalities is on another scale than one from four, so that each set has a calibration of its
    own, from the validation studies that have all of it, the rest of their modalities hidden.

    Args:
        scorer: of the findings.
        validation: a split that trained nothing.
        alpha: share of each class that a prediction set may miss.
        resamples: of patients.
        seed: of these.
    """
    rules: dict[str, dict[str, DecisionRule]] = {}
    draws = []
    for names in every_subset(scorer.modalities):
        rows = torch.stack([validation.present[name] for name in names]).all(dim=0)
        studies = validation.select(rows)
        learned = _of_subset(scorer, studies, names, alpha=alpha, resamples=resamples, seed=seed)
        rules[subset_key(names, list(scorer.modalities))] = {name: rule for name, (rule, _) in learned.items()}
        draws.append(np.stack([drawn for _, drawn in learned.values()]))
    return Rules(rules, np.stack(draws))


def _of_subset(
    scorer: Scorer, studies: Scorable, names: Sequence[str], *, alpha: float, resamples: int, seed: int
) -> dict[str, tuple[DecisionRule, Float[np.ndarray, "R 2"]]]:
    if not studies.study_ids:
        nothing = np.full((resamples, 2), np.nan)
        return {
            finding: (_none(f"no validation study has {' and '.join(names)}"), nothing) for finding in scorer.findings
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
    slope, intercept = smoothed_platt(scores, labels, np.ones((1, len(scores))))[0]
    auroc = estimate_auroc(scores, labels, patient_codes(weights))
    told = None if np.isnan(auroc.value) else (auroc.value, auroc.ci95.low, auroc.ci95.high)
    problem = _problem(fewest_patients(labels, weights), positives, negatives, slope, told)
    if not slope > 0:
        slope = intercept = float("nan")
    threshold = operating_threshold(expit(slope * scores + intercept), labels, "youden") if slope > 0 else None
    sets = conformal_sets(scores, labels, alpha)
    rule = DecisionRule(
        positives=positives,
        negatives=negatives,
        auroc=told,
        slope=_known(slope),
        intercept=_known(intercept),
        threshold=_known(threshold.value) if threshold is not None else None,
        absent_up_to=_known(sets.absent_up_to),
        present_from=_known(sets.present_from),
        problem=problem,
    )
    return rule, draws


def _problem(
    fewest: int, positives: int, negatives: int, slope: float, auroc: tuple[float, float, float] | None
) -> str | None:
    if fewest < FEWEST_PATIENTS or auroc is None:
        return (
            f"validation has {positives} studies with the finding and {negatives} without that have these modalities; "
            f"a decision needs {FEWEST_PATIENTS} patients of each"
        )
    if not auroc[1] > CHANCE:
        value, low, high = auroc
        return (
            "on validation these modalities do no better than chance can explain "
            f"(AUROC {value:.2f}, {low:.2f} to {high:.2f})"
        )
    if not slope > 0:
        return "on validation a higher score goes with the absence of the finding"
    return None


def _none(problem: str) -> DecisionRule:
    return DecisionRule(
        positives=0, negatives=0, auroc=None, slope=None, intercept=None, threshold=None, absent_up_to=None,
        present_from=None, problem=problem,
    )  # fmt: skip


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

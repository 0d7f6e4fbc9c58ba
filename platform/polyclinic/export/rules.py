"""How scores are read, learned on validation for every set of modalities by itself."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Integer
from scipy.special import expit

from polyclinic.deploy.bundle import Rule, spoken_key
from polyclinic.evaluation.card.missing import every_subset
from polyclinic.evaluation.metrics.conformal import conformal_sets
from polyclinic.evaluation.metrics.intervals import patient_resamples
from polyclinic.evaluation.metrics.operating import operating_threshold
from polyclinic.evaluation.metrics.score_intervals import estimate_auroc, fewest_patients, patient_codes
from polyclinic.evaluation.scorers import Scorable, Scorer
from polyclinic.export.platt import smoothed_platt

CHANCE = 0.5
FEWEST_PATIENTS = 3
"""Patients of either class that validation needs before a finding is decided at all."""


class Rules(NamedTuple):
    """Rules by set of modalities and finding, and the calibrations of resampled patients in the same order."""

    rules: dict[str, dict[str, Rule]]
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
    rules: dict[str, dict[str, Rule]] = {}
    draws = []
    for names in every_subset(scorer.modalities):
        rows = torch.stack([validation.present[name] for name in names]).all(dim=0)
        studies = validation.select(rows)
        learned = _of_subset(scorer, studies, names, alpha=alpha, resamples=resamples, seed=seed)
        rules[spoken_key(names, list(scorer.modalities))] = {name: rule for name, (rule, _) in learned.items()}
        draws.append(np.stack([drawn for _, drawn in learned.values()]))
    return Rules(rules, np.stack(draws))


def _of_subset(
    scorer: Scorer, studies: Scorable, names: Sequence[str], *, alpha: float, resamples: int, seed: int
) -> dict[str, tuple[Rule, Float[np.ndarray, "R 2"]]]:
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
) -> tuple[Rule, Float[np.ndarray, "R 2"]]:
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
    rule = Rule(
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


def _none(problem: str) -> Rule:
    return Rule(
        positives=0, negatives=0, auroc=None, slope=None, intercept=None, threshold=None, absent_up_to=None,
        present_from=None, problem=problem,
    )  # fmt: skip


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

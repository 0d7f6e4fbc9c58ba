"""Errors and conformal intervals of the levels and quantities of a trained head."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Integer

from polyclinic.deploy.bundle import EstimateRule, MeasuredError, subset_key
from polyclinic.evaluation.card.missing import every_subset
from polyclinic.evaluation.embedding import EmbeddedSplit
from polyclinic.evaluation.metrics.conformal import conformal_limit
from polyclinic.evaluation.metrics.intervals import mean_interval, patient_resamples
from polyclinic.evaluation.scorers import TrainedScorer
from polyclinic.export.calibrate import FEWEST_PATIENTS

Errors = tuple[tuple[float, float, float], float]
"""Mean absolute error with its 95 % interval over patients, and the mean absolute error of a constant guess."""


def training_medians(scorer: TrainedScorer) -> dict[str, float]:
    """Return the median of each level and quantity over the training studies: the best constant guess of its value.

    Raises:
        ValueError: a label is unknown in all training studies.
    """
    medians = {}
    for column, target in enumerate(scorer.targets):
        if target.kind not in ("level", "quantity"):
            continue
        values = np.array([study.labels[column] for study in scorer.restored.data.studies("train")])
        if np.isnan(values).all():
            raise ValueError(
                f"label {target.name!r} is unknown in all {len(values)} training studies of the cohort, expected the "
                "values that the head was trained on; set `--cohort` to a cohort with its training split"
            )
        medians[target.name] = float(np.nanmedian(values))
    return medians


def learn_estimate_rules(
    scorer: TrainedScorer,
    validation: EmbeddedSplit,
    medians: Mapping[str, float],
    *,
    alpha: float,
    resamples: int,
    seed: int,
) -> dict[str, dict[str, EstimateRule]]:
    """Learn error and interval of every level and quantity for every subset of the input modalities.

    The half-width of an interval is the ``ceil((n + 1)(1 - alpha))``-th smallest absolute error on the ``n`` validation
    studies that have all modalities of the subset, with their other modalities hidden (split conformal prediction:
    Vovk et al. 2005, section 4.1; Lei et al. 2018, algorithm 2). On average over validation and test studies it covers
    at least ``1 - alpha`` of the true values, if these studies are exchangeable; see ``conformal_sets``.

    Args:
        scorer: scorer of the head.
        validation: split that was not used for training.
        medians: median of each level and quantity over the training studies.
        alpha: share of the studies whose interval may miss the true value.
        resamples: number of resamples of patients.
        seed: seed of the resamples.
    """
    rules = {}
    for names in every_subset(scorer.modalities):
        rows = torch.stack([validation.present[name] for name in names]).all(dim=0)
        studies = validation.select(rows)
        key = subset_key(names, list(scorer.modalities))
        if not studies.study_ids:
            rules[key] = dict.fromkeys(medians, _unknown(names))
            continue
        weights = patient_resamples(studies.patient_ids, resamples, seed)
        values, labels, targets = scorer.estimates(studies, names)
        rules[key] = {
            target.name: _rule(values[:, at], labels[:, at], medians[target.name], studies.patient_ids, weights, alpha)
            for at, target in enumerate(targets)
        }
    return rules


def measure_errors(
    scorer: TrainedScorer, test: EmbeddedSplit, medians: Mapping[str, float], *, resamples: int, seed: int
) -> dict[str, MeasuredError]:
    """Measure every level and quantity on a split that was not used for training or calibration.

    Args:
        scorer: scorer of the head.
        test: reported split.
        medians: median of each level and quantity over the training studies.
        resamples: number of resamples of patients.
        seed: seed of the resamples.
    """
    weights = patient_resamples(test.patient_ids, resamples, seed)
    values, labels, targets = scorer.estimates(test, scorer.modalities)
    measured = {}
    for at, target in enumerate(targets):
        patients = _patients(labels[:, at], test.patient_ids)
        found = _errors(values[:, at], labels[:, at], medians[target.name], patients, weights)
        known = int((~np.isnan(labels[:, at])).sum())
        error, guess = (None, None) if found is None else found
        measured[target.name] = MeasuredError(n=known, error=error, guess=guess)
    return measured


def _unknown(names: Sequence[str]) -> EstimateRule:
    problem = f"no validation study has {' and '.join(names)}"
    return EstimateRule(studies=0, patients=0, error=None, guess=None, half_width=None, problem=problem)


def _rule(
    values: Float[np.ndarray, " N"],
    labels: Float[np.ndarray, " N"],
    median: float,
    patient_ids: Sequence[str],
    weights: Integer[np.ndarray, "R N"],
    alpha: float,
) -> EstimateRule:
    known = ~np.isnan(labels)
    patients = _patients(labels, patient_ids)
    found = _errors(values, labels, median, patients, weights)
    limit = conformal_limit(np.abs(values - labels)[known], alpha)
    return EstimateRule(
        studies=int(known.sum()),
        patients=patients,
        error=None if found is None else found[0],
        guess=None if found is None else found[1],
        half_width=float(limit) if np.isfinite(limit) else None,
        problem=_problem(labels[known], patients, found),
    )


def _errors(
    values: Float[np.ndarray, " N"],
    labels: Float[np.ndarray, " N"],
    median: float,
    patients: int,
    weights: Integer[np.ndarray, "R N"],
) -> Errors | None:
    if np.isnan(labels).all():
        return None
    errors, guesses = np.abs(values - labels), np.abs(median - labels)
    value, interval = float(np.nanmean(errors)), mean_interval(errors, weights)
    # Resamples of one or two patients hardly differ, which would close the interval around the value.
    low, high = (interval.low, interval.high) if patients >= FEWEST_PATIENTS else (0.0, float(np.nanmax(errors)))
    return (value, low, high), float(np.nanmean(guesses))


def _patients(labels: Float[np.ndarray, " N"], patient_ids: Sequence[str]) -> int:
    return len({patient for patient, label in zip(patient_ids, labels, strict=True) if not np.isnan(label)})


def _problem(labels: Float[np.ndarray, " n"], patients: int, found: Errors | None) -> str | None:
    if found is None or patients < FEWEST_PATIENTS:
        return (
            f"validation has {patients} patients with these modalities and a known value; an estimate needs "
            f"{FEWEST_PATIENTS}"
        )
    if len(np.unique(labels)) < 2:
        return "the true value is the same in all validation studies with these modalities"
    (error, _, _), guess = found
    if not error < guess:
        return (
            f"on validation the mean absolute error of these modalities is {error:.3g}, not below the {guess:.3g} of "
            "always guessing the median of the training studies"
        )
    return None

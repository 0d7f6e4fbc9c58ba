"""Linear probes of a frozen encoder, compared with the same probes of an encoder with random weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from polyclinic.cohort import Study
from polyclinic.data import Batch
from polyclinic.evaluation.metrics.auroc import auroc_per_column, macro_mean
from polyclinic.evaluation.metrics.intervals import Interval, patient_resamples, percentile_interval, weighted_auroc
from polyclinic.evaluation.zeroshot import ZeroShotReport, zero_shot_report
from polyclinic.nn import Encoder, token_statistics

STRENGTHS = (0.001, 0.01, 0.1, 1.0)
"""Inverse strengths of the penalty among which the validation split chooses."""


class Features(NamedTuple):
    """Input of a probe for N studies with the modality: vectors, labels (NaN where unknown) and patient ids."""

    values: Float[np.ndarray, "N F"]
    labels: Float[np.ndarray, "N C"]
    patients: list[str]

    def select(self, rows: Bool[np.ndarray, " N"]) -> "Features":
        """Return the studies where ``rows`` is True."""
        patients = [patient for patient, selected in zip(self.patients, rows, strict=True) if selected]
        return Features(self.values[rows], self.labels[rows], patients)


class FrozenEmbeddings(NamedTuple):
    """Embeddings of N studies with the modality, in the precision of the frozen encoder."""

    values: Float[np.ndarray, "N F"]
    study_ids: list[str]

    def labelled(self, studies: Sequence[Study], columns: Sequence[int]) -> Features:
        """Return the embeddings as features, with labels and patients from the cohort.

        Args:
            studies: studies of the split, with the labels in use.
            columns: columns of the labels, in the required order.
        """
        by_id = {study.study_id: study for study in studies}
        chosen = [by_id[study_id] for study_id in self.study_ids]
        labels = np.array([study.labels for study in chosen], dtype=np.float64)
        patients = [study.patient_id for study in chosen]
        return Features(self.values.astype(np.float64), labels[:, list(columns)], patients)


@torch.inference_mode()
def frozen_embeddings(encoder: Encoder, name: str, batches: Sequence[Batch], *, deviation: bool) -> FrozenEmbeddings:
    """Embed every study that has the modality.

    Args:
        encoder: encoder in evaluation mode.
        name: name of its modality.
        batches: batches of the studies.
        deviation: whether to pool tokens by their mean and standard deviation instead of the encoder's pooling.

    Raises:
        ValueError: no study has the modality.
    """
    values, study_ids = [], []
    for batch in batches:
        if name in batch.inputs:
            encoded = encoder(batch.inputs[name])
            rows = batch.present[name].tolist()
            pooled = token_statistics(encoded.tokens, encoded.padding) if deviation else encoded.pooled
            values.append(pooled.numpy())
            study_ids += [study_id for study_id, present in zip(batch.study_ids, rows, strict=True) if present]
    if not values:
        raise ValueError(f"no study of the split has modality {name!r}; set `--cohort` or the modality")
    return FrozenEmbeddings(np.concatenate(values), study_ids)


def probe_scores(train: Features, val: Features, test: Features) -> Float[np.ndarray, "N C"]:
    """Return log-odds of a logistic regression of each finding, fitted on train, with its penalty chosen on val.

    A finding whose training labels have a single class gets uninformative zeros.
    """
    scaler = StandardScaler().fit(train.values)
    scored = {strength: _scores(scaler, train, (val, test), strength) for strength in STRENGTHS}
    best = max(STRENGTHS, key=lambda strength: validation_macro(scored[strength][0], val.labels))
    return scored[best][1]


def validation_macro(scores: Float[np.ndarray, "N C"], labels: Float[np.ndarray, "N C"]) -> float:
    """Return the macro AUROC by which a setting is chosen; minus infinity if no finding has both classes."""
    mean = macro_mean(auroc_per_column(scores, labels)).mean
    return mean if mean == mean else -np.inf


@dataclass(frozen=True, kw_only=True)
class ProbeReport:
    """Results of the same probe on trained and on random weights.

    Attributes:
        modality: modality of the encoder.
        method: ``linear`` or ``neighbours``.
        trained: results with the encoder of the checkpoint.
        random: results with the same architecture and random weights.
        gain: macro AUROC with trained weights minus that with random weights.
        gain_ci95: 95 % interval of the gain over the same resamples of patients.
    """

    modality: str
    method: str
    trained: ZeroShotReport
    random: ZeroShotReport
    gain: float
    gain_ci95: Interval


def probe_report(
    modality: str,
    scores: Sequence[Float[np.ndarray, "N C"]],
    test: Features,
    findings: Sequence[str],
    *,
    resamples: int,
    seed: int,
    method: str = "linear",
) -> ProbeReport:
    """Measure the AUROC of each finding with trained and with random weights, and the gain.

    Args:
        modality: modality of the probed encoder.
        scores: scores with trained weights, then with random weights.
        test: labels and patients of the scored studies.
        findings: names of the score columns.
        resamples: number of resamples of patients.
        seed: seed of the resamples.
        method: method of the scores, ``linear`` or ``neighbours``.
    """
    trained, random = (
        zero_shot_report(
            scores=values,
            labels=test.labels,
            patient_ids=test.patients,
            findings=findings,
            resamples=resamples,
            seed=seed,
        )
        for values in scores
    )
    weights = patient_resamples(test.patients, resamples, seed)
    macro = [_resampled_macro(values, test.labels, weights) for values in scores]
    return ProbeReport(
        modality=modality,
        method=method,
        trained=trained,
        random=random,
        gain=trained.macro_auroc - random.macro_auroc,
        gain_ci95=percentile_interval(macro[0] - macro[1]),
    )


def _resampled_macro(
    scores: Float[np.ndarray, "N C"], labels: Float[np.ndarray, "N C"], weights: Integer[np.ndarray, "R N"]
) -> Float[np.ndarray, " R"]:
    """Average over the findings that are defined on the complete split; NaN where one is undefined in a resample."""
    columns = zip(scores.T, labels.T, auroc_per_column(scores, labels), strict=True)
    return np.mean([weighted_auroc(score, label, weights) for score, label, point in columns if point == point], axis=0)


def _scores(
    scaler: StandardScaler, train: Features, others: Sequence[Features], strength: float
) -> list[Float[np.ndarray, "_ _"]]:
    fitted, scored = scaler.transform(train.values), [scaler.transform(features.values) for features in others]
    columns: list[list[np.ndarray]] = [[] for _ in others]
    for labels in train.labels.T:
        known = ~np.isnan(labels)
        if len(np.unique(labels[known])) < 2:
            scores = [np.zeros(len(values)) for values in scored]
        else:
            model = LogisticRegression(C=strength, max_iter=2000).fit(fitted[known], labels[known])
            scores = [model.decision_function(values) for values in scored]
        for column, values in zip(columns, scores, strict=True):
            column.append(values)
    return [np.stack(column, axis=1) for column in columns]

"""Linear probes of a frozen encoder, compared with the same probes of random weights."""

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
    """Input of a probe for N studies with the modality: vectors, labels with NaN, patients."""

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
        """The same with what the cohort says of these studies.

        Args:
            studies: of the split, with the labels in use.
            columns: of the labels, in the order wanted.
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
        encoder: in evaluation mode.
        name: of its modality.
        batches: of the studies.
        deviation: take the mean and deviation of its tokens, in place of its own pooling.

    Raises:
        ValueError: no study has it.
    """
    values, study_ids = [], []
    for batch in batches:
        if name in batch.inputs:
            encoded = encoder(batch.inputs[name])
            rows = batch.present[name].tolist()
            pooled = token_statistics(encoded.tokens, encoded.padding) if deviation else encoded.pooled
            values.append(pooled.numpy())
            study_ids += [study_id for study_id, there in zip(batch.study_ids, rows, strict=True) if there]
    if not values:
        raise ValueError(f"no study of the split has modality {name!r}; set `--cohort` or the modality")
    return FrozenEmbeddings(np.concatenate(values), study_ids)


def probe_scores(train: Features, val: Features, test: Features) -> Float[np.ndarray, "N C"]:
    """Log-odds of a logistic regression for each finding, fitted on train, its penalty chosen on val.

    A finding with training labels of one class gets uninformative zeros.
    """
    scaler = StandardScaler().fit(train.values)
    scored = {strength: _scores(scaler, train, (val, test), strength) for strength in STRENGTHS}
    best = max(STRENGTHS, key=lambda strength: validation_macro(scored[strength][0], val.labels))
    return scored[best][1]


def validation_macro(scores: Float[np.ndarray, "N C"], labels: Float[np.ndarray, "N C"]) -> float:
    """Macro AUROC by which a setting is chosen; lower than any other where no finding has both classes."""
    mean = macro_mean(auroc_per_column(scores, labels)).mean
    return mean if mean == mean else -np.inf


@dataclass(frozen=True, kw_only=True)
class ProbeReport:
    """The same probe on trained and on random weights.

    Attributes:
        modality: whose encoder it is.
        method: ``linear`` or ``neighbours``.
        trained: of the checkpoint's encoder.
        random: of the same architecture as it was before training.
        gain: macro AUROC of the one minus that of the other.
        gain_ci95: over the same resamples of patients.
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
    """AUROC of each finding from trained and from random weights, and the gain.

    Args:
        modality: whose encoder was probed.
        scores: of the trained weights, then of the random ones.
        test: labels and patients of the studies scored.
        findings: names of the score columns.
        resamples: number of resamples of patients.
        seed: seed of the resamples.
        method: that gave the scores.
    """
    trained, random = (
        zero_shot_report(
            scores=one,
            labels=test.labels,
            patient_ids=test.patients,
            findings=findings,
            resamples=resamples,
            seed=seed,
        )
        for one in scores
    )
    weights = patient_resamples(test.patients, resamples, seed)
    macro = [_resampled_macro(one, test.labels, weights) for one in scores]
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
    seen, shown = scaler.transform(train.values), [scaler.transform(one.values) for one in others]
    columns: list[list[np.ndarray]] = [[] for _ in others]
    for labels in train.labels.T:
        known = ~np.isnan(labels)
        if len(np.unique(labels[known])) < 2:
            scores = [np.zeros(len(one)) for one in shown]
        else:
            model = LogisticRegression(C=strength, max_iter=2000).fit(seen[known], labels[known])
            scores = [model.decision_function(one) for one in shown]
        for column, values in zip(columns, scores, strict=True):
            column.append(values)
    return [np.stack(column, axis=1) for column in columns]

"""Robustness of retrieval: spread of ranks over random variations of a modality, drawn as in training."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polyclinic.cohort import Study
from polyclinic.evaluation.metrics.arrays import Array
from polyclinic.evaluation.metrics.intervals import Interval, mean_interval, patient_resamples
from polyclinic.evaluation.retrieval.retrieval import ScoreRows, place_among_all
from polyclinic.system.progress import track
from polyclinic.tasks import ContrastivePretraining
from polyclinic.training.restore import Restored

_STUDIES_PER_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class RankSpread:
    """Spread of the target's rank among all studies when the query is varied.

    Attributes:
        modality: varied modality.
        texts: number of variations per study.
        studies: number of studies that have the modality, over which the means are taken.
        rank: mean over studies of the standard deviation of the rank.
        rank_ci95: 95 % interval of this mean over patients.
        normalised: mean over studies of the standard deviation of the normalised rank, which is from 0 to 1.
        normalised_ci95: 95 % interval of this mean over the same resamples.
    """

    modality: str
    texts: int
    studies: int
    rank: float
    rank_ci95: Interval
    normalised: float
    normalised_ci95: Interval


@torch.inference_mode()
def embed_variations(
    restored: Restored, modality: str, studies: Sequence[Study], *, texts: int, seed: int
) -> Float[Tensor, "V N d"]:
    """Embed V random variations of each study's prepared item, drawn by the plugin's ``augment``.

    The variations depend on the seed, the study id and the number of the variation, not on the other studies.

    Args:
        restored: restored checkpoint of a contrastive run.
        modality: modality to vary.
        studies: studies that have a readable source of the modality.
        texts: number of variations per study, V.
        seed: seed of the variations.
    """
    task, plugin = restored.task_of(ContrastivePretraining), restored.data.modalities[modality]
    embedded = []
    starts = range(0, len(studies), _STUDIES_PER_BATCH)
    for start in track(starts, description=f"varying {modality}"):
        part = studies[start : start + _STUDIES_PER_BATCH]
        prepared = [plugin.prepare(plugin.read(study.sources[modality])) for study in part]
        items = [
            plugin.augment(item, np.random.default_rng([seed, number, *study.study_id.encode()]))
            for number in range(texts)
            for study, item in zip(part, prepared, strict=True)
        ]
        rows = task.heads[modality](task.encoders[modality](plugin.collate(items)).pooled)
        embedded.append(rows.unflatten(0, (texts, len(part))))
    return torch.cat(embedded, dim=1)


def rank_spread(
    modality: str,
    scores: Iterable[Float[Array, "N N"] | ScoreRows],
    patient_ids: Sequence[str],
    varied: Bool[Array, " N"],
    *,
    resamples: int,
    seed: int,
) -> RankSpread:
    """Average over studies the standard deviation of the target's rank over the variations of its query.

    The variance has the denominator V - 1, so that its expectation does not depend on the number of variations V.

    Args:
        modality: varied modality.
        scores: scores of each variation, in the form that ``retrieval_report`` takes.
        patient_ids: patient id of each study.
        varied: mask of the studies that have the modality; all others are only candidates.
        resamples: number of resamples of patients.
        seed: seed of the resamples.

    Raises:
        ValueError: there are fewer than two variations; see also ``place_among_all``.
    """
    placements = [place_among_all(matrix, patient_ids) for matrix in scores]
    if len(placements) < 2:
        raise ValueError(f"got {len(placements)} variations of a query, expected at least 2; set `texts`")
    rows = torch.as_tensor(varied).cpu().numpy()
    ranks, normalised = (
        np.where(rows, np.std(values, axis=0, ddof=1), np.nan)
        for values in (
            [placement.ranks() for placement in placements],
            [placement.normalised_ranks() for placement in placements],
        )
    )
    weights = patient_resamples(patient_ids, resamples, seed)
    return RankSpread(
        modality=modality,
        texts=len(placements),
        studies=int(rows.sum()),
        rank=_known_mean(ranks),
        rank_ci95=mean_interval(ranks, weights),
        normalised=_known_mean(normalised),
        normalised_ci95=mean_interval(normalised, weights),
    )


def _known_mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")

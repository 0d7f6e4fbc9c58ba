"""Random variations of what a study's modality says, as training draws them, and how far they move its rank."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from rich.progress import track
from torch import Tensor

from polyclinic.cohort import Study
from polyclinic.evaluation.metrics.arrays import Array
from polyclinic.evaluation.metrics.intervals import Interval, mean_interval, patient_resamples
from polyclinic.evaluation.retrieval.retrieval import ScoreRows, place_among_all
from polyclinic.tasks import ContrastivePretraining
from polyclinic.training.restore import Restored

_AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class RankSpread:
    """How far the rank of a study's target among all moves when the query is varied.

    Attributes:
        modality: that was varied.
        texts: variations per study.
        studies: that have it, and that the means are over.
        rank: mean over studies of the standard deviation of the rank.
        rank_ci95: over patients.
        normalised: the same of the rank divided by the number of distractors, from 0 to 1.
        normalised_ci95: over the same resamples.
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

    What is drawn depends on the seed, the study's id and the number of the variation, not on the other studies.

    Args:
        restored: a contrastive task.
        modality: that is varied.
        studies: which have it, and whose source can be read.
        texts: V.
        seed: of the variations.
    """
    task, plugin = restored.task_of(ContrastivePretraining), restored.data.modalities[modality]
    embedded = []
    starts = range(0, len(studies), _AT_ONCE)
    for start in track(starts, description=f"varying {modality}", transient=True):
        some = studies[start : start + _AT_ONCE]
        prepared = [plugin.prepare(plugin.read(study.sources[modality])) for study in some]
        items = [
            plugin.augment(item, np.random.default_rng([seed, number, *study.study_id.encode()]))
            for number in range(texts)
            for study, item in zip(some, prepared, strict=True)
        ]
        rows = task.heads[modality](task.encoders[modality](plugin.collate(items)).pooled)
        embedded.append(rows.unflatten(0, (texts, len(some))))
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
    """Standard deviation of each target's rank among all over the variations of its query, averaged over studies.

    The deviation divides by one less than the number of variations, so that its square does not depend on it.

    Args:
        modality: that was varied.
        scores: of each variation, as ``retrieval_report`` takes them.
        patient_ids: patient id of each study.
        varied: which studies have the modality; the others are candidates only.
        resamples: number of resamples of patients.
        seed: seed of the resamples.

    Raises:
        ValueError: fewer than two variations, or what ``place_among_all`` refuses.
    """
    placements = [place_among_all(one, patient_ids) for one in scores]
    if len(placements) < 2:
        raise ValueError(f"got {len(placements)} variations of a query, expected at least 2; set `texts`")
    rows = torch.as_tensor(varied).cpu().numpy()
    ranks, normalised = (
        np.where(rows, np.std(values, axis=0, ddof=1), np.nan)
        for values in ([one.ranks() for one in placements], [one.normalised_ranks() for one in placements])
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

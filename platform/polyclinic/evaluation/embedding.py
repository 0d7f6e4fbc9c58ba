"""Embeddings of the studies of a split, computed once by a restored checkpoint."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from polyclinic.data import Batch
from polyclinic.system.names import refuse_unknown
from polyclinic.system.progress import track
from polyclinic.tasks import ContrastivePretraining
from polyclinic.training.restore import Restored


@dataclass(frozen=True, kw_only=True)
class EmbeddedSplit:
    """Embeddings, labels and identifiers of ``N`` studies of a split.

    Attributes:
        split: name of the split.
        embeddings: unnormalised embeddings per modality; arbitrary values where a study lacks it.
        present: mask per modality of the studies that have it.
        labels: labels of the cohort, one column per target; NaN where unknown.
        outcomes: 1, 0 or NaN (unknown) per finding of a scorer; no columns without a scorer.
        study_ids: identifiers of the studies.
        patient_ids: identifiers of their patients.
        groups: value of each study per group column.
        batches: encoded batches of the complete split; empty without ``keep_batches``.
        folds: number of the fold whose model encoded each study; None where one model encoded all.
    """

    split: str
    embeddings: Mapping[str, Float[Tensor, "N _"]]
    present: Mapping[str, Bool[Tensor, " N"]]
    labels: Float[Tensor, "N C"]
    outcomes: Float[np.ndarray, "N F"]
    study_ids: Sequence[str]
    patient_ids: Sequence[str]
    groups: Mapping[str, Sequence[str]]
    batches: Sequence[Batch]
    folds: Int[Tensor, " N"] | None = None

    def select(self, rows: Bool[Tensor, " N"]) -> "EmbeddedSplit":
        """Return the studies where ``rows`` is True."""
        chosen = rows.nonzero()[:, 0].tolist()
        return replace(
            self,
            embeddings={name: value[rows] for name, value in self.embeddings.items()},
            present={name: value[rows] for name, value in self.present.items()},
            labels=self.labels[rows],
            outcomes=self.outcomes[rows.numpy()],
            study_ids=[self.study_ids[row] for row in chosen],
            patient_ids=[self.patient_ids[row] for row in chosen],
            groups={column: [values[row] for row in chosen] for column, values in self.groups.items()},
            folds=None if self.folds is None else self.folds[rows],
        )


def embed_split(
    restored: Restored,
    split: str,
    encode: Callable[[Batch], Mapping[str, Tensor]] | None = None,
    *,
    keep_batches: bool = False,
) -> EmbeddedSplit:
    """Embed every study of a split once, in order.

    Args:
        restored: restored checkpoint.
        split: name of the split.
        encode: function from a batch to embeddings per modality; the contrastive task by default.
        keep_batches: whether to keep the encoded batches in memory.

    Raises:
        ValueError: the checkpoint is not contrastive and ``encode`` is not given, the split is empty, or too many
            sources are broken.
    """
    encode = restored.task_of(ContrastivePretraining) if encode is None else encode
    batches = split_batches(restored, split)
    with torch.inference_mode():
        embeddings = _concatenate([encode(batch) for batch in batches])
    study_ids = [study_id for batch in batches for study_id in batch.study_ids]
    groups = {study.study_id: study.groups for study in restored.data.cohort.split(split)}
    return EmbeddedSplit(
        split=split,
        embeddings=embeddings,
        present=_concatenate([batch.present for batch in batches]),
        labels=torch.cat([batch.labels for batch in batches]),
        outcomes=np.empty((len(study_ids), 0)),
        study_ids=study_ids,
        patient_ids=[patient_id for batch in batches for patient_id in batch.patient_ids],
        groups={column: [groups[study_id][column] for study_id in study_ids] for column in next(iter(groups.values()))},
        batches=batches if keep_batches else (),
    )


@torch.inference_mode()
def embed_texts(restored: Restored, modality: str, texts: Sequence[str]) -> Float[Tensor, "C d"]:
    """Embed sentences, each as a complete source of a modality.

    Raises:
        ValueError: the checkpoint does not have the modality.
    """
    task = restored.task_of(ContrastivePretraining)
    refuse_unknown("prompts for modality", [modality], restored.data.modalities, "set `modality` in the prompt file")
    plugin = restored.data.modalities[modality]
    inputs = plugin.collate([plugin.prepare(plugin.read(text)) for text in texts])
    embedded: Tensor = task.heads[modality](task.encoders[modality](inputs).pooled)
    return embedded


def split_batches(restored: Restored, split: str) -> list[Batch]:
    """Return all studies of a split in order, as batches.

    Raises:
        ValueError: the split is empty, or too many sources are broken.
    """
    restored.data.setup("predict")
    loader = restored.data.loader(split)
    if not len(loader):
        raise ValueError(f"the cohort has no study in split {split!r}; set `--split`")
    # Lightning calls this hook only in its own loops; it counts the broken sources.
    batches = [restored.data.on_before_batch_transfer(batch, 0) for batch in track(loader, "reading")]
    restored.data.quarantine.refuse_too_many()
    return batches


def _concatenate(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

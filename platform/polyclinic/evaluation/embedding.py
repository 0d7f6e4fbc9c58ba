"""Embeddings of the studies of a split, and of prompts, from a restored contrastive task."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from rich.progress import track
from torch import Tensor

from polyclinic.data import Batch
from polyclinic.tasks import ContrastivePretraining
from polyclinic.training.restore import Restored


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """``N`` studies of a split.

    Attributes:
        embeddings: per modality, unnormalised; zeros where a study lacks it.
        present: per modality, which studies have it.
        labels: NaN where unknown.
    """

    embeddings: dict[str, Float[Tensor, "N d"]]
    present: dict[str, Bool[Tensor, " N"]]
    labels: Float[Tensor, "N C"]
    study_ids: list[str]
    patient_ids: list[str]

    def select(self, rows: Bool[Tensor, " N"]) -> "Embedded":
        """The studies where ``rows`` is True."""
        chosen = rows.nonzero()[:, 0].tolist()
        return Embedded(
            embeddings={name: value[rows] for name, value in self.embeddings.items()},
            present={name: value[rows] for name, value in self.present.items()},
            labels=self.labels[rows],
            study_ids=[self.study_ids[index] for index in chosen],
            patient_ids=[self.patient_ids[index] for index in chosen],
        )


@torch.inference_mode()
def embed_split(restored: Restored, split: str) -> Embedded:
    """Embed every study of a split once, in order.

    Raises:
        ValueError: the checkpoint is of another task, or the split is empty.
    """
    task = restored.task_of(ContrastivePretraining)
    batches, embedded = [], []
    for batch in split_batches(restored, split):
        batches.append(batch)
        embedded.append(task(batch))
    return Embedded(
        embeddings={name: torch.cat([one[name] for one in embedded]) for name in embedded[0]},
        present={name: torch.cat([batch.present[name] for batch in batches]) for name in batches[0].present},
        labels=torch.cat([batch.labels for batch in batches]),
        study_ids=[study for batch in batches for study in batch.study_ids],
        patient_ids=[patient for batch in batches for patient in batch.patient_ids],
    )


@torch.inference_mode()
def embed_texts(restored: Restored, modality: str, texts: Sequence[str]) -> Float[Tensor, "C d"]:
    """Embed sentences as if each were the whole source of a modality.

    Raises:
        ValueError: the model has no such modality.
    """
    task = restored.task_of(ContrastivePretraining)
    if modality not in restored.data.modalities:
        raise ValueError(
            f"prompts are written for modality {modality!r}, the checkpoint has {list(restored.data.modalities)}; "
            "set `modality` in the prompt file"
        )
    plugin = restored.data.modalities[modality]
    inputs = plugin.collate([plugin.prepare(plugin.read(text)) for text in texts])
    embedded: Tensor = task.heads[modality](task.encoders[modality](inputs).pooled)
    return embedded


def split_batches(restored: Restored, split: str) -> list[Batch]:
    """All studies of a split, in order.

    Raises:
        ValueError: there are none, or too many sources are broken.
    """
    restored.data.setup("predict")
    loader = restored.data.loader(split)
    if not len(loader):
        raise ValueError(f"the cohort has no study in split {split!r}; set `--split`")
    batches = [restored.data.on_before_batch_transfer(batch, 0) for batch in track(loader, "reading", transient=True)]
    restored.data.quarantine.refuse_too_many()
    return batches

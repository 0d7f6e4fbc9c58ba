"""Batches of studies with missing modalities."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polyclinic.modality import Item, Modality


class BrokenSource(NamedTuple):
    """A source that could not be read: its study, its modality and the reason."""

    study_id: str
    modality: str
    reason: str


@dataclass(kw_only=True)
class Sample:
    """One study, as the dataset returns it."""

    study_id: str
    patient_id: str
    items: Mapping[str, Item]
    labels: tuple[float, ...]
    broken: tuple[BrokenSource, ...]


@dataclass(kw_only=True)
class Batch:
    """A batch of ``B`` studies.

    Attributes:
        inputs: collated tensors per modality, of the studies that have it, in batch order; a modality that no study
            has is omitted.
        present: mask per modality, True for the studies that have it.
        labels: label values, NaN where unknown.
        study_ids: one id per study.
        patient_ids: one id per study.
        broken: sources of these studies that could not be read; they count as not present.
    """

    inputs: dict[str, dict[str, Tensor]]
    present: dict[str, Bool[Tensor, " B"]]
    labels: Float[Tensor, "B C"]
    study_ids: list[str]
    patient_ids: list[str]
    broken: tuple[BrokenSource, ...]

    def __len__(self) -> int:
        return len(self.study_ids)

    def select(self, rows: Bool[Tensor, " B"]) -> "Batch":
        """Return the batch of the selected studies."""
        chosen = rows.nonzero()[:, 0].tolist()
        chosen_ids = {self.study_ids[row] for row in chosen}
        return Batch(
            inputs={
                name: {key: value[rows[self.present[name]]] for key, value in tensors.items()}
                for name, tensors in self.inputs.items()
                if bool((rows & self.present[name]).any())
            },
            present={name: mask[rows] for name, mask in self.present.items()},
            labels=self.labels[rows],
            study_ids=[self.study_ids[row] for row in chosen],
            patient_ids=[self.patient_ids[row] for row in chosen],
            broken=tuple(source for source in self.broken if source.study_id in chosen_ids),
        )

    def to(self, device: torch.device, non_blocking: bool = False) -> "Batch":
        """Copy every tensor to a device."""
        return Batch(
            inputs={
                name: {key: value.to(device, non_blocking=non_blocking) for key, value in tensors.items()}
                for name, tensors in self.inputs.items()
            },
            present={name: value.to(device, non_blocking=non_blocking) for name, value in self.present.items()},
            labels=self.labels.to(device, non_blocking=non_blocking),
            study_ids=self.study_ids,
            patient_ids=self.patient_ids,
            broken=self.broken,
        )

    def pin_memory(self) -> "Batch":
        """Copy every tensor to page-locked memory, for faster transfer to a GPU."""
        return Batch(
            inputs={
                name: {key: value.pin_memory() for key, value in tensors.items()}
                for name, tensors in self.inputs.items()
            },
            present={name: value.pin_memory() for name, value in self.present.items()},
            labels=self.labels.pin_memory(),
            study_ids=self.study_ids,
            patient_ids=self.patient_ids,
            broken=self.broken,
        )


def collate(samples: Sequence[Sample], modalities: Mapping[str, Modality]) -> Batch:
    """Combine samples into a batch; each modality collates only the studies that have it."""
    inputs, present = {}, {}
    for name, modality in modalities.items():
        items = [sample.items[name] for sample in samples if name in sample.items]
        present[name] = torch.tensor([name in sample.items for sample in samples])
        if items:
            inputs[name] = modality.collate(items)
    return Batch(
        inputs=inputs,
        present=present,
        labels=torch.tensor([sample.labels for sample in samples], dtype=torch.float32).reshape(len(samples), -1),
        study_ids=[sample.study_id for sample in samples],
        patient_ids=[sample.patient_id for sample in samples],
        broken=tuple(broken for sample in samples for broken in sample.broken),
    )

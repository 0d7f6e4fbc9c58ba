"""Prepared items of pulses, and comparisons with freshly prepared ones."""

from collections.abc import Sequence
from pathlib import Path

import torch

from polyclinic.cohort import Study
from polyclinic.data import StudyDataset
from polyclinic.data.cache import PreparedModality, prepare_modality
from polyclinic.modality import Item, Modality
from pulse_plugin import Pulse


class Counted(Pulse):
    """Pulses that count how many of them were prepared."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def prepare(self, raw: tuple[float, ...]) -> Item:
        self.count += 1
        return super().prepare(raw)


def prepared(folder: Path, modality: Modality, studies: Sequence[Study], **settings: object) -> PreparedModality:
    settings = {"name": "first", "workers": 0} | settings
    return prepare_modality(folder, modality=modality, studies=studies, **settings)


def items_of(stored: PreparedModality, studies: Sequence[Study]) -> dict[str, Item | None]:
    ids = [study.study_id for study in studies]
    return {study: stored.item(int(place)) for study, place in zip(ids, stored.places(ids), strict=True)}


def assert_as_prepared(stored: PreparedModality, modality: Modality, studies: Sequence[Study], name: str) -> None:
    with_modality = [study for study in studies if name in study.sources]
    for study, item in zip(with_modality, items_of(stored, with_modality).values(), strict=True):
        assert_same(item, modality.prepare(modality.read(study.sources[name])))


def assert_same(item: Item | None, expected: Item) -> None:
    assert item is not None
    assert item.keys() == expected.keys()
    for name, value in expected.items():
        assert (item[name].dtype, item[name].shape) == (value.dtype, value.shape)
        assert torch.equal(item[name].reshape(-1).view(torch.uint8), value.reshape(-1).view(torch.uint8))


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.arrow"))


def file_of(study: Study) -> Path:
    source = study.sources["first"]
    assert isinstance(source, Path)
    return source


def dataset_of(studies: Sequence[Study], modality: Modality, stored: PreparedModality) -> StudyDataset:
    return StudyDataset(
        studies=studies, modalities={"first": modality}, prepared={"first": stored}, augment=False, seed=0
    )

"""Prepared items on disk, so that every run after the first starts without decoding a file.

One safetensors file per modality, named by a hash of the cohort, the plugin's settings and its fitted state: a
change of any of them is another file, never a stale item. Readers map the file into memory.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from safetensors import safe_open
from safetensors.torch import save_file
from torch.utils.data import DataLoader, Dataset

from polyclinic import __version__
from polyclinic.cohort import Study
from polyclinic.modality import Item, Modality, UnreadableSource, settings

_BROKEN = "broken"
_AT_ONCE = 16


class PreparedModality:
    """The prepared items of one modality, from a file that ``prepare_modality`` wrote."""

    def __init__(self, path: Path) -> None:
        self._file = safe_open(path, framework="pt")
        self.broken: dict[str, str] = json.loads(self._file.metadata()[_BROKEN])
        self._names: dict[str, list[str]] = {}
        for key in self._file.keys():  # noqa: SIM118 - safe_open is no mapping
            study, _, name = key.rpartition("/")
            self._names.setdefault(study, []).append(name)

    def item(self, study_id: str) -> Item:
        """One study's tensors.

        Raises:
            UnreadableSource: its source could not be read when the file was written.
        """
        if study_id in self.broken:
            raise UnreadableSource(self.broken[study_id])
        return {name: self._file.get_tensor(f"{study_id}/{name}") for name in self._names[study_id]}


def prepare_modality(
    folder: Path, *, name: str, modality: Modality, studies: Sequence[Study], fingerprint: str, workers: int
) -> PreparedModality:
    """Read and prepare every study that has the modality, unless ``folder`` already holds the result.

    Args:
        folder: where the file is written; created when missing.
        name: of the modality.
        modality: a fitted plugin.
        studies: of the whole cohort.
        fingerprint: of the cohort.
        workers: processes that read.
    """
    path = folder / f"{name}-{_key(modality, fingerprint)}.safetensors"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        having = [study for study in studies if name in study.sources]
        tensors, broken = _prepare_all(having, name, modality, workers)
        partial = path.with_suffix(".partial")
        save_file(tensors, partial, metadata={_BROKEN: json.dumps(broken)})
        partial.rename(path)
    return PreparedModality(path)


def _prepare_all(
    studies: Sequence[Study], name: str, modality: Modality, workers: int
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    loader = DataLoader(
        _Sources(studies, name, modality), batch_size=_AT_ONCE, num_workers=workers, collate_fn=_unchanged
    )
    tensors: dict[str, torch.Tensor] = {}
    broken: dict[str, str] = {}
    for several in track(loader, description=f"preparing {name}", transient=True):
        for study_id, item in several:
            if isinstance(item, str):
                broken[study_id] = item
            else:
                tensors |= {f"{study_id}/{key}": torch.from_numpy(value) for key, value in item.items()}
    return tensors, broken


def _unchanged(value: Any) -> Any:
    return value


class _Sources(Dataset):
    """Each study's prepared item, or the reason why there is none."""

    def __init__(self, studies: Sequence[Study], name: str, modality: Modality) -> None:
        self._studies, self._name, self._modality = studies, name, modality

    def __len__(self) -> int:
        return len(self._studies)

    def __getitem__(self, index: int) -> tuple[str, dict[str, np.ndarray] | str]:
        study = self._studies[index]
        try:
            item = self._modality.prepare(self._modality.read(study.sources[self._name]))
        except UnreadableSource as reason:
            return study.study_id, str(reason)
        # As arrays, because every tensor that comes from a worker costs a file descriptor.
        return study.study_id, {name: value.contiguous().numpy() for name, value in item.items()}


def _key(modality: Modality, fingerprint: str) -> str:
    identity = {
        "version": __version__,
        "cohort": fingerprint,
        "plugin": f"{type(modality).__module__}.{type(modality).__qualname__}",
        "settings": settings(modality),
        "state": modality.state(),
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:16]

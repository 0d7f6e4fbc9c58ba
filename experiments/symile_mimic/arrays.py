"""Modality of arrays that are already prepared: rows of array files, or columns of numbers."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polyclinic.modality import Item, Modality, Physiology, Source, UnreadableSource
from polyclinic.nn import Encoder

_MAX_OPEN_FILES = 16


class Arrays(Modality):
    """Numbers used unchanged: a row of a ``.npy`` file of many studies, a file of one study, or columns.

    Args:
        shape: shape of one study; columns fill it in the order of the cohort.

    Raises:
        ValueError: ``shape`` is empty, or a size is below 1.
    """

    def __init__(self, *, shape: Sequence[int]) -> None:
        if not shape or min(shape) < 1:
            raise ValueError(
                f"got shape {list(shape)}, expected sizes of at least 1; set `shape`, such as [3, 320, 320]"
            )
        self.shape = list(shape)

    def read(self, source: Source) -> np.ndarray:
        """Return the numbers of one study as float32.

        Raises:
            UnreadableSource: the file or row does not exist, is not an array of numbers, has another shape, or holds
                numbers that are missing or not finite.
        """
        values = np.array(self._values(source), dtype=np.float32)
        if list(values.shape) != self.shape:
            raise UnreadableSource(f"got numbers of shape {list(values.shape)}, expected {self.shape}; set `shape`")
        if broken := int((~np.isfinite(values)).sum()):
            raise UnreadableSource(f"{broken} of {values.size} numbers are not finite")
        return values

    def _values(self, source: Source) -> Any:
        if isinstance(source, Mapping):
            return _numbers(source).reshape(self.shape if len(source) == np.prod(self.shape) else -1)
        if isinstance(source, str):
            raise UnreadableSource("got text, expected an array file or columns; set `path` and `row`, or `columns`")
        if isinstance(source, Path):
            return _opened(source)
        array = _opened(source.file)
        if source.row >= len(array):
            raise UnreadableSource(f"row {source.row} is not in an array of {len(array)} rows, counted from 0")
        return array[source.row]

    def describe(self, raw: np.ndarray) -> Mapping[str, float | str]:
        """Return the mean, lowest and highest number."""
        return {"mean": float(raw.mean()), "lowest": float(raw.min()), "highest": float(raw.max())}

    def fit(self, raws: Iterable[np.ndarray]) -> None:
        """Do nothing: the numbers are already normalised."""

    def state(self) -> dict[str, Any]:
        """Return an empty state, because nothing is learned."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Do nothing, because nothing is learned."""

    def prepare(self, raw: np.ndarray) -> Item:
        """Return the numbers as ``values``."""
        return {"values": torch.from_numpy(raw.copy())}

    def augment(self, item: Item, rng: np.random.Generator) -> Item:
        """Return the same numbers, because the published experiment has no augmentation."""
        return dict(item)

    def collate(self, items: Sequence[Item]) -> dict[str, Tensor]:
        """Stack to ``values`` of shape [B, *shape]."""
        return {"values": torch.stack([item["values"] for item in items])}

    def phantom(self, physiology: Physiology, rng: np.random.Generator, path: Path) -> Path:
        """Write noise, because the meaning of the numbers is unknown."""
        file = path.with_suffix(".npy")
        np.save(file, rng.standard_normal(self.shape, dtype=np.float32))
        return file

    def default_encoder(self, size: str) -> Encoder:
        """Refuse: arrays have no default encoder.

        Raises:
            ValueError: always.
        """
        raise ValueError("arrays have no default encoder; set `model.encoders` for each of them")


@lru_cache(maxsize=_MAX_OPEN_FILES)
def _opened(file: Path) -> np.ndarray:
    """Memory-map an array file without unpickling; it stays open for later calls of the process."""
    try:
        array = np.lib.format.open_memmap(file, mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise UnreadableSource(f"file cannot be read as an array of numbers ({type(error).__name__})") from None
    if array.ndim == 0 or array.dtype.kind not in "fiub":
        raise UnreadableSource(f"file holds {array.dtype} in {array.ndim} dimensions, expected rows of numbers")
    return array


def _numbers(cells: Mapping[str, str]) -> np.ndarray:
    try:
        return np.array([float(cell) for cell in cells.values()])
    except ValueError:
        blank = sum(not cell for cell in cells.values())
        raise UnreadableSource(f"{blank} of {len(cells)} columns are blank, or hold text; expected numbers") from None

"""Frozen embeddings on disk, so that another probe of the same encoder starts without reading a source.

A file holds vectors and study ids alone: labels, patients and splits are always those of the cohort. It is used only
when everything that the vectors depend on is the same, and what that was is written inside.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from polyclinic import __version__
from polyclinic.evaluation.probing.probe import FrozenEmbeddings
from polyclinic.files.atomic import atomic_file


@dataclass(frozen=True, kw_only=True)
class EmbeddingOrigin:
    """What embeddings depend on.

    Attributes:
        checkpoint: SHA-256 of the file.
        cohort: its fingerprint.
        modality: that was embedded.
        split: train, val or test.
        deviation: whether it is the mean and deviation of the tokens.
        random_seed: of random weights; None for trained ones.
    """

    checkpoint: str
    cohort: str
    modality: str
    split: str
    deviation: bool
    random_seed: int | None

    def written(self) -> str:
        """All of it and the version of this library, as JSON."""
        return json.dumps({**asdict(self), "version": __version__}, sort_keys=True)


def cached_embeddings(
    folder: Path, origin: EmbeddingOrigin, compute: Callable[[], FrozenEmbeddings]
) -> tuple[FrozenEmbeddings, bool]:
    """The embeddings of an origin and whether they were read; otherwise they are computed and stored.

    Args:
        folder: of the cache; created when missing.
        origin: what they depend on.
        compute: gives them.

    Raises:
        ValueError: a stored file cannot be read, or says inside that it is of another origin.
    """
    written = origin.written()
    name = f"{origin.modality}-{origin.split}-{hashlib.sha256(written.encode()).hexdigest()[:16]}.npz"
    path = folder / name
    if path.is_file():
        return _read(path, written), True
    embeddings = compute()
    folder.mkdir(parents=True, exist_ok=True)
    _write(path, embeddings, written)
    return embeddings, False


def _read(path: Path, written: str) -> FrozenEmbeddings:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            origin, values, study_ids = str(stored["origin"]), stored["values"], stored["study_ids"].tolist()
    except (BadZipFile, OSError, EOFError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"cached {path.name} cannot be read ({type(error).__name__}); delete it") from None
    if origin != written:
        raise ValueError(f"cached {path.name} was made of something else than its name says; delete it")
    return FrozenEmbeddings(values, study_ids)


def _write(path: Path, embeddings: FrozenEmbeddings, written: str) -> None:
    with atomic_file(path, shared=True) as partial, partial.open("wb") as file:
        np.savez(file, values=embeddings.values, study_ids=np.array(embeddings.study_ids), origin=np.array(written))

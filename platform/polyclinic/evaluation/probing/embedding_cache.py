"""Cache of frozen embeddings on disk, so that another probe of the same encoder need not read the sources again.

A file holds only vectors, study ids and their origin; labels, patients and splits always come from the cohort. The file
is used only if its origin, which comprises everything that the vectors depend on, is the same.
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
    """Everything that embeddings depend on.

    Attributes:
        checkpoint: SHA-256 of the checkpoint file.
        cohort: fingerprint of the cohort.
        modality: embedded modality.
        split: train, val or test.
        deviation: whether the embedding is the mean and standard deviation of the tokens.
        random_seed: seed of random weights; None for trained weights.
    """

    checkpoint: str
    cohort: str
    modality: str
    split: str
    deviation: bool
    random_seed: int | None

    def written(self) -> str:
        """Return all attributes and the version of this library as JSON."""
        return json.dumps({**asdict(self), "version": __version__}, sort_keys=True)


def cached_embeddings(
    folder: Path, origin: EmbeddingOrigin, compute: Callable[[], FrozenEmbeddings]
) -> tuple[FrozenEmbeddings, bool]:
    """Read embeddings from the cache, or compute and store them.

    Args:
        folder: folder of the cache, which is created if missing.
        origin: origin of the embeddings.
        compute: function that computes the embeddings.

    Returns:
        The embeddings, and whether they were read from the cache.

    Raises:
        ValueError: a stored file cannot be read, or records another origin.
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
        raise ValueError(f"cached {path.name} records another origin than its name; delete it")
    return FrozenEmbeddings(values, study_ids)


def _write(path: Path, embeddings: FrozenEmbeddings, written: str) -> None:
    with atomic_file(path, shared=True) as partial, partial.open("wb") as file:
        np.savez(file, values=embeddings.values, study_ids=np.array(embeddings.study_ids), origin=np.array(written))

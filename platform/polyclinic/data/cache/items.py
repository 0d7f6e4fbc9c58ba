"""The prepared items of a modality on disk, so that only the first run decodes files."""

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from jaxtyping import Int64

from polyclinic.cohort import Study
from polyclinic.cohort.content_index import ContentIndex
from polyclinic.data.cache.key import content_of, identity, short_name
from polyclinic.data.cache.shard import NO_SHARD, Shard
from polyclinic.data.cache.writer import Found, ShardFolder, write_missing
from polyclinic.files.atomic import atomic_file
from polyclinic.modality import Item, Modality, Source
from polyclinic.system.progress import track
from polyclinic.system.terminal import remark

MAX_SHARD_ROWS = 1 << 16
"""Bound on the rows of a shard, far above what a shard holds."""

_MISSING = (-1, MAX_SHARD_ROWS - 1)
"""Shard and row of a study without an item; they pack to -1."""

STUDIES_PER_LOOKUP = 512
MIN_LOOKUPS_WITH_PROGRESS = 4


class PreparedModality:
    """The prepared items of one modality.

    A pickled copy holds the shards' paths only, and opens them on first use: workers of a loader share the memory of
    the shards and are not sent the places of all studies.

    Args:
        shards: files written by ``write_shard``.
        places: shard number and row, by study id.
    """

    def __init__(self, shards: Sequence[Path], places: Mapping[str, tuple[int, int]]) -> None:
        self._paths = list(shards)
        self._places = places
        self._open: dict[int, Shard | None] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"_paths": self._paths, "_places": {}, "_open": {}}

    def places(self, study_ids: Sequence[str]) -> Int64[np.ndarray, " N"]:
        """Return the place of each study's item, for ``item``; -1 where there is none.

        A place packs both numbers into one integer, ``shard * MAX_SHARD_ROWS + row``. This gives one array of eight
        bytes per study, which forked workers share. A mapping of tuples would be copied page by page into each worker,
        as counting references writes to it.
        """
        located = [self._places.get(study_id, _MISSING) for study_id in study_ids]
        return np.array([shard * MAX_SHARD_ROWS + row for shard, row in located], dtype=np.int64)

    def item(self, place: int) -> Item | None:
        """Return the tensors at a place; None where there is none, or its shard has been removed.

        Raises:
            UnreadableSource: the source could not be read when it was prepared.
        """
        if place < 0:
            return None
        number, row = divmod(place, MAX_SHARD_ROWS)
        if number not in self._open:
            self._open[number] = self._open_shard(self._paths[number])
        shard = self._open[number]
        return None if shard is None else shard.item(row)

    def _open_shard(self, path: Path) -> Shard | None:
        try:
            return Shard(path)
        except NO_SHARD:
            warnings.warn(
                "a shard of `data.prepared` was removed during use; its studies are read from their files",
                stacklevel=2,
            )
            return None


def prepare_modality(
    folder: Path, *, name: str, modality: Modality, studies: Sequence[Study], workers: int
) -> PreparedModality:
    """Find the items of all studies that have the modality, and prepare and write the missing ones.

    Items are stored by the content of their source, in a folder named by everything else that they depend on (see
    ``identity``). Cohorts therefore share items, an item is never stale, and a killed run resumes where it stopped.
    One process writes at a time; the others wait for it. If the folder cannot be written, the missing studies are read
    from their files, with a warning.

    Args:
        folder: folder of prepared items; created when missing.
        name: name of the modality.
        modality: fitted plugin.
        studies: all studies of the cohort.
        workers: number of processes that prepare items.

    Raises:
        ValueError: ``folder`` is a file, or the plugin's code is not in a file.
    """
    about = identity(modality)
    home = folder / short_name(about)
    sources = {study.study_id: study.sources[name] for study in studies if name in study.sources}
    failure = _make_folder(home)
    if failure:
        _warn(len(sources), len(sources), name, failure)
        return PreparedModality([], {})
    index = ContentIndex(folder)
    contents = _contents(sources, name, modality, index)
    shards, wanted = ShardFolder(home), set(contents.values())
    found = shards.find(wanted)
    if len(found) < len(wanted):
        by_content = {content: sources[study] for study, content in reversed(contents.items())}
        found, failure = _prepare_missing(
            shards, by_content, found, name=name, modality=modality, index=index, workers=workers, about=about
        )
        if lost := sum(content not in found for content in contents.values()) if failure else 0:
            _warn(lost, len(sources), name, failure)
    return _locate(contents, found)


def _make_folder(home: Path) -> str | None:
    """Create a folder, and return the reason when this fails."""
    try:
        home.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        home.mkdir(mode=0o700, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ValueError("got a file, expected a folder for prepared items; set `data.prepared`") from None
    except OSError as error:
        return None if os.path.isdir(home) else error.strerror  # noqa: PTH112 - False without permission, no error
    return None


def _contents(sources: Mapping[str, Source], name: str, modality: Modality, index: ContentIndex) -> dict[str, bytes]:
    """Return the content hash of each study's source; new and changed files are read."""
    studies = list(sources)
    starts = range(0, len(studies), STUDIES_PER_LOOKUP)
    description = f"looking for changes of {name}"
    contents: dict[str, bytes] = {}
    for start in track(starts, description=description, silent=len(starts) < MIN_LOOKUPS_WITH_PROGRESS):
        part = {study: sources[study] for study in studies[start : start + STUDIES_PER_LOOKUP]}
        contents |= content_of(part, modality, index)
    return contents


def _prepare_missing(
    shards: ShardFolder,
    sources: Mapping[bytes, Source],
    found: Found,
    *,
    name: str,
    modality: Modality,
    index: ContentIndex,
    workers: int,
    about: Mapping[str, Any],
) -> tuple[Found, str | None]:
    """Prepare the missing items; return all items found, and the reason when some could not be written."""
    lock = FileLock(shards.path / "lock")
    if failure := _acquire(lock, name):
        return found, failure
    try:
        found = shards.find(sources.keys())
        missing = {content: source for content, source in sources.items() if content not in found}
        _describe(shards.path, about)
        failure = write_missing(shards.path, missing, name=name, modality=modality, index=index, workers=workers)
    finally:
        lock.release()
    return shards.find(sources.keys()), failure


def _acquire(lock: FileLock, name: str) -> str | None:
    """Acquire a lock, and return the reason when this fails."""
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            remark(f"another process prepares {name}; waiting for it")
            lock.acquire()
    except OSError as error:
        return error.strerror
    return None


def _describe(home: Path, about: Mapping[str, Any]) -> None:
    """Record the identity behind a folder's name, so that a user can see why items were prepared again."""
    path = home / "identity.json"
    if not path.is_file():
        with suppress(OSError), atomic_file(path) as partial:
            partial.write_text(json.dumps(about, indent=1, sort_keys=True, default=str), encoding="utf-8")


def _locate(contents: Mapping[str, bytes], found: Found) -> PreparedModality:
    shards = sorted({path for path, _ in found.values()})
    numbers = {path: number for number, path in enumerate(shards)}
    places = {
        study: (numbers[found[content][0]], found[content][1])
        for study, content in contents.items()
        if content in found
    }
    return PreparedModality(shards, places)


def _warn(lost: int, total: int, name: str, reason: str | None) -> None:
    warnings.warn(
        f"{lost} of {total} studies read their {name} from the files, because the folder for prepared items cannot be "
        f"written ({reason}); set `data.prepared` to a writable folder with free space",
        stacklevel=3,
    )

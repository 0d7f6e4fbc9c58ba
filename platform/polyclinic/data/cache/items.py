"""Prepared items on disk, so that every run after the first starts without decoding a file."""

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
from rich.progress import track

from polyclinic.cohort import Study
from polyclinic.cohort.content_index import ContentIndex
from polyclinic.data.cache.key import content_of, identity, short_name
from polyclinic.data.cache.shard import NO_SHARD, Shard
from polyclinic.data.cache.writer import Found, ShardFolder, write_missing
from polyclinic.files.atomic import atomic_file
from polyclinic.modality import Item, Modality, Source
from polyclinic.system.terminal import Console

_ROWS = 1 << 16
"""More rows than a shard has."""

_LOOKED_AT = 512
_MANY_LOOKS = 4


class PreparedModality:
    """The prepared items of one modality. A pickled copy holds names of files, and opens them when it is asked.

    Args:
        shards: files by ``write_shard``.
        places: by study id, the number of the shard and the row.
    """

    def __init__(self, shards: Sequence[Path], places: Mapping[str, tuple[int, int]]) -> None:
        self._paths = list(shards)
        self._places = places
        self._open: dict[int, Shard | None] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"_paths": self._paths, "_places": {}, "_open": {}}

    def places(self, study_ids: Sequence[str]) -> Int64[np.ndarray, " N"]:
        """Where ``item`` finds each study; -1 where there is nothing."""
        found = [self._places.get(study_id, (-1, _ROWS - 1)) for study_id in study_ids]
        return np.array([shard * _ROWS + row for shard, row in found], dtype=np.int64)

    def item(self, place: int) -> Item | None:
        """The tensors at a place; None where there is nothing, or its shard is gone.

        Raises:
            UnreadableSource: its source could not be read when it was prepared.
        """
        if place < 0:
            return None
        number, row = divmod(place, _ROWS)
        if number not in self._open:
            self._open[number] = self._opened(self._paths[number])
        shard = self._open[number]
        return None if shard is None else shard.item(row)

    def _opened(self, path: Path) -> Shard | None:
        try:
            return Shard(path)
        except NO_SHARD:
            warnings.warn(
                "a shard of `data.prepared` has gone while it was in use; its studies are read from their files",
                stacklevel=2,
            )
            return None


def prepare_modality(
    folder: Path, *, name: str, modality: Modality, studies: Sequence[Study], workers: int
) -> PreparedModality:
    """Find every study that has the modality in ``folder``, and prepare and write those that it lacks.

    Items are kept by what a source holds, in a folder named by everything else that they depend on (see
    ``identity``): any cohort finds what another one prepared, a change of either is never a stale item, and a run that
    was killed goes on where it was. One process at a time writes; the others wait and find. Where nothing can be
    written, studies that are missing are read from their files, which is told in a warning.

    Args:
        folder: of prepared items; created when missing.
        name: of the modality.
        modality: a fitted plugin.
        studies: of the whole cohort.
        workers: processes that prepare.

    Raises:
        ValueError: ``folder`` is a file, or the plugin's code is in none.
    """
    about = identity(modality)
    home = folder / short_name(about)
    sources = {study.study_id: study.sources[name] for study in studies if name in study.sources}
    failure = _made(home)
    if failure:
        _warn(len(sources), len(sources), name, failure)
        return PreparedModality([], {})
    index = ContentIndex(folder)
    contents = _contents(sources, name, modality, index)
    shards, wanted = ShardFolder(home), set(contents.values())
    found = shards.find(wanted)
    if len(found) < len(wanted):
        by_content = {content: sources[study] for study, content in reversed(contents.items())}
        found, failure = _completed(
            shards, by_content, found, name=name, modality=modality, index=index, workers=workers, about=about
        )
        if lost := sum(content not in found for content in contents.values()) if failure else 0:
            _warn(lost, len(sources), name, failure)
    return _placed(contents, found)


def _made(home: Path) -> str | None:
    """Make a folder, or tell why it could not be made."""
    try:
        home.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        home.mkdir(mode=0o700, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ValueError("got a file, expected a folder for prepared items; set `data.prepared`") from None
    except OSError as error:
        return None if os.path.isdir(home) else error.strerror  # noqa: PTH112 - False where nothing may be looked at
    return None


def _contents(sources: Mapping[str, Source], name: str, modality: Modality, index: ContentIndex) -> dict[str, bytes]:
    """What each study's source holds; every file that has changed, or was never seen, is read for it."""
    studies = list(sources)
    starts = range(0, len(studies), _LOOKED_AT)
    told = f"looking for changes of {name}"
    found: dict[str, bytes] = {}
    for start in track(starts, description=told, transient=True, disable=len(starts) < _MANY_LOOKS):
        some = {study: sources[study] for study in studies[start : start + _LOOKED_AT]}
        found |= content_of(some, modality, index)
    return found


def _completed(
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
    """What is found after what was missing has been prepared, and why anything could not be written."""
    lock = FileLock(shards.path / "lock")
    if failure := _acquired(lock, name):
        return found, failure
    try:
        found = shards.find(sources.keys())
        missing = {content: source for content, source in sources.items() if content not in found}
        _describe(shards.path, about)
        failure = write_missing(shards.path, missing, name=name, modality=modality, index=index, workers=workers)
    finally:
        lock.release()
    return shards.find(sources.keys()), failure


def _acquired(lock: FileLock, name: str) -> str | None:
    """Acquire a lock, or tell why it cannot be had."""
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            with Console().status(f"another process prepares {name}; waiting for it"):
                lock.acquire()
    except OSError as error:
        return error.strerror
    return None


def _describe(home: Path, about: Mapping[str, Any]) -> None:
    """Write down what a folder's name stands for, for those who wonder why items were prepared again."""
    path = home / "identity.json"
    if not path.is_file():
        with suppress(OSError), atomic_file(path) as partial:
            partial.write_text(json.dumps(about, indent=1, sort_keys=True, default=str), encoding="utf-8")


def _placed(contents: Mapping[str, bytes], found: Found) -> PreparedModality:
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
        f"written ({reason}); set `data.prepared` to a folder with room that you may write to",
        stacklevel=3,
    )

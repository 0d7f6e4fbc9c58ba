"""SHA-256 of files, cached so that an unchanged file is hashed only once."""

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from polyclinic.files.digest import file_sha256
from polyclinic.modality import ArrayRow, EventWindow, Modality, Source, UnreadableSource

_BATCH_SIZE = 256
_LOCK_SECONDS = 60.0


class _Mark(NamedTuple):
    """Hash of a file's path, and file-system metadata that changes whenever its content does."""

    place: str
    stamp: str


class ContentIndex:
    """Cache of SHA-256 digests, keyed by path and validated by inode, size, mtime and ctime.

    The ctime is included because copying tools restore the mtime. Several processes may share an index. It stores
    hashes of paths, never the paths. An index in a read-only folder returns its entries but stores no new ones.

    Args:
        folder: folder of ``content.sqlite``, created when missing; None keeps the digests in memory.
        workers: number of files that are read in parallel.
    """

    def __init__(self, folder: Path | None = None, *, workers: int = 4) -> None:
        self._workers = workers
        self._path = None if folder is None else folder / "content.sqlite"
        self._in_memory: dict[str, tuple[str, str]] = {}

    def digests(self, files: Iterable[Path]) -> dict[Path, str]:
        """Return the SHA-256 of each file in hexadecimal; unreadable files are omitted."""
        distinct = list(dict.fromkeys(files))
        if not distinct:
            return {}
        found: dict[Path, str] = {}
        with ThreadPoolExecutor(self._workers) as pool:
            for batch in _batches(distinct):
                marks = {path: mark for path, mark in zip(batch, pool.map(_mark, batch), strict=True) if mark}
                cached = self._recall([mark.place for mark in marks.values()])
                new = [path for path, mark in marks.items() if cached.get(mark.place, ("", ""))[0] != mark.stamp]
                read = {path: digest for path, digest in zip(new, pool.map(_sha256, new), strict=True) if digest}
                self._remember({marks[path].place: (marks[path].stamp, digest) for path, digest in read.items()})
                unchanged = marks.keys() - set(new)
                found |= {path: cached[marks[path].place][1] for path in batch if path in unchanged} | read
        return found

    def _recall(self, places: Sequence[str]) -> dict[str, tuple[str, str]]:
        if self._path is None:
            return {place: self._in_memory[place] for place in places if place in self._in_memory}
        marks = ", ".join("?" * len(places))
        try:
            if not self._path.is_file():
                return {}
            with closing(self._connect(self._path)) as connection:
                rows = connection.execute(f"SELECT place, stamp, sha256 FROM digests WHERE place IN ({marks})", places)
                return {place: (stamp, sha256) for place, stamp, sha256 in rows}
        except (OSError, sqlite3.OperationalError):
            return {}
        except sqlite3.DatabaseError:
            self._discard(self._path)
            return {}

    def _remember(self, entries: Mapping[str, tuple[str, str]]) -> None:
        if self._path is None or not entries:
            self._in_memory.update(entries)
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._connect(self._path)) as connection:
                connection.execute("CREATE TABLE IF NOT EXISTS digests (place PRIMARY KEY, stamp, sha256)")
                rows = [(place, *entry) for place, entry in entries.items()]
                connection.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", rows)
                connection.commit()
        except (OSError, sqlite3.OperationalError):
            return
        except sqlite3.DatabaseError:
            self._discard(self._path)

    def _connect(self, path: Path) -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=_LOCK_SECONDS)

    def _discard(self, path: Path) -> None:
        """Remove a corrupt database; the only cost is hashing the files again."""
        try:
            path.unlink(missing_ok=True)
        except OSError:
            return


def _batches(files: Sequence[Path]) -> Iterator[Sequence[Path]]:
    return (files[start : start + _BATCH_SIZE] for start in range(0, len(files), _BATCH_SIZE))


def _mark(path: Path) -> _Mark | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    # Resolving would stat every parent folder; the inode already identifies the target of a link.
    place = hashlib.sha256(os.path.abspath(path).encode(errors="surrogateescape")).hexdigest()  # noqa: PTH100
    return _Mark(place, f"{stat.st_ino} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}")


def _sha256(path: Path) -> str | None:
    try:
        return file_sha256(path)
    except OSError:
        return None


def source_digest(source: Source, modality: Modality, digests: Mapping[Path, str]) -> str:
    """Return one SHA-256 over everything that ``Modality.read`` uses of a source.

    Args:
        source: source of a study.
        modality: plugin that reads the source.
        digests: SHA-256 of the files of the source.

    Raises:
        UnreadableSource: a file of the source has no digest.
    """
    digest = hashlib.sha256()
    for file in modality.files(source):
        if file not in digests:
            raise UnreadableSource("file cannot be opened")
        digest.update(digests[file].encode())
    if isinstance(source, ArrayRow):
        digest.update(str(source.row).encode())
    elif isinstance(source, EventWindow):
        digest.update(source.key().encode())
    elif not isinstance(source, Path):
        inline = source if isinstance(source, str) else repr(sorted(source.items()))
        digest.update(inline.encode())
    return digest.hexdigest()

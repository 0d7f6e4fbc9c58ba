"""Find cached items in the shards of a folder, and write the missing ones in worker processes."""

import warnings
from collections.abc import Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from polyclinic.cohort.content_index import ContentIndex
from polyclinic.data.cache.key import content_of, environment
from polyclinic.data.cache.shard import NO_SHARD, SUFFIX, Row, Shard, is_intact, write_shard
from polyclinic.files.atomic import PARTIAL
from polyclinic.modality import Modality, Source, UnreadableSource
from polyclinic.system.progress import track

VERIFIER_THREADS = 4
DAMAGED_SUFFIX = ".damaged"

Found = dict[bytes, tuple[Path, int]]
"""Shard and row by content."""


class ShardFolder:
    """Finds rows by content in the shards of a folder. The checksum of each shard is verified once per object.

    Args:
        path: folder of the shards; it may be missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._intact: set[Path] = set()
        self._damaged: set[Path] = set()

    def find(self, wanted: Set[bytes]) -> Found:
        """Return the shard and row of each content; a content without an intact shard is omitted.

        A damaged shard is renamed, with a warning, and its rows are no longer found.
        """
        while True:
            found = self._look(wanted)
            unverified = sorted({path for path, _ in found.values()} - self._intact)
            with ThreadPoolExecutor(VERIFIER_THREADS) as pool:
                intact = dict(zip(unverified, pool.map(is_intact, unverified), strict=True))
            self._intact |= {path for path, verified in intact.items() if verified}
            damaged = [path for path, verified in intact.items() if not verified]
            for path in damaged:
                self._set_aside(path)
            if not damaged:
                return found

    def _look(self, wanted: Set[bytes]) -> Found:
        """Look up contents without verification: items first, then reasons from the current environment."""
        items: Found = {}
        reasons: Found = {}
        for path in sorted(self.path.glob(f"*{SUFFIX}")):
            if path in self._damaged:
                continue
            try:
                shard = Shard(path)
            except FileNotFoundError:
                continue
            except NO_SHARD:
                self._set_aside(path)
                continue
            current = shard.environment == environment()
            for row, content in enumerate(shard.contents):
                if content in wanted and row not in shard.reasons:
                    items.setdefault(content, (path, row))
                elif content in wanted and current:
                    reasons.setdefault(content, (path, row))
        return reasons | items

    def _set_aside(self, path: Path) -> None:
        self._damaged.add(path)
        try:
            path.rename(path.with_suffix(DAMAGED_SUFFIX))
        except FileNotFoundError:
            return
        except OSError:
            pass
        warnings.warn(
            f"a shard of `data.prepared` is damaged (`{self.path.name}`, {path.stem[:8]}); it is ignored, and its "
            "items are prepared again or read from the files",
            stacklevel=2,
        )


MAX_SOURCES_IN_PROCESS = 500
"""Sources up to which starting worker processes takes longer than it saves."""

MIN_TASK_ROWS, MAX_TASK_ROWS = 16, 256
"""Rows of a task. A killed run loses the rows that its tasks have not written."""

TASKS_PER_WORKER = 4
MAX_SHARD_BYTES = 64 * 2**20


def write_missing(
    folder: Path, missing: Mapping[bytes, Source], *, name: str, modality: Modality, index: ContentIndex, workers: int
) -> str | None:
    """Prepare sources and write them to shards.

    Args:
        folder: folder of the shards; as the caller holds its lock, partial files in it are those of killed runs.
        missing: sources by content.
        name: name of the modality.
        modality: fitted plugin.
        index: content hashes of files; a source that has changed since its lookup is skipped.
        workers: number of worker processes, for more than ``MAX_SOURCES_IN_PROCESS`` sources.

    Returns:
        The reason why writing stopped early, such as a full disk; None when everything was written.
    """
    for partial in folder.glob(f"*{PARTIAL}"):
        partial.unlink(missing_ok=True)
    workers = workers if len(missing) > MAX_SOURCES_IN_PROCESS else 0
    size = min(MAX_TASK_ROWS, max(MIN_TASK_ROWS, -(-len(missing) // (TASKS_PER_WORKER * max(workers, 1)))))
    tasks = _Tasks(folder, missing, modality=modality, index=index, size=size)
    # With a separate generator, a run trains alike whether it prepares the items, finds them or waits for another rank.
    loader = DataLoader(tasks, batch_size=None, num_workers=workers, generator=torch.Generator())
    for failure in track(loader, description=f"preparing {name}"):
        if failure:
            return failure
    return None


class _Tasks(Dataset):
    """Tasks of consecutive sources. Indexing a task prepares and writes its items, and returns the failure, if any."""

    def __init__(
        self, folder: Path, sources: Mapping[bytes, Source], *, modality: Modality, index: ContentIndex, size: int
    ) -> None:
        self._folder, self._modality, self._index, self._size = folder, modality, index, size
        self._sources = list(sources.items())

    def __len__(self) -> int:
        return -(-len(self._sources) // self._size)

    def __getitem__(self, task: int) -> str:
        rows: dict[bytes, tuple[Source, Row]] = {}
        size = 0
        try:
            for content, source in self._sources[task * self._size : (task + 1) * self._size]:
                item = self._prepare(source)
                rows[content] = source, (content, item)
                size += 0 if isinstance(item, str) else sum(value.nbytes for value in item.values())
                if size >= MAX_SHARD_BYTES:
                    self._write(rows)
                    rows, size = {}, 0
            self._write(rows)
        except _CannotWrite as failure:
            return str(failure)
        return ""

    def _prepare(self, source: Source) -> dict | str:
        try:
            return self._modality.prepare(self._modality.read(source))
        except UnreadableSource as reason:
            return str(reason)

    def _write(self, rows: Mapping[bytes, tuple[Source, Row]]) -> None:
        """Write the rows whose sources have not changed during preparation."""
        current = content_of({content: source for content, (source, _) in rows.items()}, self._modality, self._index)
        unchanged = [row for content, (_, row) in rows.items() if current.get(content) == content]
        if not unchanged:
            return
        try:
            write_shard(self._folder, unchanged, environment())
        except OSError as error:
            raise _CannotWrite(error.strerror or type(error).__name__) from None


class _CannotWrite(Exception):
    """Raised when a shard cannot be written; the message is the system's reason."""

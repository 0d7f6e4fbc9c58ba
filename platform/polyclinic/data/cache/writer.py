"""Write missing items of the cache in worker processes, shard by shard."""

import warnings
from collections.abc import Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.progress import track
from torch.utils.data import DataLoader, Dataset

from polyclinic.cohort.content_index import ContentIndex
from polyclinic.data.cache.key import content_of, environment
from polyclinic.data.cache.shard import NO_SHARD, SUFFIX, Row, Shard, is_whole, write_shard
from polyclinic.files.atomic import PARTIAL
from polyclinic.modality import Modality, Source, UnreadableSource

_VERIFIERS = 4
_DAMAGED = ".damaged"

Found = dict[bytes, tuple[Path, int]]
"""By content, the shard and the row that hold it."""


class ShardFolder:
    """Finds rows by content, in shards whose checksum was verified once by this object.

    Args:
        path: the folder; it may be missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._whole: set[Path] = set()
        self._damaged: set[Path] = set()

    def find(self, wanted: Set[bytes]) -> Found:
        """Where each content is; one that no whole shard holds is left out.

        A damaged shard is told in a warning and set aside, and what it held is no longer found.
        """
        while True:
            found = self._look(wanted)
            unverified = sorted({path for path, _ in found.values()} - self._whole)
            with ThreadPoolExecutor(_VERIFIERS) as pool:
                whole = dict(zip(unverified, pool.map(is_whole, unverified), strict=True))
            self._whole |= {path for path, holds in whole.items() if holds}
            damaged = [path for path, holds in whole.items() if not holds]
            for path in damaged:
                self._set_aside(path)
            if not damaged:
                return found

    def _look(self, wanted: Set[bytes]) -> Found:
        """An item before a reason, and no reason of another environment."""
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
            path.rename(path.with_suffix(_DAMAGED))
        except FileNotFoundError:
            return
        except OSError:
            pass
        warnings.warn(
            f"a shard of `data.prepared` is damaged (`{self.path.name}`, {path.stem[:8]}); it is not read, and what it "
            "held is prepared anew or read from the files",
            stacklevel=2,
        )


_MANY = 500
"""Sources from which on it pays to start processes for preparing them."""

_FEW, _MOST = 16, 256
"""Rows of a task. A killed run loses what a task has not written."""

_TASKS_PER_WORKER = 4
_SHARD_BYTES = 64 * 2**20


def write_missing(
    folder: Path, missing: Mapping[bytes, Source], *, name: str, modality: Modality, index: ContentIndex, workers: int
) -> str | None:
    """Prepare sources and write them to shards.

    Args:
        folder: where shards are; its lock is held, so that partial files in it belong to killed runs.
        missing: sources by their content.
        name: of the modality.
        modality: a fitted plugin.
        index: of what files hold; a source that changed since it was looked at is left out.
        workers: processes, when there is enough to do.

    Returns:
        Why writing stopped before the end, such as a full disk; None when everything was written.
    """
    for partial in folder.glob(f"*{PARTIAL}"):
        partial.unlink(missing_ok=True)
    workers = workers if len(missing) > _MANY else 0
    size = min(_MOST, max(_FEW, -(-len(missing) // (_TASKS_PER_WORKER * max(workers, 1)))))
    tasks = _Tasks(folder, missing, modality=modality, index=index, size=size)
    loader = DataLoader(tasks, batch_size=None, num_workers=workers)
    for failure in track(loader, description=f"preparing {name}", transient=True):
        if failure:
            return failure
    return None


class _Tasks(Dataset):
    """Runs of sources, each prepared and written where it is asked for; gives the failure to write, if any."""

    def __init__(
        self, folder: Path, sources: Mapping[bytes, Source], *, modality: Modality, index: ContentIndex, size: int
    ) -> None:
        self._folder, self._modality, self._index, self._size = folder, modality, index, size
        self._sources = list(sources.items())

    def __len__(self) -> int:
        return -(-len(self._sources) // self._size)

    def __getitem__(self, task: int) -> str:
        rows: dict[bytes, tuple[Source, Row]] = {}
        weight = 0
        try:
            for content, source in self._sources[task * self._size : (task + 1) * self._size]:
                made = self._made(source)
                rows[content] = source, (content, made)
                weight += 0 if isinstance(made, str) else sum(value.nbytes for value in made.values())
                if weight >= _SHARD_BYTES:
                    self._write(rows)
                    rows, weight = {}, 0
            self._write(rows)
        except _CannotWrite as failure:
            return str(failure)
        return ""

    def _made(self, source: Source) -> dict | str:
        try:
            return self._modality.prepare(self._modality.read(source))
        except UnreadableSource as reason:
            return str(reason)

    def _write(self, rows: Mapping[bytes, tuple[Source, Row]]) -> None:
        """Write those rows whose sources hold what they held before they were prepared."""
        now = content_of({content: source for content, (source, _) in rows.items()}, self._modality, self._index)
        kept = [row for content, (_, row) in rows.items() if now.get(content) == content]
        if not kept:
            return
        try:
            write_shard(self._folder, kept, environment())
        except OSError as error:
            raise _CannotWrite(error.strerror or type(error).__name__) from None


class _CannotWrite(Exception):
    """A shard could not be written; the message is the reason that the system gave."""

"""Preparing what a folder does not hold yet, in parallel, a shard at a time."""

from collections.abc import Mapping
from pathlib import Path

from rich.progress import track
from torch.utils.data import DataLoader, Dataset

from polyclinic.cohort.content_index import ContentIndex
from polyclinic.data.prepared.content import content_of
from polyclinic.data.prepared.identity import environment
from polyclinic.data.prepared.shard import Row, write_shard
from polyclinic.files.atomic import PARTIAL
from polyclinic.modality import Modality, Source, UnreadableSource

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

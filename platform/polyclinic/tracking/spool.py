"""Spool files beside the checkpoints, for entries that MLflow has not accepted yet."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout

from polyclinic.tracking.entries import Entry, from_line, joined, to_line
from polyclinic.tracking.process import process_tags

_MAX_CHUNK = 500
_PATTERN = "spool-*.jsonl"
_RELEASED_SUFFIX = ".left.jsonl"


class Spool:
    """File of waiting entries of one run; it exists only while entries wait.

    Args:
        path: path of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()

    @classmethod
    def new(cls, folder: Path) -> "Spool":
        """Return a new spool of this process in a run's folder, without writing it."""
        return cls(folder / f"spool-{uuid4().hex[:12]}.jsonl")

    @property
    def header(self) -> dict[str, Any]:
        """Address, run and process of the entries.

        Raises:
            ValueError: the first line is truncated.
        """
        with self.path.open("rb") as file:
            header: dict[str, Any] = json.loads(file.readline())
        return header

    @property
    def is_released(self) -> bool:
        """Whether the outbox that wrote the file is closed, so that any process may send it."""
        return self.path.name.endswith(_RELEASED_SUFFIX)

    def release(self) -> None:
        """Release the file for the next process; this object must not be used afterwards."""
        with self._lock, suppress(FileNotFoundError):
            Path(f"{self.path}.lock").unlink(missing_ok=True)
            if self._mark.is_file():
                # The mark first: without it, sent entries would count as waiting.
                self._mark.rename(Spool(self.path.with_suffix(_RELEASED_SUFFIX))._mark)
            self.path.rename(self.path.with_suffix(_RELEASED_SUFFIX))

    def exists(self) -> bool:
        """Return whether entries are waiting."""
        return self.path.is_file()

    def append(self, entries: Iterable[Entry], *, address: str, run_id: str) -> None:
        """Append entries to the file.

        Raises:
            OSError: the folder cannot be written, or the disk is full; none of the entries is stored.
        """
        lines = "".join(map(to_line, entries))
        if not lines:
            return
        with self._lock:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.exists():
                self.path.touch(mode=0o600)
                header = {"address": address, "run_id": run_id, "process": process_tags()}
                lines = json.dumps(header) + "\n" + lines
            size = self.path.stat().st_size if self.exists() else 0
            try:
                with self.path.open("ab") as file:
                    file.write(lines.encode())
            except OSError:
                self._truncate(size)
                raise

    def drain(self, send: Callable[[Entry], None]) -> None:
        """Send all entries, then remove the file.

        A mark records the position after every chunk, so that the next process does not repeat sent entries. The
        method has no effect while another process drains the file.

        Raises:
            Exception: the error of ``send``; the remaining entries keep waiting.
        """
        if not self.exists():
            return
        lock = Path(f"{self.path}.lock")
        with suppress(Timeout), FileLock(lock, blocking=False):
            while chunk := self._next_or_remove():
                lines, end = chunk
                for entry in joined(_readable(lines)):
                    send(entry)
                self._mark.write_text(str(end))
        if not self.exists():
            lock.unlink(missing_ok=True)

    @property
    def _mark(self) -> Path:
        return self.path.with_suffix(".sent")

    def _next_or_remove(self) -> tuple[list[bytes], int] | None:
        """Return the next unsent lines and their end position; None, after removing the file, if there are none."""
        with self._lock:
            if not self.exists():
                return None
            with self.path.open("rb") as file:
                # An empty mark, left by a kill, counts as none; MLflow ignores entries that it already holds.
                if sent := self._mark.is_file() and int(self._mark.read_text() or 0):
                    file.seek(sent)
                else:
                    file.readline()
                lines = list(islice(iter(file.readline, b""), _MAX_CHUNK))
                if lines:
                    return lines, file.tell()
            self.path.unlink()
            self._mark.unlink(missing_ok=True)
            return None

    def _truncate(self, size: int) -> None:
        """Remove a line that a full disk truncated, so that the next entry starts on a new line."""
        with suppress(OSError):
            if size:
                os.truncate(self.path, size)
            else:
                self.path.unlink(missing_ok=True)


def left_spools(out: Path) -> list[Spool]:
    """Return all spool files under ``<out>/<experiment id>/<run id>``."""
    return [Spool(path) for path in sorted(out.glob(f"*/*/{_PATTERN}"))]


def _readable(lines: Iterable[bytes]) -> Iterator[Entry]:
    """Parse lines; skip one that a kill truncated, as the resumed run logs its step again."""
    for line in lines:
        with suppress(ValueError):
            yield from_line(line.decode())

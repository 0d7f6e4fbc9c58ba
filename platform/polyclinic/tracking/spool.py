"""Entries that MLflow did not take, in a file beside the checkpoints until it does."""

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

_CHUNK = 500
_PATTERN = "spool-*.jsonl"
_RELEASED = ".left.jsonl"


class Spool:
    """A file of entries of one run; it exists only while something waits.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()

    @classmethod
    def new(cls, folder: Path) -> "Spool":
        """A spool of this process in a run's folder; nothing is written yet."""
        return cls(folder / f"spool-{uuid4().hex[:12]}.jsonl")

    @property
    def header(self) -> dict[str, Any]:
        """Address, run and process that the entries are of.

        Raises:
            ValueError: the first line is cut.
        """
        with self.path.open("rb") as file:
            header: dict[str, Any] = json.loads(file.readline())
        return header

    @property
    def is_released(self) -> bool:
        """Whether the outbox that wrote it is closed, so that anybody may send it."""
        return self.path.name.endswith(_RELEASED)

    def release(self) -> None:
        """Leave the file to whoever starts next; this object has none from here on."""
        with self._lock, suppress(FileNotFoundError):
            Path(f"{self.path}.lock").unlink(missing_ok=True)
            if self._mark.is_file():
                # First, because what was sent must never be taken for what waits.
                self._mark.rename(Spool(self.path.with_suffix(_RELEASED))._mark)
            self.path.rename(self.path.with_suffix(_RELEASED))

    def exists(self) -> bool:
        """Whether something waits."""
        return self.path.is_file()

    def append(self, entries: Iterable[Entry], *, address: str, run_id: str) -> None:
        """Add entries behind those that wait.

        Raises:
            OSError: the folder cannot be written, or the disk is full; the entries are not kept.
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
                self._forget_behind(size)
                raise

    def drain(self, send: Callable[[Entry], None]) -> None:
        """Send everything, then remove the file.

        How far it came is written down after every chunk, so that what was sent is not sent again by whoever goes on.
        Does nothing while another process drains the file.

        Raises:
            Exception: what ``send`` raised; the rest keeps waiting.
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
        """The next lines that were not sent, and where they end; None when there are none, and the file is removed."""
        with self._lock:
            if not self.exists():
                return None
            with self.path.open("rb") as file:
                # A mark that a kill left empty counts as none; MLflow leaves out what it holds already.
                if sent := self._mark.is_file() and int(self._mark.read_text() or 0):
                    file.seek(sent)
                else:
                    file.readline()
                lines = list(islice(iter(file.readline, b""), _CHUNK))
                if lines:
                    return lines, file.tell()
            self.path.unlink()
            self._mark.unlink(missing_ok=True)
            return None

    def _forget_behind(self, size: int) -> None:
        """Take back a line that was cut by a full disk, so that the next one starts on its own."""
        with suppress(OSError):
            if size:
                os.truncate(self.path, size)
            else:
                self.path.unlink(missing_ok=True)


def left_spools(out: Path) -> list[Spool]:
    """Every file of waiting entries under ``<out>/<experiment id>/<run id>``."""
    return [Spool(path) for path in sorted(out.glob(f"*/*/{_PATTERN}"))]


def _readable(lines: Iterable[bytes]) -> Iterator[Entry]:
    """A line that was cut by a kill is left out; its step is logged again by whoever resumes."""
    for line in lines:
        with suppress(ValueError):
            yield from_line(line.decode())

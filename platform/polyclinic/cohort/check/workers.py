"""Worker processes that inspect the sources of a cohort, and survive decoders that crash or hang."""

import hashlib
import os
import signal
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from polyclinic.cohort.cohort import file_of
from polyclinic.cohort.content_index import ContentIndex, source_digest
from polyclinic.modality import ArrayRow, EventWindow, Inspectable, Issue, Modality, Source, UnreadableSource
from polyclinic.system.processes import worker_context

_MIN_LENGTH = 200
"""Minimum bytes of a file or characters of a text; shorter contents are equal by chance."""

_HEAD_BYTES = 4096
_CONTROL_BYTES = frozenset(range(32)) - frozenset(b"\t\n\v\f\r")
_MAX_REASON_LENGTH = 500


@dataclass(frozen=True, kw_only=True)
class Content:
    """Digest of a source; ``text`` marks words, which may legitimately be the same in two studies."""

    digest: bytes
    text: bool


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """Result of inspecting one source.

    Attributes:
        unreadable: reason why the source cannot be decoded; empty if it can.
        stored_as: encoding of an unreadable source, if the plugin recognises it.
        facts: facts of a readable source, from ``Modality.describe``.
        issues: issues of a readable source.
        content: digest by which duplicates are found; None where equality is not meaningful.
    """

    unreadable: str = ""
    stored_as: str = ""
    facts: Mapping[str, float | str] = field(default_factory=dict)
    issues: tuple[Issue, ...] = ()
    content: Content | None = None


def inspect_source(modality: Modality, source: Source, index: ContentIndex) -> Inspection:
    """Inspect one source; any failure becomes a reason, not an exception."""
    if (file := file_of(source)) is not None and not file.exists():
        return refused(modality, source, "file is gone since the table of the cohort was read")
    files: Sequence[Path] = ()
    before: list[tuple[int, int, int] | None] = []
    try:
        files = modality.files(source)
        before = _stamps(files)
        inspection = _inspect(modality, source, files, index)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # decoders in Rust panic past Exception
        reason = f"{type(error).__name__} while it was inspected: a bug of the plugin"
        inspection = refused(modality, source, reason)
    if _stamps(files) != before:
        return refused(modality, source, "file changed while it was read; check again when nothing writes to it")
    return inspection


def refused(modality: Modality, source: Source, reason: str) -> Inspection:
    """Return the inspection of an unreadable source, with its encoding if the plugin recognises it."""
    try:
        stored_as = modality.stored_as(source)
    except Exception:
        stored_as = ""
    return Inspection(unreadable=reason[:_MAX_REASON_LENGTH], stored_as=stored_as)


def decoded(modality: Modality, source: Source) -> Any:
    """Decode a source; return None where that fails."""
    try:
        return modality.read(source)
    except Exception:
        return None


def _inspect(modality: Modality, source: Source, files: Sequence[Path], index: ContentIndex) -> Inspection:
    try:
        raw = modality.read(source)
        described = modality.describe(raw).items()
        facts = {fact: value if isinstance(value, str) else float(value) for fact, value in described}
        issues = _issues(modality, source, raw)
        return Inspection(facts=facts, issues=issues, content=_content(modality, source, files, index))
    except UnreadableSource as reason:
        return refused(modality, source, str(reason))


def _issues(modality: Modality, source: Source, raw: Any) -> tuple[Issue, ...]:
    """Return the issues that the plugin finds; a failure to look for them is itself an issue, not a broken source."""
    if not isinstance(modality, Inspectable):
        return ()
    try:
        return tuple(modality.issues(source, raw))
    except Exception as error:
        message = f"{type(error).__name__} while its header and content were inspected: their content is unknown"
        return (Issue(severity="warning", code="not-inspected", message=message),)


def _stamps(files: Sequence[Path]) -> list[tuple[int, int, int] | None]:
    stamps: list[tuple[int, int, int] | None] = []
    for file in files:
        try:
            stat = file.stat()
            stamps.append((stat.st_size, stat.st_mtime_ns, stat.st_ino))
        except OSError:
            stamps.append(None)
    return stamps


def _content(modality: Modality, source: Source, files: Sequence[Path], index: ContentIndex) -> Content | None:
    """Digest the file of the measurement only: a separate header names its record, so that copies of it differ."""
    if isinstance(source, str):
        digest = hashlib.sha256(source.encode()).digest()
        return Content(digest=digest, text=True) if len(source) >= _MIN_LENGTH else None
    if not files or files[-1].stat().st_size < _MIN_LENGTH:
        return None
    if isinstance(source, ArrayRow | EventWindow):
        return Content(digest=bytes.fromhex(source_digest(source, modality, index.digests(files))), text=False)
    with files[-1].open("rb") as stream:
        text = _CONTROL_BYTES.isdisjoint(stream.read(_HEAD_BYTES))
    return Content(digest=bytes.fromhex(index.digests(files[-1:])[files[-1]]), text=text)


_JOIN_SECONDS = 5.0


class Task(NamedTuple):
    """One source to inspect, or to decode and return if ``decode`` is set."""

    modality: str
    source: Source
    decode: bool = False


class _Learned(NamedTuple):
    """State of a plugin that was fitted after the processes started."""

    modality: str
    state: Mapping[str, Any]


class Readers:
    """Pool of reading processes, started on demand and ended with the context.

    Args:
        modalities: plugins by name; each process gets a copy.
        workers: number of processes; 0 reads in this process, which a crashing or hanging decoder takes down.
        seconds: time limit for reading a source.

    Raises:
        ValueError: a number is out of range.
    """

    def __init__(self, modalities: Mapping[str, Modality], *, workers: int, seconds: float) -> None:
        if workers < 0:
            raise ValueError(f"got {workers} workers, expected 0 or more; set `--workers`")
        if not seconds > 0:
            raise ValueError(f"got {seconds:g} seconds for a source, expected more than 0; set `--seconds`")
        self._modalities, self._wanted, self._seconds = dict(modalities), workers, seconds
        self._idle: list[_Reader] = []
        self._busy: dict[Connection, _Reader] = {}

    def __enter__(self) -> "Readers":
        return self

    def __exit__(self, *_: object) -> None:
        for reader in (*self._idle, *self._busy.values()):
            reader.end()

    def send_state(self, name: str) -> None:
        """Send the state of a plugin that was fitted here to the idle processes."""
        learned = _Learned(name, self._modalities[name].state())
        for reader in self._idle:
            reader.connection.send(learned)

    def each(self, tasks: Sequence[Task]) -> Iterator[Any]:
        """Yield the ``Inspection`` or the decoded source of each task, in the order of the tasks.

        Raises:
            ValueError: the processes cannot start.
        """
        if self._wanted == 0:
            index = ContentIndex(workers=1)
            yield from (_answer(task, self._modalities, index) for task in tasks)
            return
        waiting, done, yielded = deque(range(len(tasks))), dict[int, Any](), 0
        while yielded < len(tasks):
            self._assign(tasks, waiting)
            self._collect(tasks, done)
            while yielded in done:
                yield done.pop(yielded)
                yielded += 1

    def _assign(self, tasks: Sequence[Task], waiting: deque[int]) -> None:
        while waiting and (self._idle or len(self._busy) < self._wanted):
            reader = self._idle.pop() if self._idle else _Reader(self._modalities)
            place = waiting.popleft()
            if reader.take(place, tasks[place], self._seconds):
                self._busy[reader.connection] = reader
            else:
                waiting.appendleft(place)

    def _collect(self, tasks: Sequence[Task], done: dict[int, Any]) -> None:
        """Collect available answers, and fail the tasks of processes that have ended or exceed the time limit."""
        soonest = min(reader.deadline for reader in self._busy.values())
        ready = wait(
            list(self._busy), timeout=None if soonest == float("inf") else max(0.0, soonest - time.monotonic())
        )
        for connection in ready:
            reader = self._busy[connection]  # type: ignore[index]
            try:
                answer = reader.connection.recv()
            except (EOFError, OSError):
                del self._busy[reader.connection]
                done[reader.place] = self._lost(tasks[reader.place], reader.ended())
                continue
            if reader.begin(self._seconds):
                continue
            done[reader.place] = answer
            self._idle.append(self._busy.pop(reader.connection))
        for reader in [reader for reader in self._busy.values() if time.monotonic() >= reader.deadline]:
            del self._busy[reader.connection]
            reader.end()
            done[reader.place] = self._lost(tasks[reader.place], f"reading took longer than {self._seconds:g} s")

    def _lost(self, task: Task, reason: str) -> Any:
        return None if task.decode else refused(self._modalities[task.modality], task.source, reason)


class _Reader:
    """One process, its pipe, and its current task."""

    def __init__(self, modalities: Mapping[str, Modality]) -> None:
        context = worker_context(modalities.values())
        self.connection, theirs = context.Pipe()
        self.place = -1
        self.deadline = float("inf")
        self._started = False
        self._process: BaseProcess = context.Process(target=_work, args=(theirs, dict(modalities)), daemon=True)
        # Ctrl-C is handled by the parent: a child that is still importing would print a traceback.
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        theirs.close()

    def take(self, place: int, task: Task, seconds: float) -> bool:
        """Send the process a task; return False if it has ended in the meantime."""
        self.place = place
        try:
            self.connection.send(task)
        except OSError:
            self.ended()
            return False
        # The time limit is for reading: it does not run while the process is still importing.
        self.deadline = time.monotonic() + seconds if self._started else float("inf")
        return True

    def begin(self, seconds: float) -> bool:
        """Return whether the message received is the first one, which announces that the process has started."""
        if self._started:
            return False
        self._started = True
        self.deadline = time.monotonic() + seconds
        return True

    def ended(self) -> str:
        """Return why the process ended, as the reason why its source is unreadable."""
        self._process.join(_JOIN_SECONDS)
        code = self._process.exitcode
        self.end()
        if not self._started:
            raise ValueError(
                "a reading process ended at its start (see its output above); set `--workers 0` to read in this process"
            )
        with suppress(ValueError):
            return f"its decoder ended the process ({signal.Signals(-(code or 0)).name})"
        return f"its decoder ended the process (exit code {code})"

    def end(self) -> None:
        """Kill the process, and close its pipe."""
        self.connection.close()
        self._process.kill()
        self._process.join(_JOIN_SECONDS)
        with suppress(ValueError):  # still running, as no signal reaches it
            self._process.close()


def _work(connection: Connection, modalities: dict[str, Modality]) -> None:
    """Announce the start, then answer tasks until the pipe is closed."""
    # Output of C decoders may quote the file, and breaks the progress bar.
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.dup2(devnull, 2)
    index = ContentIndex(workers=1)
    with suppress(EOFError, OSError):
        connection.send(None)
        while True:
            message = connection.recv()
            if isinstance(message, _Learned):
                modalities[message.modality].load_state(message.state)
            else:
                connection.send(_answer(message, modalities, index))


def _answer(task: Task, modalities: Mapping[str, Modality], index: ContentIndex) -> Any:
    modality = modalities[task.modality]
    return decoded(modality, task.source) if task.decode else inspect_source(modality, task.source, index)

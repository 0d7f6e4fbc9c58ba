"""Worker processes that read the sources of a cohort, and what they report of each."""

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
from polyclinic.modality import ArrayRow, Inspectable, Issue, Modality, Source, UnreadableSource
from polyclinic.system.processes import worker_context

_SHORTEST = 200
"""Bytes, or characters of inline text: less than this is the same in two studies by chance."""

_LOOKED_AT = 4096
_CONTROLS = frozenset(range(32)) - frozenset(b"\t\n\v\f\r")
_LONGEST_REASON = 500


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a source holds, as a digest; ``text`` for words, which may be the same in two studies without a mistake."""

    digest: bytes
    text: bool


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """One source, looked over.

    Attributes:
        unreadable: the reason; empty for a source that decodes, and only then the rest says anything.
        stored_as: how an unreadable source is encoded, as far as that can be told.
        facts: what the plugin describes.
        issues: what the plugin worries about.
        content: to find duplicates by; None where equal contents say nothing.
    """

    unreadable: str = ""
    stored_as: str = ""
    facts: Mapping[str, float | str] = field(default_factory=dict)
    issues: tuple[Issue, ...] = ()
    content: Content | None = None


def look(modality: Modality, source: Source, index: ContentIndex) -> Inspection:
    """Read one source and say what it is; whatever goes wrong is a reason, never an exception."""
    if (file := file_of(source)) is not None and not file.is_file():
        return refused(modality, source, "file is gone since the table of the cohort was read")
    files: Sequence[Path] = ()
    before: list[tuple[int, int, int] | None] = []
    try:
        files = modality.files(source)
        before = _stamps(files)
        sight = _look(modality, source, files, index)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # decoders in Rust panic past Exception
        sight = refused(modality, source, f"{type(error).__name__} while it was looked over: a fault of the plugin")
    if _stamps(files) != before:
        return refused(modality, source, "file changed while it was read; check again when nothing writes to it")
    return sight


def refused(modality: Modality, source: Source, reason: str) -> Inspection:
    """A source that could not be read, with how it is stored if the plugin can tell."""
    stored_as = ""
    if isinstance(modality, Inspectable):
        try:
            stored_as = modality.stored_as(source)
        except Exception:
            stored_as = ""
    return Inspection(unreadable=reason[:_LONGEST_REASON], stored_as=stored_as)


def decoded(modality: Modality, source: Source) -> Any:
    """The source as the plugin reads it; None for one that it does not read."""
    try:
        return modality.read(source)
    except Exception:
        return None


def _look(modality: Modality, source: Source, files: Sequence[Path], index: ContentIndex) -> Inspection:
    try:
        raw = modality.read(source)
        told = modality.describe(raw).items()
        facts = {fact: value if isinstance(value, str) else float(value) for fact, value in told}
        issues = _issues(modality, source, raw)
        return Inspection(facts=facts, issues=issues, content=_content(modality, source, files, index))
    except UnreadableSource as reason:
        return refused(modality, source, str(reason))


def _issues(modality: Modality, source: Source, raw: Any) -> tuple[Issue, ...]:
    """What the plugin worries about; a header that breaks its look is a worry too, and no reason to lose the source."""
    if not isinstance(modality, Inspectable):
        return ()
    try:
        return tuple(modality.issues(source, raw))
    except Exception as error:
        said = f"{type(error).__name__} while its header and content were looked at: what they hold is not known"
        return (Issue(severity="warning", code="not-inspected", message=said),)


def _stamps(files: Sequence[Path]) -> list[tuple[int, int, int] | None]:
    found: list[tuple[int, int, int] | None] = []
    for file in files:
        try:
            stat = file.stat()
            found.append((stat.st_size, stat.st_mtime_ns, stat.st_ino))
        except OSError:
            found.append(None)
    return found


def _content(modality: Modality, source: Source, files: Sequence[Path], index: ContentIndex) -> Content | None:
    """By the file of the measurement alone: a header beside it names its record, so that copies of it differ."""
    if isinstance(source, str):
        digest = hashlib.sha256(source.encode()).digest()
        return Content(digest=digest, text=True) if len(source) >= _SHORTEST else None
    if not files or files[-1].stat().st_size < _SHORTEST:
        return None
    if isinstance(source, ArrayRow):
        return Content(digest=bytes.fromhex(source_digest(source, modality, index.digests(files))), text=False)
    with files[-1].open("rb") as stream:
        text = _CONTROLS.isdisjoint(stream.read(_LOOKED_AT))
    return Content(digest=bytes.fromhex(index.digests(files[-1:])[files[-1]]), text=text)


_PATIENCE = 5.0
_LONGEST_WAIT = 3600.0


class Task(NamedTuple):
    """One source to look over, or with ``decode`` to be handed back as it was read."""

    modality: str
    source: Source
    decode: bool = False


class _Learned(NamedTuple):
    """What a plugin has learned since the processes started."""

    modality: str
    state: Mapping[str, Any]


class Readers:
    """Reading processes, started when there is work and ended with the context.

    Args:
        modalities: plugins by name; each process gets a copy.
        workers: number of processes; 0 reads here, where a decoder that crashes or hangs is not survived.
        seconds: after which a source is given up.

    Raises:
        ValueError: a number that is out of range.
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

    def tell(self, name: str) -> None:
        """Let the processes know what a plugin has learned here."""
        learned = _Learned(name, self._modalities[name].state())
        for reader in self._idle:
            reader.connection.send(learned)

    def each(self, tasks: Sequence[Task]) -> Iterator[Any]:
        """A ``Inspection`` of each task, or what was decoded, in the order of the tasks whoever is done first.

        Raises:
            ValueError: the processes cannot start.
        """
        if self._wanted == 0:
            index = ContentIndex(workers=1)
            yield from (_answer(task, self._modalities, index) for task in tasks)
            return
        waiting, done, told = deque(range(len(tasks))), dict[int, Any](), 0
        while told < len(tasks):
            self._assign(tasks, waiting)
            self._collect(tasks, done)
            while told in done:
                yield done.pop(told)
                told += 1

    def _assign(self, tasks: Sequence[Task], waiting: deque[int]) -> None:
        while waiting and (self._idle or len(self._busy) < self._wanted):
            reader = self._idle.pop() if self._idle else _Reader(self._modalities)
            place = waiting.popleft()
            if reader.take(place, tasks[place], self._seconds):
                self._busy[reader.connection] = reader
            else:
                waiting.appendleft(place)

    def _collect(self, tasks: Sequence[Task], done: dict[int, Any]) -> None:
        """Take the answers that are there, and give up what has ended or takes too long."""
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
    """One process, its pipe, and the task it has."""

    def __init__(self, modalities: Mapping[str, Modality]) -> None:
        context = worker_context(modalities.values())
        self.connection, theirs = context.Pipe()
        self.place = -1
        self.deadline = float("inf")
        self._started = False
        self._process: BaseProcess = context.Process(target=_work, args=(theirs, dict(modalities)), daemon=True)
        # The interruption of a terminal is for us: a process that is still importing would answer with a traceback.
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        theirs.close()

    def take(self, place: int, task: Task, seconds: float) -> bool:
        """Give the process a task; False when it has ended meanwhile."""
        self.place = place
        try:
            self.connection.send(task)
        except OSError:
            self.ended()
            return False
        self.deadline = time.monotonic() + seconds if self._started else float("inf")
        return True

    def begin(self, seconds: float) -> bool:
        """Whether the answer that came was the first one, which only says that the process reads from now on."""
        if self._started:
            return False
        self._started = True
        self.deadline = time.monotonic() + seconds
        return True

    def ended(self) -> str:
        """Why the process ended, as the reason for which its source is unreadable."""
        self._process.join(_PATIENCE)
        code = self._process.exitcode
        self.end()
        if not self._started:
            raise ValueError("a reading process ended at its start (its words are above); `--workers 0` reads without")
        with suppress(ValueError):
            return f"its decoder ended the process ({signal.Signals(-(code or 0)).name})"
        return f"its decoder ended the process (exit code {code})"

    def end(self) -> None:
        """End the process, whatever it does."""
        self.connection.close()
        self._process.kill()
        self._process.join(_PATIENCE)
        with suppress(ValueError):  # one that no signal reaches is left behind
            self._process.close()


def _work(connection: Connection, modalities: dict[str, Modality]) -> None:
    """What a process does: say that it is there, then answer until nobody asks any more."""
    # What a decoder written in C prints may quote the file, and breaks the progress bar.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
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
    return decoded(modality, task.source) if task.decode else look(modality, task.source, index)

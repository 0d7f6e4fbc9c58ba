"""Processes that read sources: one that dies or hangs costs the source it had, never the check."""

import os
import signal
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

from polyclinic.cohort.check.source import decoded, look, refused
from polyclinic.cohort.content_index import ContentIndex
from polyclinic.modality import Modality, Source
from polyclinic.system.processes import worker_context

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
        """A ``Sight`` of each task, or what was decoded, in the order of the tasks whoever is done first.

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

"""Worker processes as the front process handles them: start, exchange messages, kill."""

import multiprocessing
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from threading import Lock
from typing import Any

from polyclinic.deploy.service.workers.entrypoints import compute
from polyclinic.deploy.service.workers.messages import LARGEST, ServedBundle, unpack

PRELOAD = "polyclinic.deploy.service.workers.preload"
_FAULT_SIGNALS = {
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGABRT,
    signal.SIGXCPU,
    signal.SIGXFSZ,
}
_UNKNOWN_EXIT = 255
"""Exit code that ``multiprocessing`` reports if the fork server, which alone knows the real one, has ended."""

_JOIN_SECONDS = 20.0
_STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM}
_NONFATAL_SIGNALS = {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH, signal.SIGSTOP, signal.SIGTSTP,
             signal.SIGTTIN, signal.SIGTTOU}  # fmt: skip
_SIGNAL_MASKS = {"SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt"}
_EXITING_FLAGS = 0x4 | 0x400
"""PF_EXITING and PF_SIGNALED of the kernel."""

_starting: list[object] = []
_alive: set["WorkerProcess"] = set()


class WorkerDied(Exception):
    """The process ended before it answered.

    Attributes:
        by_fault: whether its request ended it, rather than a signal from outside.
    """

    def __init__(self, *, by_fault: bool) -> None:
        super().__init__()
        self.by_fault = by_fault


class WorkerProcess:
    """A process forked from the fork server. It starts in tens of milliseconds, the first one in seconds.

    Args:
        target: function to run; its first argument is a connection to this process.
        values: further arguments.

    Raises:
        OSError: the process cannot be started.
    """

    def __init__(self, target: Callable[..., None], values: tuple[Any, ...] = ()) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([PRELOAD])
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=target, args=(theirs, *values), daemon=True)
        try:
            with _start_guard():
                self._process.start()
                assert self._process.pid is not None, "the process was started"
                self.pid = self._process.pid
                # A pidfd, as the process id may be reused once the process has ended.
                self._handle = os.pidfd_open(self.pid)
                _alive.add(self)
        finally:
            theirs.close()
        self._ending = Lock()

    @property
    def ended(self) -> bool:
        """Whether the process has ended, or was killed and is about to end."""
        poll = select.poll()
        poll.register(self._handle, select.POLLIN)
        return bool(poll.poll(0)) or _dying(self.pid)

    @property
    def waited(self) -> float:
        """Seconds for which the process was runnable but waited for a CPU."""
        with suppress(OSError, ValueError, IndexError):
            return int(_read_proc(self.pid, "schedstat").split()[1]) / 1e9
        return 0.0

    def send(self, message: bytes) -> None:
        """Send a message; blocks until the process reads it.

        Raises:
            WorkerDied: the process has ended.
        """
        try:
            self._connection.send_bytes(message)
        except OSError:
            raise self._death() from None

    def receive(self) -> bytes:
        """Return the next message; blocks until there is one.

        Raises:
            WorkerDied: the process has ended.
        """
        try:
            return self._connection.recv_bytes(LARGEST)
        except (EOFError, OSError):
            raise self._death() from None

    def exchange(self, message: bytes) -> bytes:
        """Send a message, and return the answer.

        Raises:
            WorkerDied: the process has ended.
        """
        self.send(message)
        return self.receive()

    def kill(self) -> None:
        """Kill the process at once."""
        with suppress(OSError):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    def forget(self) -> None:
        """Kill the process and release its resources; no other method may be called afterwards."""
        self.kill()
        self._joined()
        _alive.discard(self)
        self._connection.close()
        os.close(self._handle)

    def _death(self) -> WorkerDied:
        """Return the error for a broken connection; a process that only closed its end is killed."""
        code = self._joined()
        self.kill()
        return WorkerDied(by_fault=code is not None and (0 < code < _UNKNOWN_EXIT or -code in _FAULT_SIGNALS))

    def _joined(self) -> int | None:
        with self._ending:
            self._process.join(_JOIN_SECONDS)
            return self._process.exitcode


def end_starts() -> None:
    """Abort all starts of processes, and return when none is pending.

    Kills the fork server, for which they may wait a minute on a busy machine; the next start brings it up again.
    """
    while _starting:
        # No public API gives its process id. As a child of this process, its id cannot have been reused.
        if (server := getattr(forkserver._forkserver, "_forkserver_pid", None)) is not None:
            with suppress(ProcessLookupError):
                os.kill(server, signal.SIGKILL)
        time.sleep(0.01)


def end_all() -> None:
    """Kill every process, also those that are starting. No process may be started at the same time."""
    end_starts()
    for process in list(_alive):
        process.kill()


def start_model(together: int) -> tuple[WorkerProcess, ServedBundle]:
    """Start the model worker, and return it with the bundle that it loaded.

    Args:
        together: maximum number of studies per batch.

    Raises:
        ValueError: the bundle cannot be loaded or cannot score.
        WorkerDied: the process ended before it reported.
    """
    process = WorkerProcess(compute, (together,))
    try:
        head, _ = unpack(process.receive())
    except WorkerDied:
        process.forget()
        raise
    if head["problem"] is not None:
        process.forget()
        raise ValueError(head["problem"])
    return process, ServedBundle(**head["bundle"])


@contextmanager
def _start_guard() -> Iterator[None]:
    """Block SIGINT and SIGTERM while a process starts: the front process decides when to stop, and kills it."""
    # The resource tracker would unblock these signals if it were started here, so it is started before.
    resource_tracker.ensure_running()
    mark = object()
    _starting.append(mark)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _starting.remove(mark)


def _dying(pid: int) -> bool:
    """Whether a fatal signal was sent to the process; False if the kernel does not report it."""
    try:
        lines = _read_proc(pid, "status").splitlines()
        masks = {
            name: int(mask, 16) for name, _, mask in (line.partition(":\t") for line in lines) if name in _SIGNAL_MASKS
        }
        # Read after the masks: a signal that is not pending any more shows in the flags.
        flags = int(_read_proc(pid, "stat").rpartition(")")[2].split()[6])
    except FileNotFoundError:
        return True
    except (OSError, ValueError, IndexError):
        return False
    pending = masks.get("SigPnd", 0) | masks.get("ShdPnd", 0)
    survived = masks.get("SigBlk", 0) | masks.get("SigIgn", 0) | masks.get("SigCgt", 0)
    fatal = pending & ~survived & ~sum(1 << (number - 1) for number in _NONFATAL_SIGNALS)
    return bool(fatal or flags & _EXITING_FLAGS)


def _read_proc(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8", errors="replace")

"""One process of the service, seen from the front: started, asked, killed."""

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
from polyclinic.deploy.service.workers.messages import LARGEST, unpack

NURSERY = "polyclinic.deploy.service.workers.preload"
_FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGXCPU, signal.SIGXFSZ}
_UNKNOWN = 255
"""Exit code that ``multiprocessing`` gives where the process that forked another one, and would know, has ended."""

_SECONDS_TO_END = 20.0
_STOPS = {signal.SIGINT, signal.SIGTERM}
_HARMLESS = {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH, signal.SIGSTOP, signal.SIGTSTP,
             signal.SIGTTIN, signal.SIGTTOU}  # fmt: skip
_MASKS = {"SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt"}
_LEAVING = 0x4 | 0x400
"""PF_EXITING and PF_SIGNALED of the kernel."""

_starting: list[object] = []
_living: set["WorkerProcess"] = set()


class WorkerDied(Exception):
    """The process ended while it was asked.

    Attributes:
        by_fault: whether what it was asked to do ended it, rather than somebody from outside.
    """

    def __init__(self, *, by_fault: bool) -> None:
        super().__init__()
        self.by_fault = by_fault


class WorkerProcess:
    """A process forked from the nursery. Starting one takes tens of milliseconds, the first one seconds.

    Args:
        target: what it runs; its first argument is a connection to this process.
        values: the other arguments.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, target: Callable[..., None], values: tuple[Any, ...] = ()) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([NURSERY])
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=target, args=(theirs, *values), daemon=True)
        try:
            with _started():
                self._process.start()
                assert self._process.pid is not None, "it was started"
                self.pid = self._process.pid
                # A handle, as its number may be another process's once it has ended.
                self._handle = os.pidfd_open(self.pid)
                _living.add(self)
        finally:
            theirs.close()
        self._ending = Lock()

    @property
    def ended(self) -> bool:
        """Whether it has ended, or was killed and will end as soon as the machine has time for it."""
        poll = select.poll()
        poll.register(self._handle, select.POLLIN)
        return bool(poll.poll(0)) or _dying(self.pid)

    @property
    def waited(self) -> float:
        """Seconds that it was able to compute but had no processor to do so."""
        with suppress(OSError, ValueError, IndexError):
            return int(_of_kernel(self.pid, "schedstat").split()[1]) / 1e9
        return 0.0

    def send(self, message: bytes) -> None:
        """Send, waiting for as long as the process does not read.

        Raises:
            Gone: it has ended.
        """
        try:
            self._connection.send_bytes(message)
        except OSError:
            raise self._gone() from None

    def receive(self) -> bytes:
        """The next message, however long it takes.

        Raises:
            Gone: the process has ended.
        """
        try:
            return self._connection.recv_bytes(LARGEST)
        except (EOFError, OSError):
            raise self._gone() from None

    def exchange(self, message: bytes) -> bytes:
        """Send, and wait for the answer.

        Raises:
            Gone: the process has ended.
        """
        self.send(message)
        return self.receive()

    def kill(self) -> None:
        """End it at once."""
        with suppress(OSError):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    def forget(self) -> None:
        """End it, and give back what it took here; nobody may ask it or wait for it any more."""
        self.kill()
        self._joined()
        _living.discard(self)
        self._connection.close()
        os.close(self._handle)

    def _gone(self) -> WorkerDied:
        """Its exit code tells why; a process that only closed its end is ended."""
        code = self._joined()
        self.kill()
        return WorkerDied(by_fault=code is not None and (0 < code < _UNKNOWN or -code in _FAULTS))

    def _joined(self) -> int | None:
        with self._ending:
            self._process.join(_SECONDS_TO_END)
            return self._process.exitcode


def end_starts() -> None:
    """Return when no process is being started any more.

    What they wait for, which may take a minute on a busy machine, is ended; it is started again when it is needed.
    """
    while _starting:
        # There is no public way to its number; it is a child of this process, so that no other can have it.
        if (nursery := getattr(forkserver._forkserver, "_forkserver_pid", None)) is not None:
            with suppress(ProcessLookupError):
                os.kill(nursery, signal.SIGKILL)
        time.sleep(0.01)


def end_all() -> None:
    """End every process, also those that are being started. Nobody may start another one meanwhile."""
    end_starts()
    for process in list(_living):
        process.kill()


def start_model(together: int) -> tuple[WorkerProcess, dict[str, Any]]:
    """Start the process, and hear what the bundle is.

    Args:
        together: studies that it scores together, at most.

    Raises:
        ValueError: why the bundle cannot be loaded.
        Gone: it ended without a word.
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
    return process, head["card"]


@contextmanager
def _started() -> Iterator[None]:
    """What is started here gets no signal that is meant to stop the service: the front decides, and kills it."""
    # It lets these signals through again where it is started itself, and so has to be there before.
    resource_tracker.ensure_running()
    mark = object()
    _starting.append(mark)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _starting.remove(mark)


def _dying(pid: int) -> bool:
    """Whether a signal that ends the process was sent to it; where the kernel does not say, it was not."""
    try:
        lines = _of_kernel(pid, "status").splitlines()
        masks = {name: int(mask, 16) for name, _, mask in (line.partition(":\t") for line in lines) if name in _MASKS}
        # Read behind it: a signal that is not pending any more shows here.
        flags = int(_of_kernel(pid, "stat").rpartition(")")[2].split()[6])
    except FileNotFoundError:
        return True
    except (OSError, ValueError, IndexError):
        return False
    pending = masks.get("SigPnd", 0) | masks.get("ShdPnd", 0)
    spared = masks.get("SigBlk", 0) | masks.get("SigIgn", 0) | masks.get("SigCgt", 0)
    fatal = pending & ~spared & ~sum(1 << (number - 1) for number in _HARMLESS)
    return bool(fatal or flags & _LEAVING)


def _of_kernel(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8", errors="replace")

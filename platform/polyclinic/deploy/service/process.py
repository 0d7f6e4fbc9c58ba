"""One process of the service, seen from the front: started, asked, killed."""

import multiprocessing
import os
import select
import signal
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import Any

from polyclinic.deploy.service.entrances import compute
from polyclinic.deploy.service.wire import LARGEST, unpack

NURSERY = "polyclinic.deploy.service.nursery"
_FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGXCPU, signal.SIGXFSZ}
_SECONDS_TO_END = 5.0


class Gone(Exception):
    """The process ended while it was asked.

    Attributes:
        by_fault: whether what it was asked to do ended it, rather than somebody from outside.
    """

    def __init__(self, *, by_fault: bool) -> None:
        super().__init__()
        self.by_fault = by_fault


class Process:
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
            self._process.start()
        finally:
            theirs.close()
        assert self._process.pid is not None, "it was started"
        self.pid = self._process.pid
        # A handle, as its number may be another process's once it has ended.
        self._handle = os.pidfd_open(self.pid)
        self._ending = Lock()

    @property
    def ended(self) -> bool:
        """Whether it has."""
        poll = select.poll()
        poll.register(self._handle, select.POLLIN)
        return bool(poll.poll(0))

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
        self._connection.close()
        os.close(self._handle)

    def _gone(self) -> Gone:
        """Its exit code tells why; a process that only closed its end is ended."""
        code = self._joined()
        self.kill()
        return Gone(by_fault=code is not None and (code > 0 or -code in _FAULTS))

    def _joined(self) -> int | None:
        with self._ending:
            self._process.join(_SECONDS_TO_END)
            return self._process.exitcode


def start_model(together: int) -> tuple[Process, dict[str, Any]]:
    """Start the process, and hear what the bundle is.

    Args:
        together: studies that it scores together, at most.

    Raises:
        ValueError: why the bundle cannot be loaded.
        Gone: it ended without a word.
    """
    process = Process(compute, (together,))
    try:
        head, _ = unpack(process.receive())
    except Gone:
        process.forget()
        raise
    if head["problem"] is not None:
        process.forget()
        raise ValueError(head["problem"])
    return process, head["card"]

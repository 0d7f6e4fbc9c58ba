"""How a run ended, in MLflow's words."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Literal

from lightning.pytorch.utilities.exceptions import SIGTERMException

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]


def run_status(status: str, cause: BaseException | None) -> RunStatus:
    """Translate what Lightning tells a logger at the end.

    Args:
        status: ``success``; ``finished``, which Lightning says of a job of SLURM that saves itself to be queued again;
            anything else is a failure.
        cause: the exception being handled. Lightning says ``failed`` for Ctrl-C and SIGTERM too; only the
            exception tells them from an error.
    """
    if status == "success":
        return "FINISHED"
    ended = status == "finished" or isinstance(cause, KeyboardInterrupt | SIGTERMException)
    return "KILLED" if ended else "FAILED"


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end a run in order at any time, and not only once Lightning listens for it.

    Lightning does so when its loops start. Before that, while files are prepared, the signal would end the process at
    once and leave the run running for ever.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        elif signal.getsignal(signal.SIGTERM) is end:
            raise SIGTERMException

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def exit_of(end: SystemExit) -> BaseException:
    """What an end that Lightning turned into an exit should be: SIGTERM leaves with 0 there, Ctrl-C with 1."""
    if isinstance(end, SIGTERMException):
        return SystemExit(128 + signal.SIGTERM)
    return KeyboardInterrupt() if isinstance(end.__context__, KeyboardInterrupt) else end

"""How a run ended: its status in MLflow and the exit code of its process."""

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
    """Translate the final status that Lightning passes to a logger.

    Args:
        status: ``success``; ``finished``, which Lightning passes for a SLURM job that is requeued; anything else is a
            failure.
        cause: exception being handled. Lightning passes ``failed`` for Ctrl-C and SIGTERM too; only the exception
            distinguishes them from an error.
    """
    if status == "success":
        return "FINISHED"
    ended = status == "finished" or isinstance(cause, KeyboardInterrupt | SIGTERMException)
    return "KILLED" if ended else "FAILED"


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Make SIGTERM end a run cleanly at any time, not only after Lightning has installed its handler.

    Lightning installs it when its loops start. Before that, while files are prepared, the signal would end the
    process at once and leave the MLflow run in state RUNNING.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a forked worker inherits the handler, but has no run to end
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
    """Restore the exit that Lightning replaced: it turns SIGTERM into exit code 0, and Ctrl-C into 1."""
    if isinstance(end, SIGTERMException):
        return SystemExit(128 + signal.SIGTERM)
    return KeyboardInterrupt() if isinstance(end.__context__, KeyboardInterrupt) else end

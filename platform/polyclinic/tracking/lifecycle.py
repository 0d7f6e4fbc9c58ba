"""The status of MLflow runs, and the upkeep of runs that a crash left open or unsent."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time
from types import FrameType
from typing import Literal

from lightning.pytorch.utilities.exceptions import SIGTERMException
from mlflow import MlflowClient
from mlflow.entities import Run

from polyclinic.tracking.entries import Ended, Entry
from polyclinic.tracking.outbox import deliver
from polyclinic.tracking.process import HOST, host_id, is_gone
from polyclinic.tracking.spool import Spool, left_spools

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


_MOST_RUNS = 1000
_CURVES = 5


def send_left(client: MlflowClient, out: Path, *, address: str, resumed: str | None = None) -> list[Spool]:
    """Send the entries that closed runs, and runs of gone processes, left under ``out`` for this address.

    Args:
        client: of MLflow.
        out: folder of the runs.
        address: of MLflow, without a password; entries for another one keep waiting.
        resumed: run that goes on in this process, of which an earlier end no longer holds.

    Returns:
        The files that were sent, which are removed.

    Raises:
        Exception: MLflow is away, or its database is locked; what was not sent keeps waiting.
    """
    sent = []
    for spool in left_spools(out):
        try:
            header = spool.header
            process, run_id, meant_for = dict(header["process"]), str(header["run_id"]), header["address"]
        except (OSError, ValueError, KeyError, TypeError):  # another start was faster, or the first line was cut
            continue
        if meant_for != address or not (spool.is_released or is_gone(process)):
            continue
        spool.drain(_sender(client, run_id, resumed=resumed))
        sent.append(spool)
    return sent


def reap(client: MlflowClient, experiment_id: str, *, by: str) -> list[str]:
    """End the runs of an experiment that say RUNNING while their process, on this host, is gone.

    Each becomes KILLED at the time of its last metric, with the tag ``polyclinic.reaped``. A run of another host is
    left as it is, and so is one whose process cannot be told from a living one.

    Args:
        client: of MLflow.
        experiment_id: whose runs are looked at.
        by: the run that starts, which the tag names.

    Returns:
        The ids of the runs that were ended.
    """
    found = client.search_runs(
        [experiment_id],
        filter_string=f"attributes.status = 'RUNNING' and tags.`{HOST}` = '{host_id()}'",
        max_results=_MOST_RUNS,
    )
    gone = [run.info.run_id for run in found if run.info.run_id != by and is_gone(run.data.tags)]
    # Asked again, because another start may have resumed one meanwhile.
    still = [run for run in map(client.get_run, gone) if run.info.status == "RUNNING" and is_gone(run.data.tags)]
    for run in still:
        client.set_tag(run.info.run_id, "polyclinic.reaped", f"its process was gone when run {by} started")
        client.set_terminated(run.info.run_id, "KILLED", end_time=_last_sign(client, run))
    return [run.info.run_id for run in still]


def _sender(client: MlflowClient, run_id: str, *, resumed: str | None) -> Callable[[Entry], None]:
    def send(entry: Entry) -> None:
        if not (isinstance(entry, Ended) and run_id == resumed):
            deliver(entry, client, run_id)

    return send


def _last_sign(client: MlflowClient, run: Run) -> int:
    """Milliseconds of the last metric among a few curves; of the start where nothing was logged."""
    names = list(run.data.metrics)[:_CURVES]
    times = [point.timestamp for name in names for point in client.get_metric_history(run.info.run_id, name)]
    return max([*times, run.info.start_time or int(time() * 1000)])

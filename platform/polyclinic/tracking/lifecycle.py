"""Clean-up of MLflow runs that a crash left open or unsent."""

from collections.abc import Callable
from pathlib import Path
from time import time

from mlflow import MlflowClient
from mlflow.entities import Run

from polyclinic.tracking.entries import Ended, Entry
from polyclinic.tracking.outbox import deliver
from polyclinic.tracking.process import HOST, host_id, is_gone
from polyclinic.tracking.spool import Spool, left_spools

_MAX_RUNS = 1000
_MAX_CURVES = 5


def send_left(client: MlflowClient, out: Path, *, address: str, resumed: str | None = None) -> list[Spool]:
    """Send the entries for this address that closed runs, and runs of dead processes, left under ``out``.

    Args:
        client: MLflow client.
        out: folder of the runs.
        address: address of MLflow, without a password; entries for another address keep waiting.
        resumed: run that this process continues; an earlier end of it is dropped.

    Returns:
        The spool files that were sent and removed.

    Raises:
        Exception: MLflow is away, or its database is locked; unsent entries keep waiting.
    """
    sent = []
    for spool in left_spools(out):
        try:
            header = spool.header
            process, run_id, meant_for = dict(header["process"]), str(header["run_id"]), header["address"]
        except (OSError, ValueError, KeyError, TypeError):  # another process sent it, or the header is truncated
            continue
        if meant_for != address or not (spool.is_released or is_gone(process)):
            continue
        spool.drain(_sender(client, run_id, resumed=resumed))
        sent.append(spool)
    return sent


def reap(client: MlflowClient, experiment_id: str, *, by: str) -> list[str]:
    """End the RUNNING runs of an experiment whose process on this host no longer exists.

    Each becomes KILLED at the time of its last metric, with the tag ``polyclinic.reaped``. Runs of other hosts are
    unchanged, and so are runs whose process may still be alive.

    Args:
        client: MLflow client.
        experiment_id: experiment whose runs are checked.
        by: run that starts, for the text of the tag.

    Returns:
        The ids of the ended runs.
    """
    running = client.search_runs(
        [experiment_id],
        filter_string=f"attributes.status = 'RUNNING' and tags.`{HOST}` = '{host_id()}'",
        max_results=_MAX_RUNS,
    )
    gone = [run.info.run_id for run in running if run.info.run_id != by and is_gone(run.data.tags)]
    # Fetched again, because another process may have resumed a run meanwhile.
    dead = [run for run in map(client.get_run, gone) if run.info.status == "RUNNING" and is_gone(run.data.tags)]
    for run in dead:
        client.set_tag(run.info.run_id, "polyclinic.reaped", f"its process was gone when run {by} started")
        client.set_terminated(run.info.run_id, "KILLED", end_time=_last_activity(client, run))
    return [run.info.run_id for run in dead]


def _sender(client: MlflowClient, run_id: str, *, resumed: str | None) -> Callable[[Entry], None]:
    def send(entry: Entry) -> None:
        if not (isinstance(entry, Ended) and run_id == resumed):
            deliver(entry, client, run_id)

    return send


def _last_activity(client: MlflowClient, run: Run) -> int:
    """Return the time in ms of the last metric of a few curves, or of the start if nothing was logged."""
    names = list(run.data.metrics)[:_MAX_CURVES]
    times = [point.timestamp for name in names for point in client.get_metric_history(run.info.run_id, name)]
    return max([*times, run.info.start_time or int(time() * 1000)])

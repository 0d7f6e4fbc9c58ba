"""``polyclinic tracking send``: send the waiting entries of runs, and end runs of dead processes."""

from pathlib import Path

from polyclinic.system.shell import print_next
from polyclinic.system.terminal import Console
from polyclinic.tracking.address import store_words
from polyclinic.tracking.lifecycle import reap, send_left
from polyclinic.tracking.outbox import cause
from polyclinic.tracking.spool import left_spools
from polyclinic.tracking.store import artifact_location, open_store
from polyclinic.tracking.uri import resolve_uri, without_password


def send(out: Path, tracking_uri: str | None = None, experiment: str = "polyclinic") -> None:
    """Send waiting entries, and end the runs of dead processes: polyclinic tracking send runs

    Args:
        out: folder of the runs; `runs` unless the logger's `out` was set.
        tracking_uri: address of MLflow; defaults to MLFLOW_TRACKING_URI, and without it to a SQLite file in `out`.
        experiment: experiment whose runs are checked.

    Raises:
        ValueError: MLflow cannot be used, or does not accept all entries.
    """
    uri = resolve_uri(given=tracking_uri, out=out)
    address = without_password(uri)
    client, experiment_id = open_store(uri, experiment=experiment, artifacts=artifact_location(uri, out=out))
    try:
        sent = send_left(client, out, address=address)
        ended = reap(client, experiment_id, by="of `polyclinic tracking send`")
    except Exception as error:
        raise ValueError(
            f"MLflow at {address} did not accept all entries ({cause(error)}); the rest keeps waiting, try again later"
        ) from error
    waiting = len(left_spools(out))
    console = Console()
    console.print(f"{len(sent)} files sent, {waiting} wait for another address or belong to a running run")
    console.print(f"{len(ended)} runs of dead processes ended")
    print_next("polyclinic", "runs", *store_words(uri, out=out))

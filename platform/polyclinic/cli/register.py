"""``polyclinic bundle register``: a bundle as a version in the MLflow registry."""

import re
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import auto_cli

from polyclinic.deploy.bundle.verification import verified_bundle
from polyclinic.registry.flavour import Registered, log_bundle
from polyclinic.system.shell import print_next
from polyclinic.system.terminal import Console
from polyclinic.tracking.outbox import cause
from polyclinic.tracking.store import artifact_location, open_store
from polyclinic.tracking.uri import resolve_uri, without_password

_NAME = re.compile(r"[\w][\w .-]{0,199}")


def main(argv: Sequence[str]) -> None:
    """Run the command."""
    auto_cli(register, args=list(argv), prog="polyclinic bundle register", exit_on_error=False)


def register(
    folder: Path,
    name: str | None = None,
    out: Path = Path("runs"),
    tracking_uri: str | None = None,
    experiment: str = "polyclinic",
) -> None:
    """Register a bundle in MLflow: polyclinic bundle register bundle --name chest

    It is logged into the run that trained it where MLflow has that run, into a new one otherwise. A bundle that is
    there already gets no second version.

    Args:
        folder: of ``polyclinic bundle export``.
        name: of the model in the registry; the bundle's own unless set.
        out: folder of the runs, for the SQLite file where no other address is given.
        tracking_uri: address of MLflow; MLFLOW_TRACKING_URI unless set, and without that a SQLite file in `out`.
        experiment: of a new run.

    Raises:
        ValueError: the bundle is not whole or cannot score, the name cannot be one, or MLflow does not take it.
    """
    bundle = verified_bundle(folder)
    name = bundle.content.name if name is None else name
    if not _NAME.fullmatch(name):
        raise ValueError(f"got name {name!r}, expected letters, digits, spaces and any of '_.-'; set `--name`")
    uri = resolve_uri(given=tracking_uri, out=out)
    address = without_password(uri)
    client, experiment_id = open_store(uri, experiment=experiment, artifacts=artifact_location(uri, out=out))
    try:
        done = log_bundle(folder, registered_name=name, client=client, experiment_id=experiment_id)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"MLflow at {address} did not take the bundle ({cause(error)}); register it again") from error
    _tell(done, address)


def _tell(done: Registered, address: str) -> None:
    console = Console()
    message = "registered" if done.new else "there already"
    console.print(f"{message}: {done.name}, version {done.version}, of run {done.run_id}", soft_wrap=True)
    safe = ("PYTHONSAFEPATH=1", "UVICORN_APP_DIR=/", "MLFLOW_DISABLE_TELEMETRY=true")
    print_next(
        "env",
        *safe,
        f"MLFLOW_TRACKING_URI={address}",
        "mlflow",
        "models",
        "serve",
        "--env-manager",
        "local",
        "--model-uri",
        done.uri,
    )

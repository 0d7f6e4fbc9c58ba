"""``polyclinic bundle register``: register a bundle as a model version in MLflow."""

import re
from pathlib import Path

from polyclinic.deploy.bundle.verification import verified_bundle
from polyclinic.registry.flavour import Registered, log_bundle
from polyclinic.system.shell import print_next
from polyclinic.system.terminal import Console
from polyclinic.tracking.outbox import cause
from polyclinic.tracking.store import artifact_location, open_store
from polyclinic.tracking.uri import resolve_uri, without_password

_NAME = re.compile(r"[\w][\w .-]{0,199}")


def register(
    folder: Path,
    name: str | None = None,
    out: Path = Path("runs"),
    tracking_uri: str | None = None,
    experiment: str = "polyclinic",
) -> None:
    """Register a bundle in MLflow: polyclinic bundle register bundle --name chest

    The bundle is logged to the run that trained it if MLflow has that run, otherwise to a new run. A bundle that is
    already registered gets no second version.

    Args:
        folder: bundle of ``polyclinic bundle export``.
        name: name of the registered model; the name of the bundle unless set.
        out: folder of the runs, for the SQLite file unless another address is set.
        tracking_uri: address of MLflow; defaults to MLFLOW_TRACKING_URI, and without it to a SQLite file in `out`.
        experiment: experiment of a new run.

    Raises:
        ValueError: the bundle is incomplete or cannot score, the name is invalid, or MLflow refuses the bundle.
    """
    bundle = verified_bundle(folder)
    name = bundle.content.name if name is None else name
    if not _NAME.fullmatch(name):
        raise ValueError(f"got name {name!r}, expected letters, digits, spaces and any of '_.-'; set `--name`")
    uri = resolve_uri(given=tracking_uri, out=out)
    address = without_password(uri)
    client, experiment_id = open_store(uri, experiment=experiment, artifacts=artifact_location(uri, out=out))
    try:
        registered = log_bundle(folder, registered_name=name, client=client, experiment_id=experiment_id)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(
            f"MLflow at {address} did not accept the bundle ({cause(error)}); register it again"
        ) from error
    _print_registered(registered, address)


def _print_registered(registered: Registered, address: str) -> None:
    console = Console()
    message = "registered" if registered.new else "already registered"
    console.print(
        f"{message}: {registered.name}, version {registered.version}, of run {registered.run_id}", soft_wrap=True
    )
    # The safe path keeps MLflow's scoring server from importing the working folder.
    environment = ("PYTHONSAFEPATH=1", "UVICORN_APP_DIR=/", "MLFLOW_DISABLE_TELEMETRY=true")
    print_next(
        "env",
        *environment,
        f"MLFLOW_TRACKING_URI={address}",
        "mlflow",
        "models",
        "serve",
        "--env-manager",
        "local",
        "--model-uri",
        registered.uri,
    )

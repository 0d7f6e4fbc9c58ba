"""Where runs are tracked: the address, its artifact folder, and a client that is ready to use."""

import logging
import os
import sqlite3
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from polyclinic.address import database_file, without_password

_KNOCK_SECONDS = 10
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""MLflow's own would hold a request for minutes, where we try again; the address it prints may hold a password."""

_UNUSABLE = (MlflowException, OSError, sqlite3.Error, SQLAlchemyError, ImportError)


def artifact_location(uri: str, *, out: Path) -> str | None:
    """Where a new experiment keeps its artifacts, as a file URI; None leaves it to the server or file store."""
    if (database := database_file(uri)) is not None:
        return (database.parent / "mlartifacts").as_uri()
    is_database = urlsplit(uri).scheme.partition("+")[0] in {"sqlite", "postgresql", "mysql", "mssql"}
    return (out.absolute() / "mlartifacts").as_uri() if is_database else None


def open_store(uri: str, *, experiment: str, artifacts: str | None) -> tuple[MlflowClient, str]:
    """Connect, creating the database and the experiment on first use; safe when many processes start at once.

    Args:
        uri: of the tracking store.
        experiment: its name.
        artifacts: file URI for the artifacts of a new experiment.

    Returns:
        The client and the id of the experiment.

    Raises:
        ValueError: the store cannot be reached or used, or the experiment was deleted.
    """
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    database = database_file(uri)
    try:
        with _alone(database):
            _knock(uri, database)
            client = MlflowClient(uri)
            return client, _experiment_id(client, experiment, artifacts)
    except _UNUSABLE as error:
        cause = " ".join(without_password(str(error)).split())
        raise ValueError(
            f"cannot use MLflow tracking at {without_password(uri)}: {cause}; set MLFLOW_TRACKING_URI or "
            "`trainer.logger.init_args.tracking_uri` to a server that answers or to a writable sqlite:/// file"
        ) from error


@contextmanager
def _alone(database: Path | None) -> Iterator[None]:
    """Hold a lock beside the database: MLflow creates its schema without one, and loses tables in the race."""
    if database is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{database}.lock"):
        yield


def _knock(uri: str, database: Path | None) -> None:
    """Fail at once where MLflow itself would retry for minutes."""
    if database is not None:
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA schema_version")
    elif uri.startswith(("http://", "https://")):
        parts = urlsplit(uri)
        address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        try:
            urlopen(address, timeout=_KNOCK_SECONDS).close()
        except HTTPError as refusal:
            refusal.close()
        except URLError as error:
            # Certificates are judged by MLflow, which has settings of its own for them.
            if not isinstance(error.reason, ssl.SSLError):
                raise


def _experiment_id(client: MlflowClient, name: str, artifacts: str | None) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifacts))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)
    if found.lifecycle_stage == "deleted":
        raise ValueError(
            f"the experiment {name!r} was deleted; restore it with `mlflow experiments restore --experiment-id "
            f"{found.experiment_id}`, or set `trainer.logger.init_args.experiment` to another name"
        )
    return str(found.experiment_id)

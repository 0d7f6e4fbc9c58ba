"""Where runs are tracked: the address, its artifact folder, and a client that is ready to use."""

import logging
import os
import sqlite3
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib import import_module
from itertools import count
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from polyclinic.system.shell import command_line
from polyclinic.tracking.uri import database_file, sqlite_uri, without_password

_log = logging.getLogger(__name__)
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
            if database is not None:
                _make_whole(database, artifacts)
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
    database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FileLock(f"{database}.lock", mode=0o600):
        yield


def _make_whole(database: Path, artifacts: str | None) -> None:
    """Make the database where there is none: MLflow cannot continue one that it was killed in making.

    It gets its name when all tables are there. One that an earlier version left half made is set aside.
    """
    if database.exists() and database.stat().st_size:
        if not _is_half_made(database):
            _warn_of_readers(database)
            return
        names = (database.with_name(f"{database.name}.half-made-{number}") for number in count(1))
        aside = next(path for path in names if not path.exists())
        database.rename(aside)
        _log.warning("%s was half made by a start that was killed; it is kept as %s", database.name, aside.name)
    part = database.with_name(f"{database.name}.part")
    for left in (part, *(part.with_name(f"{part.name}-{kind}") for kind in ("journal", "wal", "shm"))):
        left.unlink(missing_ok=True)
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    _make_tables(part, artifacts or (database.parent / "mlartifacts").as_uri())
    part.replace(database)


def _make_tables(database: Path, artifacts: str) -> None:
    # Imported when it is needed, as MLflow does: it takes seconds.
    sqlalchemy_store = import_module("mlflow.store.tracking.sqlalchemy_store")
    sqlalchemy_store.SqlAlchemyStore(sqlite_uri(database), artifacts).engine.dispose()


def _is_half_made(database: Path) -> bool:
    """Whether MLflow was killed in making it: its first experiment comes last."""
    with closing(sqlite3.connect(database)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        kept = tables & {"experiments", "registered_models"}
        return "experiments" in tables and not any(
            connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() for table in kept
        )


def _warn_of_readers(database: Path) -> None:
    """Earlier versions made the folder of the runs for everybody who can log in here."""
    if database.stat().st_mode & database.parent.stat().st_mode & 0o044:
        _log.warning(
            "others can read the runs, which may tell of patients; run %s",
            command_line("chmod", "-R", "go=", database.parent),
        )


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

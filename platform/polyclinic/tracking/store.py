"""MLflow store of a run: artifact location, database, experiment and a connected client."""

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
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from polyclinic.system.shell import command_line
from polyclinic.tracking.uri import database_file, sqlite_uri, without_password

_log = logging.getLogger(__name__)
_PROBE_TIMEOUT = 10
_MAX_EXPERIMENTS = 1000
_CLIENT_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""MLflow's defaults block a request for minutes, but we retry it; the URL that it prints may contain a password."""

_STORE_ERRORS = (MlflowException, OSError, sqlite3.Error, SQLAlchemyError, ImportError)


def artifact_location(uri: str, *, out: Path) -> str | None:
    """Return the artifact folder of a new experiment as a file URI; None if the server or file store decides."""
    if (database := database_file(uri)) is not None:
        return (database.parent / "mlartifacts").as_uri()
    is_database = urlsplit(uri).scheme.partition("+")[0] in {"sqlite", "postgresql", "mysql", "mssql"}
    return (out.absolute() / "mlartifacts").as_uri() if is_database else None


def open_store(uri: str, *, experiment: str, artifacts: str | None) -> tuple[MlflowClient, str]:
    """Connect, and create the database and the experiment on first use; safe for concurrent processes.

    Args:
        uri: address of the tracking store.
        experiment: name of the experiment.
        artifacts: file URI for the artifacts of a new experiment.

    Returns:
        The client and the id of the experiment.

    Raises:
        ValueError: the store cannot be reached or used, or the experiment was deleted.
    """
    database = database_file(uri)
    with _usable(uri), _database_lock(database):
        if database is not None:
            _create_if_missing(database, artifacts)
        _probe(uri, database)
        client = MlflowClient(uri)
        return client, _experiment_id(client, experiment, artifacts)


def find_run(uri: str, run_id: str | None) -> Run:
    """Return a run, or the newest one of all experiments, without creating or changing anything.

    Args:
        uri: address of the tracking store.
        run_id: id of the run; None for the newest.

    Raises:
        ValueError: the store cannot be reached or used, or has no such run.
    """
    database, address = database_file(uri), without_password(uri)
    if database is not None and not database.is_file():
        raise ValueError(
            f"got no runs at {address}, expected those of `polyclinic fit`; set `--out` to the folder of the runs, or "
            "`--tracking_uri`"
        )
    with _usable(uri):
        _probe(uri, database)
        client = MlflowClient(uri)
        try:
            found = [client.get_run(run_id)] if run_id is not None else _newest(client)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            found = []
    if not found:
        name = "no runs" if run_id is None else f"run {run_id!r}, which is not"
        raise ValueError(
            f"got {name} at {address}; set {'' if run_id is None else '`--run` to the id of one of its runs, or '}"
            "`--out` to the folder of the runs, or `--tracking_uri`"
        )
    return found[0]


def _newest(client: MlflowClient) -> list[Run]:
    experiments = [experiment.experiment_id for experiment in client.search_experiments(max_results=_MAX_EXPERIMENTS)]
    return list(client.search_runs(experiments, order_by=["attributes.start_time DESC"], max_results=1))


@contextmanager
def _usable(uri: str) -> Iterator[None]:
    """Set up MLflow's client, and name the cause where the store cannot be used."""
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    for name, value in _CLIENT_SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        yield
    except _STORE_ERRORS as error:
        cause = " ".join(without_password(str(error)).split())
        raise ValueError(
            f"cannot use MLflow tracking at {without_password(uri)}: {cause}; set MLFLOW_TRACKING_URI or "
            "`trainer.logger.init_args.tracking_uri` to a server that answers or to a writable sqlite:/// file"
        ) from error


@contextmanager
def _database_lock(database: Path | None) -> Iterator[None]:
    """Hold a lock file beside the database: MLflow creates its schema without one, and a race loses tables."""
    if database is None:
        yield
        return
    database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FileLock(f"{database}.lock", mode=0o600):
        yield


def _create_if_missing(database: Path, artifacts: str | None) -> None:
    """Create the database if it is missing; it gets its final name once all tables exist.

    MLflow cannot repair a database whose creation was killed. One that an earlier version left incomplete is renamed.
    """
    if database.exists() and database.stat().st_size:
        if not _is_incomplete(database):
            _warn_of_readers(database)
            return
        names = (database.with_name(f"{database.name}.half-made-{number}") for number in count(1))
        aside = next(path for path in names if not path.exists())
        database.rename(aside)
        _log.warning("%s was left incomplete by a start that was killed; it is now %s", database.name, aside.name)
    part = database.with_name(f"{database.name}.part")
    for left in (part, *(part.with_name(f"{part.name}-{kind}") for kind in ("journal", "wal", "shm"))):
        left.unlink(missing_ok=True)
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    _make_tables(part, artifacts or (database.parent / "mlartifacts").as_uri())
    part.replace(database)


def _make_tables(database: Path, artifacts: str) -> None:
    # Imported on demand, as MLflow does: the import takes seconds.
    sqlalchemy_store = import_module("mlflow.store.tracking.sqlalchemy_store")
    sqlalchemy_store.SqlAlchemyStore(sqlite_uri(database), artifacts).engine.dispose()


def _is_incomplete(database: Path) -> bool:
    """Return whether the database lacks its first experiment, which MLflow creates last."""
    with closing(sqlite3.connect(database)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        filled = tables & {"experiments", "registered_models"}
        return "experiments" in tables and not any(
            connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() for table in filled
        )


def _warn_of_readers(database: Path) -> None:
    """Warn of runs that others can read: earlier versions created their folder world-readable."""
    if database.stat().st_mode & database.parent.stat().st_mode & 0o044:
        _log.warning(
            "other users can read the runs, which may contain patient data; run %s",
            command_line("chmod", "-R", "go=", database.parent),
        )


def _probe(uri: str, database: Path | None) -> None:
    """Fail immediately in cases in which MLflow would retry for minutes."""
    if database is not None:
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA schema_version")
    elif uri.startswith(("http://", "https://")):
        parts = urlsplit(uri)
        address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        try:
            urlopen(address, timeout=_PROBE_TIMEOUT).close()
        except HTTPError as refusal:
            refusal.close()
        except URLError as error:
            # MLflow verifies certificates, with its settings for them.
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

"""A first start that is killed at any point, and folders with unusual names."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy
from mlflow import MlflowClient
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy.engine import Engine

from mlflow_tables import make_tables
from polyclinic.tracking import store
from polyclinic.tracking.store import artifact_location, open_store
from polyclinic.tracking.uri import database_file, resolve_uri, sqlite_uri

NAMES = ["a%20b", "a?b", "a#b", "My Project", "Größe ø", 'it\'s "$HOME" [x];&', "100%", "?mode=ro&uri=true", "@a:b@c"]


@pytest.fixture(autouse=True)
def _made_by_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Create the tables in place of copying them."""
    monkeypatch.setattr(store, "_make_tables", make_tables)


def _open(out: Path) -> MlflowClient:
    uri = resolve_uri(given=None, out=out)
    return open_store(uri, experiment="tests", artifacts=artifact_location(uri, out=out))[0]


def _run_until_killed(act: Callable[[], object], statement: int) -> None:
    """Run a function in a process that exits silently before the nth statement of the database."""
    if (pid := os.fork()) == 0:
        statements = 0

        def count(*_: object) -> None:
            nonlocal statements
            statements += 1
            if statements == statement:
                os._exit(9)

        sqlalchemy.event.listen(Engine, "before_cursor_execute", count)
        try:
            act()
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9


def test_start_succeeds_after_starts_killed_at_any_statement(tmp_path: Path) -> None:
    for statement in (1, 150, 600):
        _run_until_killed(lambda: _open(tmp_path), statement)
        assert not (tmp_path / "mlflow.db").exists()
    (tmp_path / "mlflow.db.part").write_bytes(b"SQLite format 3\0")
    (tmp_path / "mlflow.db").touch()
    client = _open(tmp_path)
    assert client.get_experiment_by_name("tests").artifact_location == (tmp_path / "mlartifacts").as_uri()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db", "mlflow.db.lock"]


def test_a_database_that_an_earlier_version_left_incomplete_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = tmp_path / "mlflow.db"
    _run_until_killed(lambda: SqlAlchemyStore(sqlite_uri(database), "artifacts"), 400)
    before = database.read_bytes()
    run = _open(tmp_path).create_run("1")
    assert (tmp_path / "mlflow.db.half-made-1").read_bytes() == before
    assert "mlflow.db was left incomplete by a start that was killed; it is now mlflow.db.half-made-1" in caplog.text
    # A database with a run is never set aside, whatever is wrong with it.
    damaged = tmp_path / "damaged" / "mlflow.db"
    damaged.parent.mkdir()
    shutil.copy(database, damaged)
    with sqlite3.connect(damaged) as connection:
        connection.execute("DROP TABLE secrets")
    with suppress(ValueError):
        _open(damaged.parent)
    assert not list(damaged.parent.glob("*half-made*"))
    assert _open(tmp_path).get_run(run.info.run_id).info.run_id == run.info.run_id


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty")
    _open(folder)
    return folder / "mlflow.db"


@pytest.mark.public_report(27)
@pytest.mark.parametrize("name", NAMES)
def test_a_folder_may_have_any_name(name: str, tmp_path: Path, empty: Path) -> None:
    out = tmp_path / "inside" / name
    out.mkdir(parents=True)
    shutil.copy(empty, out)
    uri = resolve_uri(given=None, out=out)
    assert database_file(uri) == out / "mlflow.db"
    client = _open(out)
    run = client.create_run(client.create_experiment("another", artifact_location=artifact_location(uri, out=out)))
    client.log_text(run.info.run_id, "text", "note.txt")
    assert MlflowClient(uri).get_run(run.info.run_id).info.run_id == run.info.run_id
    with sqlite3.connect(out / "mlflow.db") as connection:
        assert connection.execute("SELECT run_uuid FROM runs").fetchall() == [(run.info.run_id,)]
    assert [path.name for path in out.rglob("note.txt")] == ["note.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]
    assert [path.name for path in (tmp_path / "inside").iterdir()] == [name]
    assert {path.name for path in out.iterdir()} == {"mlflow.db", "mlflow.db.lock", "mlartifacts"}

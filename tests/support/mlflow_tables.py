"""A database with MLflow's tables and no runs, which tests copy: MLflow needs seconds of a core to make one."""

import sqlite3
import warnings
from contextlib import closing
from functools import cache
from pathlib import Path

from filelock import FileLock

from polyclinic.tracking import store

make_tables = store._make_tables
_template: Path | None = None


def template() -> Path | None:
    """Return the file to copy; None where tables are made anew."""
    return _template


def copy_from(path: Path | None) -> None:
    """Let new tracking databases of this process be copies of a file, which is made at the first use."""
    global _template
    _template = path
    store._make_tables = make_tables if path is None else copy_tables


def copy_tables(database: Path, artifacts: str) -> None:
    """Create a database whose runs keep their artifacts in a folder."""
    database.write_bytes(read_template())
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE experiments SET artifact_location = ? || '/0'", [artifacts])


@cache
def read_template() -> bytes:
    """Return the database without runs, which the first of several processes makes."""
    assert _template is not None
    with FileLock(f"{_template}.lock"):
        if not _template.exists():
            unfinished = _template.with_suffix(".unfinished")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # filters of a test do not apply in a session fixture
                make_tables(unfinished, "file:///nowhere")
            unfinished.rename(_template)
    return _template.read_bytes()

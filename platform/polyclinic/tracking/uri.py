"""The address of MLflow, worked out without importing it."""

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote

SQLITE = "sqlite:///"
_SQLITE_QUOTED = "sqlite+pysqlite:///"
"""The same; MLflow makes the folder of the other one without taking the quotes off its name."""

_QUOTED = str.maketrans({character: quote(character) for character in "%?#"})


def resolve_uri(*, given: str | None, out: Path) -> str:
    """The tracking address: ``given``, else MLFLOW_TRACKING_URI as it is set now, else SQLite in ``out``.

    One that is given without a password, as a run keeps it, takes the password that the same address has in
    MLFLOW_TRACKING_URI.
    """
    known = os.environ.get("MLFLOW_TRACKING_URI")
    if known and given == without_password(known):
        return known
    return given or known or sqlite_uri(out / "mlflow.db")


def sqlite_uri(path: Path) -> str:
    """The address of a SQLite file, in which no character of its path means anything else."""
    plain = path.absolute().as_posix()
    quoted = plain.translate(_QUOTED)
    return f"{SQLITE if quoted == plain else _SQLITE_QUOTED}{quoted}"


def without_password(text: str) -> str:
    """The text with the user and the password taken out of every address in it."""
    return re.sub(r"://[^/\s\"']*@", "://", text)


def database_file(uri: str) -> Path | None:
    """The file behind a SQLite address; None for any other."""
    kind, found, rest = uri.partition(":///")
    path = unquote(rest.partition("?")[0])
    is_file = bool(found) and f"{kind}:///" in (SQLITE, _SQLITE_QUOTED) and path not in {"", ":memory:"}
    return Path(path).absolute() if is_file else None

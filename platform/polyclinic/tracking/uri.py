"""Tracking address of MLflow, resolved without importing it."""

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote

SQLITE = "sqlite:///"
_SQLITE_QUOTED = "sqlite+pysqlite:///"
"""Equivalent scheme for quoted paths: with the other, MLflow creates a folder of the percent-encoded name."""

_PATH_QUOTES = str.maketrans({character: quote(character) for character in "%?#"})


def resolve_uri(*, given: str | None, out: Path) -> str:
    """Return ``given``, else the current MLFLOW_TRACKING_URI, else the address of a SQLite file in ``out``.

    Runs store their address without the password; if ``given`` equals MLFLOW_TRACKING_URI without its password, the
    latter is returned.
    """
    configured = os.environ.get("MLFLOW_TRACKING_URI")
    if configured and given == without_password(configured):
        return configured
    return given or configured or sqlite_uri(out / "mlflow.db")


def sqlite_uri(path: Path) -> str:
    """Return the address of a SQLite file, with special characters of its path quoted."""
    plain = path.absolute().as_posix()
    quoted = plain.translate(_PATH_QUOTES)
    return f"{SQLITE if quoted == plain else _SQLITE_QUOTED}{quoted}"


def without_password(text: str) -> str:
    """Return the text without user and password in its URLs."""
    return re.sub(r"://[^/\s\"']*@", "://", text)


def database_file(uri: str) -> Path | None:
    """Return the file of a SQLite address; None for any other address."""
    scheme, separator, rest = uri.partition(":///")
    path = unquote(rest.partition("?")[0])
    is_file = bool(separator) and f"{scheme}:///" in (SQLITE, _SQLITE_QUOTED) and path not in {"", ":memory:"}
    return Path(path).absolute() if is_file else None

"""The address of MLflow, worked out without importing it."""

import os
import re
from pathlib import Path

SQLITE = "sqlite:///"


def resolve_uri(*, given: str | None, out: Path) -> str:
    """The tracking address: ``given``, else MLFLOW_TRACKING_URI as it is set now, else SQLite in ``out``.

    One that is given without a password, as a run keeps it, takes the password that the same address has in
    MLFLOW_TRACKING_URI.
    """
    known = os.environ.get("MLFLOW_TRACKING_URI")
    if known and given == without_password(known):
        return known
    return given or known or f"{SQLITE}{(out.absolute() / 'mlflow.db').as_posix()}"


def without_password(text: str) -> str:
    """The text with the user and the password taken out of every address in it."""
    return re.sub(r"://[^/\s\"']*@", "://", text)


def database_file(uri: str) -> Path | None:
    """The file behind a SQLite address; None for any other."""
    path = uri.removeprefix(SQLITE).partition("?")[0]
    return Path(path).absolute() if uri.startswith(SQLITE) and path not in {"", ":memory:"} else None

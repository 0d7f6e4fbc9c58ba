"""Text, paths and errors on their way into and out of DuckDB."""

import re
from pathlib import Path

import duckdb


def literal(value: object) -> str:
    """A literal."""
    escaped = str(value).replace("'", "''")
    return f"'{escaped}'"


def file_pattern(path: Path, pattern: str = "") -> str:
    """A literal for functions that read files: ``path`` stands for itself, wildcards have a meaning in ``pattern``."""
    itself = re.sub(r"([*?\[])", r"[\1]", str(path))
    return literal(f"{itself}/{pattern}" if pattern else itself)


def without_cells(error: duckdb.Error) -> str:
    """What went wrong and in which file, line and column, without any cell and any path."""
    whole = str(error)
    # A cell may hold quotes and line ends: nothing after the first quote of the first line is certain to be ours.
    said = re.split(r"[\"'/]", whole.splitlines()[0])[0].rstrip(" :")
    file = re.search(r"(?:^  file = |file ['\"]|stream: )(?:/.*/)?([^/'\"\n]+)", whole, re.MULTILINE)
    column = re.search(r"^Error when converting column \"(\w+)\"", whole, re.MULTILINE)
    places = [f"{name} {match[1]}" for name, match in (("file", file), ("column", column)) if match is not None]
    return f"{said} ({', '.join(places)})" if places else said

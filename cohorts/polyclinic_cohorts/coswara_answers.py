"""Read the answers of Coswara's participants: ``combined_data.csv``, or else ``metadata.json`` beside recordings."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from polyclinic.cohort.build import DataRoot
from polyclinic.system.progress import track
from polyclinic_cohorts.file_paths import create_paths

TABLE, FILE = "combined_data.csv", "metadata.json"
_MAX_BYTES = 100_000


def create_entries(root: DataRoot, required: Sequence[str], optional: Sequence[str]) -> tuple[DataRoot, str, list[str]]:
    """Create the table ``entries`` of answers as text, with ``id``.

    Returns:
        The folder of the answers, the name of their file, and those of the optional columns that any participant has.

    Raises:
        ValueError: there is neither the table nor any file of answers, or the table lacks a required column.
    """
    if root.folders(TABLE):
        data = root.folder(TABLE, setting="--root")
        found = [column for column in optional if column in data.header(TABLE)]
        data.view("entries", TABLE, dict.fromkeys(("id", *required, *found), "VARCHAR"))
        return data, TABLE, found
    create_paths(root, "answer_files", suffixes=(FILE,))
    paths = [path for (path,) in root.connection.execute("SELECT path FROM answer_files ORDER BY path").fetchall()]
    if not paths:
        raise ValueError(f"neither {TABLE} nor {FILE} is in the data root; set `--root` to the folder that holds them")
    rows = [_answers(root.path / path) for path in track(paths, description="reading answers")]
    names = ["id", *required, *optional]
    schema = pa.schema([(name, pa.string()) for name in names])
    root.connection.register("answers", pa.Table.from_pylist(rows, schema=schema))
    root.connection.execute("CREATE TABLE entries AS SELECT * FROM answers")
    root.connection.unregister("answers")
    return root, FILE, [name for name in optional if any(row.get(name) for row in rows)]


def _answers(file: Path) -> dict[str, str]:
    """Return the answers of a file as text; none if it is not a JSON object of answers."""
    row = {"id": file.parent.name}
    with file.open("rb") as stream:
        content = stream.read(_MAX_BYTES + 1)
    try:
        answers: Any = json.loads(content) if len(content) <= _MAX_BYTES else None
    except (ValueError, RecursionError):
        answers = None
    if isinstance(answers, dict):
        row |= {key: text for key, value in answers.items() if key != "id" and (text := _text(value))}
    return row


def _text(value: object) -> str:
    return str(value).strip() if isinstance(value, str | int | float) else ""

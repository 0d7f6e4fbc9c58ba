"""Join a table to the table of a cohort, and propose its labels."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from polyclinic.cohort.any_table import read_any_table
from polyclinic.cohort.cells import canonical_id
from polyclinic.cohort.csv_file import read_csv
from polyclinic.cohort.label_text import with_labels
from polyclinic.cohort.scan.columns import is_label
from polyclinic.cohort.schema import CohortSpec, read_spec
from polyclinic.cohort.table import read_table
from polyclinic.files.atomic import atomic_file
from polyclinic.system.names import expected_name

BEFORE = ".before-add"
"""Ending of the copies of the table and the cohort file as they were before the last join."""


@dataclass(frozen=True, kw_only=True)
class Addition:
    """A table that was joined.

    Attributes:
        matched: rows of the cohort with a row of the table.
        unmatched: rows of the cohort without one.
        unused: rows of the table without a row of the cohort.
        columns: new columns of the cohort's table.
        labels: those of them that became labels.
    """

    matched: int
    unmatched: int
    unused: int
    columns: Sequence[str]
    labels: Sequence[str]


def add_table(cohort: Path, table: Path, *, on: str, encoding: str = "") -> Addition:
    """Write the columns of a table into the table of a cohort, and those of 0, 1, -1 and blanks into its labels.

    Ids are compared without leading zeros, spaces and the ``.0`` of spreadsheets. The earlier table and cohort file
    are kept beside the new ones.

    Args:
        cohort: path of a cohort.yaml, whose table is a CSV or Parquet file that is not compressed.
        table: CSV, Parquet or Excel file with at most one row per value of ``on``.
        on: column of both tables.
        encoding: encoding of ``table`` if it is CSV that is not UTF-8; unless set, it is found by its letters.

    Raises:
        ValueError: a file is invalid, ``on`` is not a column of both or repeats a value in ``table``, no row matches,
            or a new column has the name of an existing one. Nothing is written then.
    """
    spec = read_spec(cohort)
    stored, joined = _stored(spec), _new_rows(table, on, encoding)
    if on not in stored.columns:
        raise ValueError(f"{spec.table.name} has no column {on!r}, {expected_name(on, stored.columns)}; set `--on`")
    if taken := [column for column in joined.columns if column in stored.columns and column != on]:
        raise ValueError(
            f"{table.name} has the column {taken[0]!r}, which {spec.table.name} has already (one of {len(taken)}); "
            "rename or remove it"
        )
    columns = [column for column in joined.columns if column != on]
    if not columns:
        raise ValueError(f"{table.name} has no column beside {on!r}, expected new ones; name another table")
    row_of = {canonical_id(cell): row for row, cell in enumerate(joined[on]) if cell}
    keys = [canonical_id(cell) if cell else "" for cell in stored[on]]
    rows = [row_of.get(key, -1) for key in keys]
    if max(rows, default=-1) < 0:
        raise ValueError(f"no cell of {on!r} in {spec.table.name} is in {table.name}; set `--on` to a column of ids")
    new = {column: [joined[column].iloc[row] if row >= 0 else "" for row in rows] for column in columns}
    labels = [column for column in columns if is_label(new[column]) and column not in spec.labels]
    _write(cohort, spec, new, labels)
    matched = sum(row >= 0 for row in rows)
    return Addition(
        matched=matched,
        unmatched=len(rows) - matched,
        unused=len(joined) - len({row for row in rows if row >= 0}),
        columns=columns,
        labels=labels,
    )


def _stored(spec: CohortSpec) -> pd.DataFrame:
    """Return every row of the cohort's table as text, also those that ``where`` leaves out."""
    if spec.table.suffix.lower() in (".gz", ".bz2", ".xz", ".zip"):
        raise ValueError(f"{spec.table.name} is compressed, expected plain CSV or Parquet; unpack it, and set `table`")
    return read_table(replace(spec, where=None, missing=()))


def _new_rows(table: Path, on: str, encoding: str) -> pd.DataFrame:
    if not table.is_file():
        raise ValueError(f"table {table.name!r} does not exist; name a CSV, Parquet or Excel file")
    joined = read_any_table(table, encoding=encoding)
    if on not in joined.columns:
        raise ValueError(f"{table.name} has no column {on!r}, {expected_name(on, joined.columns)}; set `--on`")
    counts = Counter(canonical_id(cell) for cell in joined[on] if cell)
    if repeated := sum(count > 1 for count in counts.values()):
        raise ValueError(
            f"{table.name} has {repeated} values of {on!r} in more than one row, expected one row per value; remove "
            "the others"
        )
    return joined


def _write(cohort: Path, spec: CohortSpec, new: Mapping[str, Sequence[str]], labels: Sequence[str]) -> None:
    """Replace the table, then the cohort file: a cohort is valid with columns that it does not name."""
    text = _with_labels(cohort, spec, labels) if labels else ""
    with atomic_file(spec.table) as partial:
        _write_table(spec, new, partial)
        copyfile(spec.table, spec.table.with_name(spec.table.name + BEFORE))
    if text:
        copyfile(cohort, cohort.with_name(cohort.name + BEFORE))
        with atomic_file(cohort) as partial:
            partial.write_text(text, encoding="utf-8")


def _write_table(spec: CohortSpec, new: Mapping[str, Sequence[str]], path: Path) -> None:
    with spec.table.open("rb") as stream:
        is_parquet = stream.read(4) == b"PAR1"
    if is_parquet:
        stored = pq.read_table(spec.table)
        for column, cells in new.items():
            stored = stored.append_column(column, pa.array([cell or None for cell in cells], pa.string()))
        pq.write_table(stored, path)
        return
    table = read_csv(spec.table, encoding=spec.encoding, wanted=())
    table = pd.concat([table, pd.DataFrame(new)], axis=1)
    separator = "\t" if spec.table.suffix.lower() in (".tsv", ".tab") else ","
    try:
        table.to_csv(path, index=False, sep=separator, encoding=spec.encoding)
    except UnicodeEncodeError:
        raise ValueError(
            f"a new cell cannot be written as {spec.encoding}; save {spec.table.name} as utf-8, and set `encoding`"
        ) from None


def _with_labels(cohort: Path, spec: CohortSpec, labels: Sequence[str]) -> str:
    """Return the text of a cohort file with more labels.

    Raises:
        ValueError: the file has a spelling into which labels cannot be inserted.
    """
    text = with_labels(cohort.read_text(encoding="utf-8"), labels)
    expected = {**spec.labels, **{label: {"column": label} for label in labels}}
    with TemporaryDirectory() as folder:
        changed = Path(folder) / cohort.name
        changed.write_text(text, encoding="utf-8")
        try:
            is_same = replace(read_spec(changed), table=spec.table, root=spec.root) == replace(spec, labels=expected)
        except ValueError:
            is_same = False
    if not is_same:
        raise ValueError(
            f"{cohort.name} is written in a way into which labels cannot be inserted; write its `labels` as a list "
            "with one name per line"
        )
    return text

"""Write events as a MEDS dataset."""

import datetime
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import meds
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from flexible_schema import SchemaValidationError, TableValidationError

from polyclinic import __version__
from polyclinic.files.atomic import atomic_folder
from polyclinic.files.results import refuse_used_folder

SPLIT_NAMES = {"train": meds.train_split, "val": meds.tuning_split, "test": meds.held_out_split}
"""Names of the splits of a cohort in MEDS."""

_ZONED = "got times with a zone, expected the local time of the hospital without one; convert `time`"
_SHARD_ROWS = 1_000_000
_GROUP_ROWS = 20_000
"""Rows of a row group, of which a reader of one subject decodes one or two."""


def write_meds(
    folder: Path,
    events: pd.DataFrame | pa.Table,
    *,
    dataset_name: str,
    splits: Mapping[int, str] | None = None,
    descriptions: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    beside: Mapping[str, str] | None = None,
    shard_rows: int = _SHARD_ROWS,
) -> None:
    """Write events as a MEDS 0.4 dataset, with the table of codes and, if given, the splits of subjects.

    Events are sorted by subject and time, those without a time first; events of the same time keep their order. All
    events of a subject are in one file. Nothing is written unless everything is.

    Args:
        folder: folder to write, missing or empty.
        events: one row per event: ``subject_id`` (integer), ``time`` (without a zone, empty for facts that hold
            always), ``code``, and optionally ``numeric_value`` (stored as float32), ``text_value`` and further columns,
            such as ``unit``.
        dataset_name: name of the dataset.
        splits: split of each subject: ``train``, ``tuning`` or ``held_out``, or those of a cohort (``SPLIT_NAMES``).
        descriptions: description of codes, for ``codes.parquet``.
        metadata: further fields of ``dataset.json``, such as ``code_modifier_columns``.
        beside: texts of further files by their names, such as a table of the studies.
        shard_rows: rows from which a new file begins.

    Raises:
        ValueError: the folder is not empty, or the events break the schema: a column is missing or of another type, a
            subject or code is empty, a time has a zone, a number is infinite, or a subject has no split. The message
            names columns and counts, never a value.
    """
    refuse_used_folder(folder)
    table = aligned(events)
    table = table.take(_order(table))
    named = None if splits is None else _split_table(table, splits)
    codes = _code_table(table, descriptions or {})
    described = _dataset(table, dataset_name, metadata or {})
    with atomic_folder(folder) as partial:
        (partial / "metadata").mkdir()
        (partial / meds.data_subdirectory).mkdir()
        for number, shard in enumerate(_shards(table, shard_rows)):
            pq.write_table(shard, partial / meds.data_subdirectory / f"{number}.parquet", row_group_size=_GROUP_ROWS)
        pq.write_table(codes, partial / meds.code_metadata_filepath)
        if named is not None:
            pq.write_table(named, partial / meds.subject_splits_filepath)
        (partial / meds.dataset_metadata_filepath).write_text(json.dumps(described, indent=1), encoding="utf-8")
        for name, text in (beside or {}).items():
            (partial / name).write_text(text, encoding="utf-8")


def aligned(events: pd.DataFrame | pa.Table) -> pa.Table:
    """Return events with the columns and types of the MEDS data schema, further columns after them.

    Raises:
        ValueError: see ``write_meds``.
    """
    table = _as_arrow(events)
    _refuse_types(table)
    table = _finite(table)
    try:
        table = meds.DataSchema.align(table)
    except (SchemaValidationError, TableValidationError, pa.ArrowException):
        wrong = ", ".join(
            f"{name} of {table.column(name).type} with {table.column(name).null_count} empty"
            for name in ("subject_id", "time", "code", "numeric_value", "text_value")
            if name in table.column_names
        )
        raise ValueError(
            f"got events with {wrong}, expected the MEDS columns: integer subjects and texts as codes, none of them "
            "empty; correct the table of events"
        ) from None
    if blank := pc.sum(pc.equal(pc.utf8_trim_whitespace(table["code"]), "")).as_py():
        raise ValueError(f"got {blank} events with a blank code, expected a text; correct `code`")
    return table


def _as_arrow(events: pd.DataFrame | pa.Table) -> pa.Table:
    if isinstance(events, pd.DataFrame) and any(isinstance(kind, pd.DatetimeTZDtype) for kind in events.dtypes):
        raise ValueError(_ZONED)
    try:
        table = pa.Table.from_pandas(events, preserve_index=False) if isinstance(events, pd.DataFrame) else events
    except pa.ArrowException as error:
        # Arrow's message names the value that it cannot convert.
        raise ValueError(
            f"got events with a column of mixed types ({type(error).__name__}), expected one type in each; convert it"
        ) from None
    if absent := {"subject_id", "time", "code"} - set(table.column_names):
        raise ValueError(f"got events without {', '.join(sorted(absent))}, expected these columns; add them")
    return table.replace_schema_metadata(None)


def _refuse_types(table: pa.Table) -> None:
    """Refuse columns that a cast would change without an error."""
    time, subject = table.schema.field("time").type, table.schema.field("subject_id").type
    if not pa.types.is_timestamp(time) and not pa.types.is_null(time):
        raise ValueError(f"got times of type {time}, expected timestamps; parse `time`")
    if pa.types.is_timestamp(time) and time.tz is not None:
        raise ValueError(_ZONED)
    if not pa.types.is_integer(subject):
        raise ValueError(f"got subjects of type {subject}, expected integers; number the subjects")
    if table["subject_id"].null_count or table["code"].null_count:
        raise ValueError(
            f"got {table['subject_id'].null_count} events without a subject and {table['code'].null_count} without a "
            "code, expected both in each event; remove these events or fill them"
        )


def _finite(table: pa.Table) -> pa.Table:
    """Return a table whose numbers fit float32; NaN becomes empty, as MEDS has one way to lack a value."""
    if "numeric_value" not in table.column_names:
        return table
    place, stored = table.column_names.index("numeric_value"), table["numeric_value"]
    if pa.types.is_null(stored.type):
        return table
    if not (pa.types.is_floating(stored.type) or pa.types.is_integer(stored.type)):
        raise ValueError(f"got numeric values of type {stored.type}, expected numbers; put texts into `text_value`")
    numbers = stored.cast(pa.float32(), safe=False)
    numbers = pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float32()), numbers)
    if infinite := pc.sum(pc.is_inf(numbers)).as_py():
        raise ValueError(
            f"got {infinite} numeric values that are infinite or beyond float32, expected finite numbers; leave them "
            "empty or put them into `text_value`"
        )
    return table.set_column(place, "numeric_value", numbers)


def _order(table: pa.Table) -> np.ndarray:
    """Return the rows by subject and time, without a time first; rows of the same time keep their order."""
    times = pc.fill_null(table["time"].cast(pa.int64()), np.iinfo(np.int64).min)
    return np.lexsort((times.to_numpy(), table["subject_id"].to_numpy()))


def _split_table(table: pa.Table, splits: Mapping[int, str]) -> pa.Table:
    subjects = pc.unique(table["subject_id"]).to_pylist()
    if absent := sum(subject not in splits for subject in subjects):
        raise ValueError(
            f"got {absent} of {len(subjects)} subjects without a split, expected one for each; set `splits`"
        )
    known = [*SPLIT_NAMES, *SPLIT_NAMES.values()]
    if unknown := sorted({splits[subject] for subject in subjects} - set(known)):
        raise ValueError(f"got split {unknown[0]!r}, expected one of {', '.join(dict.fromkeys(known))}; set `splits`")
    names = [SPLIT_NAMES.get(splits[subject], splits[subject]) for subject in subjects]
    rows = pa.table({"subject_id": pa.array(subjects, pa.int64()), "split": pa.array(names, pa.string())})
    return meds.SubjectSplitSchema.align(rows)


def _code_table(table: pa.Table, descriptions: Mapping[str, str]) -> pa.Table:
    codes = sorted(pc.unique(table["code"]).to_pylist())
    columns = {
        "code": pa.array(codes, pa.string()),
        "description": pa.array([descriptions.get(code) for code in codes], pa.string()),
        "parent_codes": pa.array([None] * len(codes), pa.list_(pa.string())),
    }
    return meds.CodeMetadataSchema.align(pa.table(columns))


def _dataset(table: pa.Table, name: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    described = {
        "dataset_name": name,
        "etl_name": "polyclinic",
        "etl_version": __version__,
        "meds_version": meds.__version__,
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **({"code_modifier_columns": ["unit"]} if "unit" in table.column_names else {}),
        **metadata,
    }
    try:
        meds.DatasetMetadataSchema.validate(described)
    except (SchemaValidationError, TableValidationError):
        raise ValueError(
            f"got metadata {sorted(metadata)}, expected fields of the MEDS dataset schema; correct it"
        ) from None
    return described


def _shards(table: pa.Table, rows: int) -> Iterator[pa.Table]:
    """Yield pieces of at least some rows that end with a subject; one empty piece where there are no events."""
    subjects = table["subject_id"].to_numpy()
    start = 0
    while start < len(subjects) or (start == 0 and not len(subjects)):
        end = min(start + rows, len(subjects))
        if end < len(subjects):
            end = int(subjects.searchsorted(subjects[end - 1], side="right"))
        yield table.slice(start, end - start)
        if not len(subjects):
            return
        start = end

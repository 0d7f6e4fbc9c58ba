"""Read a MEDS dataset, and find the file with the events of a subject in a time window."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import meds
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from flexible_schema import SchemaValidationError, TableValidationError
from jaxtyping import Int64

from polyclinic.cohort.files import is_hidden

_MAX_METADATA_BYTES = 10_000_000


class MedsDataset:
    """A MEDS dataset whose schema has been checked; events are read when they are asked for.

    Args:
        folder: folder with ``data`` and ``metadata``.
        name: name of the dataset in messages.

    Raises:
        ValueError: there is no dataset, a file of it is cut off or broken, or its columns break the MEDS data schema.
    """

    def __init__(self, folder: Path, *, name: str = "the MEDS dataset") -> None:
        self.folder, self.name = folder, name
        self.metadata = _read_metadata(folder, name)
        found = (folder / meds.data_subdirectory).rglob("*.parquet")
        self.shards = tuple(sorted(path for path in found if not is_hidden(path.name)))
        if not self.shards:
            raise ValueError(f"{name} has no Parquet file below `{meds.data_subdirectory}/`; name its uppermost folder")
        for number, shard in enumerate(self.shards, 1):
            _check_schema(_opened(shard, f"file {number} of {name}").schema_arrow, f"file {number} of {name}")

    def events(self) -> pa.Table:
        """Return all events, with the MEDS columns first, in the order of the files."""
        tables = [meds.DataSchema.align(pq.read_table(shard)) for shard in self.shards]
        return pa.concat_tables(tables, promote_options="default")

    def splits(self) -> dict[int, str]:
        """Return the split of each subject: ``train``, ``tuning`` or ``held_out``; empty where none are stored.

        Raises:
            ValueError: the file of the splits is broken or has other columns.
        """
        path = self.folder / meds.subject_splits_filepath
        if not path.is_file():
            return {}
        try:
            rows = meds.SubjectSplitSchema.align(pq.read_table(path))
        except (OSError, pa.ArrowException, SchemaValidationError, TableValidationError):
            raise ValueError(f"{self.name} has subject splits that break the MEDS schema; write them again") from None
        return dict(zip(rows["subject_id"].to_pylist(), rows["split"].to_pylist(), strict=True))

    def holders(
        self,
        subjects: Int64[np.ndarray, " N"],
        starts: np.ndarray,
        ends: np.ndarray,
        codes: Sequence[str] = (),
    ) -> list[Path | None]:
        """Return the file with the events of each window; None for a window without any event.

        Args:
            subjects: subject of each window.
            starts: first time of each window, ``datetime64[us]``; events at it are in the window.
            ends: last time of each window; events at it are in the window.
            codes: codes of the events to find; all unless given.

        Raises:
            ValueError: a file is broken, or the events of a subject are in two files.
        """
        found: list[Path | None] = [None] * len(subjects)
        for number, shard in enumerate(self.shards, 1):
            where = f"file {number} of {self.name}"
            for place in np.flatnonzero(_any_event(shard, where, subjects, starts, ends, codes)):
                if found[place] is not None:
                    raise ValueError(
                        f"{self.name} has events of one subject in two files, expected one file for each subject, as "
                        "MEDS requires; write the dataset again"
                    )
                found[place] = shard
        return found


def _read_metadata(folder: Path, name: str) -> dict[str, Any]:
    path = folder / meds.dataset_metadata_filepath
    if not path.is_file():
        raise ValueError(
            f"{name} has no `{meds.dataset_metadata_filepath}`, expected a folder with data and metadata; name its "
            "uppermost folder"
        )
    try:
        if path.stat().st_size > _MAX_METADATA_BYTES:
            raise ValueError
        metadata = json.loads(path.read_bytes())
        meds.DatasetMetadataSchema.validate(metadata)
    except (OSError, ValueError, TypeError, RecursionError, SchemaValidationError, TableValidationError):
        raise ValueError(
            f"{name} has a `{meds.dataset_metadata_filepath}` that breaks the MEDS schema; correct it"
        ) from None
    return dict(metadata)


def _opened(shard: Path, where: str) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(shard)
        file.schema_arrow.names  # noqa: B018 - damaged names are noticed when they are read
    except (OSError, UnicodeDecodeError, pa.ArrowException):
        raise ValueError(f"{where} is cut off or not a Parquet file; copy the dataset again") from None
    return file


def _check_schema(schema: pa.Schema, where: str) -> None:
    """Refuse columns that cannot become those of MEDS without a change of values."""
    names = {"subject_id", "time", "code"}
    if absent := names - set(schema.names):
        raise ValueError(f"{where} lacks {', '.join(sorted(absent))}, expected the MEDS columns; correct it")
    time = schema.field("time").type
    if not pa.types.is_timestamp(time) or time.tz is not None:
        raise ValueError(f"{where} has times of type {time}, expected timestamps without a zone; convert `time`")
    if not pa.types.is_integer(schema.field("subject_id").type):
        raise ValueError(
            f"{where} has subjects of type {schema.field('subject_id').type}, expected integers; correct it"
        )
    if "numeric_value" in schema.names and not pa.types.is_floating(schema.field("numeric_value").type):
        stored = schema.field("numeric_value").type
        raise ValueError(f"{where} has numeric values of type {stored}, expected float32; correct `numeric_value`")
    try:
        meds.DataSchema.align(schema.empty_table())
    except (SchemaValidationError, TableValidationError, pa.ArrowException):
        raise ValueError(f"{where} breaks the MEDS data schema in the type of a column; correct it") from None


def _any_event(
    shard: Path,
    where: str,
    subjects: Int64[np.ndarray, " N"],
    starts: np.ndarray,
    ends: np.ndarray,
    codes: Sequence[str],
) -> np.ndarray:
    """Return whether a file has an event of each window [N]."""
    file = _opened(shard, where)
    groups = list(_groups(file.metadata, subjects))
    if not groups:
        return np.zeros(len(subjects), dtype=bool)
    try:
        table = file.read_row_groups(groups, columns=["subject_id", "time", *(["code"] if codes else [])])
    except (OSError, pa.ArrowException):
        raise ValueError(f"{where} is cut off or broken; copy the dataset again") from None
    keep = pc.is_valid(table["time"])
    if codes:
        keep = pc.and_(keep, pc.is_in(table["code"].cast(pa.string()), pa.array(codes, pa.string())))
    table = table.filter(keep)
    owners = table["subject_id"].cast(pa.int64()).to_numpy()
    times = table["time"].cast(pa.timestamp("us")).to_numpy().astype("datetime64[us]").astype(np.int64)
    order = np.lexsort((times, owners))
    owners, times = owners[order], times[order]
    firsts, lasts = np.searchsorted(owners, subjects, side="left"), np.searchsorted(owners, subjects, side="right")
    return np.array(
        [
            np.searchsorted(times[first:last], end, side="right")
            > np.searchsorted(times[first:last], start, side="left")
            for first, last, start, end in zip(
                firsts, lasts, starts.astype(np.int64), ends.astype(np.int64), strict=True
            )
        ],
        dtype=bool,
    )


def _groups(metadata: pq.FileMetaData, subjects: Int64[np.ndarray, " N"]) -> Iterator[int]:
    """Yield the row groups that may hold one of some subjects, by their statistics."""
    wanted = np.unique(subjects)
    column = next(place for place in range(metadata.num_columns) if metadata.schema.column(place).path == "subject_id")
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(column).statistics
        known = statistics is not None and statistics.has_min_max
        edges = (statistics.min, statistics.max) if known else (wanted[0], wanted[-1])
        if np.searchsorted(wanted, edges[1], "right") > np.searchsorted(wanted, edges[0], "left"):
            yield group

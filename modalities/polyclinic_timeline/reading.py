"""Read events from a CSV or Parquet file of one patient, or from a window of a MEDS dataset."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from jaxtyping import Float

from polyclinic.modality import EventWindow, Source, UnreadableSource, read_events
from polyclinic_timeline.course import Course

MAX_EVENTS = 2_000_000
_MAX_BYTES = 500_000_000
_NAMES = {
    "time": ("time", "timestamp", "charttime"),
    "code": ("code",),
    "value": ("value", "numeric_value"),
    "text": ("text", "text_value"),
    "unit": ("unit", "units", "valueuom"),
    "low": ("reference_low", "low"),
    "high": ("reference_high", "high"),
    "anchor": ("anchor",),
    "patient": ("subject_id", "patient_id", "patient", "mrn"),
}
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,5})?$"
_INFINITE = r"^(?i)[+-]?inf(inity)?$"
_MISSING = pa.array(["", "na", "n/a", "nan", "none", "null"])
_EPOCH = datetime(1970, 1, 1)
_HOUR = 3_600_000_000


def read_course(source: Source) -> Course:
    """Decode the events of a source.

    Times are in ISO 8601, all with a zone or all without; with a zone, they are converted to UTC. Only intervals are
    used. Events out of order are sorted. An event without a time is left out and counted.

    Raises:
        UnreadableSource: the source is not such a table, holds several patients or no event with a time, or a time or
            an infinite number cannot be read.
    """
    if not isinstance(source, EventWindow | Path):
        raise UnreadableSource("got cells or text, expected a file of events; set `path` or `meds` in the cohort")
    try:
        if isinstance(source, EventWindow):
            return _decoded(_columns(read_events(source)), source.anchor)
        columns = _columns(_parquet(source) if is_parquet(source) else _csv(source))
        return _decoded(columns, _stated_anchor(columns))
    except UnicodeDecodeError:  # Arrow checks the texts of Parquet when they are used
        raise UnreadableSource("a text of the events is not UTF-8; write the file again") from None


def is_parquet(path: Path) -> bool:
    """Return whether a file starts as Parquet does.

    Raises:
        UnreadableSource: the file cannot be opened or is empty.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(4)
        if path.stat().st_size > _MAX_BYTES:
            raise UnreadableSource(f"file of more than {_MAX_BYTES:,} bytes, expected the events of one patient")
    except OSError as error:
        raise UnreadableSource(f"file cannot be opened ({type(error).__name__})") from None
    if not head:
        raise UnreadableSource("file is empty, expected a header with time and code")
    return head == b"PAR1"


def header_columns(names: Sequence[str]) -> dict[str, str]:
    """Return the column of each part of an event; the first name of ``_NAMES`` that is there counts.

    Raises:
        UnreadableSource: a column of times, of codes, or of values or texts is missing.
    """
    folded: dict[str, str] = {}
    for name in names:
        if folded.setdefault(name.strip().casefold(), name) != name:
            raise UnreadableSource("a column name occurs twice, expected distinct names in the header")
    found = {part: folded[name] for part, known in _NAMES.items() for name in known[::-1] if name in folded}
    absent = [part for part in ("time", "code") if part not in found]
    if absent or not {"value", "text"} & set(found):
        raise UnreadableSource(
            f"events without a column {absent[0] if absent else 'value'}, expected time, code and value, and at most "
            "unit, text, reference_low, reference_high and anchor"
        )
    return found


def _csv(path: Path) -> pa.Table:
    try:
        options = pa_csv.ConvertOptions(strings_can_be_null=False)
        with pa_csv.open_csv(path) as stream:
            names = stream.schema.names
        options.column_types = dict.fromkeys(names, pa.string())
        parsing = pa_csv.ParseOptions(newlines_in_values=True)
        return pa_csv.read_csv(path, parse_options=parsing, convert_options=options)
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise UnreadableSource(
            f"CSV cannot be parsed ({type(error).__name__}), expected UTF-8, a header, and rows of the same length"
        ) from None


def _parquet(path: Path) -> pa.Table:
    try:
        if pq.read_metadata(path).num_rows > MAX_EVENTS:
            raise UnreadableSource(f"more than {MAX_EVENTS:,} events, expected those of one patient")
        return pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise UnreadableSource(f"Parquet cannot be read ({type(error).__name__}); copy the file again") from None


def _columns(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    """Return the columns of a table by part.

    Raises:
        UnreadableSource: see ``header_columns``; or there are no events, too many, or those of several patients.
    """
    found = header_columns(table.column_names)
    if not len(table) or len(table) > MAX_EVENTS:
        raise UnreadableSource(f"{len(table):,} events, expected 1 to {MAX_EVENTS:,}")
    columns = {part: table[name] for part, name in found.items()}
    if "patient" in columns:
        patients = pc.unique(_texts(columns["patient"]))
        count = sum(1 for patient in patients.to_pylist() if patient)
        if count > 1:
            raise UnreadableSource(f"events of {count} patients in one file, expected one file for each patient")
    return columns


def _decoded(columns: Mapping[str, pa.ChunkedArray], anchor: datetime | None) -> Course:
    size = len(columns["code"])
    codes = _texts(columns["code"]).to_pylist()
    if blank := sum(not code for code in codes):
        raise UnreadableSource(f"{blank} of {size} events have no code, expected one for each")
    values, texts = _values(columns)
    times, has_time = _times(columns["time"])
    if not has_time.any():
        raise UnreadableSource("none of its events has a time")
    places = np.flatnonzero(has_time)
    order = places[np.argsort(times[places], kind="stable")]
    zero = int(times[order[-1]]) if anchor is None else round((anchor - _EPOCH).total_seconds() * 1e6)
    units = _texts(columns["unit"]).to_pylist() if "unit" in columns else [""] * size
    low, high = (_numbers(columns[part]) if part in columns else np.full(size, np.nan) for part in ("low", "high"))
    return Course(
        hours=(times[order] - zero) / _HOUR,
        codes=tuple(codes[place] for place in order),
        values=values[order],
        texts=tuple(texts[place] for place in order),
        units=tuple(units[place] for place in order),
        low=low[order],
        high=high[order],
        anchor=np.datetime64(zero, "us").astype(datetime),
        anchored=anchor is not None,
        facts={
            "without_time": float(size - len(order)),
            "out_of_order": float((np.diff(times[places]) < 0).sum()),
        },
    )


def _stated_anchor(columns: Mapping[str, pa.ChunkedArray]) -> datetime | None:
    """Return the time of the study that a file states in every row; None where it has no such column."""
    if "anchor" not in columns:
        return None
    times, known = _times(columns["anchor"])
    if not known.all() or len(np.unique(times)) != 1:
        raise UnreadableSource("the column anchor is not the same time in every row, expected the time of the study")
    found: datetime = np.datetime64(int(times[0]), "us").astype(datetime)
    return found


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column as text without surrounding spaces; empty where missing."""
    try:
        return pc.utf8_trim_whitespace(pc.fill_null(column.cast(pa.string()), ""))
    except pa.ArrowException as error:
        raise UnreadableSource(f"a column cannot be read as text ({type(error).__name__})") from None


def _values(columns: Mapping[str, pa.ChunkedArray]) -> tuple[Float[np.ndarray, " N"], list[str]]:
    """Return the number and the text of each event; a value that is not a number is a text."""
    size = len(columns["code"])
    texts = _texts(columns["text"]).to_pylist() if "text" in columns else [""] * size
    if "value" not in columns:
        return np.full(size, np.nan), texts
    values = _numbers(columns["value"])
    if _is_number(columns["value"].type):
        return values, texts
    cells = _texts(columns["value"])
    missing = pc.is_in(pc.utf8_lower(cells), _MISSING).to_pylist()
    worded = [
        text or ("" if absent or not np.isnan(value) else cell)
        for text, cell, absent, value in zip(texts, cells.to_pylist(), missing, values.tolist(), strict=True)
    ]
    return values, worded


def _numbers(column: pa.ChunkedArray) -> Float[np.ndarray, " N"]:
    """Return the numbers of a column, NaN for other cells.

    Raises:
        UnreadableSource: a number is infinite.
    """
    if _is_number(column.type):
        numbers = pc.fill_null(column.cast(pa.float64()), np.nan).to_numpy()
        infinite = int(np.isinf(numbers).sum())
    else:
        cells = _texts(column)
        infinite = pc.sum(pc.match_substring_regex(cells, _INFINITE)).as_py()
        known = pc.match_substring_regex(cells, _NUMBER)
        numbers = pc.if_else(known, cells, None).cast(pa.float64())
        numbers = pc.fill_null(numbers, np.nan).to_numpy()
        infinite += int(np.isinf(numbers).sum())
    if infinite:
        raise UnreadableSource(f"{infinite} values are infinite, expected finite numbers; leave these cells empty")
    return np.asarray(numbers, dtype=np.float64)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _times(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Return the microseconds since 1970 of each time, and which times are stated.

    Raises:
        UnreadableSource: a time is not in ISO 8601, or some have a zone and others none.
    """
    if pa.types.is_timestamp(column.type):
        zoned = column.cast(pa.timestamp("us", column.type.tz), safe=False).cast(pa.int64())
        return pc.fill_null(zoned, 0).to_numpy(), pc.is_valid(column).to_numpy(zero_copy_only=False)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise UnreadableSource(f"times of type {column.type}, expected ISO 8601 such as 2024-01-31T14:05")
    cells = _texts(column).to_pylist()
    times, zones = np.zeros(len(cells), dtype=np.int64), set[bool]()
    for place, cell in enumerate(cells):
        if cell:
            times[place], zoned = _microseconds(cell)
            zones.add(zoned)
    if len(zones) > 1:
        raise UnreadableSource("some times have a zone and others have none, expected all or none")
    return times, np.array([bool(cell) for cell in cells])


def _microseconds(cell: str) -> tuple[int, bool]:
    try:
        time = datetime.fromisoformat(cell)
        zoned = time.tzinfo is not None
        plain = time.astimezone(UTC).replace(tzinfo=None) if zoned else time
    except (ValueError, OverflowError):
        raise UnreadableSource("a time is not in ISO 8601, expected one such as 2024-01-31T14:05") from None
    span = plain - _EPOCH
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds, zoned

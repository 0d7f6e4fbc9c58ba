"""Read the events of a window from a Parquet file of a MEDS dataset, without the rest of the file."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from polyclinic.modality.contract import EventWindow, UnreadableSource

_MAX_FOOTERS = 256


def read_events(window: EventWindow) -> pa.Table:
    """Return the events of a window in the order of their times, with all columns of the file.

    Only the row groups whose statistics may hold the subject are decoded. Events without a time, which hold always,
    are in no window.

    Args:
        window: source of a study.

    Raises:
        UnreadableSource: the file is missing, cut off or broken, or lacks a column of MEDS.
    """
    try:
        stat = window.file.stat()
        footer = _footer(window.file, stat.st_mtime_ns, stat.st_size)
        groups = list(_groups(footer, window))
        with pq.ParquetFile(window.file, metadata=footer) as file:
            events = file.read_row_groups(groups) if groups else file.schema_arrow.empty_table()
        return _selected(events, window)
    except KeyError:
        raise UnreadableSource("events without a column subject_id, time or code, expected a MEDS dataset") from None
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise UnreadableSource(f"events cannot be read ({type(error).__name__}); copy the MEDS dataset again") from None


def _selected(events: pa.Table, window: EventWindow) -> pa.Table:
    times = events["time"]
    start, end = (pa.scalar(time, pa.timestamp("us")) for time in (window.start, window.end))
    keep = pc.and_(
        pc.equal(events["subject_id"], window.subject),
        pc.and_(pc.greater_equal(times, start), pc.less_equal(times, end)),
    )
    if window.codes:
        keep = pc.and_(keep, pc.is_in(events["code"], pa.array(window.codes, pa.string())))
    chosen = events.filter(keep)
    return chosen.take(pc.sort_indices(chosen["time"]))


@lru_cache(maxsize=_MAX_FOOTERS)
def _footer(file: Path, modified: int, size: int) -> pq.FileMetaData:
    """Read the footer of a file, again after the file has changed."""
    return pq.read_metadata(file)


def _groups(footer: pq.FileMetaData, window: EventWindow) -> Iterator[int]:
    """Yield the row groups that may hold an event of the window, by their statistics."""
    names = [footer.schema.column(place).path for place in range(footer.num_columns)]
    if "subject_id" not in names or "time" not in names:
        raise KeyError
    subject = names.index("subject_id")
    for group in range(footer.num_row_groups):
        statistics = footer.row_group(group).column(subject).statistics
        if statistics is None or not statistics.has_min_max or statistics.min <= window.subject <= statistics.max:
            yield group

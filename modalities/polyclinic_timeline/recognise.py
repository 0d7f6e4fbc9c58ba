"""Recognise a CSV file of events by its header."""

import csv
from pathlib import Path

from polyclinic.modality import Recognised
from polyclinic_timeline.reading import header_columns, is_parquet, read_course

_HEAD_BYTES = 4096


def recognised(path: Path) -> Recognised:
    """Return what a file of events states: the time of its last event.

    Raises:
        UnreadableSource: the header does not name time, code and value, or the events cannot be read.
    """
    if not is_parquet(path):
        with path.open("rb") as stream:
            line = stream.read(_HEAD_BYTES).decode("utf-8-sig", errors="replace").partition("\n")[0]
        header_columns(next(csv.reader([line.strip()]), []))
    course = read_course(path)
    return Recognised(time=course.anchor.isoformat())

"""Windows of events around a time of each study, from a MEDS dataset beside the table."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from polyclinic.cohort import meds
from polyclinic.cohort.schema import CohortSpec
from polyclinic.modality import EventWindow
from polyclinic.system.extras import absent_modules, missing_sentence

_MAX_NAMED_STUDIES = 5
_LARGEST_SUBJECT = 2**63 - 1


def event_windows(
    spec: CohortSpec, table: pd.DataFrame, studies: Sequence[str], patients: Sequence[str]
) -> dict[str, dict[str, EventWindow]]:
    """Find the window of events of each study, by modality and study; a window without an event is left out.

    The window of a study goes from ``before`` its time to ``after`` it, both ends included. A study whose cell of
    ``time`` or ``subject`` is empty has none. A date without a time is its midnight.

    Args:
        spec: specification of the cohort.
        table: its table.
        studies: study ids, in the order of the table.
        patients: patient ids, likewise; the subjects of MEDS unless ``subject`` names a column.

    Raises:
        ValueError: the library ``meds`` is missing, the dataset breaks its schema, a time is not in ISO 8601 or has a
            zone, or a subject is not an integer. The message names studies and the setting.
    """
    return {
        name: _windows(spec, name, entry, table, studies, patients)
        for name, entry in spec.modalities.items()
        if "meds" in entry
    }


def _windows(
    spec: CohortSpec,
    name: str,
    entry: Mapping[str, Any],
    table: pd.DataFrame,
    studies: Sequence[str],
    patients: Sequence[str],
) -> dict[str, EventWindow]:
    if "meds" in absent_modules("wards"):
        raise ValueError(missing_sentence("meds", f"`modalities.{name}.meds`"))
    dataset = meds.MedsDataset(spec.root / entry["meds"], name=f"the dataset of `modalities.{name}.meds`")
    subjects = list(patients) if "subject" not in entry else table[entry["subject"]].tolist()
    cells = list(zip(studies, table[entry["time"]].tolist(), subjects, strict=True))
    used = [(study, time, subject) for study, time, subject in cells if time and subject]
    if wrong := [study for study, _, subject in used if not _is_subject(subject)]:
        raise ValueError(
            f"{len(wrong)} studies (such as {wrong[:_MAX_NAMED_STUDIES]}) have a subject that is not an integer, as "
            f"MEDS requires; set `modalities.{name}.subject` to a column with the subject ids of the dataset"
        )
    anchors = [read_time(f"modalities.{name}.time", study, time) for study, time, _ in used]
    before, after = timedelta(seconds=entry["before"]), timedelta(seconds=entry["after"])
    starts, ends = [anchor - before for anchor in anchors], [anchor + after for anchor in anchors]
    numbers = np.array([int(subject) for _, _, subject in used], dtype=np.int64)
    files = dataset.holders(
        numbers,
        np.array(starts, dtype="datetime64[us]"),
        np.array(ends, dtype="datetime64[us]"),
        entry["codes"],
    )
    rows = zip(used, numbers.tolist(), starts, ends, anchors, files, strict=True)
    return {
        study: EventWindow(file, subject, start, end, anchor, tuple(entry["codes"]))
        for (study, _, _), subject, start, end, anchor, file in rows
        if file is not None
    }


def _is_subject(cell: str) -> bool:
    digits = cell.removeprefix("-")
    return digits.isascii() and digits.isdecimal() and len(digits) < 20 and abs(int(cell)) <= _LARGEST_SUBJECT


def read_time(setting: str, study: str, cell: str) -> datetime:
    """Parse the time of a study.

    Args:
        setting: setting that names the column, for the message.
        study: id of the study, likewise.
        cell: time in ISO 8601 without a zone; a date without a time is its midnight.

    Raises:
        ValueError: the cell is not such a time, has a zone, or is not in the years 1700 to 2200.
    """
    try:
        time = datetime.fromisoformat(cell)
    except ValueError:
        raise ValueError(
            f"study {study!r} has a time that is not in ISO 8601, expected one such as 2024-01-31T14:05; correct the "
            f"column of `{setting}`"
        ) from None
    if time.tzinfo is not None:
        raise ValueError(
            f"study {study!r} has a time with a zone, expected the local time of the dataset, as MEDS has no zones; "
            f"convert the column of `{setting}`"
        )
    if not 1700 <= time.year <= 2200:
        raise ValueError(f"study {study!r} has a time outside 1700 to 2200; correct the column of `{setting}`")
    return time

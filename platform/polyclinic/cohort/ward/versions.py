"""Choose the latest version of each record: corrections replace, withdrawals remove, preliminary ones are not used."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TypeVar

from polyclinic.cohort.ward.left_out import LeftOut
from polyclinic.modality import Measurement, Record, WrittenReport

RecordT = TypeVar("RecordT", Measurement, WrittenReport)
_RANK = {"preliminary": 0, "final": 1, "corrected": 2, "withdrawn": 3}


def latest(found: Iterable[tuple[str, RecordT]], left_out: LeftOut) -> list[tuple[str, RecordT]]:
    """Return the records of the latest version under each identity, in the order in which they were read.

    The latest is that with the latest time of its version; where one version states none, a withdrawal comes after a
    correction, a correction after the first result, and then the order of reading decides.

    Args:
        found: path of the file, and the record.
        left_out: where other versions are counted.
    """
    versions: dict[tuple[str, ...], list[tuple[str, RecordT]]] = defaultdict(list)
    for path, record in found:
        if record.standing == "preliminary":
            left_out.add("not-final", path)
        else:
            versions[record.identity].append((path, record))
    gone = {identity for group in versions.values() for identity in _superseded(group)}
    chosen = []
    for identity, group in versions.items():
        used = _latest_of(group)
        for path, record in group:
            if record.standing == "withdrawn":
                left_out.add("withdrawn", path)
            elif identity in gone:
                left_out.add("replaced", path)
            elif not any(record is each for _, each in used):
                same = any(_content(record) == _content(each) for _, each in used)
                left_out.add("duplicate" if same else "replaced", path)
        if identity not in gone:
            chosen += [(path, record) for path, record in used if record.standing != "withdrawn"]
    return chosen


def _latest_of(group: Sequence[tuple[str, RecordT]]) -> list[tuple[str, RecordT]]:
    if len(group) == 1:
        return list(group)
    dated = all(record.version for _, record in group)

    def order(record: Record) -> tuple[str, int, int]:
        return record.version if dated else "", _RANK[record.standing], record.sequence

    last = max(order(record) for _, record in group)
    return [(path, record) for path, record in group if order(record) == last]


def _superseded(group: Sequence[tuple[str, RecordT]]) -> set[tuple[str, ...]]:
    """Return the identities that reports of a group replace, without that of the group."""
    named = {each for _, record in group if record.standing != "withdrawn" for each in record.supersedes}
    return named - {record.identity for _, record in group}


def _content(record: Record) -> tuple[object, ...]:
    """Return what a result says, without its version."""
    if isinstance(record, Measurement):
        return record.code, record.value, record.time
    assert isinstance(record, WrittenReport)
    return record.text, record.time

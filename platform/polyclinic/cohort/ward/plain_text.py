"""Texts of records that tables can hold."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from polyclinic.cohort.ward.left_out import LeftOut
from polyclinic.modality import Measurement, Record, WrittenReport

_MAX_NUMBER_LENGTH = 200


def writable(
    found: Iterable[tuple[str, Measurement | WrittenReport]], left_out: LeftOut
) -> Iterator[tuple[str, Measurement | WrittenReport]]:
    """Yield the records whose texts can be written, with line feeds as their only line ends.

    Args:
        found: path of the file, and the record.
        left_out: where others are counted: those with halves of characters or NUL, as tables are UTF-8, and those with
            a patient number that is too long to be one.
    """
    for path, record in found:
        if record.patient is not None and len(record.patient.value) > _MAX_NUMBER_LENGTH:
            left_out.add("without-patient", path, f"a patient number of more than {_MAX_NUMBER_LENGTH} characters")
        elif not all(map(_is_writable, _texts(record))):
            left_out.add("charset", path, "half of a character, or NUL")
        elif isinstance(record, WrittenReport) and "\r" in record.text:
            yield path, replace(record, text=record.text.replace("\r\n", "\n").replace("\r", "\n"))
        else:
            yield path, record


def _texts(record: Record) -> Iterator[str]:
    if record.patient is not None:
        yield record.patient.value
    yield from record.identity
    if isinstance(record, WrittenReport):
        yield record.text
        yield record.accession
    elif isinstance(record, Measurement):
        yield record.code
        yield record.range.text
        if record.value is not None:
            yield from (record.value.text, record.value.unit, record.value.unit_system, record.value.coded)


def _is_writable(text: str) -> bool:
    if "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

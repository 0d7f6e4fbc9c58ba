"""Results and reports of HL7 v2 messages ORU^R01 (chapter 7).

Each result follows the PID segment before it. A line of text belongs to the report of its OBR segment; other values
are measurements. Z segments and comments (NTE) are passed over.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from polyclinic.cohort.ward.coding import code_of, preferred, system_name
from polyclinic.cohort.ward.hl7_segments import Segment, component, split_messages, split_segments
from polyclinic.cohort.ward.hl7_times import message_version, moment_of_field
from polyclinic.cohort.ward.left_out import NotUsed
from polyclinic.cohort.ward.values import COMPARATORS, number_of, range_of_text, value_of_text
from polyclinic.modality import (
    Measurement,
    Omission,
    PatientNumber,
    RecordFile,
    UnreadableSource,
    Value,
    WrittenReport,
)
from polyclinic.modality.records import Standing

_STANDING: dict[str, Standing] = {"F": "final", "U": "final", "C": "corrected"}
_STANDING |= dict.fromkeys("DWX", "withdrawn")
"""Standing by OBX-11 (HL7 table 0085) and OBR-25 (0123); all others are not final."""

_TEXT, _CODED, _DOCUMENTS = ("TX", "FT"), ("CE", "CWE", "CNE", "CF"), ("ED", "RP")
_PLAIN = ("ST", "IS", "ID", "DT", "TM", "TS", "DTM")
_SECTIONS = {"GDT": "FINDINGS", "IMP": "IMPRESSION"}
_TEST = ("T", "D")


@dataclass
class _Order:
    """An OBR segment with its OBX segments, and the patient and version of its message."""

    patient: PatientNumber | None
    version: str
    obr: Segment
    results: list[Segment] = field(default_factory=list)

    @property
    def number(self) -> str:
        """Filler order number, else placer order number."""
        return self.obr.component(3, 1) or self.obr.component(2, 1)

    @property
    def service(self) -> str:
        """Code of what was ordered: one order number may have several."""
        return self.obr.component(4, 1)


def read_hl7(content: bytes) -> RecordFile:
    """Read the messages of a file; what cannot be used is counted in ``omitted``."""
    found = RecordFile()
    messages = split_messages(content)
    if not messages:
        found.omitted.append(Omission("broken", "a batch without a message"))
    for message in messages:
        try:
            for order in _orders(list(split_segments(message)), found):
                _read_order(order, found)
        except NotUsed as why:
            found.omitted.append(Omission(why.reason, why.why))
        except UnreadableSource as why:
            found.omitted.append(Omission("broken", str(why)))
    return found


def _orders(segments: Sequence[Segment], found: RecordFile) -> Iterator[_Order]:
    """Yield the orders of a message with their results."""
    version, patient, order = _version(segments[0]), None, None
    for segment in segments[1:]:
        if segment.name in ("PID", "OBR") and order is not None:
            yield order
        if segment.name == "PID":
            patient, order = _patient(segment), None
        elif segment.name == "OBR":
            order = _Order(patient, version, segment)
        elif segment.name == "OBX" and order is not None:
            order.results.append(segment)
        elif segment.name == "OBX":
            found.omitted.append(Omission("without-order"))
    if order is not None:
        yield order


def _version(header: Segment) -> str:
    """Return the time of a message as text that sorts.

    Raises:
        NotUsed: the message is not ORU^R01, or is a test.
    """
    kind = header.components(9)
    if kind[0] != "ORU" or component(kind, 2) not in ("R01", ""):
        raise NotUsed("other-message")
    if header.component(11, 1) in _TEST:
        raise NotUsed("test-message")
    return message_version(header.component(7, 1))


def _patient(pid: Segment) -> PatientNumber | None:
    """Return the medical record number in PID-3, else its first id, else PID-2; None where there is none."""
    numbers = [pid.split(each) for each in pid.repetitions(3)]
    numbers = [parts for parts in numbers if component(parts, 1)]
    records = [parts for parts in numbers if component(parts, 5) == "MR"]
    if chosen := (records or numbers)[:1]:
        authority = component(chosen[0], 4).split(pid.delimiters.subcomponent)[0]
        return PatientNumber(component(chosen[0], 1), f"hl7 {authority}".strip())
    number = pid.component(2, 1)
    return PatientNumber(number, "hl7") if number else None


def _read_order(order: _Order, found: RecordFile) -> None:
    lines, results = _divided(order.results)
    keys = Counter((result.component(3, 1), result.field(4)) for result in results)
    for result in results:
        repeated = keys[result.component(3, 1), result.field(4)] > 1
        try:
            found.measurements.append(_measurement(order, result, len(found.measurements), repeated=repeated))
        except NotUsed as why:
            found.omitted.append(Omission(why.reason, why.why))
        except UnreadableSource as why:
            found.omitted.append(Omission("broken", str(why)))
    if lines:
        try:
            found.reports.append(_report(order, lines, len(found.reports)))
        except NotUsed as why:
            found.omitted.append(Omission(why.reason, why.why))
        except UnreadableSource as why:
            found.omitted.append(Omission("ambiguous-text", str(why)))


def _divided(segments: Sequence[Segment]) -> tuple[list[Segment], list[Segment]]:
    """Return the lines of text, and the other results; strings that repeat a code without a sub-id are lines."""
    strings = Counter((each.component(3, 1), each.field(4)) for each in segments if each.field(2) == "ST")
    lines: list[Segment] = []
    results: list[Segment] = []
    for each in segments:
        is_line = each.field(2) == "ST" and strings[each.component(3, 1), each.field(4)] > 1
        (lines if each.field(2) in _TEXT or is_line else results).append(each)
    return lines, results


def _standing(status: str, fallback: str = "") -> Standing:
    return _STANDING.get(status.strip() or fallback.strip(), "preliminary")


def _measurement(order: _Order, result: Segment, sequence: int, *, repeated: bool) -> Measurement:
    standing = _standing(result.field(11), order.obr.field(25))
    code = _code(result)
    if not code:
        raise NotUsed("without-code")
    stated = result.component(14, 1)
    time = moment_of_field(stated) or moment_of_field(order.obr.component(7, 1))
    # Results of one code in one order differ by their sub-id, and by their time where they have none.
    at = (stated or order.obr.component(7, 1)) if repeated or not order.number else ""
    return Measurement(
        patient=order.patient,
        identity=("hl7", *(order.patient or ()), order.number, order.service, code, result.field(4), at),
        version=order.version,
        sequence=sequence,
        standing=standing,
        time=time,
        available=moment_of_field(order.obr.component(22, 1)),
        code=code,
        value=None if standing == "withdrawn" else _value(result),
        range=range_of_text(result.text(result.field(7))),
    )


def _code(result: Segment) -> str:
    parts = result.components(3)
    codings = [(component(parts, place), component(parts, place + 2)) for place in (1, 4)]
    return code_of(*preferred(codings), text=component(parts, 2))


def _value(result: Segment) -> Value:
    """Return the value in OBX-5.

    Raises:
        NotUsed: there is no value, several, or one of a type without a number and a text.
    """
    kind, sent = result.field(2), result.repetitions(5)
    unit = result.component(6, 1) or result.component(6, 2)
    system = system_name(result.component(6, 3))
    if kind in _DOCUMENTS:
        raise NotUsed("document")
    if kind in _CODED:
        return _coded(result, sent)
    if len(sent) > 1:
        raise NotUsed("unsupported-value", "several values in one OBX segment")
    if kind == "NM":
        return value_of_text(result.text(sent[0]), unit, system)
    if kind == "SN":
        return _structured(result.split(sent[0]), unit, system)
    if kind in _PLAIN:
        text = result.text(sent[0]).strip()
        if unit and kind == "ST":  # a text with a unit is a number that was sent as text
            return value_of_text(text, unit, system)
        if not text:
            raise NotUsed("without-value")
        return Value(text=text, unit=unit, unit_system=system)
    raise NotUsed("unsupported-value" if kind else "without-value", "a type in OBX-2 that is not read")


def _coded(result: Segment, sent: Sequence[str]) -> Value:
    parts = [result.split(each) for each in sent]
    texts = [component(each, 2) or component(each, 9) or component(each, 1) for each in parts]
    codes = [code_of(component(each, 1), component(each, 3)) for each in parts if component(each, 1)]
    text = "; ".join(text for text in texts if text)
    if not text:
        raise NotUsed("without-value")
    return Value(text=text, coded=codes[0] if len(codes) == len(parts) == 1 else "")


def _structured(parts: Sequence[str], unit: str, system: str) -> Value:
    """Return a structured number: comparator, number, separator, number (HL7 v2, section 2A.71)."""
    comparator, first, separator, second = (component(parts, place) for place in range(1, 5))
    if not first:
        raise NotUsed("without-value")
    if comparator in ("", "=") and not separator and not second and (number := number_of(first)) is not None:
        return Value(number=number, unit=unit, unit_system=system)
    known = comparator if comparator in COMPARATORS and not separator else ""
    text = f"{'' if comparator == '=' else comparator}{first}{separator}{second}"
    return Value(text=text, comparator=known, unit=unit, unit_system=system)


def _report(order: _Order, lines: Sequence[Segment], sequence: int) -> WrittenReport:
    statuses = [_standing(line.field(11), order.obr.field(25)) for line in lines]
    stated = order.obr.field(25)
    standing = _standing(stated) if stated else _joint(statuses)
    used = [line for line, status in zip(lines, statuses, strict=True) if status != "withdrawn"]
    text = _text(used)
    if not text and standing != "withdrawn":
        raise NotUsed("empty")
    time = order.obr.component(7, 1) or lines[0].component(14, 1)
    return WrittenReport(
        patient=order.patient,
        identity=("hl7", *(order.patient or ()), order.number or time, order.service),
        version=order.version,
        sequence=sequence,
        standing=standing,
        time=moment_of_field(time),
        available=moment_of_field(order.obr.component(22, 1)),
        accession=order.number,
        text=text,
    )


def _joint(statuses: Sequence[Standing]) -> Standing:
    """Return the status of a report whose order states none: that of its least certain line."""
    ranked: tuple[Standing, ...] = ("preliminary", "corrected", "final", "withdrawn")
    return next(status for status in ranked if status in statuses)


def _text(lines: Sequence[Segment]) -> str:
    """Return the lines of a report, with a heading where the code of a line names a section (HL7 v2, 7.1.2)."""
    parts: list[str] = []
    heading = ""
    for line in lines:
        identifier = line.field(3).partition(line.delimiters.component)[0]
        section = _SECTIONS.get(identifier.partition(line.delimiters.subcomponent)[2], "")
        text = "\n".join(line.text(each).rstrip() for each in line.repetitions(5))
        if section and section != heading and not text.upper().lstrip().startswith(section):
            parts.append(f"{section}:")
        heading = section or heading
        parts.append(text)
    return "\n".join(parts).strip()

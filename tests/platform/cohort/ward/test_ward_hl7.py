"""HL7 v2: values of each type, patients, orders, versions and messages that break the standard."""

from datetime import datetime

import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message

from polyclinic.cohort.ward.hl7 import read_hl7
from polyclinic.modality import Measurement, PatientNumber, RecordFile
from ward_files import message, obr, obx, pid


def read(text: str, codec: str = "utf-8") -> RecordFile:
    return read_hl7(text.encode(codec))


def one(*segments: str) -> Measurement:
    found = read(message(pid(), obr(), *segments))
    assert not found.omitted
    [measurement] = found.measurements
    return measurement


def omitted(found: RecordFile) -> list[str]:
    return [each.reason for each in found.omitted]


def test_a_number_has_its_code_unit_range_and_time() -> None:
    result = one(obx("13.2", unit="g/dL^gram per decilitre^UCUM", range="12-16", time="20240102093015+0100"))
    assert result.value is not None
    assert (result.code, result.value.number, result.value.text) == ("LOINC//718-7", 13.2, "")
    assert (result.value.unit, result.value.unit_system) == ("g/dL", "UCUM")
    assert (result.range.low, result.range.high, result.range.text) == (12, 16, "12-16")
    assert result.time is not None
    assert (result.time.time, result.time.offset) == (datetime(2024, 1, 2, 9, 30, 15), 60)
    assert result.patient == PatientNumber("4711", "hl7 HOSP")


@pytest.mark.parametrize(
    ("kind", "sent", "number", "text", "comparator"),
    [
        ("NM", "<0.1", None, "<0.1", "<"),
        ("NM", "12,5", None, "12,5", ""),
        ("SN", "^13.2", 13.2, "", ""),
        ("SN", "<^0.1", None, "<0.1", "<"),
        ("SN", "^1^:^128", None, "1:128", ""),
        ("SN", "^10^-^20", None, "10-20", ""),
        ("ST", "negative", None, "negative", ""),
        ("CE", "260373001^Detected^SCT", None, "Detected", ""),
        ("CWE", "^^^^^^^^seen in words", None, "seen in words", ""),
        ("DT", "20240101", None, "20240101", ""),
    ],
)
def test_values_stay_as_they_were_sent(kind: str, sent: str, number: float | None, text: str, comparator: str) -> None:
    value = one(obx(sent, kind=kind)).value
    assert value is not None
    assert (value.number, value.text, value.comparator) == (number, text, comparator)


def test_a_string_is_a_number_only_with_a_unit() -> None:
    with_unit, without = one(obx("13.2", kind="ST", unit="g/dL")).value, one(obx("4", kind="ST")).value
    assert with_unit is not None
    assert without is not None
    assert (with_unit.number, without.number, without.text) == (13.2, None, "4")


@pytest.mark.parametrize(
    ("segment", "reason"),
    [
        (obx(""), "without-value"),
        (obx('""'), "without-value"),
        (obx("1e39"), "out-of-range"),
        (obx("1~2"), "unsupported-value"),
        (obx("^TEXT^PDF^Base64^AAAA", kind="ED"), "document"),
        (obx("1", kind="NA"), "unsupported-value"),
        (obx("1", code="^^"), "without-code"),
        (obx("a\\X80\\b", kind="CE"), "broken"),
    ],
)
def test_what_cannot_be_used_is_counted(segment: str, reason: str) -> None:
    found = read(message(pid(), obr(), segment, obx("13.2", sub="2")))
    assert omitted(found) == [reason]
    assert len(found.measurements) == 1


def test_codes_prefer_loinc_and_keep_the_system_of_others() -> None:
    assert one(obx("1", code="HB^Hb^99LAB^718-7^Hb^LN")).code == "LOINC//718-7"
    assert one(obx("1", code="HB^Hb^99LAB")).code == "99LAB//HB"
    assert one(obx("1", code="HB")).code == "local//HB"
    assert one(obx("1", code="^Hb in words")).code == "text//Hb in words"


def test_lines_of_text_are_one_report_with_headings_and_escapes() -> None:
    lines = [
        obx("Heart \\T\\ lungs clear.\\.br\\No effusion.", kind="FT", code="71046&GDT^Chest"),
        obx("  second line~third", kind="TX", code="71046&GDT^Chest"),
        obx("Normal.", kind="TX", code="71046&IMP^Chest"),
    ]
    found = read(message(pid(), obr("ACC9"), *lines, "NTE|1||comment", "ZXX|1|own"))
    [report] = found.reports
    assert report.text == ("FINDINGS:\nHeart & lungs clear.\nNo effusion.\n  second line\nthird\nIMPRESSION:\nNormal.")
    assert (report.accession, report.standing) == ("ACC9", "final")
    assert not found.measurements
    assert not found.omitted


def test_strings_that_repeat_a_code_are_lines_and_those_with_sub_ids_are_results() -> None:
    lines = [obx("Heart normal.", kind="ST"), obx("Lungs clear.", kind="ST")]
    [report] = read(message(pid(), obr(), *lines)).reports
    assert report.text == "Heart normal.\nLungs clear."
    found = read(message(pid(), obr(), obx("E. coli", kind="ST", sub="1"), obx("none", kind="ST", sub="2")))
    assert not found.reports
    assert len({each.identity for each in found.measurements}) == 2


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_messages_are_split_whatever_frames_them(end: str) -> None:
    texts = [message(pid(f"{number}"), obr(), obx("1"), end=end) for number in range(3)]
    framed = "".join(f"\x0b{text}\x1c\r" for text in texts)
    batch = f"FHS|^~\\&{end}BHS|^~\\&{end}{''.join(texts)}BTS|3{end}FTS|1{end}"
    for content in ("".join(texts), framed, batch, "\ufeff" + "".join(texts)):
        found = read(content)
        assert [each.patient and each.patient.value for each in found.measurements] == ["0", "1", "2"]
        assert not found.omitted


def test_other_delimiters_are_those_of_the_message() -> None:
    text = message(pid(), obr(), obx("a!R!b", kind="ST", code="HB^x^99L"))
    text = text.replace("\\", "!").replace("|", "#").replace("^", "*").replace("~", "%").replace("&", "@")
    [result] = read(text).measurements
    assert (result.code, result.value and result.value.text) == ("99L//HB", "a%b")


def test_each_result_follows_the_patient_before_it() -> None:
    found = read(message(pid("1"), obr("A"), obx("1"), pid("2"), obr("B"), obx("2")))
    assert [(each.patient and each.patient.value, each.value and each.value.number) for each in found.measurements] == [
        ("1", 1.0),
        ("2", 2.0),
    ]


def test_patients_and_orders_that_are_missing_are_not_made_up() -> None:
    [result] = read(message(obr(), obx("1"))).measurements
    assert result.patient is None
    assert omitted(read(message(pid(), obx("1")))) == ["without-order"]
    after = read(message(pid("1"), obr(), obx("1"), pid("2"), obx("2")))
    assert omitted(after) == ["without-order"]


@pytest.mark.parametrize(
    ("status", "standing"),
    [("F", "final"), ("C", "corrected"), ("P", "preliminary"), ("R", "preliminary"), ("D", "withdrawn"),
     ("W", "withdrawn"), ("X", "withdrawn"), ("?", "preliminary")],
)  # fmt: skip
def test_status_decides(status: str, standing: str) -> None:
    assert one(obx("1", status=status)).standing == standing


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (message(header="MSH|^~\\&|A|B|C|D|20240101||ADT^A01|1|P|2.5"), "other-message"),
        (message(header="MSH|^~\\&|A|B|C|D|20240101||ORU^R01|1|T|2.5"), "test-message"),
        ("MSH|^^\\&|A|B|C|D|20240101||ORU^R01|1|P|2.5\r", "broken"),
        ("MSH|\r", "broken"),
        ("MSH|^~\\&\r", "other-message"),
        (message(pid(), obr(), "OBX|1|TX|a||first line\rsecond line of the same text"), "broken"),
        ("FHS|^~\\&\r", "broken"),
    ],
)
def test_messages_that_are_not_read(content: str, reason: str) -> None:
    found = read(content)
    assert omitted(found) == [reason]
    assert not found.measurements


def test_character_sets_are_those_of_the_message() -> None:
    def header(charset: str) -> str:
        return f"MSH|^~\\&|A|B|C|D|20240101||ORU^R01|1|P|2.5||||||{charset}"

    text = message(pid(), obr(), obx("Größe", kind="ST"))
    assert read(text).measurements[0].value is not None
    latin = message(pid(), obr(), obx("Größe", kind="ST"), header=header("8859/1"))
    [result] = read(latin, "latin-1").measurements
    assert result.value is not None
    assert result.value.text == "Größe"
    for wrong, codec in (
        (text, "latin-1"),
        (latin.replace("8859/1", "UNICODE UTF-8"), "latin-1"),
        (latin.replace("8859/1", "ISO IR87"), "utf-8"),
        (latin.replace("8859/1", "ASCII"), "utf-8"),
    ):
        assert omitted(read(wrong, codec)) == ["charset"]  # fmt: skip


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("20240102", datetime(2024, 1, 2, 23, 59, 59)),
        ("2024010210", datetime(2024, 1, 2, 10, 59, 59)),
        ("202401021015", datetime(2024, 1, 2, 10, 15)),
        ("20240102101530.25", datetime(2024, 1, 2, 10, 15, 30, 250000)),
    ],
)
def test_coarse_times_stand_at_their_end(stated: str, expected: datetime) -> None:
    time = one(obx("1", time=stated)).time
    assert time is not None
    assert (time.time, time.offset) == (expected, None)


@pytest.mark.parametrize("stated", ["2024", "202401", "20241301", "tomorrow", "\uff12\uff10\uff12\uff14"])
def test_years_and_nonsense_are_no_time(stated: str) -> None:
    found = read(message(pid(), obr(time=stated), obx("1")))
    assert found.measurements[0].time is None


def test_our_fields_are_those_of_hl7apy() -> None:
    text = message(pid(), obr(), obx("13.2", unit="g/dL", range="12-16"), obx("<^0.1", kind="SN", code="X^y^L"))
    parsed = parse_message(text, find_groups=False, validation_level=VALIDATION_LEVEL.TOLERANT)
    reference = [each for each in parsed.children if each.name == "OBX"]
    found = read(text).measurements
    assert len(found) == len(reference) == 2
    for ours, theirs in zip(found, reference, strict=True):
        assert ours.code.partition("//")[2] == theirs.obx_3.obx_3_1.value
        assert ours.range.text == theirs.obx_7.value
        assert ours.value is not None
        assert ours.value.unit == theirs.obx_6.value
    assert found[0].value is not None
    assert found[0].value.number == float(reference[0].obx_5.value)


@pytest.mark.timeout(20)
def test_long_fields_take_linear_time() -> None:
    digits = "1" * 300_000
    found = read(message(pid(digits + "x"), obr(), obx(digits, range=digits, time=digits), obx(digits, sub="2")))
    assert [each.value and each.value.number for each in found.measurements] == [None, None]
    assert not read(message(pid(), obr(), obx("\\" * 300_000, kind="TX"))).reports

"""Structured reports become texts and numbers; trees that are hostile or of another kind do not."""

from datetime import datetime
from pathlib import Path

import pytest
from highdicom.sr import srread
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage, KeyObjectSelectionDocumentStorage

from archives import write_dicom
from polyclinic.modality import PatientNumber, RecordFile, UnreadableSource, Value
from polyclinic_dicom.sr_records import read_sr
from ward_files import coded, content, write_sr

FINDING = coded("121071", "DCM", "Finding")
FINDINGS = coded("121070", "DCM", "Findings")
HEART = coded("8867-4", "LN", "Heart rate")


def read(path: Path) -> RecordFile:
    found = read_sr(path)
    assert found is not None
    return found


def omitted(found: RecordFile) -> list[str]:
    return [each.reason for each in found.omitted]


def test_texts_codes_and_numbers_are_lines_under_their_headings(tmp_path: Path) -> None:
    path = write_sr(
        tmp_path / "a.dcm",
        content(
            "CONTAINER",
            FINDINGS,
            content("TEXT", FINDING, value="Lungs clear."),
            content("CODE", FINDING, value=coded("1", "99L", "Normal heart")),
            content("NUM", HEART, value="72", unit="/min"),
        ),
    )
    found = read(path)
    [report], [rate] = found.reports, found.measurements
    assert report.text == "FINDINGS:\nFinding: Lungs clear.\nFinding: Normal heart\nHeart rate: 72 /min"
    assert (report.accession, report.patient, report.standing) == ("A1", PatientNumber("4711", "dicom"), "final")
    assert report.time is not None
    assert report.available is not None
    assert (report.time.time, report.available.time) == (datetime(2024, 1, 2, 10), datetime(2024, 1, 2, 11, 30))
    assert (rate.code, rate.value) == ("LOINC//8867-4", Value(number=72, unit="/min", unit_system="UCUM"))
    assert not found.omitted


def test_the_tree_is_that_of_highdicom(tmp_path: Path) -> None:
    written = read(write_sr(tmp_path / "a.dcm", content("NUM", HEART, value="72", unit="/min")))
    [item] = srread(tmp_path / "a.dcm").content[0].ContentSequence
    assert written.measurements[0].value is not None
    assert written.measurements[0].value.number == float(item.value)
    assert written.measurements[0].value.unit == item.unit.value


@pytest.mark.parametrize(
    ("elements", "standing"),
    [({"CompletionFlag": "PARTIAL"}, "preliminary"), ({"PreliminaryFlag": "PRELIMINARY"}, "preliminary")],
)
def test_status(tmp_path: Path, elements: dict[str, str], standing: str) -> None:
    path = write_sr(tmp_path / "a.dcm", content("TEXT", FINDING, value="x"), **elements)
    assert [each.standing for each in read(path).reports] == [standing]


def test_a_later_document_names_the_one_that_it_replaces(tmp_path: Path) -> None:
    instance, series, study = Dataset(), Dataset(), Dataset()
    instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID = ComprehensiveSRStorage, "2.25.1"
    series.ReferencedSOPSequence, study.ReferencedSeriesSequence = [instance], [series]
    series.SeriesInstanceUID, study.StudyInstanceUID = "2.25.6", "2.25.5"
    path = write_sr(
        tmp_path / "b.dcm", content("TEXT", FINDING, value="x"), uid="2.25.2", PredecessorDocumentsSequence=[study]
    )
    [report] = read(path).reports
    assert (report.standing, report.supersedes) == ("corrected", (("dicom", "2.25.1"),))


@pytest.mark.parametrize(
    ("stamp", "zone", "expected", "offset"),
    [
        ("20240102093015.5+0100", "", datetime(2024, 1, 2, 9, 30, 15, 500000), 60),
        ("20240102093015", "-0530", datetime(2024, 1, 2, 9, 30, 15), -330),
        ("20240102", "", datetime(2024, 1, 2, 23, 59, 59), None),
        ("2024010209", "", datetime(2024, 1, 2, 9, 59, 59), None),
        ("202401", "", datetime(2024, 1, 2, 10), None),
        ("2024", "", datetime(2024, 1, 2, 10), None),
    ],
)
def test_times_of_numbers(tmp_path: Path, stamp: str, zone: str, expected: datetime, offset: int | None) -> None:
    number = content("NUM", HEART, value="72", unit="/min")
    number.ObservationDateTime = stamp
    elements = {"TimezoneOffsetFromUTC": zone} if zone else {}
    [rate] = read(write_sr(tmp_path / "a.dcm", number, **elements)).measurements
    assert rate.time is not None
    assert (rate.time.time, rate.time.offset) == (expected, offset)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (content("NUM", HEART, value=None), "without-value"),
        (content("NUM", HEART, value="1e39", unit="/min"), "out-of-range"),
        (content("NUM", Dataset(), value="1", unit="/min"), "without-code"),
    ],
)
def test_numbers_that_cannot_be_used_are_counted(tmp_path: Path, number: Dataset, reason: str) -> None:
    found = read(write_sr(tmp_path / "a.dcm", content("TEXT", FINDING, value="x"), number))
    assert (omitted(found), found.measurements) == ([reason], [])


def test_items_by_reference_are_not_followed(tmp_path: Path) -> None:
    cycle = Dataset()
    cycle.RelationshipType, cycle.ReferencedContentItemIdentifier = "INFERRED FROM", [1]
    finding = content("TEXT", FINDING, value="x")
    finding.ContentSequence = [cycle]
    assert read(write_sr(tmp_path / "a.dcm", finding)).reports[0].text == "Finding: x"


def test_other_documents_research_and_empty_ones_are_counted(tmp_path: Path) -> None:
    keys = write_sr(tmp_path / "k.dcm", SOPClassUID=KeyObjectSelectionDocumentStorage, Modality="KO")
    assert omitted(read(keys)) == ["other-document"]
    private = write_sr(tmp_path / "p.dcm", SOPClassUID="1.2.999.1")
    assert omitted(read(private)) == ["other-document"]
    scores = write_sr(tmp_path / "r.dcm", content("TEXT", FINDING, value="x"), ContentQualification="RESEARCH")
    assert omitted(read(scores)) == ["research"]
    assert omitted(read(write_sr(tmp_path / "e.dcm"))) == ["empty"]


def test_other_files_are_left_to_other_readers(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Lungs clear.")
    assert read_sr(tmp_path / "a.txt") is None
    assert read_sr(write_dicom(tmp_path / "b.dcm")) is None


def test_trees_have_a_largest_depth_and_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    item = content("TEXT", FINDING, value="x")
    for _ in range(50):
        item = content("CONTAINER", FINDINGS, item)
    with pytest.raises(UnreadableSource, match="levels"):
        read_sr(write_sr(tmp_path / "deep.dcm", item))
    monkeypatch.setattr("polyclinic_dicom.sr_records._MAX_ITEMS", 100)
    many = [content("TEXT", FINDING, value="x") for _ in range(100)]
    with pytest.raises(UnreadableSource, match="content items"):
        read_sr(write_sr(tmp_path / "wide.dcm", *many))


def test_a_cut_off_report_is_refused_or_has_what_is_there(tmp_path: Path) -> None:
    path = write_sr(tmp_path / "a.dcm", content("TEXT", FINDING, value="Lungs clear."))
    whole = path.read_bytes()
    for length in range(140, len(whole), 25):
        path.write_bytes(whole[:length])
        try:
            found = read_sr(path)
        except UnreadableSource:
            continue
        assert found is None or not found.reports or found.reports[0].text in "Finding: Lungs clear."

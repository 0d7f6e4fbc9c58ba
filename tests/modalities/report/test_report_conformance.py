import pickle
from pathlib import Path

import pytest

from polyclinic.modality import Modality, Source, UnreadableSource
from polyclinic.testing import ModalityConformance
from polyclinic_report import Report


class TestReport(ModalityConformance):
    def modality(self) -> Modality:
        return Report(vocabulary_size=500, max_tokens=64)

    def test_the_plugin_can_be_pickled_for_workers(self, fitted: Modality, sources: list[Source]) -> None:
        copy = pickle.loads(pickle.dumps(fitted))
        assert copy.prepare(copy.read(sources[0]))["tokens"].equal(fitted.prepare(fitted.read(sources[0]))["tokens"])


@pytest.mark.parametrize(
    ("stored", "encoding"),
    [
        ("Größe 5 µm".encode(), "utf-8"),
        (b"\xef\xbb\xbf" + "Größe 5 µm".encode(), "utf-8"),
        ("Größe 5 µm".encode("cp1252"), "cp1252"),
    ],
)
def test_files_are_read_in_both_encodings(tmp_path: Path, stored: bytes, encoding: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(stored)
    document = Report().read(path)
    assert document.text == "Größe 5 µm"
    assert document.facts["encoding"] == encoding


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        (b"Lungs\0clear", "NUL"),
        ("Lungs clear".encode("utf-16-le"), "NUL"),
        (b"\x01\x02\x03 clear", "control characters"),
        (b"clear \x81\x8d", "text is not UTF-8"),
        (b" \r\n\t --- \n", "no words"),
        (b"clear " * 200_000, "bytes"),
    ],
)
def test_files_without_readable_text_are_refused(tmp_path: Path, stored: bytes, reason: str) -> None:
    path = tmp_path / "doe_john.txt"
    path.write_bytes(stored)
    with pytest.raises(UnreadableSource, match=reason) as caught:
        Report().read(path)
    assert "doe_john" not in str(caught.value)


def test_inline_text_and_a_single_column_read_alike() -> None:
    report = Report()
    inline = report.read("No pleural effusion.")
    assert inline == report.read({"radiology_text": "No pleural effusion."})
    assert inline.facts["encoding"] == "inline"
    with pytest.raises(UnreadableSource, match="2 columns, expected one"):
        report.read({"findings": "a", "impression": "b"})
    with pytest.raises(UnreadableSource, match="no words"):
        report.read("")

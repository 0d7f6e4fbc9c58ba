"""De-identified reports: files, inline text and cells."""

from pathlib import Path

import pytest

from polyclinic.modality import Cleaned, Identity, Source, UnreadableSource
from polyclinic_report import Report

SECRET = "DOE^JOHN"
IDENTITY = Identity(key=b"0123456789abcdef" * 2, patient="4711", names=(SECRET,))
TEXT = f"Patient name: {SECRET}\nMRN 1234567\nFINDINGS: Mr Doe has no edema since 5 March 2024.\nDr. Roe"


def cleaned(source: Source, folder: Path, *, suspects: bool = False) -> Cleaned:
    return Report().deidentify(source, folder / "abc", IDENTITY, suspects=suspects)


def test_a_file_is_cleaned_and_written_as_utf_8(tmp_path: Path) -> None:
    source = tmp_path / f"{SECRET}.txt"
    source.write_bytes(TEXT.replace("edema", "œdema").encode("cp1252"))
    result = cleaned(source, tmp_path)
    assert result.source == tmp_path / "abc.txt"
    text = (tmp_path / "abc.txt").read_text(encoding="utf-8")
    shifted = IDENTITY.text("5 March 2024")[0]
    assert text == f"Patient name: ___\nMRN ___\nFINDINGS: Mr ___ has no œdema since {shifted}.\nDr. ___"
    assert result.removed == {"known name": 2, "titled name": 1, "number": 1, "date": 1}
    assert [issue.code for issue in Report().issues(tmp_path / "abc.txt", Report().read(tmp_path / "abc.txt"))] == []


def test_text_from_a_table_is_not_written_to_a_file(tmp_path: Path) -> None:
    expected = IDENTITY.text(TEXT)[0]
    assert cleaned(TEXT, tmp_path).source == expected
    assert cleaned({"note": TEXT}, tmp_path).source == {"note": expected}
    assert list(tmp_path.iterdir()) == []
    assert {SECRET, "Doe", "Roe"} <= set(Report().names(TEXT))


def test_a_report_that_consists_of_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match="no words"):
        cleaned(SECRET, tmp_path)
    with pytest.raises(UnreadableSource, match="NUL"):
        cleaned(f"{SECRET}\0", tmp_path)


def test_remaining_identifiers_are_refused_unless_suspects_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Identity, "text", lambda self, text, tagger=None: (text, {}))
    with pytest.raises(UnreadableSource, match=r"still seems to hold name, record number.*--keep-suspects") as report:
        cleaned(TEXT, tmp_path)
    assert "DOE" not in str(report.value)
    assert cleaned(TEXT, tmp_path, suspects=True).source == TEXT

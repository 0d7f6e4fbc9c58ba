"""Reports without names: files, inline text and cells."""

from pathlib import Path

import pytest

from polyclinic.modality import Cleaned, Identity, Source, UnreadableSource
from polyclinic_report import Report

SECRET = "DOE^JOHN"
IDENTITY = Identity(key=b"0123456789abcdef" * 2, patient="4711", names=(SECRET,))
TEXT = f"Patient name: {SECRET}\nMRN 1234567\nFINDINGS: Mr Doe has no edema since 5 March 2024.\nDr. Roe"


def cleaned(source: Source, folder: Path, *, suspects: bool = False) -> Cleaned:
    return Report().deidentify(source, folder / "abc", IDENTITY, suspects=suspects)


def test_a_file_becomes_a_clean_file_of_utf_8(tmp_path: Path) -> None:
    source = tmp_path / f"{SECRET}.txt"
    source.write_bytes(TEXT.replace("edema", "œdema").encode("cp1252"))
    found = cleaned(source, tmp_path)
    assert found.source == tmp_path / "abc.txt"
    text = (tmp_path / "abc.txt").read_text(encoding="utf-8")
    moved = IDENTITY.text("5 March 2024")[0]
    assert text == f"Patient name: ___\nMRN ___\nFINDINGS: Mr ___ has no œdema since {moved}.\nDr. ___"
    assert found.removed == {"known name": 1, "titled name": 2, "number": 1, "date": 1}
    assert [one.code for one in Report().issues(tmp_path / "abc.txt", Report().read(tmp_path / "abc.txt"))] == []


def test_text_of_a_table_stays_in_the_table(tmp_path: Path) -> None:
    expected = IDENTITY.text(TEXT)[0]
    assert cleaned(TEXT, tmp_path).source == expected
    assert cleaned({"note": TEXT}, tmp_path).source == {"note": expected}
    assert list(tmp_path.iterdir()) == []
    assert {SECRET, "Doe", "Roe"} <= set(Report().names(TEXT))


def test_a_report_of_nothing_but_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match="no words"):
        cleaned(SECRET, tmp_path)
    with pytest.raises(UnreadableSource, match="NUL"):
        cleaned(f"{SECRET}\0", tmp_path)


def test_what_still_looks_like_an_identifier_is_refused_unless_it_may_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Identity, "text", lambda self, text, tagger=None: (text, {}))
    with pytest.raises(UnreadableSource, match=r"still seems to hold name, record number.*--keep-suspects") as report:
        cleaned(TEXT, tmp_path)
    assert "DOE" not in str(report.value)
    assert cleaned(TEXT, tmp_path, suspects=True).source == TEXT

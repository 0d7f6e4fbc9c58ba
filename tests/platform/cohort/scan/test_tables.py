"""Cells of a table name files by path, wherever they were before, and never those of another folder."""

import pytest

from polyclinic.cohort.scan.recognise import FileFacts
from polyclinic.cohort.scan.tables import SourceIndex

FILES = ["a.wav", "east/1.dcm", "east/x/2.dcm", "west/1.dcm", "west/x/2.dcm", "west/3.dcm", "rec/r1.hea", "rec/r1.txt"]


@pytest.mark.parametrize(
    ("cell", "folder", "expected"),
    [
        ("a.wav", "", "a.wav"),
        ("sound/a.wav", "", "a.wav"),
        ("./a.wav", "", "a.wav"),
        ("D:\\archive\\east\\1.dcm", "", "east/1.dcm"),
        ("/data/west/1.dcm", "", "west/1.dcm"),
        ("1.dcm", "", None),
        ("1.dcm", "west", "west/1.dcm"),
        ("x/2.dcm", "east", "east/x/2.dcm"),
        ("3.dcm", "", "west/3.dcm"),
        ("east/3.dcm", "", None),
        ("images/3.dcm", "west", "west/3.dcm"),
        ("rec/r1.dat", "", "rec/r1.hea"),
        ("rec/r1", "", None),
        ("west/3", "", "west/3.dcm"),
        ("3", "", None),
        ("none.wav", "", None),
    ],
)
def test_a_cell_names_a_file(cell: str, folder: str, expected: str | None) -> None:
    sources = [FileFacts(path, 1, "source", path.rpartition(".")[2]) for path in FILES]
    found = SourceIndex(sources, {"rec/r1.dat": "rec/r1.hea"}).file(cell, folder)
    assert (None if found is None else FILES[found]) == expected

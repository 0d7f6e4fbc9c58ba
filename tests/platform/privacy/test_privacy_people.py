"""People planted in every place of every format: no byte of the output identifies any of them."""

import base64
import zlib
from pathlib import Path

from benchmarks.deidentify import MODALITIES, STUDIES, deidentify, plant_cohort
from benchmarks.people import Searcher, people

from polyclinic.cohort import read_cohort


def test_no_person_is_left_in_any_format(tmp_path: Path) -> None:
    persons = people(1)
    search = Searcher(persons)
    cohort = plant_cohort(tmp_path / "hospital", persons, table="parquet")
    planted = search.left(cohort.parent)
    files = [file for file in cohort.parent.rglob("*") if file.is_file() and file.name != "cohort.yaml"]
    assert all(search.found(file.read_bytes()) == {0} for file in files)
    assert len(planted) > sum(map(len, MODALITIES.values()))
    result = deidentify(cohort, tmp_path / "outside", workers=0)
    assert result["refused"] == []
    assert search.left(tmp_path / "outside") == {}
    assert len(read_cohort(tmp_path / "outside/cohort.yaml").studies) == STUDIES
    assert set(result["names_found"]) == {*MODALITIES, "table"}


def test_people_are_found_in_every_encoding() -> None:
    person, other = people(2)
    search = Searcher([person, other])
    texts = (person.family.upper(), person.given, person.street_name, person.number, person.phone, *person.texts[3:6])
    for text in texts:
        for encoding in ("utf-8", "utf-16-le", "utf-16-be", "latin-1"):
            if encoding.startswith("utf-16") and text in person.texts[3:6]:
                continue
            assert search.found(b"x" + text.encode(encoding) + b"x") == {0}, text
    for shift in range(3):
        assert search.found(base64.b64encode(b"x" * shift + other.line.encode())) == {1}
    assert search.found(b"abc" + zlib.compress(other.line.encode()) + b"abc") == {1}
    assert search.found(b"nobody at all 20240305 and 0123456789012") == set()


def test_a_date_of_birth_counts_only_in_files_of_that_person(tmp_path: Path) -> None:
    person, other = people(2)
    search = Searcher([person, other])
    (tmp_path / "mine.txt").write_text(f"{other.birth:%Y%m%d}")
    assert search.left(tmp_path) == {"mine.txt": {1}}
    assert search.left(tmp_path, {"mine": 0}) == {}
    assert search.left(tmp_path, {"mine": 1}) == {"mine.txt": {1}}
    (tmp_path / "mine.txt").write_text(other.line)
    assert search.left(tmp_path, {"mine": 0}) == {"mine.txt": {1}}

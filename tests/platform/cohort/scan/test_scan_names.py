"""File and folder names of one study are found by the longest start that its modalities share."""

import pytest

from polyclinic.cohort.scan.names import identifiers_of, name_keys, name_patients
from polyclinic.cohort.scan.recognise import FileFacts
from polyclinic.cohort.scan.walk import stem_of
from polyclinic.modality import Recognised

KINDS = {"txt": "report", "wav": "audio", "hea": "ecg", "csv": "tabular"}


def grouped(*paths: str) -> set[frozenset[str]]:
    sources = [FileFacts(path, 1, "source", KINDS.get(path.rpartition(".")[2], "xray"), Recognised()) for path in paths]
    groups: dict[object, set[str]] = {}
    for path, key in zip(paths, name_keys(sources), strict=True):
        groups.setdefault(key, set()).add(path)
    return {frozenset(group) for group in groups.values()}


@pytest.mark.parametrize(
    "studies",
    [
        [("S1.wav", "S1.txt", "S1.hea"), ("S2.wav", "S2.txt")],
        [("audio/S1.wav", "report/S1.txt"), ("audio/S2.wav", "report/S2.txt")],
        [("P1/S1/e.hea", "P1/S1/r.txt"), ("P1/S2/e.hea", "P1/S2/r.txt")],
        [("P1_S1_ecg.hea", "P1_S1_text.txt"), ("P1_S2_ecg.hea", "P1_S2_text.txt")],
        [("P1-S1 ecg.hea", "P1-S1 text.txt"), ("P1-S2 ecg.hea", "P1-S2 text.txt")],
        [("east/1.hea", "east/1.txt"), ("west/1.hea", "west/1.txt")],
        [("1.2.840.1", "1.2.840.1.txt"), ("1.2.840.2",)],
        [("a.wav",), ("b.wav",), ("c.txt",)],
        [("x/a.wav",), ("y/a.wav",)],
        [("patient_001.wav",), ("patient_002.txt",)],
        [("P1/S1/e.hea",), ("P1/S2/r.txt",)],
        [("anna_ecg.hea", "anna_text.txt"), ("ben_ecg.hea", "ben_text.txt")],
    ],
)
def test_names_group_the_files_of_a_study(studies: list[tuple[str, ...]]) -> None:
    assert grouped(*(path for study in studies for path in study)) == {frozenset(study) for study in studies}


def test_a_series_counts_as_one_study() -> None:
    stated = Recognised(study="2.25.1")
    series = [FileFacts(f"P1/S1/I{number}", 1, "source", "xray", stated) for number in range(3)]
    keys = name_keys([*series, FileFacts("P1/S1/letter.txt", 1, "source", "report")])
    assert len(set(keys)) == 1


def test_patients_are_the_words_before_the_last() -> None:
    keys = [(f"p{patient}", f"s{study}") for patient in range(4) for study in range(2)]
    assert name_patients(keys) == {key: key[0] for key in keys}


@pytest.mark.parametrize(
    "keys",
    [
        [("", f"s{number}") for number in range(9)],
        [("east", f"s{number}") for number in range(9)],
        [(f"p{number}", "s") for number in range(9)],
        [("a", "1"), ("a", "2"), ("a", "3"), ("b", "1"), ("c", "1")],
    ],
    ids=["no-parent", "one-parent", "one-study-each", "most-in-one"],
)
def test_names_without_patients_give_none(keys: list[tuple[str, ...]]) -> None:
    assert name_patients(keys) == {}


def test_identifiers_are_stems_folders_and_their_words() -> None:
    assert identifiers_of("P 0012/ACC77_pa.dcm") == {"ACC77_pa", "P 0012", "0012", "ACC77"}
    assert stem_of("a/1.2.840.113") == "1.2.840.113"
    assert stem_of("a/b.c.dcm") == "b.c"

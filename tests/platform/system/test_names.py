"""Unknown names are refused with the known ones that resemble them."""

import pytest

from polyclinic.system.names import expected_name, perhaps, refuse_unknown

MANY = [f"column {number}" for number in range(60)]


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("ecgg", ["xray", "ecg"], "expected perhaps ecg (one of ['xray', 'ecg'])"),
        ("Xray", ["ECG", "XRay"], "expected perhaps XRay (one of ['ECG', 'XRay'])"),
        ("pet", ["xray", "ecg"], "expected one of ['xray', 'ecg']"),
        ("column 59x", MANY, "expected perhaps column 59 or column 9 or column 5"),
        ("age", [], "expected one of []"),
    ],
)
def test_the_nearest_names_come_first(word: str, known: list[str], expected: str) -> None:
    assert expected_name(word, known) == expected


def test_a_long_list_is_cut() -> None:
    assert expected_name("zzz", MANY) == f"expected one of {MANY[:40]}, ..."


def test_options_are_not_listed() -> None:
    assert perhaps("--strct", ["--strict", "--json"]) == ", expected perhaps --strict"
    assert perhaps("--xyz", ["--strict", "--json"]) == ""


def test_the_first_unknown_name_is_refused() -> None:
    refuse_unknown("modality", ["ecg"], ["ecg"], "set it")
    refuse_unknown("modality", [], [], "set it")
    message = r"^got modality 'eeg', expected perhaps ecg \(one of \['xray', 'ecg'\]\); set `--query`$"
    with pytest.raises(ValueError, match=message):
        refuse_unknown("modality", ["xray", "eeg", "pet"], ["xray", "ecg"], "set `--query`")

"""Issues of a report: each planted one is found, and a clean report has none."""

from pathlib import Path

import numpy as np
import pytest

from polyclinic.modality.physiology import Patient
from polyclinic_report import Report

SECRET = "DOE^JOHN"
PLAIN = "FINDINGS: the heart is enlarged. There is no pleural effusion.\n"


def issues(text: str, plugin: Report | None = None) -> dict[str, tuple[str, str]]:
    """Return severity and message by code; no message holds the planted name."""
    plugin = plugin or Report()
    issues_by_code = {issue.code: (issue.severity, issue.message) for issue in plugin.issues(text, plugin.read(text))}
    assert not any("DOE" in message or "JOHN" in message for _, message in issues_by_code.values())
    return issues_by_code


def test_phantoms_have_no_issues(tmp_path: Path) -> None:
    plugin = Report(max_tokens=400)
    rngs = [np.random.default_rng(seed) for seed in range(40)]
    paths = [plugin.phantom(Patient(rng).visit(rng), rng, tmp_path / f"S{place}") for place, rng in enumerate(rngs)]
    plugin.fit(plugin.read(path) for path in paths)
    assert [list(plugin.issues(path, plugin.read(path))) for path in paths] == [[]] * 40


@pytest.mark.parametrize(
    ("added", "kinds"),
    [
        (f"Name: {SECRET}", "name"),
        ("Patient name: Jane Roe", "name"),
        (f"Dear colleague, {SECRET} was seen.", "name"),
        ("DOB: 03/02/1950", "date of birth"),
        ("born 03.02.1950", "date of birth"),
        ("MRN 4711", "record number"),
        ("SSN 123-45-6789", "social security number"),
        ("e-mail: jane@example.org", "address"),
        ("Telephone: 555 123", "telephone"),
    ],
)
def test_identifiers_are_reported_by_kind(added: str, kinds: str) -> None:
    message = f"the text seems to hold {kinds}"
    assert issues(f"{PLAIN}{added}\n") == {"identifiers": ("warning", message)}


def test_identifiers_outside_the_section_are_found_too() -> None:
    assert set(issues(f"HISTORY: MRN 4711.\n{PLAIN}", Report(section="findings"))) == {"identifiers"}


@pytest.mark.parametrize(
    "added",
    [
        "Name:  ___   Unit No:   ___   Date of Birth:  ___",
        "Name: [**Last Name**] MRN: [**Number**]",
        "The name of the drug is not known. Newborn 3 days.",
        "Dr. Smith was called by telephone at 10:30.",
        "WBC 10^9/L, ejection fraction 35-40 %.",
        "Drug name: aspirin.",
        "The hea^rt is enlarged.",
    ],
)
def test_gaps_of_deidentified_text_and_ordinary_words_are_not_reported(added: str) -> None:
    assert issues(f"{PLAIN}{added}\n") == {}


@pytest.mark.parametrize("piece", ["\n", "a.", "a", "name", "-", "patient ", "x@", "MRN ", "name: \n", "A^", "born "])
def test_long_repetitive_texts_are_checked_in_linear_time(piece: str) -> None:
    """Uses texts that take hours with a pattern that starts again at every letter."""
    text = PLAIN + piece * (900_000 // len(piece))
    assert issues(text) == {}


def test_truncation_of_a_report_is_reported_once_there_is_a_vocabulary() -> None:
    plugin = Report(max_tokens=10)
    assert issues(PLAIN * 5, plugin) == {}
    plugin.fit([plugin.read(PLAIN)])
    (entry,) = plugin.issues(PLAIN * 5, plugin.read(PLAIN * 5))
    assert (entry.code, entry.severity, entry.tolerated) == ("truncated", "warning", 0.01)
    assert entry.message.startswith(f"the last of {plugin.describe(plugin.read(PLAIN * 5))['tokens']:g} tokens")


def test_a_missing_section_and_hardly_any_words_are_reported() -> None:
    assert issues(PLAIN, Report(section="impression")) == {
        "no-section": ("note", "no heading of the section, so the complete report is read")
    }
    assert issues(f"{PLAIN}IMPRESSION: see above", Report(section="impression"))["hardly-any-words"][0] == "warning"
    assert issues("FINDINGS: all is well", Report(section="findings")) == {}


@pytest.mark.parametrize(
    ("letters", "count"),
    [
        ("30\ufffd", 1),
        ("30°, Größe".encode().decode("latin-1"), 3),
        ("don’t".encode().decode("cp1252"), 1),  # noqa: RUF001
    ],
)
def test_damaged_letters_are_counted(letters: str, count: int) -> None:
    (entry,) = Report().issues(PLAIN + letters, Report().read(PLAIN + letters))
    assert (entry.code, entry.message.split()[0]) == ("damaged-letters", str(count))


def test_letters_of_other_languages_are_not_reported_as_damaged() -> None:
    assert issues(f"{PLAIN}Größe über 30° – naïve façade à côté, ŝanĝo, ДА, 心臓\n") == {}  # noqa: RUF001


def test_a_sample_is_requested_only_before_there_is_a_vocabulary() -> None:
    plugin = Report()
    assert plugin.sample() == 1000
    plugin.fit([plugin.read(PLAIN)])
    assert plugin.sample() == 0
    assert Report(pretrained=Path("folder")).sample() == 1

import pytest

from polyclinic.modality import UnreadableSource
from polyclinic_report import Report
from polyclinic_report.reading.sections import split_sentences

_REPORT = """INDICATION: Cough.

FINDINGS:
The heart is
not enlarged. LUNGS: Clear.

Impression
1. No pneumonia.
2. Dr. Roe was told at 2.5 h.

RECOMMENDATION: none
"""
_FINDINGS = "The heart is\nnot enlarged. LUNGS: Clear."
_IMPRESSION = "1. No pneumonia.\n2. Dr. Roe was told at 2.5 h."


@pytest.mark.parametrize(
    ("text", "section", "chosen", "fact"),
    [
        (_REPORT, "findings", _FINDINGS, "findings"),
        (_REPORT, "impression", _IMPRESSION, "impression"),
        (_REPORT.replace("\n", "\r\n"), "findings", _FINDINGS, "findings"),
        (_REPORT, "all", _REPORT.strip(), "all"),
        ("findings: Clear. impression: Normal.", "impression", "Normal.", "impression"),
        ("FINDINGS: clear IMPRESSION: normal", "findings", "clear", "findings"),
        ("CONCLUSION: Normal.\nADDENDUM: x\nImpression: Still normal.", "impression", None, "impression"),
        ("FINDINGS AND IMPRESSION: Clear.", "impression", "Clear.", "impression"),
        ("My impression is good. No findings here.", "findings", "My impression is good. No findings here.", "missing"),
        ("IMPRESSION: Normal.", "findings", "IMPRESSION: Normal.", "missing"),
    ],
)
def test_sections_are_chosen_by_their_headings(text: str, section: str, chosen: str | None, fact: str) -> None:
    document = Report(section=section).read(text)  # type: ignore[arg-type]
    assert document.text == ("Normal.\n\nStill normal." if chosen is None else chosen)
    assert Report(section="all").describe(document)["section"] == fact


def test_an_empty_section_is_unreadable_rather_than_replaced() -> None:
    with pytest.raises(UnreadableSource, match="no words in section 'findings'"):
        Report(section="findings").read("FINDINGS:\nIMPRESSION: Normal.")


def test_sentences_are_split_as_a_reader_would_split_them() -> None:
    assert split_sentences(_REPORT) == [
        "INDICATION: Cough.",
        "FINDINGS: The heart is not enlarged.",
        "LUNGS: Clear.",
        "Impression 1. No pneumonia.",
        "2. Dr. Roe was told at 2.5 h.",
        "RECOMMENDATION: none",
    ]
    assert split_sentences("no effusion. heart normal") == ["no effusion.", "heart normal"]

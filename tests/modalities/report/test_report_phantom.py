import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from polyclinic.modality.physiology import FINDINGS, Patient, Physiology
from polyclinic_report import Report
from polyclinic_report.phantom import compose_report, draw_mentions
from polyclinic_report.phrases import FILLERS, PHRASES, TRAITS

_NEGATION = re.compile(r"\b(no|not|without|resolved|absent|neither|nor|normal|clear|regular|concordant|agree|match)\b")


def _patient(seed: int) -> Physiology:
    return Patient(np.random.default_rng([11, seed])).visit(np.random.default_rng([11, seed, 1]))


@pytest.fixture(scope="module")
def studies() -> list[tuple[Physiology, str]]:
    return [(p, compose_report(p, np.random.default_rng([11, i, 2]))) for i in range(400) for p in [_patient(i)]]


def test_no_single_word_separates_a_finding(studies: list[tuple[Physiology, str]]) -> None:
    bags = [set(re.findall(r"[a-z]+", text.lower())) for _, text in studies]
    words = sorted(set().union(*bags))
    holds = np.array([[word in bag for word in words] for bag in bags], dtype=float)
    for finding in FINDINGS:
        present = np.array([physiology.findings()[finding] for physiology, _ in studies])
        apart = np.abs(holds[present].mean(axis=0) - holds[~present].mean(axis=0))
        strongest = int(np.argmax(apart))
        area = roc_auc_score(present, holds[:, strongest])
        assert 0.1 < area < 0.9, (finding, words[strongest])


def test_positive_and_negative_phrases_share_words() -> None:
    assert tuple(PHRASES) == FINDINGS
    for finding, phrases in PHRASES.items():
        assert len(set(phrases.positive)) >= 4, finding
        assert len(set(phrases.negative)) >= 4, finding
        assert not set(phrases.positive) & set(phrases.negative)
        assert all(_NEGATION.search(sentence) for sentence in phrases.negative), finding
        message, denied = (set(re.findall(r"\w+", " ".join(side))) for side in (phrases.positive, phrases.negative))
        assert set(phrases.noun.split()) <= message | denied | {"of", "the"}
        assert set(phrases.noun.split()) & message & denied


def test_mentions_follow_their_rates() -> None:
    record: dict[tuple[bool, bool], list[bool]] = {}
    for seed in range(700):
        physiology = _patient(seed)
        mentions = draw_mentions(physiology, np.random.default_rng(seed))
        for finding, present in physiology.findings().items():
            record.setdefault((finding == "axis_discordance", present), []).append(finding in mentions)
            assert mentions.get(finding, present) == present
    expected = {(False, True): 0.9, (False, False): 0.7, (True, True): 0.95, (True, False): 0.95}
    for key, rate in expected.items():
        assert abs(np.mean(record[key]) - rate) < 0.05, key


def test_heart_lie_and_electrical_axis_are_described_correctly(studies: list[tuple[Physiology, str]]) -> None:
    record: dict[str, list[bool]] = {"heart_lie": [], "electrical_axis": []}
    for physiology, text in studies:
        plain = " ".join(text.lower().split())
        for trait, wordings in TRAITS.items():
            value = getattr(physiology, trait)
            record[trait].append(any(sentence.lower() in plain for sentence in wordings[value]))
            assert not any(sentence.lower() in plain for sentence in wordings[-value])
    assert all(abs(np.mean(mentioned) - 0.7) < 0.1 for mentioned in record.values())
    assert not any(re.search(r"\bax[ei]s\b", filler) for filler in FILLERS)


def test_reports_of_both_sites_are_read_and_few_are_truncated(tmp_path: Path) -> None:
    report = Report()
    paths = [report.phantom(_patient(i), np.random.default_rng([5, i]), tmp_path / f"{i}") for i in range(600)]
    report.fit(report.read(path) for path in paths)
    facts = [report.describe(report.read(path)) for path in paths]
    assert all("�" not in report.read(path).text for path in paths)
    assert {str(fact["encoding"]) for fact in facts} == {"utf-8", "cp1252"}
    assert np.mean([float(fact["truncated"]) for fact in facts]) <= 0.01

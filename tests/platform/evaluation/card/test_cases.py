"""Which studies the card explains: the best and the worst case of each finding, or those that are asked for."""

from typing import Any

import numpy as np
import pytest
import torch

from polyclinic.evaluation.card.explaining import Case, chosen_cases
from polyclinic.evaluation.embedding import EmbeddedSplit
from polyclinic.evaluation.scorers import TrainedScorer

NAN = float("nan")
OUTCOMES = np.array([[1, 0], [1, 1], [0, 1], [0, NAN], [NAN, 0], [1, 1]])
SCORES = np.array([[2.0, -1.0], [3.0, 1.0], [2.5, 0.5], [-1.0, 5.0], [9.0, 4.0], [-2.0, 0.8]])
PROBABILITIES = np.round(1 / (1 + np.exp(-SCORES)), 4)
SCORER = object.__new__(TrainedScorer)  # its names alone matter here, not a checkpoint
SCORER.findings, SCORER.modalities = ("effusion", "edema"), ("xray", "ecg")
STUDIES = EmbeddedSplit(
    split="test", embeddings={}, labels=torch.empty(6, 2), outcomes=OUTCOMES, study_ids=list("abcdef"),
    present={"xray": torch.ones(6, dtype=torch.bool), "ecg": torch.tensor([1, 0, 1, 1, 1, 1]).bool()},
    patient_ids=list("abcdef"), groups={}, batches=(),
)  # fmt: skip


def chosen(explained: Any) -> list[tuple[str, str, str]]:
    cases: list[Case] = chosen_cases(SCORER, STUDIES, SCORES, PROBABILITIES, explained)
    return [(STUDIES.study_ids[each.row], each.finding, each.case) for each in cases]


def test_each_finding_has_the_positive_with_most_modalities_and_the_study_furthest_from_its_label() -> None:
    # b scores higher than a, but lacks the ECG; c is absent at 0.92 and f present at 0.12; e has no label of effusion.
    assert chosen(8) == [
        ("a", "effusion", "best case"),
        ("c", "effusion", "worst case"),
        ("f", "edema", "best case"),
        ("e", "edema", "worst case"),
    ]


def test_the_number_of_explained_studies_is_a_maximum() -> None:
    assert chosen(3) == chosen(8)[:3]
    assert chosen(0) == []


def test_studies_by_id_are_explained_for_the_finding_on_which_they_rank_highest() -> None:
    assert chosen(["d", "a"]) == [("d", "edema", "chosen"), ("a", "effusion", "chosen")]
    with pytest.raises(ValueError, match="got study 'nobody', which is not in the split"):
        chosen(["nobody"])


def test_a_finding_without_known_labels_has_no_case() -> None:
    unknown = OUTCOMES.copy()
    unknown[:, 0] = NAN
    studies = EmbeddedSplit(**{**vars(STUDIES), "outcomes": unknown})
    cases = chosen_cases(SCORER, studies, SCORES, PROBABILITIES, 8)
    assert {each.finding for each in cases} == {"edema"}

"""Which queries and candidates the picture of retrieval shows."""

from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from polyclinic.evaluation.embedding import EmbeddedSplit, embed_split
from polyclinic.evaluation.retrieval.examples import Cell, example_cells, retrieval_examples
from polyclinic.modality import Modality
from polyclinic.training.restore import restore
from pulse_plugin import Pulse

# Studies a and b are of one patient, so that neither is a candidate of the other.
PATIENTS = ["p", "p", "q", "r", "s", "t"]
SCORES = np.array(
    [
        [5.0, 9.0, 1.0, 2.0, 3.0, 4.0],
        [9.0, 1.0, 2.0, 3.0, 4.0, 5.0],
        [0.0, 1.0, 9.0, 2.0, 3.0, 4.0],
        [1.0, 2.0, 3.0, 2.5, 0.0, 0.5],
        [5.0, 4.0, 3.0, 2.0, 1.0, 0.0],
        [0.0, 1.0, 2.0, 3.0, 4.0, 3.5],
    ]
)


def split(size: int) -> EmbeddedSplit:
    ecg = torch.arange(size) != 2
    return EmbeddedSplit(
        split="test", embeddings={}, present={"ecg": ecg, "tabular": torch.ones(size, dtype=torch.bool)},
        labels=torch.empty(size, 0), outcomes=np.empty((size, 0)), study_ids=list("abcdef")[:size],
        patient_ids=PATIENTS[:size], groups={}, batches=(),
    )  # fmt: skip


def found(line: list[Cell | None]) -> list[tuple[str, bool]]:
    """Return the candidates of a line, each with whether its frame is that of the target."""
    target = line[2]
    assert target is not None
    return [(cell.study_id, cell.frame == target.frame) for cell in line[3:] if cell is not None]


def test_the_two_best_and_the_two_worst_queries_are_shown_with_their_first_candidates() -> None:
    lines = example_cells(split(6), SCORES, ["ecg", "tabular"], "xray")
    targets = [line[2] for line in lines]
    assert all(cell is not None and cell.modality == "xray" for cell in targets)
    assert [cell.title for cell in targets if cell] == [
        "its xray: place 1 of 5", "its xray: place 1 of 6", "its xray: place 5 of 5", "its xray: place 5 of 6"
    ]  # fmt: skip
    assert [cell.study_id for cell in targets if cell] == ["a", "c", "b", "e"]
    assert found(lines[0]) == [("a", True), ("f", False), ("e", False)]
    assert found(lines[2]) == [("f", False), ("e", False), ("d", False)]


def test_a_query_modality_that_a_study_lacks_leaves_its_place_empty() -> None:
    lines = example_cells(split(6), SCORES, ["ecg", "tabular"], "xray")
    assert [[cell is None for cell in line[:2]] for line in lines] == [
        [False, False], [True, False], [False, False], [False, False]
    ]  # fmt: skip


def test_no_query_is_shown_twice() -> None:
    lines = example_cells(split(3), SCORES[:3, :3], ["ecg", "tabular"], "xray")
    assert sorted(line[2].study_id for line in lines if line[2]) == ["a", "b", "c"]


def test_the_plugins_draw_the_studies(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    restored = restore(made / "run.ckpt", cohort=made / "cohort" / "cohort.yaml")
    studies = embed_split(restored, "test")
    studies = studies.select(studies.present["report"] & studies.present["ecg"])
    scores = np.eye(len(studies.study_ids))
    figure = retrieval_examples(restored, studies, scores, ["ecg"], "report")
    assert figure is not None
    drawn = [axes for axes in figure.axes if axes.get_visible()]
    assert all(axes.lines or axes.texts or axes.images for axes in drawn)
    first, eligible = studies.study_ids[0], 1 + sum(each != studies.patient_ids[0] for each in studies.patient_ids)
    assert [axes.get_title() for axes in drawn[:3]] == [
        f"query {first}: ecg", f"its report: place 1 of {eligible}", f"place 1: {first}"
    ]  # fmt: skip
    for lacking in ("ecg", "report"):
        with monkeypatch.context() as patched:
            patched.setitem(cast(dict[str, Modality], restored.data.modalities), lacking, Pulse())
            assert retrieval_examples(restored, studies, scores, ["ecg"], "report") is None

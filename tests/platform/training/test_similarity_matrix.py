"""Scores from which the picture of a contrastive run is drawn."""

import numpy as np
import torch

from polyclinic.objectives import Clip, EmbeddingBatch
from polyclinic.training.callbacks.similarity_matrix import similarities


def _studies(count: int, **present: list[int]) -> EmbeddingBatch:
    torch.manual_seed(0)
    embeddings = {name: torch.randn(count, 4) for name in present}
    rows = {name: torch.tensor([study in places for study in range(count)]) for name, places in present.items()}
    return EmbeddingBatch.of(embeddings, rows)


def test_pairs_are_scored_among_studies_with_both_modalities() -> None:
    objective = Clip()
    studies = _studies(5, a=[0, 1, 2, 4], b=[1, 2, 3, 4], c=[0])
    pairs, joint = similarities(objective, studies)
    # A single study has c.
    assert list(pairs) == [("b", "a")]
    assert list(joint) == ["a", "b"]
    unit = {name: torch.nn.functional.normalize(value, dim=1) for name, value in studies.embeddings.items()}
    rows, scale = [1, 2, 4], float(objective.scale().detach())
    expected = scale * unit["b"][rows] @ unit["a"][rows].T
    np.testing.assert_allclose(pairs["b", "a"], expected.numpy(), rtol=1e-5)
    # Study 0 of a is queried with c, the others with b.
    queries = torch.stack([unit["c"][0], unit["b"][1], unit["b"][2], unit["b"][4]])
    np.testing.assert_allclose(joint["a"], (scale * queries @ unit["a"][[0, 1, 2, 4]].T).numpy(), rtol=1e-5)


def test_two_modalities_are_one_square_with_at_most_the_studies_that_fit() -> None:
    everyone = list(range(100))
    pairs, joint = similarities(Clip(), _studies(100, a=everyone, b=everyone))
    assert {key: scores.shape for key, scores in pairs.items()} == {("b", "a"): (32, 32)}
    assert joint == {}
    assert similarities(Clip(), _studies(3, a=[0], b=[1, 2])) == ({}, {})

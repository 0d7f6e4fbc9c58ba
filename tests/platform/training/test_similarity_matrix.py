"""What the picture of a contrastive run is drawn of."""

import numpy as np
import torch

from polyclinic.objectives import Clip, EmbeddingBatch
from polyclinic.training.callbacks.similarity_matrix import similarities


def _studies(count: int, **present: list[int]) -> EmbeddingBatch:
    torch.manual_seed(0)
    embeddings = {name: torch.randn(count, 4) for name in present}
    rows = {name: torch.tensor([place in there for place in range(count)]) for name, there in present.items()}
    return EmbeddingBatch.of(embeddings, rows)


def test_pairs_are_scored_among_the_studies_that_have_both() -> None:
    objective = Clip()
    studies = _studies(5, a=[0, 1, 2, 4], b=[1, 2, 3, 4], c=[0])
    pairs, joint = similarities(objective, studies)
    # One study alone has c.
    assert list(pairs) == [("b", "a")]
    assert list(joint) == ["a", "b"]
    unit = {name: torch.nn.functional.normalize(value, dim=1) for name, value in studies.embeddings.items()}
    rows, scale = [1, 2, 4], float(objective.scale().detach())
    expected = scale * unit["b"][rows] @ unit["a"][rows].T
    np.testing.assert_allclose(pairs["b", "a"], expected.numpy(), rtol=1e-5)
    # Of a, study 0 is asked by c, the others by b.
    queries = torch.stack([unit["c"][0], unit["b"][1], unit["b"][2], unit["b"][4]])
    np.testing.assert_allclose(joint["a"], (scale * queries @ unit["a"][[0, 1, 2, 4]].T).numpy(), rtol=1e-5)


def test_two_modalities_are_one_square_and_no_more_studies_than_can_be_seen() -> None:
    everyone = list(range(100))
    pairs, joint = similarities(Clip(), _studies(100, a=everyone, b=everyone))
    assert {key: scores.shape for key, scores in pairs.items()} == {("b", "a"): (32, 32)}
    assert joint == {}
    assert similarities(Clip(), _studies(3, a=[0], b=[1, 2])) == ({}, {})

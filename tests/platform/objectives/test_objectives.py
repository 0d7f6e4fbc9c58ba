"""Properties of every objective: masks, empty batches, refused input."""

import copy

import pytest
import torch
from torch import Tensor

from objective_family import objective_family
from polyclinic.objectives import (
    Cwcl,
    Objective,
)

N, D = 7, 5
FAMILY = {name: build() for name, build in objective_family(D).items()}
every_objective = pytest.mark.parametrize("objective", FAMILY.values(), ids=FAMILY)


def _embeddings(names: str = "abc") -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(N, D, generator=generator, dtype=torch.float64).requires_grad_() for name in names}


@every_objective
def test_rows_of_missing_modalities_change_nothing(objective: Objective) -> None:
    objective = copy.deepcopy(objective).double().eval()
    embeddings = _embeddings()
    present = {name: torch.tensor([True] * 5 + [False] * 2) for name in "abc"}
    garbage = {name: torch.cat([value[:5], 1e3 * value[5:]]) for name, value in embeddings.items()}
    expected = objective({name: value[:5] for name, value in embeddings.items()})
    torch.testing.assert_close(objective(garbage, present), expected)


@every_objective
def test_a_batch_without_a_tuple_gives_zero_with_a_graph(objective: Objective) -> None:
    objective = copy.deepcopy(objective).double()
    embeddings = _embeddings()
    loss = objective(embeddings, {name: torch.zeros(N).bool() for name in "abc"})
    loss.backward()
    assert loss == 0
    assert all((value.grad == 0).all() for value in embeddings.values())
    assert objective.scale.log.grad is None or objective.scale.log.grad == 0


@every_objective
def test_training_pulls_positives_together(objective: Objective) -> None:
    """A few steps on free embeddings lower the loss and rank the candidate of each study first."""
    objective = copy.deepcopy(objective).double()
    embeddings = _embeddings()
    optimizer = torch.optim.Adam(list(embeddings.values()), lr=0.1)
    before = objective.eval()(embeddings).detach()
    objective.train()
    for _ in range(150):
        optimizer.zero_grad()
        objective(embeddings).backward()
        optimizer.step()
    objective.eval()
    assert objective(embeddings) < before
    scores = objective.score({name: embeddings[name] for name in "ab"}, embeddings["c"])
    assert scores.argmax(dim=1).tolist() == list(range(N))


@every_objective
def test_bad_embeddings_are_named(objective: Objective) -> None:
    with pytest.raises(ValueError, match="at least two"):
        objective({"a": torch.zeros(3, D)})
    with pytest.raises(ValueError, match="different shapes"):
        objective({"a": torch.zeros(3, D), "b": torch.zeros(3, D + 1)})
    with pytest.raises(ValueError, match="embeddings of 'b' and `present` of"):
        objective({"a": torch.zeros(3, D), "b": torch.zeros(3, D)}, {"a": torch.ones(3).bool()})
    broken = {name: torch.ones(3, D) for name in "abc"}
    broken["b"][1, 2] = torch.nan
    with pytest.raises(ValueError, match=r"of 'b' that are not finite in rows \[1\] of 3"):
        objective(broken)


@pytest.mark.parametrize("objective", [objective for objective in FAMILY.values() if not isinstance(objective, Cwcl)])
def test_duplicates_of_a_study_are_not_negatives(objective: Objective) -> None:
    """Equal content under two study ids is a positive if grouped; Cwcl treats it so even without groups."""
    objective = copy.deepcopy(objective).double().eval()
    generator = torch.Generator().manual_seed(0)
    distinct = 3 * torch.randn(2, D, generator=generator, dtype=torch.float64)
    repeated = {name: distinct.repeat_interleave(2, dim=0) for name in "abc"}
    ungrouped, grouped = objective(repeated), objective(repeated, groups=torch.tensor([0, 0, 1, 1]))
    assert grouped < ungrouped

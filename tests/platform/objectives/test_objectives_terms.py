"""Terms and gates against their formulas, in float64."""

import math
from itertools import combinations

import pytest
import torch
from torch import Tensor

from polyclinic.objectives import (
    AlignmentUniformity,
    Clip,
    EmbeddingBatch,
    IntraModal,
    ReliabilityGate,
    Symile,
    Term,
    WithTerms,
)
from polyclinic.objectives.functional import effective_rank, modality_gap

N, D = 6, 4
GROUPS = torch.tensor([0, 1, 0, 2, 1, 0])


def _embeddings(names: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(N, D, generator=generator, dtype=torch.float64).requires_grad_() for name in names}


def _unit(embeddings: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value / value.norm(dim=1, keepdim=True) for name, value in embeddings.items()}


def _uniformity(x: Tensor, y: Tensor) -> Tensor:
    """Return the uniformity over pairs of different studies, in a loop."""
    values = [torch.exp(-2 * (x[i] - y[j]).pow(2).sum()) for i in range(N) for j in range(N) if i != j]
    return torch.stack(values).mean().log()


@pytest.mark.parametrize("cross", [False, True])
def test_alignment_and_uniformity_equal_their_formulas(cross: bool) -> None:
    inputs, copies = _embeddings("abc"), _embeddings("abc")
    unit = _unit(copies)
    losses = []
    for first, second in combinations("abc", 2):
        x, y = unit[first], unit[second]
        aligned = torch.stack([(x[i] - y[i]).pow(2).sum() for i in range(N)]).mean()
        losses.append(aligned + (_uniformity(x, x) + _uniformity(y, y)) / 2 + (_uniformity(x, y) if cross else 0.0))
    _compare(AlignmentUniformity(cross=cross)(EmbeddingBatch.of(inputs)), sum(losses) / 3, inputs, copies)


def test_views_and_groups_are_positives_within_a_modality() -> None:
    inputs, copies = _embeddings("ab"), _embeddings("ab")
    losses = []
    for x in _unit(copies).values():
        rows = []
        for i in range(N):
            mates = [j for j in range(N) if j != i and GROUPS[i] == GROUPS[j]]
            if mates:
                logits = torch.stack([10.0 * x[i] @ x[j] for j in range(N) if j != i])
                rows.append(-sum(10.0 * x[i] @ x[j] - logits.logsumexp(0) for j in mates) / len(mates))
        losses.append(sum(rows) / len(rows))
    loss = IntraModal()(EmbeddingBatch.of(inputs, None, GROUPS))
    _compare(loss, sum(losses) / 2, inputs, copies)
    assert IntraModal()(EmbeddingBatch.of(inputs)) == 0


def _compare(actual: Tensor, expected: Tensor, inputs: dict[str, Tensor], copies: dict[str, Tensor]) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)
    actual.backward()
    expected.backward()
    for name in inputs:
        torch.testing.assert_close(inputs[name].grad, copies[name].grad, rtol=1e-10, atol=1e-10)


def test_terms_add_to_the_loss_and_not_to_the_score() -> None:
    inner, term = Clip().double(), AlignmentUniformity(weight=0.25)
    combined, e = WithTerms(objective=inner, terms={"spread": term}), _embeddings("abc")
    studies = EmbeddingBatch.of(e)
    torch.testing.assert_close(combined(e), inner(e) + 0.25 * term(studies))
    assert torch.equal(combined.score({"a": e["a"]}, e["c"]), inner.score({"a": e["a"]}, e["c"]))
    assert combined.diagnostics(studies) == {"spread": pytest.approx(float(term(studies).detach()))}
    assert combined.scale is inner.scale
    assert combined.negatives(studies) == N - 1


@pytest.mark.parametrize("build", [lambda: AlignmentUniformity(weight=0.0), lambda: IntraModal(scale=0.0)])
def test_bad_settings_are_named(build: type[Term]) -> None:
    with pytest.raises(ValueError, match="expected a positive number"):
        build()


def test_a_gate_mixes_towards_the_neutral_vector() -> None:
    inner, e = Symile().double(), _embeddings("abc")
    gate = ReliabilityGate(objective=inner, modalities=["a"], embedding=D).double()
    assert gate.gates(e).keys() == {"a"}
    torch.testing.assert_close(gate.gates(e)["a"], torch.full((N,), 1 / (1 + math.exp(-2)), dtype=torch.float64))
    with torch.no_grad():
        gate.judges["a"].bias.fill_(-1e3)
    partial = inner.score({"b": e["b"]}, e["c"])
    torch.testing.assert_close(gate.score({"a": e["a"], "b": e["b"]}, e["c"]), partial)
    with torch.no_grad():
        gate.judges["a"].bias.fill_(1e3)
    torch.testing.assert_close(gate(e), inner(e))
    assert gate.diagnostics(EmbeddingBatch.of(e)) == {"gate/a": 1.0}


def test_a_gate_learns_which_modality_is_noise() -> None:
    """Modality a is noise in every other study, marked in its first dimension; b has no information."""
    generator = torch.Generator().manual_seed(0)
    truth, noise = (1 + 0.7 * torch.randn(64, 7, generator=generator) for _ in range(2))
    broken = torch.arange(64) % 2 == 0
    flag = 4.0 * broken.float()[:, None]
    a = torch.cat([flag, torch.where(broken[:, None], noise, truth)], dim=1)
    e = {"a": a, "b": torch.ones(64, 8), "c": torch.cat([torch.zeros(64, 1), truth], 1)}
    gate = ReliabilityGate(objective=Symile(), modalities=["a"], embedding=8)
    optimizer = torch.optim.Adam(gate.parameters(), lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        gate(e).backward()
        optimizer.step()
    weight = gate.gates(e)["a"]
    assert weight[broken].mean() < 0.3 < 0.7 < weight[~broken].mean()


def test_a_gate_without_modalities_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a list of names"):
        ReliabilityGate(objective=Symile(), modalities=[], embedding=D)


def test_the_effective_rank_counts_the_directions_in_use() -> None:
    line = torch.linspace(-1, 1, 50, dtype=torch.float64)[:, None]
    flat = torch.cat([torch.ones_like(line), 1e-9 * line, torch.zeros(50, 2, dtype=torch.float64)], dim=1)
    assert float(effective_rank(flat)) == pytest.approx(1.0, abs=1e-6)
    corners = torch.cat([torch.eye(4, dtype=torch.float64), -torch.eye(4, dtype=torch.float64)])
    assert float(effective_rank(corners)) == pytest.approx(4.0)
    assert float(effective_rank(torch.ones(5, 3, dtype=torch.float64))) == pytest.approx(1.0)


def test_the_modality_gap_is_the_distance_of_the_centres() -> None:
    e = _embeddings("ab")
    unit = _unit(e)
    expected = (unit["a"].mean(0) - unit["b"].mean(0)).pow(2).sum().sqrt()
    torch.testing.assert_close(modality_gap(e["a"], e["b"]), expected)

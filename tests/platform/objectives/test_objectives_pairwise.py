"""The objectives over pairs against loops over their papers' formulas, in float64."""

import copy
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

from polyclinic.objectives import Clip, Cwcl, EmbeddingBatch, MixupContrast, Siglip, SimilarityMatching
from polyclinic.objectives.pairwise import PairwiseObjective

N, D = 7, 5
GROUPS = torch.tensor([0, 1, 0, 2, 1, 0, 3])
Reference = Callable[[PairwiseObjective, Tensor, tuple[str, str], Tensor | None], Tensor]


def _embeddings(names: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(N, D, generator=generator, dtype=torch.float64).requires_grad_() for name in names}


def _candidates(i: int, groups: Tensor | None) -> list[int]:
    """Return the study and those of other groups."""
    return [j for j in range(N) if j == i or groups is None or groups[i] != groups[j]]


def _one_way(logits: Tensor, groups: Tensor | None) -> Tensor:
    return torch.stack([logits[i, _candidates(i, groups)].logsumexp(0) - logits[i, i] for i in range(N)]).mean()


def _clip(objective: PairwiseObjective, cosine: Tensor, pair: tuple[str, str], groups: Tensor | None) -> Tensor:
    logits = objective.scale() * cosine
    return (_one_way(logits, groups) + _one_way(logits.T, groups)) / 2


def _siglip(objective: Siglip, cosine: Tensor, pair: tuple[str, str], groups: Tensor | None) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for i in range(N):
        for j in _candidates(i, groups):
            sign = 1.0 if i == j else -1.0
            total = total + torch.log1p(torch.exp(-sign * (objective.scale() * cosine[i, j] + objective.bias)))
    return total / N


def _matching(objective: SimilarityMatching, cosine: Tensor, pair: tuple[str, str], groups: Tensor | None) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for logits in (objective.scale() * cosine, objective.scale() * cosine.T):
        for i in range(N):
            share = torch.exp(logits[i]) / torch.exp(logits[i]).sum()
            mates = [j for j in range(N) if (j == i if groups is None else groups[i] == groups[j])]
            for j in range(N):
                target = (1 / len(mates) if j in mates else 0.0) + 1e-8
                total = total + share[j] * (share[j].log() - np.log(target)) / N
    return total


def _weighted_mean(
    objective: PairwiseObjective, reference: Reference, embeddings: dict[str, Tensor], groups: Tensor | None
) -> Tensor:
    unit = {name: value / value.norm(dim=1, keepdim=True) for name, value in embeddings.items()}
    total, weights = torch.zeros((), dtype=torch.float64), 0.0
    for pair in combinations(unit, 2):
        weight = 1.0 if objective.weights is None else objective.weights.get(frozenset(pair), 0.0)
        cosine = torch.einsum("id,jd->ij", *(unit[name] for name in pair))
        total, weights = total + weight * reference(objective, cosine, pair, groups), weights + weight
    return total / weights


@pytest.mark.parametrize("groups", [None, GROUPS])
@pytest.mark.parametrize(
    ("objective", "reference", "names"),
    [
        (Clip(), _clip, "ab"),
        (Clip(), _clip, "abc"),
        (Clip(weights={"a+b": 2.0, "c + b": 0.5}), _clip, "abc"),
        (Siglip(), _siglip, "abc"),
        (SimilarityMatching(initial_scale=5.0, learnable_scale=True), _matching, "abc"),
        (MixupContrast(share=0.0, learnable_scale=True), _clip, "abc"),
    ],
)
def test_value_gradients_and_step_match_the_formula(
    objective: PairwiseObjective, reference: Reference, names: str, groups: Tensor | None
) -> None:
    tested, looped = (copy.deepcopy(objective).double() for _ in range(2))
    inputs, copies = _embeddings(names), _embeddings(names)
    loss, expected = tested(inputs, groups=groups), _weighted_mean(looped, reference, copies, groups)
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-10)
    _compare_a_step(loss, expected, (tested, inputs), (looped, copies))


def test_cwcl_matches_the_formula() -> None:
    """Weights come from the teacher without gradient, in one direction only; other pairs are symmetric InfoNCE."""
    for groups in (None, GROUPS):
        tested, looped = (Cwcl(teacher="b").double() for _ in range(2))
        inputs, copies = _embeddings("abc"), _embeddings("abc")
        unit = {name: value / value.norm(dim=1, keepdim=True) for name, value in copies.items()}
        losses = [_clip(looped, unit["a"] @ unit["c"].T, ("a", "c"), groups)]
        for other in "ac":
            logits = looped.scale() * unit[other] @ unit["b"].T
            rows = []
            for i in range(N):
                columns = _candidates(i, groups)
                weight = [0.5 + 0.5 * float((unit["b"][i] @ unit["b"][j]).detach()) for j in columns]
                log_share = [logits[i, j] - logits[i, columns].logsumexp(0) for j in columns]
                rows.append(-sum(w * s for w, s in zip(weight, log_share, strict=True)) / sum(weight))
            losses.append((torch.stack(rows).mean() + _one_way(logits.T, groups)) / 2)
        loss, expected = tested(inputs, groups=groups), torch.stack(losses).mean()
        torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-10)
        _compare_a_step(loss, expected, (tested, inputs), (looped, copies))


def test_mixtures_are_positives_of_both_studies_by_their_shares() -> None:
    for groups in (None, GROUPS):
        tested, looped = (MixupContrast(share=1.0, alpha=0.8, learnable_scale=True).double() for _ in range(2))
        inputs, copies = _embeddings("ab"), _embeddings("ab")
        unit = {name: value / value.norm(dim=1, keepdim=True) for name, value in copies.items()}
        rng = np.random.default_rng([0, *b"a+b"])
        assert rng.random() < 1.0
        expected = torch.zeros((), dtype=torch.float64)
        for mixed, partner_name in ("ab", "ba"):
            partner, share = rng.permutation(N), rng.beta(0.8, 0.8, size=(N, 1))[:, 0]
            for i in range(N):
                mixture = share[i] * unit[mixed][i] + (1 - share[i]) * unit[mixed][partner[i]]
                logits = looped.scale() * unit[partner_name] @ (mixture / mixture.norm())
                columns = sorted({*_candidates(i, groups), int(partner[i])})
                matched = share[i] * logits[i] + (1 - share[i]) * logits[partner[i]]
                expected = expected + (logits[columns].logsumexp(0) - matched) / (2 * N)
        loss = tested(inputs, groups=groups)
        torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-10)
        _compare_a_step(loss, expected, (tested, inputs), (looped, copies))


def test_mixing_ends_in_soft_targets_without_gradient() -> None:
    objective = MixupContrast(share=1.0, soft_after=2).double()
    inputs, copies = _embeddings("ab"), _embeddings("ab")
    x, y = (value / value.norm(dim=1, keepdim=True) for value in copies.values())
    target = torch.softmax(8 * (x @ x.T + y @ y.T) / 2, dim=1).detach()
    cross = [-(target * torch.log_softmax(8 * m, dim=1)).sum(1).mean() for m in (x @ y.T, y @ x.T)]
    losses = [objective(inputs) for _ in range(3)]
    assert losses[0] != losses[1]
    torch.testing.assert_close(losses[2], sum(cross) / 2, rtol=1e-10, atol=1e-10)
    losses[2].backward()
    (sum(cross) / 2).backward()
    torch.testing.assert_close(inputs["a"].grad, copies["a"].grad, rtol=1e-10, atol=1e-10)


def test_mixing_is_the_same_for_the_same_step_and_off_in_evaluation() -> None:
    first, second = (MixupContrast(share=1.0).double() for _ in range(2))
    embeddings = _embeddings("abc")
    assert first(embeddings) == second(embeddings)
    torch.testing.assert_close(first.eval()(embeddings), Clip(initial_scale=10.0).double()(embeddings))


def _compare_a_step(loss: Tensor, expected: Tensor, *sides: tuple[PairwiseObjective, dict[str, Tensor]]) -> None:
    loss.backward()
    expected.backward()
    for objective, inputs in sides:
        parameters = [p for p in objective.parameters() if p.requires_grad]
        torch.optim.SGD([*parameters, *inputs.values()], lr=0.3).step()
    (tested, embeddings), (looped, copies) = sides
    for parameter, expected_parameter in zip(tested.parameters(), looped.parameters(), strict=True):
        torch.testing.assert_close(parameter, expected_parameter, rtol=1e-10, atol=1e-10)
    for name in embeddings:
        torch.testing.assert_close(embeddings[name].grad, copies[name].grad, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(embeddings[name], copies[name], rtol=1e-10, atol=1e-10)


def test_each_available_pair_is_used() -> None:
    objective, embeddings = Clip().double(), _embeddings("abc")
    present = {"a": torch.ones(N).bool(), "b": torch.ones(N).bool(), "c": torch.zeros(N).bool()}
    expected = objective({name: embeddings[name] for name in "ab"})
    torch.testing.assert_close(objective(embeddings, present), expected)


def test_the_score_is_the_mean_over_available_queries() -> None:
    objective = Clip(initial_scale=10.0).double()
    e = _embeddings("abc")
    expected = objective.score({"a": e["a"], "b": e["b"]}, e["c"])
    cosine = [torch.nn.functional.cosine_similarity(e[n][:, None], e["c"][None], dim=-1) for n in "ab"]
    torch.testing.assert_close(expected, 10.0 * (cosine[0] + cosine[1]) / 2)
    only = objective.score({"a": e["a"], "b": e["b"]}, e["c"], {"a": torch.zeros(N).bool(), "b": torch.ones(N).bool()})
    torch.testing.assert_close(only, 10.0 * cosine[1])


def test_negatives_are_counted() -> None:
    studies = EmbeddingBatch.of(
        _embeddings("abc"), {n: torch.arange(N) < (7 if n != "c" else 3) for n in "abc"}, GROUPS
    )
    mates = {7: (3 * 2 + 2 * 1) / 7, 3: 2 / 3}
    expected = ((6 - mates[7]) + 2 * (2 - mates[3])) / 3
    assert Clip().negatives(studies) == pytest.approx(expected)
    assert Clip(weights={"a+b": 1.0}).negatives(studies) == pytest.approx(6 - mates[7])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Clip(weights={"a": 1.0}), "two modalities joined by"),
        (lambda: Clip(weights={"a+b": 0.0}), "positive number"),
        (lambda: Siglip(initial_scale=-1.0), "initial_scale"),
        (lambda: MixupContrast(alpha=0.0), "alpha"),
        (lambda: MixupContrast(share=1.5), "share"),
    ],
)
def test_bad_settings_are_named(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()

"""Losses, gradients and parameters after a step, against loops written from the papers' formulas, in float64."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from polyclinic.objectives import Clip, Objective, Symile

N, D = 7, 5


def _embeddings(names: str, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(N, D, generator=generator, dtype=torch.float64).requires_grad_() for name in names}


def _symile_reference(objective: Symile, embeddings: dict[str, Tensor]) -> Tensor:
    """Cross-entropy of each anchor's own tuple against tuples whose other members are shuffled, element by element."""
    unit = {name: value / value.pow(2).mean(1, keepdim=True).sqrt() for name, value in embeddings.items()}
    names, size = list(unit), len(next(iter(unit.values())))
    generator = torch.Generator().manual_seed(int(objective.draws))
    total = torch.zeros((), dtype=torch.float64)
    for anchor in names:
        others = [name for name in names if name != anchor]
        rounds = objective.shuffles if len(others) > 1 else 1
        orders = [
            [torch.arange(size), *(torch.randperm(size, generator=generator) for _ in others[1:])]
            for _ in range(rounds)
        ]
        for i in range(size):

            def logit(members: list[int], i: int = i, anchor: str = anchor, others: list[str] = others) -> Tensor:
                product = unit[anchor][i]
                for name, j in zip(others, members, strict=True):
                    product = product * unit[name][j]
                return objective.scale() * product.mean()

            positive = logit([i] * len(others))
            negatives = [logit([int(o[j]) for o in order]) for order in orders for j in range(size) if j != i]
            total = total - (positive - torch.logsumexp(torch.stack([positive, *negatives]), dim=0))
    return total / (len(names) * size)


def _clip_reference(objective: Clip, embeddings: dict[str, Tensor]) -> Tensor:
    unit = {name: value / value.norm(dim=1, keepdim=True) for name, value in embeddings.items()}
    names, losses = list(unit), []
    for a in range(len(names)):
        for b in range(a + 1, len(names)):
            logits = objective.scale() * torch.einsum("id,jd->ij", unit[names[a]], unit[names[b]])
            rows = logits.diagonal() - torch.logsumexp(logits, dim=1)
            columns = logits.diagonal() - torch.logsumexp(logits, dim=0)
            losses.append(-(rows.mean() + columns.mean()) / 2)
    return torch.stack(losses).mean()


@pytest.mark.parametrize(
    ("objective", "reference", "names"),
    [
        (Symile(), _symile_reference, "ab"),
        (Symile(), _symile_reference, "abc"),
        (Symile(shuffles=3), _symile_reference, "abcd"),
        (Clip(), _clip_reference, "ab"),
        (Clip(), _clip_reference, "abc"),
    ],
)
def test_value_gradients_and_step_match_reference(objective: Objective, reference: Callable, names: str) -> None:
    ours, theirs = (copy.deepcopy(objective).double() for _ in range(2))
    here, there = _embeddings(names), _embeddings(names)
    expected = reference(theirs, there)
    loss = ours(here)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    loss.backward()
    expected.backward()
    for name in names:
        torch.testing.assert_close(here[name].grad, there[name].grad, rtol=1e-10, atol=1e-12)
    for one, inputs in ((ours, here), (theirs, there)):
        torch.optim.SGD([*one.parameters(), *inputs.values()], lr=0.3).step()
    torch.testing.assert_close(ours.scale.log, theirs.scale.log, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(here["a"], there["a"], rtol=1e-12, atol=1e-12)


def test_symile_of_two_is_symmetric_infonce() -> None:
    embeddings = _embeddings("ab")
    unit = [value / value.pow(2).mean(1, keepdim=True).sqrt() for value in embeddings.values()]
    logits = 5.0 * unit[0] @ unit[1].T / D
    target = torch.arange(N)
    expected = torch.nn.functional.cross_entropy(logits, target) + torch.nn.functional.cross_entropy(logits.T, target)
    torch.testing.assert_close(Symile().double()(embeddings), expected / 2)


def test_symile_never_meets_its_positive_among_the_negatives() -> None:
    """With one-hot embeddings the product of a study's own tuple is the only one that is not zero."""
    basis = torch.eye(N, dtype=torch.float64)
    objective = Symile(shuffles=4, initial_scale=20.0).double()
    loss = objective({"a": basis, "b": basis, "c": basis})
    own = 20.0 * math.sqrt(N)
    negatives = 4 * (N - 1)
    torch.testing.assert_close(loss, torch.tensor(math.log1p(negatives * math.exp(-own)), dtype=torch.float64))


@pytest.mark.parametrize("objective", [Symile(), Clip()])
def test_absent_rows_change_nothing(objective: Objective) -> None:
    objective = objective.double().eval()
    embeddings = _embeddings("abc")
    present = {name: torch.tensor([True] * 5 + [False] * 2) for name in "abc"}
    garbage = {name: torch.cat([value[:5], 1e3 * value[5:]]) for name, value in embeddings.items()}
    expected = objective({name: value[:5] for name, value in embeddings.items()})
    torch.testing.assert_close(objective(garbage, present), expected)


def test_clip_uses_each_pair_that_is_there() -> None:
    objective = Clip().double()
    embeddings = _embeddings("abc")
    present = {"a": torch.ones(N).bool(), "b": torch.ones(N).bool(), "c": torch.zeros(N).bool()}
    expected = objective({name: embeddings[name] for name in "ab"})
    torch.testing.assert_close(objective(embeddings, present), expected)


@pytest.mark.parametrize("objective", [Symile(), Clip()])
def test_batch_without_a_tuple_gives_zero_with_a_graph(objective: Objective) -> None:
    objective = copy.deepcopy(objective).double()
    embeddings = _embeddings("abc")
    loss = objective(embeddings, {name: torch.zeros(N).bool() for name in "abc"})
    loss.backward()
    assert loss == 0
    assert all((value.grad == 0).all() for value in embeddings.values())
    assert objective.scale.log.grad == 0


def test_symile_score_is_the_logit_of_the_tuple_and_skips_what_is_absent() -> None:
    objective = Symile().double()
    e = _embeddings("abc")
    unit = {name: value / value.pow(2).mean(1, keepdim=True).sqrt() for name, value in e.items()}
    whole = objective.score({"a": e["a"], "b": e["b"]}, e["c"])
    torch.testing.assert_close(whole, 5.0 * torch.einsum("nd,nd,cd->nc", unit["a"], unit["b"], unit["c"]) / D)
    present = {"a": torch.ones(N).bool(), "b": torch.arange(N) % 2 == 0}
    partial = objective.score({"a": e["a"], "b": e["b"]}, e["c"], present)
    alone = objective.score({"a": e["a"]}, e["c"])
    torch.testing.assert_close(partial[::2], whole[::2])
    torch.testing.assert_close(partial[1::2], alone[1::2])
    nobody = objective.score({"a": e["a"]}, e["c"], {"a": torch.zeros(N).bool()})
    assert (nobody == 0).all()


def test_clip_score_is_the_mean_over_present_queries() -> None:
    objective = Clip(initial_scale=10.0).double()
    e = _embeddings("abc")
    both = objective.score({"a": e["a"], "b": e["b"]}, e["c"])
    cosine = [torch.nn.functional.cosine_similarity(e[n][:, None], e["c"][None], dim=-1) for n in "ab"]
    torch.testing.assert_close(both, 10.0 * (cosine[0] + cosine[1]) / 2)
    only = objective.score({"a": e["a"], "b": e["b"]}, e["c"], {"a": torch.zeros(N).bool(), "b": torch.ones(N).bool()})
    torch.testing.assert_close(only, 10.0 * cosine[1])


def test_scale_is_clamped_after_a_step() -> None:
    objective = Symile(initial_scale=99.0, max_scale=100.0)
    with torch.no_grad():
        objective.scale.log += 3.0
    assert objective.scale() == 100.0


def test_shuffles_differ_between_steps_but_not_in_evaluation() -> None:
    objective, embeddings = Symile().double(), _embeddings("abc")
    first, second = objective(embeddings), objective(embeddings)
    assert first != second
    objective.eval()
    assert objective(embeddings) == objective(embeddings)


@pytest.mark.parametrize("objective", [Symile(), Clip()])
def test_bad_embeddings_are_named(objective: Objective) -> None:
    with pytest.raises(ValueError, match="at least two"):
        objective({"a": torch.zeros(3, 4)})
    with pytest.raises(ValueError, match="different shapes"):
        objective({"a": torch.zeros(3, 4), "b": torch.zeros(3, 5)})


@pytest.mark.parametrize("settings", [{"initial_scale": 0.0}, {"initial_scale": 200.0}, {"shuffles": 0}])
def test_bad_settings_are_named(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Symile(**settings)


def test_exclusive_or_is_learned_jointly_and_not_pairwise() -> None:
    """c = a xor b; linear maps of the bits, 150 steps of full batches."""
    torch.manual_seed(0)
    bits = torch.randint(0, 2, (256, 2)).float()
    data = {"a": bits[:, :1], "b": bits[:, 1:], "c": (bits[:, :1] != bits[:, 1:]).float()}
    accuracy = {}
    for objective in (Symile(), Clip()):
        maps = {name: torch.nn.Linear(1, 16) for name in data}
        optimizer = torch.optim.Adam([p for m in [*maps.values(), objective] for p in m.parameters()], lr=0.05)
        for _ in range(150):
            optimizer.zero_grad()
            objective({name: maps[name](2 * value - 1) for name, value in data.items()}).backward()
            optimizer.step()
        classes = maps["c"](torch.tensor([[-1.0], [1.0]]))
        scores = objective.score({name: maps[name](2 * data[name] - 1) for name in "ab"}, classes)
        accuracy[type(objective).__name__] = (scores.argmax(1) == data["c"][:, 0]).float().mean()
    assert accuracy["Symile"] > 0.99
    assert 0.3 < accuracy["Clip"] < 0.8

"""Symile against loops over the formula of the paper, in float64, and the effects of its settings."""

import copy
import math
from collections.abc import Sequence
from itertools import combinations, product

import pytest
import torch
from torch import Tensor

from polyclinic.objectives import Clip, EmbeddingBatch, Objective, Symile

N, D = 6, 5
GROUPS = torch.tensor([0, 1, 0, 2, 1, 0])


def _embeddings(names: str, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(N, D, generator=generator, dtype=torch.float64).requires_grad_() for name in names}


def _unit(value: Tensor, normalize: str) -> Tensor:
    if normalize == "none":
        return value
    if normalize == "l2":
        return value / value.norm(dim=1, keepdim=True)
    centred = value - value.mean(1, keepdim=True) if normalize == "layer" else value
    return centred / centred.pow(2).mean(1, keepdim=True).sqrt()


def _logit(objective: Symile, unit: Sequence[Tensor], members: Sequence[int]) -> Tensor:
    together = torch.stack([value[member] for value, member in zip(unit, members, strict=True)]).prod(dim=0)
    return objective.scale() * (together.sum() if objective.normalize in ("l2", "none") else together.mean())


def _is_left_out(members: Sequence[int], groups: Tensor | None) -> bool:
    return groups is not None and len({int(groups[member]) for member in members}) == 1


def _all_negatives(objective: Symile, embeddings: dict[str, Tensor], groups: Tensor | None) -> Tensor:
    """Contrast every anchor with every combination of the others, in a loop; average over triples if there are more."""
    losses = []
    for names in combinations(embeddings, min(3, len(embeddings))):
        if objective.triples is not None and len(embeddings) > 3 and frozenset(names) not in objective.triples:
            continue
        unit = [_unit(embeddings[name], objective.normalize) for name in names]
        for anchor in range(len(names)):
            for i in range(N):
                tuples = [list(rest) for rest in product(range(N), repeat=len(names) - 1)]
                for members in tuples:
                    members.insert(anchor, i)
                positive = [i] * len(names)
                contrasted = [members for members in tuples if members == positive or not _is_left_out(members, groups)]
                logits = torch.stack([_logit(objective, unit, members) for members in contrasted])
                losses.append(logits.logsumexp(0) - _logit(objective, unit, positive))
    return torch.stack(losses).mean()


def _shuffled(objective: Symile, embeddings: dict[str, Tensor], groups: Tensor | None) -> Tensor:
    """Contrast the tuple of each anchor with tuples whose other members are shuffled, element by element."""
    unit = {name: _unit(value, objective.normalize) for name, value in embeddings.items()}
    generator = torch.Generator().manual_seed(int(objective.draws))
    losses = []
    for anchor in unit:
        others = [name for name in unit if name != anchor]
        orders = [
            [torch.arange(N), *(torch.randperm(N, generator=generator) for _ in others[1:])]
            for _ in range(objective.shuffles)
        ]
        values = [unit[anchor], *(unit[name] for name in others)]
        for i in range(N):
            positive = _logit(objective, values, [i] * len(values))
            tuples = [[i, *(int(o[j]) for o in order)] for order in orders for j in range(N) if j != i]
            contrasted = [members for members in tuples if not _is_left_out(members, groups)]
            logits = torch.stack([positive, *(_logit(objective, values, members) for members in contrasted)])
            losses.append(logits.logsumexp(0) - positive)
    return torch.stack(losses).mean()


@pytest.mark.parametrize("groups", [None, GROUPS])
@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, "ab"),
        ({}, "abc"),
        ({"normalize": "layer", "tile": 7}, "abc"),
        ({"normalize": "l2"}, "abc"),
        ({"normalize": "none", "initial_scale": math.exp(-1)}, "abc"),
        ({}, "abcd"),
        ({"triples": [tuple("abd"), tuple("bcd")]}, "abcd"),
        ({"negatives": "shuffled"}, "abc"),
        ({"negatives": "shuffled", "shuffles": 3}, "abcd"),
        ({"negatives": "shuffled", "normalize": "l2"}, "abcde"),
    ],
)
def test_value_gradients_and_step_match_the_formula(
    settings: dict[str, object], names: str, groups: Tensor | None
) -> None:
    tested, looped = (Symile(**settings).double() for _ in range(2))
    reference = _all_negatives if tested.mode == "all" else _shuffled
    embeddings, copies = _embeddings(names), _embeddings(names)
    expected, loss = reference(looped, copies, groups), tested(embeddings, groups=groups)
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-10)
    loss.backward()
    expected.backward()
    for name in names:
        torch.testing.assert_close(embeddings[name].grad, copies[name].grad, rtol=1e-10, atol=1e-10)
    for objective, inputs in ((tested, embeddings), (looped, copies)):
        torch.optim.SGD([*objective.parameters(), *inputs.values()], lr=0.3).step()
    torch.testing.assert_close(tested.scale.log, looped.scale.log, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(embeddings["a"], copies["a"], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("negatives", ["all", "shuffled"])
def test_two_modalities_are_symmetric_infonce(negatives: str) -> None:
    embeddings = _embeddings("ab")
    first, second = (_unit(value, "rms") for value in embeddings.values())
    logits = 5.0 * first @ second.T / D
    target = torch.arange(N)
    expected = torch.nn.functional.cross_entropy(logits, target) + torch.nn.functional.cross_entropy(logits.T, target)
    torch.testing.assert_close(Symile(negatives=negatives).double()(embeddings), expected / 2)


def test_single_precision_is_within_a_hundred_thousandth() -> None:
    exact, single_precision = (
        _embeddings("abc"),
        {name: value.detach().float() for name, value in _embeddings("abc").items()},
    )
    for value in single_precision.values():
        value.requires_grad_()
    losses = [Symile().double()(exact), Symile()(single_precision)]
    torch.testing.assert_close(losses[1].double(), losses[0], rtol=1e-5, atol=1e-5)
    for loss in losses:
        loss.backward()
    for name in "abc":
        largest = exact[name].grad.abs().max()
        torch.testing.assert_close(
            single_precision[name].grad.double() / largest, exact[name].grad / largest, rtol=1e-5, atol=1e-6
        )


def test_the_positive_is_never_a_negative() -> None:
    """With one-hot embeddings, only the product over the tuple of a study is not zero."""
    basis = torch.eye(N, dtype=torch.float64)
    logit = 20.0 * math.sqrt(N)
    for settings, count in (({"negatives": "shuffled", "shuffles": 4}, 4 * (N - 1)), ({}, N * N - 1)):
        loss = Symile(initial_scale=20.0, **settings).double()({"a": basis, "b": basis, "c": basis})
        torch.testing.assert_close(loss, torch.tensor(math.log1p(count * math.exp(-logit)), dtype=torch.float64))


def test_half_precision_embeddings_are_contrasted_in_single() -> None:
    embeddings = {name: value.detach().bfloat16() for name, value in _embeddings("abc").items()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = Symile()(embeddings)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, Symile()({name: value.float() for name, value in embeddings.items()}))


@pytest.mark.parametrize(
    ("settings", "names", "groups", "expected"),
    [
        ({}, "ab", None, N - 1),
        ({}, "ab", GROUPS, N - 1 - (3 * 2 + 2 * 1) / N),
        ({}, "abc", None, N * N - 1),
        ({}, "abc", GROUPS, N * N - (3 * 9 + 2 * 4 + 1) / N),
        ({"negatives": "shuffled", "shuffles": 3}, "abc", None, 3 * (N - 1)),
    ],
)
def test_negatives_are_counted(settings: dict[str, object], names: str, groups: Tensor | None, expected: float) -> None:
    studies = EmbeddingBatch.of(_embeddings(names), None, groups)
    assert Symile(**settings).double().negatives(studies) == pytest.approx(expected)


def test_shuffled_negatives_of_the_same_group_are_not_counted() -> None:
    objective = Symile(negatives="shuffled").double()
    everyone = EmbeddingBatch.of(_embeddings("abc"), None, torch.zeros(N, dtype=torch.int64))
    assert objective.negatives(everyone) == 0
    assert objective.loss(everyone) == 0


def test_the_score_is_the_logit_of_the_tuple_and_skips_missing_modalities() -> None:
    objective = Symile().double()
    e = _embeddings("abc")
    unit = {name: _unit(value, "rms") for name, value in e.items()}
    scores = objective.score({"a": e["a"], "b": e["b"]}, e["c"])
    torch.testing.assert_close(scores, 5.0 * torch.einsum("nd,nd,cd->nc", unit["a"], unit["b"], unit["c"]) / D)
    present = {"a": torch.ones(N).bool(), "b": torch.arange(N) % 2 == 0}
    partial = objective.score({"a": e["a"], "b": e["b"]}, e["c"], present)
    single = objective.score({"a": e["a"]}, e["c"])
    torch.testing.assert_close(partial[::2], scores[::2])
    torch.testing.assert_close(partial[1::2], single[1::2])
    without_queries = objective.score({"a": e["a"]}, e["c"], {"a": torch.zeros(N).bool()})
    assert (without_queries == 0).all()


def test_the_score_of_many_modalities_is_the_trained_one() -> None:
    """With shuffled negatives, one product; with all, the mean over the pairs contrasted with the candidate."""
    e = _embeddings("abcd")
    unit = {name: _unit(value, "rms") for name, value in e.items()}
    query = {name: e[name] for name in "abc"}
    pairs = {p: 5.0 * torch.einsum("nd,nd,cd->nc", unit[p[0]], unit[p[1]], unit["d"]) / D for p in ("ab", "ac", "bc")}
    torch.testing.assert_close(Symile().double().score(query, e["d"]), sum(pairs.values()) / 3)
    chosen = Symile(triples=[tuple("abd"), tuple("abc")]).double()
    torch.testing.assert_close(chosen.score(query, e["d"]), pairs["ab"])
    presence = {"a": torch.ones(N).bool(), "b": torch.zeros(N).bool(), "c": torch.zeros(N).bool()}
    torch.testing.assert_close(chosen.score(query, e["d"], presence), chosen.score({"a": e["a"]}, e["d"]))
    products = 5.0 * torch.einsum("nd,nd,nd,cd->nc", *unit.values()) / D
    torch.testing.assert_close(Symile(negatives="shuffled").double().score(query, e["d"]), products)


def test_shuffles_differ_between_steps_but_not_in_evaluation() -> None:
    objective, embeddings = Symile(negatives="shuffled").double(), _embeddings("abc")
    first, second = objective(embeddings), objective(embeddings)
    assert first != second
    objective.eval()
    assert objective(embeddings) == objective(embeddings)


def test_the_scale_is_clamped_after_a_step() -> None:
    objective = Symile(initial_scale=99.0, max_scale=100.0)
    objective.scale.log.grad = torch.tensor(-1.0)
    torch.optim.SGD(objective.parameters(), lr=3.0).step()
    assert objective.scale.log.exp() > 100.0
    assert objective.scale() == 100.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"initial_scale": 0.0}, "initial_scale"),
        ({"initial_scale": 200.0}, "max_scale"),
        ({"shuffles": 0}, "shuffles 0"),
        ({"tile": 0}, "tile 0"),
        ({"negatives": "some"}, "expected 'all' or 'shuffled'"),
        ({"normalize": "batch"}, "expected one of"),
        ({"triples": [tuple("ab")]}, "expected three modalities"),
        ({"triples": "abc"}, "expected three modalities"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Symile(**settings)


def test_modalities_outside_the_chosen_triples_are_named() -> None:
    with pytest.raises(ValueError, match=r"objective\.triples"):
        Symile(triples=[tuple("abx")]).double()(_embeddings("abcd"))


@pytest.mark.parametrize("width", [16, 8192])
def test_exclusive_or_is_learned_jointly_but_not_pairwise(width: int) -> None:
    """c = a xor b, each case equally often; linear maps start near the neutral value; batches are full."""
    bits = torch.tensor(list(product([0.0, 1.0], repeat=2))).repeat(4, 1)
    data = {"a": bits[:, :1], "b": bits[:, 1:], "c": (bits[:, :1] != bits[:, 1:]).float()}
    joint = {mode: _accuracy(Symile(negatives=mode), data, width) for mode in ("all", "shuffled")}
    assert joint == {"all": 1.0, "shuffled": 1.0}
    assert 0.25 <= _accuracy(Clip(), data, width) <= 0.75


def _accuracy(objective: Objective, data: dict[str, Tensor], width: int) -> float:
    torch.manual_seed(0)
    maps = {name: torch.nn.Linear(1, width) for name in data}
    with torch.no_grad():
        for linear in maps.values():
            linear.weight.normal_()
            linear.bias.fill_(objective.neutral)
    optimizer = torch.optim.Adam([p for m in [*maps.values(), objective] for p in m.parameters()], lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        objective({name: maps[name](2 * value - 1) for name, value in data.items()}).backward()
        optimizer.step()
    embedded = {name: maps[name](2 * value - 1) for name, value in data.items()}
    candidates = maps["c"](torch.tensor([[-1.0], [1.0]]))
    scores = copy.deepcopy(objective).score({name: embedded[name] for name in "ab"}, candidates)
    return float((scores.argmax(1) == data["c"][:, 0]).float().mean())

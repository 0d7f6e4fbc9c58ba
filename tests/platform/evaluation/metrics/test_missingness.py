import json
from itertools import combinations, permutations

import numpy as np
import pytest
import torch

from polyclinic.evaluation import as_json
from polyclinic.evaluation.metrics.missingness import contributions, missing_not_at_random

NAMES = ("audio", "ecg", "report", "xray")


def drawn_performance(seed: int, names: tuple[str, ...] = NAMES) -> dict[frozenset[str], float]:
    rng = np.random.default_rng(seed)
    sizes = range(1, len(names) + 1)
    return {frozenset(subset): float(rng.random()) for size in sizes for subset in combinations(names, size)}


def shapley_by_orders(performance: dict[frozenset[str], float], chance: float) -> dict[str, float]:
    """Average the gain from adding each modality over all orders of adding them."""
    total = dict.fromkeys(NAMES, 0.0)
    orders = list(permutations(NAMES))
    for order in orders:
        before: frozenset[str] = frozenset()
        for name in order:
            gain = performance[before | {name}] - (performance[before] if before else chance)
            total[name] += gain / len(orders)
            before = before | {name}
    return total


@pytest.mark.parametrize("seed", range(3))
def test_shapley_is_the_mean_over_all_orders_and_adds_up(seed: int) -> None:
    performance = drawn_performance(seed)
    report = contributions(performance, 0.5)
    assert report.shapley == pytest.approx(shapley_by_orders(performance, 0.5), abs=1e-12)
    assert sum(report.shapley.values()) == pytest.approx(report.full - 0.5, abs=1e-12)
    for name in NAMES:
        assert report.drop_one[name] == performance[frozenset(NAMES)] - performance[frozenset(NAMES) - {name}]


def test_axioms_of_symmetry_and_of_the_null_player() -> None:
    def performance(subset: frozenset[str]) -> float:
        return 0.5 + (0.4 if {"ecg", "xray"} <= subset else 0.0)

    report = contributions({subset: performance(subset) for subset in drawn_performance(0)}, 0.5)
    assert report.shapley == pytest.approx({"audio": 0.0, "ecg": 0.2, "report": 0.0, "xray": 0.2}, abs=1e-12)
    assert report.drop_one == pytest.approx({"audio": 0.0, "ecg": 0.4, "report": 0.0, "xray": 0.4}, abs=1e-12)


def test_one_modality_and_undefined_performances() -> None:
    alone = contributions({frozenset({"ecg"}): 0.8}, 0.5)
    assert alone.drop_one == alone.shapley == {"ecg": 0.8 - 0.5}
    performance = drawn_performance(1, ("ecg", "xray")) | {frozenset({"xray"}): float("nan")}
    report = contributions(performance, 0.5)
    assert np.isnan([report.drop_one["ecg"], report.shapley["ecg"], report.shapley["xray"]]).all()
    assert report.drop_one["xray"] == pytest.approx(report.full - performance[frozenset({"ecg"})])
    assert json.loads(json.dumps(as_json(report), allow_nan=False))["undefined_values"] == 3


def test_every_subset_is_needed_and_the_empty_one_is_not_measured() -> None:
    performance = drawn_performance(2, ("ecg", "xray"))
    del performance[frozenset({"xray"})]
    with pytest.raises(ValueError, match=r"2 subsets of \['ecg', 'xray'\].*measure also \[\['xray'\]\]"):
        contributions(performance, 0.5)
    with pytest.raises(ValueError, match="performance is `chance`"):
        contributions(drawn_performance(2) | {frozenset(): 0.5}, 0.5)
    with pytest.raises(ValueError, match="0 subsets"):
        contributions({}, 0.5)


def presence(studies: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.choice([0.0, 1.0, np.nan], studies)
    present = {"ecg": rng.random(studies) < 0.9, "xray": rng.random(studies) < 0.7}
    return present, labels


def test_share_that_goes_missing_follows_the_label() -> None:
    present, labels = presence(30_000)
    before = {name: mask.copy() for name, mask in present.items()}
    after = missing_not_at_random(
        present=present, labels=labels, modality="xray", share_if_positive=0.8, share_if_negative=0.1,
        rng=np.random.default_rng(1),
    )  # fmt: skip
    removable = before["ecg"] & before["xray"]
    removed = before["xray"] & ~after["xray"]
    for label, share in ((1, 0.8), (0, 0.1)):
        rows = removable & (labels == label)
        # Four standard errors of a share.
        assert abs(removed[rows].mean() - share) < 4 * np.sqrt(share * (1 - share) / rows.sum())
    assert not removed[np.isnan(labels) | ~removable].any()
    assert not (after["xray"] & ~before["xray"]).any()
    for name, mask in before.items():
        np.testing.assert_array_equal(present[name], mask)
    np.testing.assert_array_equal(after["ecg"], before["ecg"])


def test_a_larger_share_removes_a_superset_and_the_ends_are_exact() -> None:
    present, labels = presence(500)
    tensors = {name: torch.tensor(mask) for name, mask in present.items()}

    def removed(share: float) -> np.ndarray:
        after = missing_not_at_random(
            present=tensors, labels=torch.tensor(labels), modality="ecg", share_if_positive=share,
            share_if_negative=0.0, rng=np.random.default_rng(3),
        )  # fmt: skip
        return present["ecg"] & ~after["ecg"]

    assert not removed(0.0).any()
    assert not (removed(0.3) & ~removed(0.6)).any()
    assert removed(0.3).sum() < removed(0.6).sum()
    np.testing.assert_array_equal(removed(1.0), present["ecg"] & present["xray"] & (labels == 1))


def test_a_study_never_loses_its_only_modality() -> None:
    after = missing_not_at_random(
        present={"ecg": np.ones(4, dtype=bool)}, labels=np.ones(4), modality="ecg", share_if_positive=1.0,
        share_if_negative=1.0, rng=np.random.default_rng(0),
    )  # fmt: skip
    assert after["ecg"].all()


def test_wrong_settings_are_refused() -> None:
    present, labels = presence(5)
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"'mri', expected one of \['ecg', 'xray'\]"):
        missing_not_at_random(
            present=present, labels=labels, modality="mri", share_if_positive=1.0, share_if_negative=0.0, rng=rng
        )
    with pytest.raises(ValueError, match="got shares 80 and 0"):
        missing_not_at_random(
            present=present, labels=labels, modality="ecg", share_if_positive=80, share_if_negative=0, rng=rng
        )

"""Orders of an epoch: stratified by kind or alike in length, with the same draw on every rank."""

import functools
import operator
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from polyclinic.cohort import Study
from polyclinic.data import CohortDataModule
from polyclinic.data.samplers import LengthBucketOrder, OrderedSampler, OrderStrategy, StratifiedOrder
from pulse_plugin import Pulse

SITES = {"large": 61, "small": 30, "rare": 9}
KINDS = [site for site, count in SITES.items() for _ in range(count)]


def _study(place: int, *, site: str = "", **sources: str) -> Study:
    return Study(
        study_id=f"S{place}", patient_id=f"P{place}", split="train", sources=sources, labels=(),
        groups={"site": site} if site else {},
    )  # fmt: skip


STUDIES = [_study(place, site=site, note="x") for place, site in enumerate(KINDS)]


def _steps(order: OrderStrategy, studies: list[Study], *, world: int, batch: int, epoch: int = 0) -> list[list[int]]:
    """Return the studies of each step of all ranks, as their samplers give them."""
    ranks = []
    for rank in range(world):
        sampler = OrderedSampler(
            order=order, studies=studies, batch_size=batch, seed=3, rank=rank, world=world, views=1
        )
        sampler.set_epoch(epoch)
        places = list(sampler)
        assert len(sampler) == len(places) == len(studies) // world
        assert {number for number, _, _ in places} == {epoch}
        ranks.append([index for _, index, _ in places])
    count = len(studies) // (world * batch)
    return [[index for places in ranks for index in places[step * batch : (step + 1) * batch]] for step in range(count)]


def test_each_step_holds_each_kind_in_its_share() -> None:
    drawn = []
    for step in _steps(StratifiedOrder(by="site"), STUDIES, world=1, batch=10):
        counts = Counter(KINDS[index] for index in step)
        assert all(abs(counts[site] - count / 10) < 1 for site, count in SITES.items())
        drawn += step
    assert sorted(drawn) == list(range(100))


@pytest.mark.parametrize("order", [StratifiedOrder(by="site"), LengthBucketOrder(modality="note", window=3)])
def test_ranks_together_take_the_steps_of_one_process(order: OrderStrategy) -> None:
    single = _steps(order, STUDIES, world=1, batch=12)
    joined = _steps(order, STUDIES, world=3, batch=4)
    assert [sorted(step) for step in joined] == [sorted(step) for step in single]
    assert single != _steps(order, STUDIES, world=1, batch=12, epoch=1)
    assert single == _steps(order, STUDIES, world=1, batch=12)


def test_a_small_cohort_is_repeated_with_other_augmentation_and_a_large_one_is_cut() -> None:
    order = StratifiedOrder(by="site", shares={"large": 1, "small": 1, "rare": 2})
    sampler = OrderedSampler(order=order, studies=STUDIES, batch_size=8, seed=0, rank=0, world=1, views=2)
    places = list(sampler)
    assert len(places) == len(set(places)) == 200
    counts = Counter(KINDS[index] for _, index, _ in places)
    assert counts == {"large": 50, "small": 50, "rare": 100}
    rare = [index for _, index, view in places if KINDS[index] == "rare" and view % 2 == 0]
    # Nine studies repeat in the same order: none is twice in a step of eight, of which they have four places.
    assert all(rare[row] == rare[row + 9] for row in range(len(rare) - 9))
    assert max(view for _, index, view in places if KINDS[index] == "rare") == 11


def test_subsets_of_modalities_are_spread_and_a_share_of_zero_leaves_one_out() -> None:
    kinds = [{"a": "1", "b": "1"}, {"a": "1"}, {"b": "1"}, {}]
    studies = [_study(index, **kinds[index % 4]) for index in range(40)]
    for step in _steps(StratifiedOrder(by="modalities"), studies, world=2, batch=4):
        assert Counter(index % 4 for index in step) == {0: 2, 1: 2, 2: 2, 3: 2}
    shares = {"a+b": 1.0, "a": 1.0, "b": 0.0, "none": 0.0}
    for step in _steps(StratifiedOrder(by="modalities", shares=shares), studies, world=1, batch=10):
        assert Counter(index % 4 for index in step) == {0: 5, 1: 5}


def test_studies_of_a_step_and_of_ranks_are_alike_in_length(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 2000, size=96)
    studies = []
    for index, length in enumerate(lengths):
        file = tmp_path / f"{index}.txt"
        file.write_text("x" * int(length))
        studies.append(_study(index, note=file if index % 2 else "x" * int(length)))  # type: ignore[arg-type]
    steps = _steps(LengthBucketOrder(modality="note"), studies, world=2, batch=4)
    padded = sum(max(lengths[step]) * len(step) for step in steps)
    plain = sum(max(lengths[step]) * len(step) for step in rng.permutation(96).reshape(-1, 8))
    assert padded < 1.1 * lengths.sum()
    assert plain > 1.5 * lengths.sum()
    for step in steps:
        first, second = lengths[step[:4]].sum(), lengths[step[4:]].sum()
        assert abs(first - second) <= max(lengths[step]) - min(lengths[step])
    assert sorted(functools.reduce(operator.iadd, steps, [])) == list(range(96))


def test_studies_without_the_text_are_spread_over_steps() -> None:
    studies = [_study(index, **({"note": "x" * (1 + index)} if index % 2 else {})) for index in range(200)]
    for step in _steps(LengthBucketOrder(modality="note"), studies, world=1, batch=20):
        assert 2 <= sum(index % 2 for index in step) <= 18


@pytest.mark.parametrize("order", [StratifiedOrder(by="modalities"), LengthBucketOrder(modality="note")])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_with_fewer_studies_than_a_step_all_are_taken(order: OrderStrategy, count: int) -> None:
    studies = [_study(index, note="x" * index) for index in range(count)]
    sampler = OrderedSampler(order=order, studies=studies, batch_size=8, seed=0, rank=0, world=1, views=1)
    assert sorted(index for _, index, _ in sampler) == list(range(count))


def test_the_loader_uses_the_order_only_in_training(pulse_cohort: Path) -> None:
    modalities = {name: Pulse() for name in ("first", "second")}
    data = CohortDataModule(
        cohort=pulse_cohort, modalities=modalities, batch_size=16, order=StratifiedOrder(by="modalities"), views=2
    )
    studies = {study.study_id: "+".join(sorted(study.sources)) for study in data.studies("train")}
    total = Counter(studies.values())
    assert len(total) > 1
    batches = list(data.train_dataloader())
    assert [len(batch) // 2 for batch in batches] == [16, 16, 16, 16, 15]
    for batch in batches:
        assert batch.study_ids[::2] == batch.study_ids[1::2]
        counts = Counter(studies[study] for study in batch.study_ids[::2])
        assert all(abs(counts[kind] - len(batch) / 2 * count / len(studies)) < 1 for kind, count in total.items())
    loaded = [study for batch in data.val_dataloader() for study in batch.study_ids]
    assert loaded == [study.study_id for study in data.studies("val")]


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (
            lambda: StratifiedOrder(by="ward").draw(STUDIES, global_batch_size=4, rng=np.random.default_rng()),
            r"got stratum 'ward', expected one of \['modalities', 'site'\]",
        ),
        (
            lambda: StratifiedOrder(by="site", shares={"large": 1.0}).draw(
                STUDIES, global_batch_size=4, rng=np.random.default_rng()
            ),
            r"got shares of \['large'\], expected a share for each stratum .*\['large', 'rare', 'small'\]",
        ),
        (lambda: StratifiedOrder(by="site", shares={"large": 0.0}), "not all 0"),
        (lambda: StratifiedOrder(by="site", shares={"large": -1.0, "small": 2.0}), "0 or more"),
        (
            lambda: LengthBucketOrder(modality="scan").draw(STUDIES, global_batch_size=4, rng=np.random.default_rng()),
            r"\['note'\]",
        ),
        (lambda: LengthBucketOrder(modality="note", window=0), "window 0"),
    ],
)
def test_bad_settings_are_named(order: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        order()  # type: ignore[operator]

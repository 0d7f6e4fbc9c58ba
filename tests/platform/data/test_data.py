"""From a cohort to batches: masks, augmentation, prepared items, and broken sources."""

import shutil
from pathlib import Path

import pytest
import torch

from polyclinic.cohort import read_cohort
from polyclinic.data import Batch, CohortDataModule, StudySampler
from polyclinic.data.dataset import StudyBatches
from pulse_plugin import Pulse


def _module(cohort: Path, **settings: object) -> CohortDataModule:
    module = CohortDataModule(cohort=cohort, modalities={"first": Pulse(), "second": Pulse()}, **settings)
    module.setup("fit")
    return module


def _is_same(first: Batch, second: Batch) -> bool:
    return first.study_ids == second.study_ids and all(
        torch.equal(first.inputs[name]["vitals"], second.inputs[name]["vitals"]) for name in first.inputs
    )


@pytest.fixture
def broken_cohort(pulse_cohort: Path, tmp_path: Path) -> Path:
    """Copy the pulse cohort and overwrite three training sources with text."""
    shutil.copytree(pulse_cohort.parent, tmp_path / "broken")
    path = tmp_path / "broken" / "cohort.yaml"
    training = [study for study in read_cohort(path).split("train") if "first" in study.sources]
    for study in training[:3]:
        Path(str(study.sources["first"])).write_text("no numbers")
    return path


def test_inputs_hold_only_the_studies_that_have_the_modality(pulse_cohort: Path) -> None:
    by_id = {study.study_id: study for study in read_cohort(pulse_cohort).studies}
    for batch in _module(pulse_cohort, batch_size=16).val_dataloader():
        for name in ("first", "second"):
            expected = [name in by_id[study].sources for study in batch.study_ids]
            assert batch.present[name].tolist() == expected
            assert len(batch.inputs[name]["vitals"]) == sum(expected)
        assert batch.labels.shape == (len(batch), 11)


def test_every_study_of_a_split_is_loaded_once(pulse_cohort: Path) -> None:
    module = _module(pulse_cohort, batch_size=7)
    loaded = [study for batch in module.test_dataloader() for study in batch.study_ids]
    assert sorted(loaded) == sorted(study.study_id for study in module.cohort.split("test"))


def test_plugins_are_fitted_on_training_studies_only(pulse_cohort: Path) -> None:
    module = _module(pulse_cohort)
    rates = [Pulse().read(s.sources["first"])[0] for s in module.cohort.split("train") if "first" in s.sources]
    assert module.modalities["first"].state()["mean"][0] == pytest.approx(sum(rates) / len(rates))


def test_augmentation_depends_on_seed_and_epoch(pulse_cohort: Path) -> None:
    def first_batch(epoch: int, seed: int = 0) -> Batch:
        loader = _module(pulse_cohort, batch_size=8, seed=seed).train_dataloader()
        loader.batch_sampler.sampler.set_epoch(epoch)
        return next(iter(loader))

    assert _is_same(first_batch(0), first_batch(0))
    assert not _is_same(first_batch(0), first_batch(1))
    assert not _is_same(first_batch(0), first_batch(0, seed=1))


def test_workers_give_the_same_batches(pulse_cohort: Path) -> None:
    batches = [list(_module(pulse_cohort, batch_size=8, num_workers=n).train_dataloader()) for n in (0, 2)]
    assert len(batches[0]) > 1
    assert all(_is_same(first, second) for first, second in zip(*batches, strict=True))


def test_prepared_items_equal_decoded_ones_and_depend_on_settings(pulse_cohort: Path, tmp_path: Path) -> None:
    plain = next(iter(_module(pulse_cohort, batch_size=16).val_dataloader()))
    for _ in range(2):
        stored = next(iter(_module(pulse_cohort, batch_size=16, prepared=tmp_path).val_dataloader()))
        assert _is_same(plain, stored)
    assert len(list(tmp_path.glob("Pulse-*"))) == 2
    noisy = CohortDataModule(cohort=pulse_cohort, modalities={"first": Pulse(noise=0.2)}, prepared=tmp_path)
    noisy.setup("fit")
    assert len(list(tmp_path.glob("Pulse-*"))) == 3


def test_the_studies_are_split_over_the_ranks() -> None:
    def places(rank: int, *, shuffle: bool) -> list[int]:
        sampler = StudySampler(length=11, shuffle=shuffle, seed=0, rank=rank, world=2)
        assert len(sampler) == len(list(sampler))
        return [index for _, index, _ in sampler]

    assert sorted(places(0, shuffle=False) + places(1, shuffle=False)) == list(range(11))
    first, second = places(0, shuffle=True), places(1, shuffle=True)
    assert len(first) == len(second) == 5
    assert not set(first) & set(second)


@pytest.mark.parametrize(("studies", "batches"), [(79, [16, 16, 16, 16, 15]), (80, [16] * 5), (5, [5])])
def test_every_training_study_is_in_one_of_batches_of_about_the_same_size(studies: int, batches: list[int]) -> None:
    sampler = StudySampler(length=studies, shuffle=True, seed=0, rank=0, world=1)
    drawn = list(StudyBatches(sampler, batch_size=16, views=1, whole=False, start=int))
    assert sorted(map(len, drawn), reverse=True) == batches
    assert sorted(study for batch in drawn for _, study, _ in batch) == list(range(studies))
    resumed = list(StudyBatches(sampler, batch_size=16, views=1, whole=False, start=lambda: 2))
    assert resumed == drawn[2:]


@pytest.mark.parametrize(("studies", "size"), [(10, 16), (121, 16), (255, 16), (256, 32), (600, 64), (100_000, 64)])
def test_the_batch_size_is_chosen_from_the_training_studies(pulse_cohort: Path, studies: int, size: int) -> None:
    module = _module(pulse_cohort, batch_size=None)
    study = module.cohort.split("train")[0]
    module.studies = lambda split, *, training=False: [study] * studies  # type: ignore[method-assign]
    assert module.batch_size == size


def test_views_of_a_study_are_adjacent_and_differ(pulse_cohort: Path) -> None:
    module = _module(pulse_cohort, batch_size=4, views=2)
    loader = module.train_dataloader()
    batch = next(iter(loader))
    assert len(loader) == -(-len(module.cohort.split("train")) // 4)
    assert batch.study_ids[::2] == batch.study_ids[1::2]
    assert len(set(batch.study_ids)) == 4
    (vitals,) = batch.inputs["first"].values()
    assert not torch.equal(vitals[::2], vitals[1::2])
    assert len(next(iter(module.val_dataloader())).study_ids) == 4
    with pytest.raises(ValueError, match="got views 2 with augment False"):
        _module(pulse_cohort, views=2, augment=False)


@pytest.mark.parametrize("prepared", [False, True])
def test_broken_sources_are_masked_counted_and_named(broken_cohort: Path, tmp_path: Path, prepared: bool) -> None:
    module = _module(broken_cohort, batch_size=200, max_broken_share=0.5, prepared=tmp_path if prepared else None)
    (batch,) = module.train_dataloader()
    module.on_before_batch_transfer(batch, 0)
    entries = module.quarantine.entries()
    assert len(entries) == 3
    assert {(entry.modality, entry.reason) for entry in entries} == {("first", "expected two numbers (ValueError)")}
    for entry in entries:
        assert not batch.present["first"][batch.study_ids.index(entry.study_id)]
    assert module.quarantine.share == 3 / (sum(int(v.sum()) for v in batch.present.values()) + 3)


def test_too_many_broken_sources_stop_the_run(broken_cohort: Path) -> None:
    module = _module(broken_cohort, batch_size=200, max_broken_share=0.01)
    (batch,) = module.train_dataloader()
    with pytest.raises(ValueError, match=r"sources read are broken.*max_broken_share = 1.0%.*study 'S0") as caught:
        module.on_before_batch_transfer(batch, 0)
    assert "P0" not in str(caught.value)


def test_the_state_can_be_loaded_into_another_module(pulse_cohort: Path) -> None:
    fitted = _module(pulse_cohort)
    restored = CohortDataModule(cohort=pulse_cohort, modalities={"first": Pulse(), "second": Pulse()})
    restored.load_state_dict(fitted.state_dict())
    restored.setup("predict")
    assert restored.modalities["second"].state() == fitted.modalities["second"].state()


def test_the_survey_reports_mean_facts(pulse_cohort: Path) -> None:
    assert 50 < _module(pulse_cohort).facts["first/rate"] < 110


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"modalities": {}}, "no modalities"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"max_broken_share": 2.0}, "max_broken_share 2.0"),
    ],
)
def test_bad_settings_are_named(pulse_cohort: Path, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CohortDataModule(**{"cohort": pulse_cohort, "modalities": {"first": Pulse()}} | settings)


def test_a_modality_that_the_cohort_lacks_is_named(pulse_cohort: Path) -> None:
    module = CohortDataModule(cohort=pulse_cohort, modalities={"third": Pulse()})
    with pytest.raises(ValueError, match=r"got modality 'third', expected one of \['first', 'second'\]"):
        module.setup("fit")

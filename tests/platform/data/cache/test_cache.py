"""Stored items: always those that the plugin would prepare, prepared once, whatever changes in between."""

import importlib
import json
import os
import pickle
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from cached_items import Counted, assert_as_prepared, assert_same, dataset_of, file_of, items_of, prepared, shards
from polyclinic.cohort import Study, default_modalities, read_cohort
from polyclinic.data import CohortDataModule
from polyclinic.data.cache import key as identity
from polyclinic.data.cache import writer as writing
from polyclinic.data.cache.shard import Shard, is_intact, write_shard
from polyclinic.modality import ArrayRow, Item, Modality, Source, UnreadableSource
from polyclinic.modality.physiology import Patient
from pulse_plugin import Pulse


@pytest.mark.parametrize("workers", [0, 2])
def test_cached_items_of_every_plugin_equal_freshly_prepared_ones(
    phantom_cohort: Path, tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MAX_SOURCES_IN_PROCESS", 10)
    studies = read_cohort(phantom_cohort).studies
    for name, modality in default_modalities().items():
        modality.fit(modality.read(study.sources[name]) for study in studies[:20] if name in study.sources)
        for _ in range(2):
            stored = prepared(tmp_path, modality, studies, name=name, workers=workers)
            assert_as_prepared(stored, modality, studies, name)


def test_nothing_is_prepared_twice_and_a_grown_cohort_prepares_only_new_studies(
    studies: list[Study], tmp_path: Path
) -> None:
    modality = Counted()
    for number in (10, 10, 40, 40, len(studies)):
        stored = prepared(tmp_path / "items", modality, studies[:number])
        assert modality.count == number
    assert_as_prepared(stored, Pulse(), studies, "first")


@pytest.mark.parametrize("workers", [0, 2])
def test_preparing_draws_no_random_numbers_of_the_run(
    studies: list[Study], tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MAX_SOURCES_IN_PROCESS", 10)
    modality, before = Counted(), torch.get_rng_state()
    prepared(tmp_path / "items", modality, studies, workers=workers)
    assert shards(tmp_path / "items")
    assert torch.equal(torch.get_rng_state(), before)


def test_studies_of_any_cohort_with_the_same_content_share_an_item(studies: list[Study], tmp_path: Path) -> None:
    modality = Counted()
    items = prepared(tmp_path / "items", modality, studies[:10])
    copies = [Study(**vars(study) | {"study_id": f"X{study.study_id}", "sources": {"second": _copied(study, tmp_path)}})
             for study in studies[:10]]  # fmt: skip
    second_items = prepared(tmp_path / "items", modality, copies + copies[:0], name="second")
    assert modality.count == 10
    assert [x.study_id for x in copies] == ["X" + study.study_id for study in studies[:10]]
    assert np.array_equal(
        items.places([study.study_id for study in studies[:10]]),
        second_items.places([study.study_id for study in copies]),
    )


def _copied(study: Study, folder: Path) -> Path:
    return Path(shutil.copy(file_of(study), folder / f"copy of {study.study_id}.txt"))


def test_changed_content_is_prepared_again_although_size_and_time_are_the_same(
    studies: list[Study], tmp_path: Path
) -> None:
    modality = Counted()
    prepared(tmp_path / "items", modality, studies)
    for restore in (False, True):
        file, before = file_of(studies[3]), file_of(studies[3]).stat()
        text = file.read_text()
        file.write_text(text.translate(str.maketrans("123456789", "234567891")))
        assert file.stat().st_size == before.st_size
        if restore:
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        modality.count = 0
        stored = prepared(tmp_path / "items", modality, studies)
        assert modality.count == 1
        assert_as_prepared(stored, Pulse(), studies, "first")


def test_a_changed_file_of_any_plugin_is_prepared_again(tmp_path: Path) -> None:
    for name, modality in default_modalities().items():
        first, second = (_phantom(modality, seed, tmp_path / str(seed) / name) for seed in (1, 2))
        modality.fit([modality.read(first), modality.read(second)])
        study = _study(name, first)
        before = items_of(prepared(tmp_path / "items", modality, [study], name=name), [study])["A"]
        assert_same(before, modality.prepare(modality.read(first)))
        _phantom(modality, 2, tmp_path / "1" / name)
        after = items_of(prepared(tmp_path / "items", modality, [study], name=name), [study])["A"]
        assert_same(after, modality.prepare(modality.read(second)))
        with pytest.raises(AssertionError):
            assert_same(after, before)


def test_a_changed_companion_of_the_named_file_is_noticed(tmp_path: Path) -> None:
    modality = default_modalities()["ecg"]
    source = _phantom(modality, 1, tmp_path / "record")
    (companion,) = (file for file in modality.files(source) if file != source)
    study = _study("ecg", source)
    place = prepared(tmp_path / "items", modality, [study], name="ecg").places(["A"])
    companion.write_bytes(bytes(companion.stat().st_size))
    with pytest.raises(UnreadableSource) as expected:
        modality.read(source)
    stored = prepared(tmp_path / "items", modality, [study], name="ecg")
    with pytest.raises(UnreadableSource, match=re.escape(str(expected.value))):
        stored.item(int(stored.places(["A"])[0]))
    assert place.tolist() == [0]


def _study(name: str, source: Path) -> Study:
    return Study(study_id="A", patient_id="A", split="train", sources={name: source}, labels=(), groups={})


def _phantom(modality: Modality, seed: int, path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    return modality.phantom(Patient(rng).visit(rng), rng, path)


def test_a_source_that_changes_during_preparation_is_not_stored(studies: list[Study], tmp_path: Path) -> None:
    class Late(Pulse):
        def prepare(self, raw: tuple[float, ...]) -> Item:
            file_of(studies[0]).write_text("50 36.0")
            return super().prepare(raw)

    stored = prepared(tmp_path / "items", Late(), studies[:2])
    assert (stored.places([study.study_id for study in studies[:2]]) >= 0).tolist() == [False, True]
    stored = prepared(tmp_path / "items", Late(), studies[:2])
    assert_as_prepared(stored, Pulse(), studies[:2], "first")


def test_the_same_bytes_under_another_suffix_are_another_item(studies: list[Study], tmp_path: Path) -> None:
    class Tenfold(Pulse):
        def read(self, source: Source) -> tuple[float, ...]:
            assert isinstance(source, Path)
            return tuple(10 * value if source.suffix == ".dcm" else value for value in super().read(source))

    copy = Path(shutil.copy(file_of(studies[0]), tmp_path / "copy.DCM")).rename(tmp_path / "copy.dcm")
    pair = [studies[0], Study(**vars(studies[1]) | {"sources": {"first": copy}})]
    assert_as_prepared(prepared(tmp_path / "items", Tenfold(), pair), Tenfold(), pair, "first")


def test_rows_of_one_array_file_are_separate_items(studies: list[Study], tmp_path: Path) -> None:
    class Rows(Pulse):
        def read(self, source: Source) -> tuple[float, ...]:
            assert isinstance(source, ArrayRow)
            return tuple(np.load(source.file)[source.row])

    np.save(tmp_path / "all.npy", np.arange(20.0).reshape(10, 2))
    rows = [
        Study(**vars(study) | {"sources": {"first": ArrayRow(tmp_path / "all.npy", row)}})
        for row, study in enumerate(studies[:10])
    ]
    for _ in range(2):
        assert_as_prepared(prepared(tmp_path / "items", Rows(), rows), Rows(), rows, "first")


def test_settings_state_and_version_choose_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def folder(modality: Modality) -> str:
        return identity.short_name(identity.identity(modality))

    plugin = Pulse()
    plugin.load_state({"mean": [1.0, 2.0]})
    assert folder(Pulse()) == folder(Pulse())
    names = [folder(Pulse()), folder(plugin), folder(Pulse(noise=0.2)), folder(Counted())]
    monkeypatch.setattr(identity, "__version__", "9.9")
    names.append(folder(Pulse()))
    monkeypatch.setattr(identity, "_version", lambda name: "9.9")
    names.append(folder(Pulse()))
    assert len(set(names)) == 6


def test_every_file_of_the_packages_of_a_plugin_and_its_bases_chooses_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "beat_plugin" / "inner"
    package.mkdir(parents=True)
    (tmp_path / "beat_base.py").write_text("from pulse_plugin import Pulse\nclass Base(Pulse):\n    pass\n")
    (package.parent / "__init__.py").write_text("")
    (package / "plugin.py").write_text("from beat_base import Base\nimport numpy\nclass Beat(Base):\n    pass\n")
    (package / "table.csv").write_text("1")
    plugin = importlib.import_module("beat_plugin.inner.plugin").Beat()
    report = identity.identity(plugin)
    assert set(report["libraries"]) == {"numpy", "torch"}
    codes = {report["code"]}
    for name, text in {
        "inner/table.csv": "2",
        "inner/new.py": "",
        "__init__.py": "A = 1",
        "../beat_base.py": "#",
    }.items():
        (package.parent / name).write_text(text)
        codes.add(identity.identity(plugin)["code"])
    (package / "__pycache__").mkdir(exist_ok=True)
    (package / "__pycache__" / "x.pyc").write_text("")
    codes.add(identity.identity(plugin)["code"])
    assert len(codes) == 5


def test_every_file_of_a_package_that_plugins_share_chooses_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for package, imported in {"polyclinic_waves": "polyclinic_units", "polyclinic_units": "scipy"}.items():
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("")
        (tmp_path / package / "scale.py").write_text(f"def late():\n    from {imported} import scale\n")
    (tmp_path / "wave_plugin.py").write_text(
        "from polyclinic_waves import scale\nfrom pulse_plugin import Pulse\nclass Wave(Pulse):\n    pass\n"
    )
    plugin = importlib.import_module("wave_plugin").Wave()
    report = identity.identity(plugin)
    assert "scipy" in report["libraries"]
    codes = {report["code"]}
    for package in ("polyclinic_waves", "polyclinic_units"):
        (tmp_path / package / "scale.py").write_text((tmp_path / package / "scale.py").read_text() + "#\n")
        codes.add(identity.identity(plugin)["code"])
    assert len(codes) == 3


def test_the_dicom_code_that_plugins_share_is_part_of_their_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    monkeypatch.setattr(identity, "_code", lambda files: hashed.extend(files))
    for name in ("xray", "ecg", "audio"):
        hashed.clear()
        identity.identity(default_modalities()[name])
        assert ("polyclinic_dicom/write.py" in hashed) == (name != "audio")


def test_a_plugin_without_a_file_is_refused(tmp_path: Path, studies: list[Study]) -> None:
    namespace: dict[str, type] = {}
    exec("from pulse_plugin import Pulse\nclass Typed(Pulse):\n    __module__ = 'nowhere'\n", namespace)
    with pytest.raises(ValueError, match=r"Typed whose code is not in a file.*remove `data.prepared`"):
        prepared(tmp_path, namespace["Typed"](), studies)


def test_broken_sources_are_remembered_until_they_or_the_libraries_change(
    studies: list[Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Source] = []

    class Decoding(Pulse):
        able = False

        def read(self, source: Source) -> tuple[float, ...]:
            reads.append(source)
            if source == studies[1].sources["first"] and not self.able:
                raise UnreadableSource("no decoder for this — none")
            return super().read(source)

    file_of(studies[0]).write_text("no numbers")
    file_of(studies[2]).unlink()
    for expected in (3, 1):
        stored = prepared(tmp_path / "items", Decoding(), studies[:3])
        places = stored.places([study.study_id for study in studies[:3]])
        assert (places >= 0).tolist() == [True, True, False]
        for row, reason in zip(places, ("expected two numbers", "no decoder for this — none"), strict=False):
            with pytest.raises(UnreadableSource, match=reason):
                stored.item(int(row))
        assert len(reads) == expected - 1
        reads.clear()
        with pytest.raises(UnreadableSource):
            Decoding().read(studies[2].sources["first"])
        reads.clear()
    monkeypatch.setattr(Decoding, "able", True)
    monkeypatch.setattr("polyclinic.data.cache.writer.environment", lambda: "more")
    monkeypatch.setattr("polyclinic.data.cache.writer.environment", lambda: "more")
    stored = prepared(tmp_path / "items", Decoding(), studies[:3])
    assert len(reads) == 2
    assert_as_prepared(stored, Pulse(), studies[1:2], "first")


def test_a_file_that_reappears_is_prepared(studies: list[Study], tmp_path: Path) -> None:
    text = file_of(studies[0]).read_text()
    file_of(studies[0]).unlink()
    prepared(tmp_path / "items", Pulse(), studies[:3])
    file_of(studies[0]).write_text(text)
    assert_as_prepared(prepared(tmp_path / "items", Pulse(), studies[:3]), Pulse(), studies[:3], "first")


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_each_loader_process_opens_the_shards(studies: list[Study], tmp_path: Path, method: str) -> None:
    stored = prepared(tmp_path / "items", Counted(), studies)
    dataset = dataset_of(studies, Pulse(), stored)
    dataset[0, 0, 0]
    places = [(0, index, 0) for index in range(len(studies))]
    loader = DataLoader(
        dataset, sampler=places, batch_size=None, num_workers=1, multiprocessing_context=method, collate_fn=_identity
    )
    for study, sample in zip(studies, loader, strict=True):
        assert_same(sample.items["first"], Pulse().prepare(Pulse().read(study.sources["first"])))


def _identity(value: object) -> object:
    return value


def test_a_pickled_copy_carries_no_items(studies: list[Study], tmp_path: Path) -> None:
    class Large(Pulse):
        def prepare(self, raw: tuple[float, ...]) -> Item:
            return {"vitals": torch.full((10_000,), raw[0])}

    stored = prepared(tmp_path / "items", Large(), studies)
    places = stored.places([study.study_id for study in studies])
    sizes = [sum(value.nbytes for value in item.values()) for item in items_of(stored, studies).values() if item]
    assert sum(sizes) == 40_000 * len(studies)
    content = pickle.dumps(stored)
    assert len(content) < 1000
    copy = pickle.loads(content)
    assert_same(copy.item(int(places[5])), Large().prepare(Large().read(studies[5].sources["first"])))


def test_items_are_views_of_the_file_and_writing_to_one_does_not_change_it(
    studies: list[Study], tmp_path: Path
) -> None:
    stored = prepared(tmp_path / "items", Pulse(), studies[:1])
    (shard,) = shards(tmp_path / "items")
    item, second = (stored.item(0)["vitals"] for _ in range(2))
    assert item.data_ptr() == second.data_ptr()
    item += 1
    assert is_intact(shard)


def test_nothing_stored_is_a_pickle(phantom_cohort: Path, tmp_path: Path) -> None:
    studies = read_cohort(phantom_cohort).studies
    for name, modality in default_modalities().items():
        modality.fit(modality.read(study.sources[name]) for study in studies[:20] if name in study.sources)
        prepared(tmp_path, modality, studies[:10], name=name)
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size]
    starts = {path.suffix: path.read_bytes()[:6] for path in files}
    assert starts == {".sqlite": b"SQLite", ".arrow": b"ARROW1", ".json": b'{\n "co'}


def test_any_tensors_are_restored_unchanged(tmp_path: Path) -> None:
    odd: list[Item | str] = [
        {"a": torch.tensor(3), "ü/b": torch.zeros(0, 4), "c": torch.tensor([True, False, True])},
        {"a": torch.tensor(2.5, dtype=torch.bfloat16), "d": torch.randn(3, 4, dtype=torch.complex128).T},
        "kaputt — wirklich",
        {},
        {
            "a": torch.tensor(4),
            "c": torch.zeros(2, 0, dtype=torch.bool),
            "g": torch.zeros(0, dtype=torch.int64),
            "e": torch.randn(2, 3, requires_grad=True),
        },
        {"g": torch.zeros(0, dtype=torch.int64)},
        {"f": torch.arange(3, dtype=torch.uint8), "g": torch.arange(5, dtype=torch.float64), "reason": torch.ones(1)},
    ]
    rows = [(bytes([number]) * 32, tensors) for number, tensors in enumerate(odd)]
    shard = Shard(write_shard(tmp_path, rows, "env"))
    assert shard.contents == [key for key, _ in rows]
    assert shard.environment == "env"
    for row, tensors in enumerate(odd):
        if isinstance(tensors, str):
            with pytest.raises(UnreadableSource, match=tensors):
                shard.item(row)
        else:
            assert_same(shard.item(row), {name: value.detach().contiguous() for name, value in tensors.items()})


def test_items_follow_a_state_that_is_loaded_after_setup(pulse_cohort: Path, tmp_path: Path) -> None:
    data = CohortDataModule(cohort=pulse_cohort, modalities={"first": Pulse()}, prepared=tmp_path)
    data.setup("fit")
    before = next(iter(data.val_dataloader())).inputs["first"]["vitals"]
    loader = data.val_dataloader()
    data.adopt({"first": {"mean": [0.0, 0.0]}})
    plain = CohortDataModule(cohort=pulse_cohort, modalities={"first": Pulse()})
    plain.adopt({"first": {"mean": [0.0, 0.0]}})
    after = next(iter(data.val_dataloader())).inputs["first"]["vitals"]
    assert torch.equal(after, next(iter(plain.val_dataloader())).inputs["first"]["vitals"])
    assert not torch.equal(after, before)
    assert torch.equal(next(iter(loader)).inputs["first"]["vitals"], before)


def test_a_folder_describes_what_its_name_stands_for(studies: list[Study], tmp_path: Path) -> None:
    prepared(tmp_path, Pulse(noise=0.5), studies)
    (path,) = tmp_path.glob("Pulse-*/identity.json")
    report: Mapping[str, object] = json.loads(path.read_text())
    assert report["plugin"] == "pulse_plugin.Pulse"
    assert report["settings"] == {"noise": 0.5}


def test_a_modality_that_no_study_has_costs_nothing(studies: list[Study], tmp_path: Path) -> None:
    modality = Counted()
    for some in ([], studies[:3]):
        stored = prepared(tmp_path / "a b ü", modality, some, name="third")
        assert stored.places([study.study_id for study in some]).tolist() == [-1] * len(some)
    assert modality.count == 0
    unicode = [Study(**vars(studies[0]) | {"study_id": "Zoë/.. №1\n"})]
    assert_as_prepared(prepared(tmp_path / "a b ü", modality, unicode), Pulse(), unicode, "first")


def test_another_preparation_does_not_hash_the_same_files_again(
    studies: list[Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(tmp_path / "items", Pulse(), studies)
    monkeypatch.setattr("polyclinic.cohort.content_index._sha256", lambda path: pytest.fail("read again"))
    assert_as_prepared(prepared(tmp_path / "items", Pulse(noise=0.3), studies), Pulse(), studies, "first")

"""Folds of patients: each is tested once, and folds are alike in labels and groups."""

from pathlib import Path

import numpy as np
import pytest

from polyclinic.cohort import read_cohort
from polyclinic.cohort.folds import Folds, alike_parts, category_columns, fold_splits

COHORT = """
table: studies.csv
study_id: id
patient_id: patient
split: {split}
modalities: {{note: {{text: note}}}}
labels: [common, rare]
groups: [site]
{more}
"""


def _write(folder: Path, split: str, *, more: str = "", patients: int = 60, sites: int = 3) -> Path:
    rng = np.random.default_rng(0)
    rows = ["id,patient,note,common,rare,site"]
    for patient in range(patients):
        for study in range(rng.integers(1, 4)):
            labels = f"{patient % 2},{int(patient % 12 == 0)}"
            rows.append(f"{patient}-{study},p{patient},text,{labels},site {patient % sites}")
    (folder / "studies.csv").write_text("\n".join(rows))
    path = folder / "cohort.yaml"
    path.write_text(COHORT.format(split=split, more=more))
    return path


def test_every_study_is_tested_once_and_no_patient_is_in_two_splits(tmp_path: Path) -> None:
    path = _write(tmp_path, "{folds: 5, seed: 3}")
    tested: list[str] = []
    for fold in range(5):
        cohort = read_cohort(path, fold=fold)
        tested += [study.study_id for study in cohort.split("test")]
        by_split = [{study.patient_id for study in cohort.split(split)} for split in ("train", "val", "test")]
        assert sum(map(len, by_split)) == len(set.union(*by_split)) == 60
        assert cohort.folds == 5
    assert sorted(tested) == sorted(study.study_id for study in cohort.studies)


def test_folds_have_equal_shares_of_a_rare_label(tmp_path: Path) -> None:
    path = _write(tmp_path, "{folds: 5}")
    for fold in range(5):
        test = read_cohort(path, fold=fold).split("test")
        assert len({study.patient_id for study in test if study.labels[1]}) == 1  # five patients have it
        assert {study.groups["site"] for study in test} == {"site 0", "site 1", "site 2"}


def test_folds_depend_on_the_seed_only(tmp_path: Path) -> None:
    def test_ids(seed: int) -> list[str]:
        cohort = read_cohort(_write(tmp_path, f"{{folds: 4, seed: {seed}}}"))
        return [study.study_id for study in cohort.split("test")]

    assert test_ids(0) == test_ids(0)
    assert test_ids(0) != test_ids(1)


def test_each_site_is_left_out_once(tmp_path: Path) -> None:
    path = _write(tmp_path, "{leave_out: site, val: 0.2}")
    for fold in range(3):
        cohort = read_cohort(path, fold=fold)
        assert {study.groups["site"] for study in cohort.split("test")} == {f"site {fold}"}
        val = {study.patient_id for study in cohort.split("val")}
        assert len(val) / len({study.patient_id for study in (*cohort.split("train"), *cohort.split("val"))}) == 0.2


def test_the_fingerprint_is_the_same_in_all_folds(tmp_path: Path) -> None:
    path = _write(tmp_path, "{folds: 5}")
    assert read_cohort(path).fingerprint == read_cohort(path, fold=4).fingerprint


@pytest.mark.parametrize(
    ("split", "fold", "message"),
    [
        ("{folds: 61}", 0, "got 61 folds for 60 patients"),
        ("{folds: 1}", 0, r"split.folds 1, expected a number from 2"),
        ("{folds: 2.5}", 0, r"split.folds 2.5, expected a number from 2"),
        ("{folds: 5, leave_out: site}", 0, "expected folds or leave_out"),
        ("{folds: 5, train: 0.5}", 0, "expected folds or leave_out"),
        ("{folds: 5, val: 1}", 0, r"split.val 1, expected a share"),
        ("{leave_out: hospital}", 0, r"'hospital', expected one of \['site'\]"),
        ("{folds: 5}", 5, "got fold 5, expected 0 to 4"),
        ("{train: 0.7, test: 0.3}", 1, "got fold 1 of a cohort without folds"),
    ],
)
def test_invalid_folds_are_refused(tmp_path: Path, split: str, fold: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_cohort(_write(tmp_path, split), fold=fold)


def test_a_patient_of_two_sites_and_a_blank_site_are_refused() -> None:
    folds, categories = Folds(leave_out="site"), np.zeros((3, 0), dtype=bool)
    with pytest.raises(ValueError, match="1 patients have studies in several values of site"):
        fold_splits(["a", "a", "b"], categories, folds, 0, ["x", "y", "y"])
    with pytest.raises(ValueError, match="1 studies have no site"):
        fold_splits(["a", "c", "b"], categories, folds, 0, ["x", "", "y"])
    with pytest.raises(ValueError, match="'site' has 1 values, expected 2 to 100"):
        fold_splits(["a", "c", "b"], categories, folds, 0, ["x", "x", "x"])


def test_a_filter_leaves_the_rows_that_meet_it_or_stops(tmp_path: Path) -> None:
    everything = read_cohort(_write(tmp_path, "{folds: 5}"))
    filtered = read_cohort(_write(tmp_path, "{folds: 5}", more="where: \"site in ['site 1', 'site 2']\""))
    assert {study.groups["site"] for study in filtered.studies} == {"site 1", "site 2"}
    assert 0 < len(filtered.studies) < len(everything.studies)
    assert filtered.fingerprint != everything.fingerprint
    with pytest.raises(ValueError, match=r"none of the .* rows of studies.csv meets `where: site == 'site 9'`"):
        read_cohort(_write(tmp_path, "{folds: 5}", more="where: \"site == 'site 9'\""))
    with pytest.raises(ValueError, match=r"`where` names column 'hospital', which studies\.csv does not have"):
        read_cohort(_write(tmp_path, "{folds: 5}", more="where: \"hospital == 'x'\""))


def test_parts_are_of_the_wanted_sizes_without_any_category() -> None:
    parts = alike_parts(np.zeros((40, 0)), np.array([0.25, 0.75]), np.random.default_rng(0))
    assert np.bincount(parts).tolist() == [10, 30]


def test_categories_are_values_of_labels_quarters_of_quantities_and_small_groups() -> None:
    nan = float("nan")
    columns = category_columns(
        {"finding": ("finding", [0, 1, nan, 1]), "age": ("quantity", [10, 20, 30, 40])},
        {"sex": ["F", "M", "F", "F"], "device": ["a", "b", "c", "d"]},
    )
    assert columns.astype(int).tolist() == [
        # absent, present; four quarters; F, M; four devices
        [1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0],
        [0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0],
        [0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0],
        [0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1],
    ]

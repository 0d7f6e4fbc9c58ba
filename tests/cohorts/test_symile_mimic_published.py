"""Symile-MIMIC as released, as a cohort of rows of its arrays."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from layouts.built import build
from layouts.symile_mimic import FIRST, LABS, SIZES, write_sums, write_symile_mimic
from polyclinic.cli import main
from polyclinic.modality import ArrayRow

NAME = "symile-mimic-published"
VAL, TEST = FIRST + SIZES["train"], FIRST + SIZES["train"] + SIZES["val"]


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("physionet") / "symile-mimic-1.0.0"
    write_symile_mimic(root, side=8, samples=16)
    return root


@pytest.fixture
def root(released: Path, tmp_path: Path) -> Path:
    """Return a copy of the release that a test may damage."""
    return Path(shutil.copytree(released, tmp_path / "root"))


def test_splits_labels_and_groups_come_from_the_tables(released: Path, tmp_path: Path) -> None:
    result = build(NAME, released.parent, tmp_path / "out")
    assert result.report["studies"] == SIZES
    assert result.report["patients"] == {name: size - 1 for name, size in SIZES.items()}
    assert [study.study_id for study in result.cohort.split("test")] == [str(TEST + row) for row in range(11)]
    assert result.cohort.population == "mimic-iv"
    studies = {study.study_id: study for study in result.cohort.studies}
    assert result.cohort.labels == (
        "Atelectasis", "Cardiomegaly", "Edema", "Lung Opacity", "No Finding", "Pleural Effusion",
    )  # fmt: skip
    assert [studies[str(FIRST + row)].labels[0] for row in range(3)] == [1.0, 0.0, -1.0]
    assert math.isnan(studies[str(FIRST + 3)].labels[0])
    assert studies[str(FIRST)].patient_id == studies[str(FIRST + 1)].patient_id == "10000001"
    assert studies[str(FIRST)].groups == {"sex": "F", "age_band": "18 to 39", "view": "PA"}
    assert studies[str(FIRST + 1)].groups == {"sex": "M", "age_band": "18 to 39", "view": "AP"}


def test_a_study_is_a_row_of_the_arrays_and_nothing_is_copied(released: Path, tmp_path: Path) -> None:
    studies = {study.study_id: study for study in build(NAME, released, tmp_path / "out").cohort.studies}
    folder = released / "data_npy" / "test"
    for row in (0, 10):
        study = studies[str(TEST + row)]
        assert study.sources["xray"] == ArrayRow(folder / "cxr_test.npy", row)
        assert study.sources["ecg"] == ArrayRow(folder / "ecg_test.npy", row)
        assert np.load(folder / "hadm_id_test.npy")[row] == TEST + row
    assert sum(path.stat().st_size for path in (tmp_path / "out").iterdir()) < 200_000


def test_laboratory_columns_are_percentiles_then_flags_in_array_order(released: Path, tmp_path: Path) -> None:
    result = build(NAME, released, tmp_path / "out")
    folder = released / "data_npy" / "train"
    percentiles, flags = (np.load(folder / f"labs_{name}_train.npy") for name in ("percentiles", "missingness"))
    mean = json.loads((released / "labs_means.json").read_text())["50802_percentile"]
    for row in range(12):
        cells = result.cohort.split("train")[row].sources["tabular"]
        assert isinstance(cells, dict)
        assert list(cells) == [*(f"{item}_percentile" for item in LABS), *(f"{item}_observed" for item in LABS)]
        numbers = np.array([float(cell) for cell in cells.values()], dtype=np.float32)
        np.testing.assert_array_equal(numbers[:50], percentiles[row])
        np.testing.assert_array_equal(numbers[50:], flags[row])
    second = result.cohort.split("train")[1].sources["tabular"]
    assert isinstance(second, dict)
    assert (float(second["50802_percentile"]), second["50802_observed"]) == (pytest.approx(mean), "0")


def test_candidate_sets_come_from_the_retrieval_arrays(released: Path, tmp_path: Path) -> None:
    build(NAME, released, tmp_path / "out")
    table = pd.read_parquet(tmp_path / "out" / "candidates.parquet")
    for split, name, size in (("val", "val_retrieval", 10), ("test", "test", 11)):
        rows = table[table["split"] == split]
        record = pd.read_csv(released / f"{name}.csv", usecols=["hadm_id", "label_hadm_id", "label"])
        assert len(rows) == 10 * size
        assert set(rows[["candidate_study", "query_study", "label"]].itertuples(index=False, name=None)) == set(
            record[["hadm_id", "label_hadm_id", "label"]].itertuples(index=False, name=None)
        )


def test_rows_that_are_only_candidates_are_excluded_and_counted(released: Path, tmp_path: Path) -> None:
    result = build(NAME, released, tmp_path / "out")
    assert list(result.excluded().values()) == [99]
    assert result.report["flow"][0]["start"] == 132
    assert result.report["flow"][1]["events"] == [{"kind": "counted", "reason": "in no split", "rows": 1}]
    assert set(result.report["tables"]) >= {"train.csv", "data_npy/test/label_test.npy", "labs_means.json"}
    assert not any("cxr" in name or "/ecg" in name for name in result.report["tables"])


def test_without_the_table_of_all_admissions_there_are_no_groups(root: Path, tmp_path: Path) -> None:
    (root / "symile_mimic_data.csv").unlink()
    result = build(NAME, root, tmp_path / "out")
    assert result.cohort.studies[0].groups == {}
    assert "without symile_mimic_data.csv there is no sex, age or view" in result.report["notes"]


def test_verify_compares_digests(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build(NAME, root, tmp_path / "out", "--verify", "true")
    cxr = root / "data_npy" / "val" / "cxr_val.npy"
    content = bytearray(cxr.read_bytes())
    content[-1] ^= 1
    cxr.write_bytes(content)
    build(NAME, root, tmp_path / "unseen")
    _assert_build_refused(
        root, tmp_path / "seen", capsys, "cxr_val.npy does not match its checksum in SHA256SUMS.txt", "--verify", "true"
    )
    write_sums(root)
    sums = root / "SHA256SUMS.txt"
    sums.write_text("".join(line for line in sums.read_text().splitlines(True) if " val.csv" not in line))
    _assert_build_refused(
        root, tmp_path / "seen", capsys, "val.csv is not listed in SHA256SUMS.txt", "--verify", "true"
    )


def _assert_build_refused(root: Path, out: Path, capsys: pytest.CaptureFixture[str], message: str, *words: str) -> None:
    assert main(["cohort", "build", NAME, "--root", str(root), "--out", str(out), *words]) == 1
    assert message in capsys.readouterr().err
    assert not out.exists()


def _edit(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        file = root / "data_npy" / name
        np.save(file, change(np.load(file)))

    return damage


def _set(row: int, value: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array[row] = value
        return array

    return change


def _set_both(split: str, row: int, **values: int) -> Callable[[Path], None]:
    """Return a damage that changes the CSV file and the arrays alike."""

    def damage(root: Path) -> None:
        table = pd.read_csv(root / f"{split}.csv")
        for field, value in values.items():
            table.loc[row, field] = value
            _edit(f"{split}/{field}_{split}.npy", _set(row, value))(root)
        table.to_csv(root / f"{split}.csv", index=False)

    return damage


def _pickled(root: Path) -> None:
    np.save(root / "data_npy" / "val" / "ecg_val.npy", np.array([{"a": 1}] * 10, dtype=object), allow_pickle=True)


def _truncated(root: Path) -> None:
    file = root / "data_npy" / "train" / "cxr_train.npy"
    file.write_bytes(file.read_bytes()[:-1])


def _swapped_items(root: Path) -> None:
    for field in ("percentiles", "missingness"):
        _edit(f"train/labs_{field}_train.npy", lambda array: array[:, ::-1])(root)


def _without_column(root: Path) -> None:
    table = pd.read_csv(root / "train.csv")
    table.drop(columns="50813_percentile").to_csv(root / "train.csv", index=False)


def _shared_patient(root: Path) -> None:
    table = pd.read_csv(root / "val.csv")
    table.loc[3, "subject_id"] = 10_000_001
    table.to_csv(root / "val.csv", index=False)


def _same_length_of_all_but_signals(array: np.ndarray) -> np.ndarray:
    return array[:-1]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_pickled, "data_npy/val/ecg_val.npy cannot be read as an array (ValueError)"),
        (_truncated, "data_npy/train/cxr_train.npy cannot be read as an array (ValueError)"),
        (_edit("test/cxr_test.npy", lambda array: array[:, :1]), "holds float32 of shape (110, 1, 8, 8), expected"),
        (_edit("test/ecg_test.npy", lambda array: array.astype(np.float64)), "holds float64 of shape (110, 1, 16, 12)"),
        (_edit("test/ecg_test.npy", lambda array: array.swapaxes(2, 3)), "shape ('rows', 1, 'any', 12)"),
        (_edit("val/ecg_val.npy", lambda array: array[:, :, :15].copy()), "expected the same in every split"),
        (_edit("val/ecg_val.npy", _same_length_of_all_but_signals), "'val.csv': 10, 'cxr': 10, 'ecg': 9,"),
        (_edit("train/labs_missingness_train.npy", lambda array: 1 - array), "laboratory values of train differ"),
        (_swapped_items, "laboratory values of train differ between its CSV file and its arrays"),
        (_edit("train/hadm_id_train.npy", lambda array: array[::-1].copy()), "hadm_id of row 0 and 11 others differs"),
        (_edit("test/label_test.npy", _set(3, 0)), "label of row 3 and 0 others differs between test.csv and"),
        # A study that is not a query itself is missing from the nine sets that it is a candidate in.
        (_set_both("test", 3, label=0), "whose candidates are not themselves with label 1 and 9 other studies of test"),
        (_set_both("test", 50, hadm_id=FIRST), "queries of test whose candidates are not themselves"),
        (_set_both("val_retrieval", 40, label_hadm_id=VAL), "got 2 queries of val_retrieval whose candidates"),
        (_set_both("train", 3, hadm_id=FIRST), "duplicate study ids"),
        (_shared_patient, "1 patients are in more than one split"),
        (_without_column, "train.csv has no column '50813_percentile'"),
        (lambda root: (root / "val_retrieval.csv").unlink(), "val_retrieval.csv is not in the data root; set `--root`"),
        (lambda root: (root / "labs_means.json").write_text("[]"), "labs_means.json does not give a mean for every"),
        (lambda root: (root / "data_npy" / "val" / "ecg_val.npy").unlink(), "ecg_val.npy is not in the data root"),
        (lambda root: shutil.rmtree(root / "data_npy"), "got 0 folders with data_npy up to 3 levels below the root"),
    ],
)  # fmt: skip
def test_damaged_releases_are_refused_with_a_message(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None], message: str
) -> None:
    damage(root)
    _assert_build_refused(root, tmp_path / "out", capsys, message)

"""`polyclinic predict`: synthetic files of missing modalities, embeddings and logits."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cli_runs import fit, write_config
from overlapping_cohorts import PULSES, rows, write
from polyclinic.cli import main
from polyclinic.cohort import read_cohort
from polyclinic_ecg import ECG
from polyclinic_tabular import Tabular

MODALITIES: dict[str, Any] = {
    "ecg": {"class_path": "ECG", "init_args": {"rate": 50, "seconds": 4, "patch": 20, "shift": 0.5}},
    "tabular": {"class_path": "Tabular"},
    "audio": {"class_path": "Audio", "init_args": {"seconds": 2, "patch": 10}},
}
MASKED = {
    "class_path": "MaskedPretraining",
    "init_args": {"size": "pico", "joint_width": 16, "decoder_width": 16, "budget": 20},
}


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _fit(cohort: Path, model: dict[str, Any], modalities: dict[str, Any]) -> str:
    write_config(cohort, model, modalities)
    checkpoint: str = fit()["checkpoint"]
    return checkpoint


def test_missing_modalities_are_written_in_their_units_and_marked(
    workplace: Path, phantom_cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = _fit(phantom_cohort, MASKED, MODALITIES)
    assert main(["predict", checkpoint, "imputed", "--split", "train"]) == 0
    assert "audio is left out: got a model of normalised patches" in capsys.readouterr().out
    index = json.loads(Path("imputed/synthetic.json").read_text())
    studies = {study.study_id: study for study in read_cohort(phantom_cohort).split("train")}
    missing = {
        (study.study_id, name)
        for study in studies.values()
        for name in ("ecg", "tabular")
        if name not in study.sources and set(MODALITIES) & set(study.sources)
    }
    assert {(entry["study_id"], entry["modality"]) for entry in index["files"]} == missing
    assert {entry["modality"] for entry in index["files"]} == {"ecg", "tabular"}
    for entry in index["files"]:
        assert entry["synthetic"] is True
        assert set(entry["predicted_from"]) == set(MODALITIES) & set(studies[entry["study_id"]].sources)
        assert "synthetic" in entry["file"]
        path = Path("imputed") / entry["file"]
        if entry["modality"] == "ecg":
            assert "SYNTHETIC" in path.read_text()
            signal = ECG(rate=50, seconds=4, patch=20, shift=0.5).read(path)
            assert signal.facts["units"] == "mV"
            assert signal.signal.shape == (12, 200)
        else:
            assert "synthetic: predicted" in path.read_text()
            row = Tabular().read(path)
            assert 100 < row.values[Tabular().numeric.index("sodium")] < 180
    assert main(["predict", checkpoint, "imputed"]) == 1
    assert main(["predict", checkpoint, "other", "--modalities", "[audio]"]) == 1
    assert not Path("other").exists()


def test_other_tasks_write_a_table(workplace: Path, phantom_cohort: Path) -> None:
    only = {"ecg": MODALITIES["ecg"], "tabular": MODALITIES["tabular"]}
    heads = {"class_path": "Downstream", "init_args": {"size": "pico"}}
    cohort = read_cohort(phantom_cohort)
    studies = cohort.split("test")
    assert main(["predict", _fit(phantom_cohort, heads, only), "logits"]) == 0
    table = pd.read_parquet("logits/predictions.parquet")
    assert list(table.columns) == ["study_id", *cohort.labels]
    assert list(table["study_id"]) == [study.study_id for study in studies]
    contrast = {
        "class_path": "ContrastivePretraining",
        "init_args": {"objective": {"class_path": "Clip"}, "embedding": 8, "size": "pico"},
    }
    assert main(["predict", _fit(phantom_cohort, contrast, only), "embeddings"]) == 0
    table = pd.read_parquet("embeddings/predictions.parquet")
    for study, row in zip(studies, table.to_dict("records"), strict=True):
        for name in only:
            assert (row[name] is not None and len(row[name]) == 8) == (name in study.sources)


def test_predictions_of_training_studies_are_refused_or_marked(
    workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    training, later = rows("a"), rows("b", 500)
    later[35] = later[35]._replace(patient="Pa0")
    heads = {"class_path": "Downstream", "init_args": {"size": "pico"}}
    checkpoint = _fit(write(workplace / "a", training, population="ward"), heads, PULSES)
    words = ["predict", checkpoint, "out", "--cohort", str(write(workplace / "b", later, population="ward"))]
    assert main(words) == 1
    assert "1 of 6 studies of split test were seen before (b35): 1 patient;" in capfd.readouterr().err
    assert not Path("out").exists()
    assert main([*words, "--allow_overlap", "true"]) == 0
    assert "warning: 1 of 6 studies of split test were seen before (b35)" in capfd.readouterr().out
    report = json.loads(Path("out/overlap.json").read_text())
    assert (report["shared"], report["allowed"]) == (["b35"], True)
    assert len(pd.read_parquet("out/predictions.parquet")) == 6
    assert main(["predict", checkpoint, "train", "--split", "train"]) == 0
    report = json.loads(Path("train/overlap.json").read_text())
    assert (report["shared"], report["splits"], report["statements"]) == ([], ["train"], [])


def test_predictions_that_cannot_be_made_are_refused(
    workplace: Path, phantom_cohort: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoint = _fit(phantom_cohort, MASKED, {"ecg": MODALITIES["ecg"]})
    assert main(["predict", checkpoint, "out"]) == 1
    assert "alone, which has nothing to predict it from" in capfd.readouterr().err
    assert main(["predict", checkpoint, "out", "--modalities", "[pet]"]) == 1
    assert "got modality 'pet', expected one of ['ecg']" in capfd.readouterr().err
    assert not Path("out").exists()

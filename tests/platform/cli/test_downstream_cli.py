"""Heads from the command line: kinds of labels, uncertain ones, fusions, adapters, fractions, and their evaluation."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from mlflow import MlflowClient

from cli_runs import fit, write_config
from polyclinic.cli import main
from polyclinic.training.restore import restore

MODALITIES: dict[str, Any] = {
    "tabular": {"class_path": "Tabular"},
    "ecg": {"class_path": "ECG", "init_args": {"rate": 50, "seconds": 4, "patch": 20, "noise": 0.0}},
}
HEAD: dict[str, Any] = {"class_path": "Downstream", "init_args": {"size": "pico"}}
SEQUENTIAL: dict[str, Any] = {
    "class_path": "Downstream",
    "init_args": {
        "size": "pico",
        "modality_dropout": 0.2,
        "fusion": {"class_path": "polyclinic.nn.SequentialFusion", "init_args": {"state": 16}},
    },
}
LORA: dict[str, Any] = {
    "class_path": "Downstream",
    "init_args": {
        "size": "pico",
        "adapter": {"class_path": "polyclinic.nn.lora.Lora", "init_args": {"rank": 2}},
        "fusion": {"class_path": "polyclinic.nn.AttentionFusion", "init_args": {"width": 16}},
    },
}


@pytest.fixture
def cohort(phantom_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the phantom with an uncertain finding, a class, a level and a quantity to a separate folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(phantom_cohort.parent, tmp_path / "cohort")
    path = tmp_path / "cohort" / "cohort.yaml"
    table = pd.read_csv(path.with_name("cohort.csv"), dtype=str, keep_default_na=False)
    rng = np.random.default_rng(0)
    table["ejection_fraction"] = [f"{40 + 3 * value:.1f}" for value in rng.normal(size=len(table))]
    table.loc[::5, "ejection_fraction"] = ""
    table.loc[::7, "anemia"] = "-1"
    table.to_csv(path.with_name("cohort.csv"), index=False)
    spec = yaml.safe_load(path.read_text())
    spec["labels"] = {
        "cardiomegaly": {"column": "cardiomegaly"},
        "anemia": {"column": "anemia"},
        "hospital": {"column": "site", "classes": ["north", "south"]},
        "age": {"column": "age_band", "levels": ["under 50", "50 to 69", "70 and over"]},
        "fraction": {"column": "ejection_fraction", "unit": "%"},
    }
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    return path


def test_a_head_learns_labels_of_every_kind_and_is_evaluated(cohort: Path) -> None:
    write_config(cohort, SEQUENTIAL, MODALITIES)
    result = fit("--data.label_policy.uncertain", "soft")
    checkpoint = result["checkpoint"]
    client = MlflowClient(result["tracking_uri"])
    config = yaml.safe_load(Path(client.download_artifacts(result["mlflow_run_id"], "config.yaml", ".")).read_text())
    assert config["data"]["label_policy"]["uncertain"] == "soft"
    assert "targets" not in config["model"]["init_args"]
    metrics = client.get_run(result["mlflow_run_id"]).data.metrics
    assert 0 <= metrics["val/auroc"] <= 1

    assert main(["evaluate", "classifier", checkpoint, "--json", "report.json"]) == 0
    report = json.loads(Path("report.json").read_text())
    names = [row["name"] for row in report["findings"]]
    assert names == ["cardiomegaly", "anemia", "hospital=north", "hospital=south"]
    counts = {row["name"]: row["n"] for row in report["findings"]}
    assert counts["anemia"] < counts["cardiomegaly"]
    assert {row["name"]: list(row["measures"]) for row in report["agreement"]} == {
        "hospital": ["accuracy"],
        "age": ["mean absolute error", "quadratic kappa"],
        "fraction": ["mean absolute error", "r2"],
    }
    assert report["agreement"][2]["measures"]["mean absolute error"]["value"] < 20

    assert main(["predict", checkpoint, "readings"]) == 0
    table = pd.read_parquet("readings/predictions.parquet")
    assert list(table.columns) == ["study_id", *names, "age", "fraction"]
    assert table["age"].between(0, 2).all()
    assert table["fraction"].between(10, 70).all()


@pytest.mark.public_report(9)
def test_a_label_without_training_values_stops_a_fit(cohort: Path, capfd: pytest.CaptureFixture[str]) -> None:
    table = pd.read_csv(cohort.with_name("cohort.csv"), dtype=str, keep_default_na=False)
    table.loc[table["split"] == "train", "cardiomegaly"] = ""
    table.to_csv(cohort.with_name("cohort.csv"), index=False)
    write_config(cohort, HEAD, MODALITIES)
    assert main(["fit", "-c", "config.yaml", "--data.labels", "[cardiomegaly]"]) == 1
    assert "label 'cardiomegaly' is unknown in all" in capfd.readouterr().err
    assert not Path("runs").exists()


def test_uncertain_labels_need_a_policy(cohort: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_config(cohort, HEAD, MODALITIES)
    assert main(["fit", "-c", "config.yaml"]) == 1
    assert "label 'anemia' is -1 (uncertain) in" in capfd.readouterr().err
    assert main(["fit", "-c", "config.yaml", "--data.labels", "[cardiomegaly]", "--trainer.max_steps", "1"]) == 0


def test_low_rank_heads_start_from_a_pretrained_encoder_and_are_restored(cohort: Path) -> None:
    contrast = {
        "class_path": "ContrastivePretraining",
        "init_args": {"objective": {"class_path": "Clip"}, "embedding": 8, "size": "pico"},
    }
    policy = ("--data.label_policy.uncertain", "ignore")
    write_config(cohort, contrast, MODALITIES)
    pretrained = fit(*policy)["checkpoint"]
    write_config(cohort, LORA, MODALITIES)
    tuned = fit(*policy, "--weights", pretrained, "--data.label_fraction", "0.5", "--data.batch_size", "4")
    before = torch.load(pretrained, weights_only=True)["state_dict"]
    after = torch.load(tuned["checkpoint"], weights_only=True)["state_dict"]
    frozen = [key for key in after if key.startswith("encoders.") and "lora_" not in key]
    assert len(frozen) > 20
    for key in frozen:
        torch.testing.assert_close(after[key], before[key.replace(".base_layer", "")], rtol=0, atol=0)
    adapters = [key for key in after if "lora_B" in key]
    assert adapters
    assert all(bool((after[key] != 0).any()) for key in adapters)
    restored = restore(Path(tuned["checkpoint"]))
    assert set(restored.task.state_dict()) == set(after)
    assert main(["evaluate", "classifier", tuned["checkpoint"], "--query", "[ecg]"]) == 0


def test_a_checkpoint_takes_its_labels_to_another_cohort(cohort: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_config(cohort, HEAD, MODALITIES)
    labels = ("--data.labels", "[age, cardiomegaly]")
    checkpoint = fit(*labels)["checkpoint"]
    shutil.copytree(cohort.parent, "elsewhere")
    elsewhere = Path("elsewhere/cohort.yaml")
    spec = yaml.safe_load(elsewhere.read_text())
    spec["labels"] = {name: spec["labels"][name] for name in ("cardiomegaly", "fraction", "age")}
    elsewhere.write_text(yaml.safe_dump(spec, sort_keys=False))
    assert main(["evaluate", "classifier", checkpoint, "--cohort", str(elsewhere), "--json", "there.json"]) == 0
    assert main(["evaluate", "classifier", checkpoint, "--json", "here.json"]) == 0
    elsewhere_report, original = (json.loads(Path(name).read_text()) for name in ("there.json", "here.json"))
    assert elsewhere_report["findings"] == original["findings"]
    assert elsewhere_report["agreement"] == original["agreement"]
    del spec["labels"]["age"]
    elsewhere.write_text(yaml.safe_dump(spec, sort_keys=False))
    capfd.readouterr()
    assert main(["evaluate", "classifier", checkpoint, "--cohort", str(elsewhere)]) == 1
    assert "got label 'age', expected one of ['cardiomegaly', 'fraction']" in capfd.readouterr().err
    assert main(["evaluate", "classifier", checkpoint, "--query", "[pet]"]) == 1
    assert "got query modality 'pet', expected one of ['ecg', 'tabular']" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model.init_args.layer_decay", "0"], "layer_decay 0"),
        (["--data.label_fraction", "0"], "fraction"),
        (["--data.label_policy.uncertain", "maybe"], "label_policy"),
        (["--data.labels", "[nosuch]"], "got label 'nosuch'"),
    ],
)
def test_invalid_settings_are_refused(
    cohort: Path, words: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    write_config(cohort, HEAD, MODALITIES)
    start = ["fit", "-c", "config.yaml", "--data.label_policy.uncertain", "ignore"]
    assert main([*start, *words]) == 1
    assert message in capfd.readouterr().err

"""The baseline of a cohort with all installed plugins, and of a checkpoint."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient

from cli_runs import fit, write_config
from polyclinic.cli import main


def test_each_installed_plugin_has_a_simple_model(
    phantom_cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "baseline.json"
    words = ["--labels", '["cardiomegaly", "anemia"]', "--resamples", "20", "--json", str(out)]
    assert main(["evaluate", "baseline", str(phantom_cohort), *words]) == 0
    report = json.loads(out.read_text())
    assert set(report["features"]) == {"audio", "ecg", "report", "tabular", "xray"}
    assert report["left_out"] == []
    for label in report["labels"]:
        assert set(label["by_modality"]) == set(report["features"])
        assert 0 <= label["joined"]["value"] <= 1
        assert label["model"] is None
    aurocs = [label["joined"]["value"] for label in report["labels"]]
    assert f"{sum(aurocs) / len(aurocs):.3f}" in next(
        line for line in capsys.readouterr().out.splitlines() if "mean AUROC" in line
    )


def test_uncertain_findings_of_a_cohort_count_as_unknown(phantom_cohort: Path, tmp_path: Path) -> None:
    spec = yaml.safe_load(phantom_cohort.read_text())
    table = pd.read_csv(phantom_cohort.parent / spec["table"], dtype=str)
    rows = table.index[(table["split"] == "test") & table["anemia"].notna()]
    table.loc[rows[:2], "anemia"] = "-1"
    table.to_csv(tmp_path / "table.csv", index=False)
    changed = {"table": "table.csv", "root": str(phantom_cohort.parent)}
    changed["modalities"] = {"tabular": spec["modalities"]["tabular"]}
    (tmp_path / "cohort.yaml").write_text(yaml.safe_dump(spec | changed))
    words = ["--labels", '["anemia"]', "--resamples", "20", "--json", str(tmp_path / "baseline.json")]
    assert main(["evaluate", "baseline", str(tmp_path / "cohort.yaml"), *words]) == 0
    (label,) = json.loads((tmp_path / "baseline.json").read_text())["labels"]
    assert label["n"] == len(rows) - 2


def test_a_checkpoint_is_compared_with_the_baseline_in_its_run(
    phantom_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model = {"class_path": "Downstream", "init_args": {"size": "pico"}}
    write_config(phantom_cohort, model, {"tabular": "Tabular", "report": "Report"})
    result = fit("--data.labels", '["cardiomegaly", "anemia"]')
    words = [result["checkpoint"], "--resamples", "50", "--json", "baseline.json"]
    assert main(["evaluate", "baseline", *words]) == 0
    report = json.loads(Path("baseline.json").read_text())
    assert main(["evaluate", "classifier", result["checkpoint"], "--resamples", "50", "--json", "own.json"]) == 0
    own = json.loads(Path("own.json").read_text())
    assert report["macro_model"] == pytest.approx(own["macro_auroc"])
    gains = [label["gain"]["value"] for label in report["labels"] if label["gain"]["value"] is not None]
    assert report["macro_gain"]["value"] == pytest.approx(sum(gains) / len(gains))
    assert report["verdict"] in " ".join(capsys.readouterr().out.split())
    metrics = MlflowClient(result["tracking_uri"]).get_run(result["mlflow_run_id"]).data.metrics
    assert metrics["test/gain_over_baseline"] == pytest.approx(report["macro_gain"]["value"])

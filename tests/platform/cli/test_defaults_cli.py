"""What a run chooses for itself, which weights it keeps, and what it prints while it trains."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from mlflow import MlflowClient

from cli_runs import fit
from polyclinic.cli import main
from polyclinic.data.cache.shard import SUFFIX
from polyclinic.training.checkpoint_file import load_checkpoint

_LINE = re.compile(
    r"epoch (\d+) of (\d+), step (\d+): val/auroc ([0-9.]+)( \(best so far\))?, val/loss [0-9.]+, train/"
)
FIVE_LINES = """
model: {{class_path: Downstream, init_args: {{size: pico}}}}
data:
  cohort: {cohort}
  modalities: {{first: pulse_plugin.Pulse}}
trainer: {{accelerator: cpu, enable_progress_bar: false, enable_model_summary: false}}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pulse_cohort: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(FIVE_LINES.format(cohort=pulse_cohort))
    return tmp_path


def _run(result: dict[str, Any]) -> tuple[Any, dict[str, Any], set[str]]:
    """Return the run in MLflow, its configuration and the names of its artifacts."""
    client = MlflowClient(result["tracking_uri"])
    run_id = result["mlflow_run_id"]
    config = yaml.safe_load(Path(client.download_artifacts(run_id, "config.yaml")).read_text())
    return client.get_run(run_id), config, {file.path for file in client.list_artifacts(run_id)}


def test_a_run_chooses_its_batches_epochs_patience_and_cache(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = fit()
    printed = capsys.readouterr().out
    assert "fit: at most 100 epochs, batches of 16, prepared items in runs/prepared" in printed
    run, config, artifacts = _run(result)
    assert (config["data"]["batch_size"], config["trainer"]["max_epochs"]) == (16, 100)
    assert config["data"]["prepared"] == "runs/prepared"
    assert {"batch_size": "16", "max_epochs": "100"}.items() <= run.data.params.items()
    assert list(Path("runs/prepared").glob(f"*/*{SUFFIX}"))
    assert "curves.png" in artifacts
    lines = [match.groups() for match in _LINE.finditer(printed)]
    scores = [float(score) for *_, score, _ in lines]
    best = result["best"]
    assert scores[best["epoch"] - 1] == max(scores) == pytest.approx(best["value"], abs=1e-4)
    assert [place for place, line in enumerate(lines) if line[4]][-1] == best["epoch"] - 1
    assert len(lines) == min(100, best["epoch"] + 25)  # a quarter of the epochs without a better value
    assert {step for _, _, step, _, _ in lines} == {str(5 * (epoch + 1)) for epoch in range(len(lines))}


def test_the_best_weights_are_kept_beside_the_last_and_used_afterwards(place: Path) -> None:
    result = fit("--trainer.max_epochs", "6", "--model.init_args.lr", "0.05")
    assert (Path(result["checkpoint"]).name, Path(result["last"]).name) == ("best.ckpt", "last.ckpt")
    best, last = (load_checkpoint(Path(result[name])) for name in ("checkpoint", "last"))
    assert last["epoch"] == 5  # a configured number of epochs has no early end
    assert best["epoch"] == result["best"]["epoch"] - 1
    run, _, _ = _run(result)
    tags = {name: run.data.tags[f"checkpoint.{name}"].rpartition("/")[2] for name in ("best", "last")}
    assert tags == {"best": "best.ckpt", "last": "last.ckpt"}
    assert best["CohortDataModule"]["fingerprint"] == last["CohortDataModule"]["fingerprint"]


def test_patience_and_metric_can_be_set(place: Path) -> None:
    words = ["--best.metric", "val/loss", "--best.mode", "max", "--best.patience", "2", "--trainer.max_epochs", "40"]
    result = fit(*words)
    assert result["best"]["metric"] == "val/loss"
    best, last = (load_checkpoint(Path(result[name])) for name in ("checkpoint", "last"))
    assert last["epoch"] == result["best"]["epoch"] + 1 == best["epoch"] + 2
    assert any(not torch.equal(weight, last["state_dict"][name]) for name, weight in best["state_dict"].items())
    resumed = fit(*words, "--ckpt_path", "last")
    assert resumed["best"] == result["best"]
    assert load_checkpoint(Path(resumed["last"]))["epoch"] == result["best"]["epoch"] + 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--best.metric", "val/f1", "--best.mode", "max"], "got `best.metric` val/f1, the validation logged ['val/"),
        (["--best.metric", "val/loss"], "got metric val/loss with mode None; set `best.metric` and `best.mode`"),
        (["--best.patience", "0"], "got patience 0, expected at least 1; set `best.patience`"),
    ],
)  # fmt: skip
def test_invalid_settings_are_refused(
    place: Path, words: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "-c", "config.yaml", "--trainer.max_epochs", "1", *words]) == 1
    assert message in capfd.readouterr().err


def _changed(pulse_cohort: Path, **columns: Any) -> None:
    """Write ``cohort.yaml`` with changed columns; a function gets the table."""
    cohort = yaml.safe_load(pulse_cohort.read_text())
    table = pd.read_csv(pulse_cohort.parent / cohort["table"], dtype=str)
    for name, change in columns.items():
        table[name] = change(table)
    table.to_csv("table.csv", index=False)
    Path("cohort.yaml").write_text(yaml.safe_dump(cohort | {"table": "table.csv", "root": str(pulse_cohort.parent)}))


def test_a_cohort_without_validation_studies_keeps_the_last_weights(place: Path, pulse_cohort: Path) -> None:
    _changed(pulse_cohort, split=lambda table: table["split"].replace("val", "train"))
    result = fit("--data.cohort", "cohort.yaml", "--trainer.max_epochs", "2")
    assert "best" not in result
    assert result["checkpoint"] == result["last"]


def test_without_both_classes_in_validation_the_loss_chooses(
    place: Path, pulse_cohort: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _changed(pulse_cohort, anemia=lambda table: table["anemia"].where(table["split"] != "val", "0"))
    words = ["--data.cohort", "cohort.yaml", "--data.labels", '["anemia"]', "--trainer.max_epochs", "2"]
    with pytest.warns(UserWarning, match="val/auroc is undefined on the validation studies; val/loss chooses"):
        result = fit(*words)
    assert result["best"]["metric"] == "val/loss"

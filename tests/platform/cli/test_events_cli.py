"""Windows of events through the commands: check, fit from prepared items, score, overlap and de-identification."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from benchmarks.meds import write_cohort_with_stays

from polyclinic.cli import main
from polyclinic.cohort import read_cohort

FIT = """
model: {class_path: Downstream, init_args: {size: pico, lr: 4.0e-3}}
data:
  cohort: cohort/cohort.yaml
  modalities: {timeline: {class_path: Timeline, init_args: {max_events: 64}}}
  labels: [consolidation]
  batch_size: 16
  num_workers: 0
  prepared: prepared
trainer: {max_epochs: 1, accelerator: cpu, enable_progress_bar: false}
"""


@pytest.fixture(scope="module")
def stays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a phantom whose only modality is the window of a stay, two studies of which lack it."""
    path = write_cohort_with_stays(tmp_path_factory.mktemp("stays") / "cohort", 40, modalities=(), workers=1)
    spec, table = yaml.safe_load(path.read_text()), pd.read_csv(path.with_name("cohort.csv"), dtype=str)
    spec["modalities"] = {"timeline": spec["modalities"]["stay"]}
    table.loc[[3, 7], "time"] = ["", "1999-01-01"]
    table.to_csv(path.with_name("cohort.csv"), index=False)
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    return path


@pytest.fixture
def workplace(stays: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "cohort").symlink_to(stays.parent)
    Path("fit.yaml").write_text(FIT)
    return tmp_path


def test_windows_are_checked_and_trained_on(workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["cohort", "check", "cohort/cohort.yaml", "--workers", "1", "--json", "check.json"]) == 0
    checked = json.loads(Path("check.json").read_text())["modalities"]["timeline"]
    assert (checked["readable"], checked["unreadable"]) == (38, [])
    assert main(["fit", "-c", "fit.yaml", "--json", "fit.json"]) == 0, capfd.readouterr().err
    assert any(Path("prepared").iterdir())
    checkpoint = json.loads(Path("fit.json").read_text())["checkpoint"]
    assert main(["evaluate", "classifier", checkpoint, "--resamples", "5", "--json", "c.json"]) == 0
    capfd.readouterr()
    assert main(["cohort", "overlap", checkpoint, "cohort/cohort.yaml"]) == 0
    assert main(["cohort", "overlap", checkpoint, "cohort/cohort.yaml", "--second_splits", "[train]"]) == 1


def test_deidentified_windows_are_files_of_the_same_events(workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Path("key").write_text("0123456789abcdef" * 2)
    Path("key").chmod(0o600)
    words = ["deidentify", "cohort/cohort.yaml", "outside", "--key", "key", "--workers", "0"]
    assert main(words) == 0, capfd.readouterr().err
    before, after = read_cohort("cohort/cohort.yaml"), read_cohort("outside/cohort.yaml")
    assert before.present_share() == after.present_share() == {"timeline": 38 / 40}
    text = "".join(path.read_text() for path in Path("outside").rglob("*.csv"))
    assert not any(patient in text for patient in {study.patient_id for study in before.studies})
    assert "2024-" not in text
    assert main(["cohort", "check", "outside/cohort.yaml", "--workers", "0"]) == 0

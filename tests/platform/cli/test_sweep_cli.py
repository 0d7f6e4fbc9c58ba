"""Settings selected by trials: children of one run in MLflow, counted failures, a sweep that is resumed."""

import json
import sys
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from cli_runs import write_config
from forked_commands import run_forked
from polyclinic.cli import child_runs, main
from polyclinic.cli.sweep import read_space

MODEL = {
    "class_path": "Downstream",
    "init_args": {"size": "nano", "lr": 0.001},
}


def _sweep(*words: str) -> int:
    return main(["sweep", "--space", "space.yaml", "--json", "sweep.json", "-c", "config.yaml", *words])


def _space(**entries: Any) -> None:
    Path("space.yaml").write_text(yaml.safe_dump({key.replace("__", "."): entry for key, entry in entries.items()}))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert (
        main(["cohort", "phantom", "cohort", "--studies", "60", "--modalities", '["tabular"]', "--workers", "0"]) == 0
    )
    write_config(Path("cohort/cohort.yaml"), MODEL, {"tabular": "Tabular"})
    return tmp_path


def test_trials_are_children_of_the_sweep_and_it_continues_where_it_stopped(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The slow test below starts its trials as the product does.
    start = [sys.executable, "-P", "-m", "polyclinic.cli"]

    def run(command: list[str], **_: Any) -> CompletedProcess[str]:
        assert command[: len(start)] == start
        return run_forked(command[len(start) :])

    monkeypatch.setattr(child_runs, "subprocess", SimpleNamespace(run=run))
    _space(model__init_args__lr={"low": 1e-5, "high": 1e-2, "log": True}, data__batch_size={"choices": [8, 16]})
    assert _sweep("--trials", "1") == 0
    first = json.loads(Path("sweep.json").read_text())["trials"]
    assert _sweep("--trials", "2", "--trainer.max_epochs", "1") == 0
    report = json.loads(Path("sweep.json").read_text())
    assert report["trials"][:1] == first
    assert len(report["trials"]) == 2
    client = MlflowClient(f"sqlite:///{place / 'runs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("polyclinic")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.info.run_name for run in children} == {"sweep-0", "sweep-1"}
    values = {run.info.run_name: run.data.metrics["val/loss"] for run in children}
    assert [trial["value"] for trial in report["trials"]] == [values[f"sweep-{n}"] for n in range(2)]
    assert parent.info.status == "FINISHED"
    assert {run.info.run_name: run.data.metrics["best/val/loss"] for run in children} == values
    assert parent.data.metrics["best/val/loss"] == min(values.values())
    note = parent.data.tags["mlflow.note.content"]
    assert note.startswith("Sweep for the lowest val/loss over `data.batch_size`, `model.init_args.lr`: 2 trials")
    assert f"Best `val/loss`: **{min(values.values()):.4g}**, in trial" in note
    assert "polyclinic fit -c config.yaml --trainer.max_epochs 1 --data.batch_size" in note
    assert children[0].data.tags["mlflow.source.name"].startswith("polyclinic fit -c config.yaml --")
    rates = {run.info.run_name: float(run.data.params["lr"]) for run in children}
    assert [trial["model.init_args.lr"] for trial in report["trials"]] == pytest.approx(
        [rates[f"sweep-{n}"] for n in range(2)]
    )


@pytest.mark.slow
def test_a_sweep_of_failures_ends_with_their_messages(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _space(data__batch_size={"choices": [0]})
    assert _sweep("--trials", "1") == 1
    message = capsys.readouterr()
    assert "expected at least 1; set `data.batch_size`" in message.out
    assert "all 1 trials failed" in message.err
    assert not Path("sweep.json").exists()


@pytest.mark.parametrize(
    "entry",
    [{"low": 2, "high": 1}, {"low": 0.0, "high": 1.0, "log": True}, {"choices": []}, {"low": 1}, 3,
     {"low": 1, "high": 4, "step": 0}, {"low": "a", "high": "b"}],
)  # fmt: skip
def test_a_space_that_cannot_be_drawn_from_is_refused(tmp_path: Path, entry: Any) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump({"model.init_args.lr": entry}))
    with pytest.raises(ValueError, match=r"got model\.init_args\.lr: .* in space\.yaml, expected"):
        read_space(path)

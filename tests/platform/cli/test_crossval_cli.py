"""Cross-validation: folds are children of one run, every study is tested once, and bad folds are refused early."""

import json
import os
import sys
import threading
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from mlflow import MlflowClient
from sklearn.metrics import roc_auc_score

from cli_runs import write_config
from forked_commands import run_forked
from polyclinic.cli import child_runs, main
from polyclinic.cli import crossval as crossval_command
from polyclinic.cohort import read_cohort

MODEL = {"class_path": "Downstream", "init_args": {"size": "pico"}}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    words = ["--studies", "120", "--modalities", '["tabular"]', "--workers", "0"]
    assert main(["cohort", "phantom", "cohort", *words]) == 0
    _set(split={"folds": 3}, labels=["anemia"], groups=["site"])
    write_config(Path("cohort/cohort.yaml"), MODEL, {"tabular": "Tabular"})
    start = [sys.executable, "-P", "-m", "polyclinic.cli"]

    def run(command: list[str], **_: Any) -> CompletedProcess[str]:
        assert command[: len(start)] == start
        return run_forked(command[len(start) :])

    monkeypatch.setattr(child_runs, "subprocess", SimpleNamespace(run=run))
    return tmp_path


def _set(**entries: Any) -> None:
    path = Path("cohort/cohort.yaml")
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | entries))


def test_every_study_is_tested_once_by_a_model_of_the_other_folds(place: Path) -> None:
    words = ["-c", "config.yaml", "--predictions", "oof.parquet", "--json", "crossval.json", "--resamples", "50"]
    assert main(["crossval", *words]) == 0
    report, table = json.loads(Path("crossval.json").read_text()), pd.read_parquet("oof.parquet")
    truth: dict[str, float] = {}
    for number in range(3):
        test = read_cohort("cohort/cohort.yaml", fold=number).split("test")
        assert sorted(table["study_id"][table["fold"] == number]) == sorted(study.study_id for study in test)
        truth |= {study.study_id: study.labels[0] for study in test}
    assert len(table) == len(truth) == 120
    label = table["study_id"].map(truth)
    by_fold = [
        roc_auc_score(label[rows & label.notna()], table["anemia"][rows & label.notna()])
        for rows in (table["fold"] == number for number in range(3))
    ]
    (finding,) = report["findings"]
    assert finding["by_fold"] == pytest.approx(by_fold)
    assert report["macro"]["value"] == pytest.approx(sum(by_fold) / 3)
    client = MlflowClient(f"sqlite:///{place / 'runs' / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("polyclinic").experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert {run.data.tags["mlflow.parentRunId"] for run in runs if run is not parent} == {parent.info.run_id}
    assert {run.info.run_name for run in runs} == {"crossval", "crossval-0", "crossval-1", "crossval-2"}
    assert parent.data.metrics["crossval/macro_auroc"] == pytest.approx(report["macro"]["value"])
    assert parent.info.status == "FINISHED"
    metrics = {run.info.run_name: run.data.metrics["crossval/macro_auroc"] for run in runs if run is not parent}
    assert metrics == pytest.approx({f"crossval-{number}": value for number, value in enumerate(by_fold)})
    note = parent.data.tags["mlflow.note.content"]
    assert note.startswith("Cross-validation over 3 folds of cohort `cohort` by tabular.")
    assert f"- `crossval/macro_auroc`: **{report['macro']['value']:.4g}**, 95 % interval" in note
    # A fold is evaluated on its own test studies again, also by a later command.
    words = [report["checkpoints"][2], "--json", "classifier.json", "--resamples", "50"]
    assert main(["evaluate", "classifier", *words]) == 0
    assert json.loads(Path("classifier.json").read_text())["macro_auroc"] == pytest.approx(by_fold[2])


def test_each_site_is_left_out_and_named_with_its_figure(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _set(split={"leave_out": "site"})
    assert main(["crossval", "-c", "config.yaml", "--json", "crossval.json", "--resamples", "50"]) == 0
    report, shown = json.loads(Path("crossval.json").read_text()), capsys.readouterr().out
    table = pd.read_csv("cohort/cohort.csv")
    (finding,) = report["findings"]
    for number, (site, auroc) in enumerate(zip(report["left_out"], finding["by_fold"], strict=True)):
        test = read_cohort("cohort/cohort.yaml", fold=number).split("test")
        assert {study.groups["site"] for study in test} == {site}
        assert f"fold {number + 1} of {len(report['left_out'])}, site {site}: " in shown
        assert f"{site}: mean AUROC {auroc:.3f}" in shown
    assert sorted(report["left_out"]) == sorted(set(table["site"]))


@pytest.mark.parametrize(
    ("entries", "words", "message"),
    [
        ({"split": {"train": 0.7, "val": 0.1, "test": 0.2}}, [], "cohort.yaml has no folds; set its `split` to"),
        ({"split": {"folds": 100}}, [], "got 100 folds for"),
        ({"labels": {"constant": {"column": "anemia", "pattern": "."}}}, [], "label 'constant' has only the value 1"),
        ({}, ["--data.label_policy.blank", "none"], "set `data.label_policy`"),
        ({"split": {"leave_out": "sex"}}, [], "got split.leave_out 'sex', expected one of ['site']"),
    ],
)
def test_folds_that_cannot_be_learned_are_refused_before_training(
    place: Path, entries: dict[str, Any], words: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    _set(**entries)
    assert main(["crossval", "-c", "config.yaml", *words]) == 1
    assert message in capfd.readouterr().err
    assert not Path("runs").exists()


def test_the_failure_of_a_fold_ends_the_run_with_its_message(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    assert main(["crossval", "-c", "config.yaml", "--model.init_args.lr", "-1"]) == 1
    assert "fold 0 failed: got lr -1.0" in capfd.readouterr().err
    client = MlflowClient(f"sqlite:///{place / 'runs' / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("polyclinic").experiment_id])
    assert {run.info.run_name: run.info.status for run in runs}["crossval"] == "FAILED"


@pytest.mark.parametrize(("given", "expected"), [([], 3), (["--parallel", "2"], 2), (["--parallel", "1"], 1)])
def test_folds_are_trained_at_the_same_time_as_often_as_asked(
    place: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], expected: int
) -> None:
    first, lock = threading.Barrier(expected, timeout=60), threading.Lock()
    running: list[int] = []
    threads: list[dict[str, str]] = []

    def fit(words: list[str], variables: dict[str, str]) -> tuple[None, str]:
        with lock:
            threads.append(variables)
            is_first = len(threads) <= expected
            running.append(1 + running[-1] if running else 1)
        if is_first:
            first.wait()  # returns when the expected number of fits wait
        with lock:
            running.append(running[-1] - 1)
        return None, "error: enough"

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(crossval_command, "run_fit", fit)
    assert main(["crossval", "-c", "config.yaml", *given]) == 1
    assert max(running) == expected
    assert all(each == ({"OMP_NUM_THREADS": str(4 // expected)} if expected > 1 else {}) for each in threads)


def test_no_fold_at_a_time_is_refused(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["crossval", "-c", "config.yaml", "--parallel", "0"]) == 1
    assert "got parallel 0, expected at least 1; set `--parallel`" in capfd.readouterr().err


def test_a_fold_that_is_killed_is_reported_as_such(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def killed(command: list[str], **_: Any) -> CompletedProcess[str]:
        return CompletedProcess(command, -9, "", "tabular takes `categorical` from the cohort: sex (F, M)\n")

    monkeypatch.setattr(child_runs, "subprocess", SimpleNamespace(run=killed))
    assert main(["crossval", "-c", "config.yaml"]) == 1
    assert "error: fold 0 failed: it was ended by SIGKILL" in capfd.readouterr().err

"""A run that is killed and resumed equals an uninterrupted one."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from mlflow import MlflowClient

from cli_runs import fit, write_config
from forked_commands import Forked
from polyclinic.cli import main

pytestmark = pytest.mark.processes

SUPPORT = Path(__file__).parents[2] / "support"
PULSES = {"first": {"class_path": "pulse_plugin.Pulse"}, "second": {"class_path": "pulse_plugin.Pulse"}}
MODEL = {"class_path": "resumable_task.OneCycle", "init_args": {"objective": "Symile", "embedding": 8, "lr": 0.003}}
HOLD = """
import fcntl, sys
file = open(sys.argv[1], "a")
fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
print("held", flush=True)
sys.stdin.read()
"""


def _start(folder: Path, *words: str) -> Forked:
    command = ["fit", "-c", "config.yaml", "--json", "fit.json", *words]
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT)}
    (folder / "errors").unlink(missing_ok=True)
    return Forked(command, folder=folder, environment=environment, out=folder / "out", errors=folder / "errors")


def _end(started: Forked) -> tuple[int, str]:
    return started.wait(timeout=1000), started.errors.read_text()


def _curves(folder: Path, result: dict[str, Any]) -> dict[str, list[tuple[int, float]]]:
    """Return every curve except those of the machine and those that only the first batch of an epoch logs."""
    client = MlflowClient(f"sqlite:///{folder}/runs/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("polyclinic").experiment_id])
    assert (run.info.run_id, run.info.status) == (result["mlflow_run_id"], "FINISHED")
    names = [name for name in run.data.metrics if name.startswith(("train/", "val/")) and name != "train/negatives"]
    return {
        name: sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, name))
        for name in names
    }


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, pulse_cohort: Path) -> tuple[Path, Path]:
    """Return the folders of an uninterrupted run, and of one that was killed after 14 of its 27 batches and resumed."""
    folders = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("cut")
    for folder in folders:
        config = {
            "model": MODEL,
            "data": {"batch_size": 9, "num_workers": 2, "cohort": str(pulse_cohort), "modalities": PULSES},
            "trainer": {
                "accelerator": "cpu", "max_epochs": 3, "accumulate_grad_batches": 2, "log_every_n_steps": 1,
                "enable_progress_bar": False, "enable_model_summary": False,
                "callbacks": [{"class_path": "resumable_task.Witness", "init_args": {"file": "seen.txt"}}],
            },
            "last": {"every_n_steps": 2},
        }  # fmt: skip
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
    uninterrupted, cut = (
        _start(folders[0]),
        _start(folders[1], "--trainer.callbacks.init_args.kill_after=14", "--ckpt_path=last"),
    )
    assert _end(cut)[0] == -9
    code, errors = _end(_start(folders[1], "--ckpt_path=last"))
    assert code == 0, errors
    assert "not resumable" not in errors
    assert _end(uninterrupted)[0] == 0
    return folders


def _recorded_batches(folder: Path) -> list[list[Any]]:
    return [json.loads(line) for line in (folder / "seen.txt").read_text().splitlines()]


def _result(folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((folder / "fit.json").read_text())
    return result


def test_every_step_after_a_kill_gets_the_studies_of_the_uninterrupted_run(runs: tuple[Path, Path]) -> None:
    uninterrupted, cut = map(_recorded_batches, runs)
    # Killed after batch 14, in the middle of an accumulated step: the last checkpoint was written after batch 11.
    assert [report[0] for report in cut] == [*range(1, 15), *range(12, 28)]
    assert cut == [*uninterrupted[:14], *uninterrupted[11:]]


def test_the_weights_equal_those_of_the_uninterrupted_run_and_of_its_last_step(runs: tuple[Path, Path]) -> None:
    uninterrupted, cut = (torch.load(folder / _result(folder)["last"], weights_only=True) for folder in runs)
    assert all(torch.equal(cut["state_dict"][name], weight) for name, weight in uninterrupted["state_dict"].items())
    moments = [list(checkpoint["optimizer_states"][0]["state"].values()) for checkpoint in (uninterrupted, cut)]
    assert all(torch.equal(a["exp_avg_sq"], b["exp_avg_sq"]) for a, b in zip(*moments, strict=True))
    assert [(checkpoint["epoch"], checkpoint["global_step"]) for checkpoint in (uninterrupted, cut)] == [
        (2, 15),
        (2, 15),
    ]
    assert torch.equal(uninterrupted["random_states"][0]["torch"], cut["random_states"][0]["torch"])


def test_the_resumed_run_logs_every_step_once(runs: tuple[Path, Path]) -> None:
    uninterrupted, cut = (_curves(folder, _result(folder)) for folder in runs)
    assert [step for step, _ in uninterrupted["train/loss"]] == list(range(15))
    assert cut == uninterrupted


def test_an_epoch_resumed_in_the_middle_reports_its_negatives(runs: tuple[Path, Path]) -> None:
    steps = []
    for folder in runs:
        client = MlflowClient(f"sqlite:///{folder}/runs/mlflow.db")
        history = client.get_metric_history(_result(folder)["mlflow_run_id"], "train/negatives")
        steps.append(sorted({point.step for point in history}))
    assert steps[0] == list(range(15))
    assert steps[1] == steps[0]


def test_the_configuration_of_a_resumed_run_repeats_it_from_the_beginning(runs: tuple[Path, Path]) -> None:
    folder = runs[1]
    client = MlflowClient(f"sqlite:///{folder}/runs/mlflow.db")
    run_id = _result(folder)["mlflow_run_id"]
    config = yaml.safe_load(Path(client.download_artifacts(run_id, "config.yaml", str(folder))).read_text())
    assert config["ckpt_path"] is None
    assert client.get_run(run_id).data.tags["checkpoint.last"] == f"1/{run_id}/checkpoints/last.ckpt"


@pytest.fixture
def _workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pulse_cohort: Path) -> None:
    monkeypatch.chdir(tmp_path)
    model = {"class_path": "ContrastivePretraining", "init_args": MODEL["init_args"]}
    write_config(pulse_cohort, model, PULSES)


def _count() -> int:
    client = MlflowClient(f"sqlite:///{Path('runs/mlflow.db').absolute()}")
    return len(client.search_runs([client.get_experiment_by_name("polyclinic").experiment_id]))


@pytest.mark.usefixtures("_workplace")
def test_last_resumes_only_a_run_of_the_same_configuration(capfd: pytest.CaptureFixture[str]) -> None:
    first = fit("--ckpt_path", "last")
    assert "starting from the beginning: no last.ckpt lies below runs" in capfd.readouterr().err
    further = ["--ckpt_path", "last", "--trainer.max_epochs"]
    assert fit(*further, "2")["mlflow_run_id"] == first["mlflow_run_id"]
    assert torch.load(first["last"], weights_only=True)["epoch"] == 1
    other = fit(*further, "2", "--model.init_args.lr", "0.001")
    report = "the newest last.ckpt is of another configuration (model.init_args.lr: 0.003, now 0.001)"
    assert report in capfd.readouterr().err
    assert other["mlflow_run_id"] != first["mlflow_run_id"]
    # The other run is newer now, and is not mistaken for this one.
    assert fit(*further, "3")["mlflow_run_id"] == first["mlflow_run_id"]
    assert _count() == 2


@pytest.mark.usefixtures("_workplace")
def test_last_is_evaluated_or_nothing_is(capfd: pytest.CaptureFixture[str]) -> None:
    result = fit()
    assert main(["validate", "-c", "config.yaml", "--ckpt_path", "last"]) == 0
    assert f"checkpoint: {result['last']}\n" in capfd.readouterr().out
    before = _count()
    words = ["validate", "-c", "config.yaml", "--ckpt_path"]
    assert main([*words, "last", "--trainer.logger.init_args.out", "elsewhere"]) == 1
    report = "error: got `--ckpt_path last`, but no last.ckpt lies below elsewhere; set it to a checkpoint"
    assert report in capfd.readouterr().err
    assert main([*words, "last", "--model.init_args.lr", "0.5"]) == 1
    assert "(model.init_args.lr: 0.003, now 0.5); set it to a checkpoint" in capfd.readouterr().err
    assert main([*words, "no.ckpt"]) == 1
    assert "checkpoint 'no.ckpt' does not exist" in capfd.readouterr().err
    assert _count() == before


@pytest.mark.usefixtures("_workplace")
def test_a_requeued_job_continues_in_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    job = {"JOB_ID": "7", "JOB_NAME": "x", "NTASKS": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    first = fit()
    # Another job of the same configuration, and the same job without a requeue, start new runs.
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    other = fit()
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "0")
    third = fit("--model.init_args.lr", "0.001")
    assert _count() == 3
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    resumed = fit("--trainer.max_epochs", "2")
    assert resumed["mlflow_run_id"] == first["mlflow_run_id"]
    assert torch.load(resumed["last"], weights_only=True)["epoch"] == 1
    assert _count() == 3
    assert len({result["mlflow_run_id"] for result in (first, other, third)}) == 3


@pytest.mark.usefixtures("_workplace")
def test_a_new_run_leaves_the_run_of_its_checkpoint_unchanged() -> None:
    first = fit()
    before = Path(first["last"]).read_bytes()
    forked = fit("--ckpt_path", first["last"], "--new_run", "true", "--trainer.max_epochs", "2")
    assert forked["mlflow_run_id"] != first["mlflow_run_id"]
    assert Path(first["last"]).read_bytes() == before
    assert torch.load(forked["last"], weights_only=True)["global_step"] == 2 * torch.load(first["last"])["global_step"]


@pytest.mark.public_report(29)
@pytest.mark.usefixtures("_workplace")
def test_a_run_on_a_changed_cohort_is_not_resumed_silently(
    pulse_cohort: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(pulse_cohort.parent, "copied")
    cohort = Path("copied/cohort.yaml").absolute()
    write_config(cohort, {"class_path": "ContrastivePretraining", "init_args": MODEL["init_args"]}, PULSES)
    first = fit()
    file = Path("copied") / yaml.safe_load(cohort.read_text())["table"]
    table = pd.read_csv(file, dtype=str)
    more = table.assign(study_id=table["study_id"] + "b", patient_id=table["patient_id"] + "b")
    pd.concat([table, more]).to_csv(file, index=False)
    further = ["--ckpt_path", "last", "--trainer.max_epochs", "2"]
    capfd.readouterr()
    assert main(["fit", "-c", "config.yaml", *further]) == 1
    message = capfd.readouterr().err
    sizes = table["split"].value_counts()
    counts = [f"{split} {sizes[split]} then and {2 * sizes[split]} now" for split in ("train", "val", "test")]
    assert f"the cohort has changed since the checkpoint was written (studies: {', '.join(counts)})" in message
    assert "set `--new_run true`" in message
    assert _count() == 1
    with pytest.warns(UserWarning, match="the new run records the current cohort"):
        assert fit(*further, "--new_run", "true")["mlflow_run_id"] != first["mlflow_run_id"]


@pytest.mark.usefixtures("_workplace")
def test_a_run_elsewhere_or_in_use_is_not_resumed(capfd: pytest.CaptureFixture[str]) -> None:
    last = fit()["last"]
    words = ["fit", "-c", "config.yaml", "--ckpt_path", last]
    assert main([*words, "--trainer.logger.init_args.out", "elsewhere"]) == 1
    assert "; set MLFLOW_TRACKING_URI or `trainer.logger.init_args.tracking_uri`, or" in capfd.readouterr().err
    assert not Path("elsewhere").exists()
    lock = Path(last).with_name(".training.lock")
    command = [sys.executable, "-c", HOLD, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert main([*words, "--trainer.max_epochs", "2"]) == 1
        holder.kill()
    assert "error: another process is training this run" in capfd.readouterr().err
    assert main([words[0], "-c", "config.yaml", "--ckpt_path", "no.ckpt"]) == 1
    assert "checkpoint 'no.ckpt' does not exist" in capfd.readouterr().err
    assert _count() == 1


@pytest.mark.usefixtures("_workplace")
def test_the_last_checkpoint_is_the_newest_whatever_the_metric() -> None:
    best = "lightning.pytorch.callbacks.ModelCheckpoint"
    words = ["--trainer.callbacks+", best, "--trainer.callbacks.monitor", "val/negatives", "--trainer.callbacks.mode"]
    # The metric is the same after every epoch: the first stays the best.
    result = fit(*words, "max", "--trainer.callbacks.filename", "best", "--trainer.max_epochs", "3")
    epochs = {name: torch.load(result[name], weights_only=True)["epoch"] for name in ("checkpoint", "last")}
    assert epochs == {"checkpoint": 0, "last": 2}

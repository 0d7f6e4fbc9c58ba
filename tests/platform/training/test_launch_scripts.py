"""The scripts for several nodes: torchrun with two agents, and a SLURM job that is preempted and resumed."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from mlflow import MlflowClient

from mlflow_servers import free_port
from polyclinic.cli import main
from polyclinic.training.restore import restore

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[3]
SCALE = ROOT / "experiments" / "distributed"


@pytest.fixture
def config(tmp_path: Path, pulse_cohort: Path) -> Path:
    """Write the configuration of a run on two modalities that takes some seconds unless it is stopped."""
    modalities = {name: {"class_path": "pulse_plugin.Pulse"} for name in ("first", "second")}
    content = {
        "model": {
            "class_path": "ContrastivePretraining",
            "init_args": {"objective": {"class_path": "Symile"}, "size": "pico", "embedding": 8},
        },
        "data": {"cohort": str(pulse_cohort), "modalities": modalities, "batch_size": 8},
        "trainer": {
            "accelerator": "cpu", "max_epochs": 2, "enable_progress_bar": False,
            "logger": {"class_path": "polyclinic.tracking.RunLogger", "init_args": {"out": str(tmp_path / "runs")}},
        },
    }  # fmt: skip
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def _environment(folder: Path, **more: str) -> dict[str, str]:
    return {
        "PATH": f"{folder}:{Path(sys.executable).parent}:/usr/bin:/bin", "PYTHONPATH": str(ROOT / "tests" / "support"),
        "HOME": str(folder), "OMP_NUM_THREADS": "1", **more,
    }  # fmt: skip


def _last_checkpoint(folder: Path) -> dict[str, object]:
    content: dict[str, object] = torch.load(_launcher_path(folder), weights_only=True)
    return content


def _launcher_path(folder: Path) -> Path:
    (path,) = folder.glob("runs/*/*/checkpoints/last.ckpt")
    return path


def _runs(folder: Path) -> list[str]:
    """Return the status of every run."""
    client = MlflowClient(f"sqlite:///{folder}/runs/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("polyclinic").experiment_id])
    return [run.info.status for run in runs]


@pytest.mark.slow
def test_two_nodes_of_torchrun_train_together(config: Path, tmp_path: Path) -> None:
    environment = _environment(tmp_path, NODES="2", PROCESSES="1", HEAD=f"127.0.0.1:{free_port()}")
    words = ["sh", str(SCALE / "torchrun.sh"), str(config), "--trainer.strategy", "ddp"]
    nodes = [
        subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in range(2)
    ]
    report = [node.communicate(timeout=1000)[0].decode() for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], report
    assert sum("MEMBER: 2/2" in line for line in report) == 1
    assert sum("next: polyclinic" in line for line in report) == 1
    # Of 120 studies, both nodes together take 16 a step.
    assert 4 <= int(str(_last_checkpoint(tmp_path)["global_step"])) <= 2 * 6


@pytest.mark.slow
def test_a_preempted_job_is_requeued_and_continues(config: Path, tmp_path: Path) -> None:
    for name, script in {"scontrol": 'echo "$@" >> requeued', "srun": 'exec "$@"'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    job = {
        "SLURM_JOB_ID": "77", "SLURM_JOB_NAME": "polyclinic", "SLURM_NTASKS": "1", "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_JOB_NUM_NODES": "1",
        "SLURM_NODELIST": "localhost",
    }  # fmt: skip
    words = ["sh", str(SCALE / "slurm.sh"), str(config), "--trainer.accelerator", "cpu", "--trainer.strategy", "auto"]
    words += ["--trainer.precision", "32-true"]
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    first = subprocess.Popen(
        [*words, "--trainer.max_epochs", "5000"], cwd=tmp_path, env=_environment(tmp_path, **job),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    deadline = time.monotonic() + 1000
    while not list(tmp_path.glob("runs/*/*/checkpoints/last.ckpt")) and first.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    first.send_signal(signal.SIGUSR1)
    while not (tmp_path / "requeued").exists() and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    first.kill()
    report = first.communicate()[0].decode()
    assert (tmp_path / "requeued").read_text() == "requeue 77\n", report
    saved = tmp_path / "runs" / "slurm" / "77" / "hpc_ckpt_1.ckpt"
    steps = torch.load(saved, weights_only=True)["global_step"]
    assert steps > 0
    assert _runs(tmp_path) == ["KILLED"]
    more = max(steps, int(str(_last_checkpoint(tmp_path)["global_step"]))) + 5
    resumed = subprocess.run(
        [*words, "--trainer.max_epochs", "5000", "--trainer.max_steps", str(more)],
        cwd=tmp_path, env=_environment(tmp_path, **job, SLURM_RESTART_COUNT="1"), capture_output=True, text=True,
        timeout=1000,
    )  # fmt: skip
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "Restoring states from the checkpoint path at" in resumed.stdout + resumed.stderr
    # It continues in the preempted run, from where it stopped.
    assert _runs(tmp_path) == ["FINISHED"]
    assert _last_checkpoint(tmp_path)["global_step"] == more


@pytest.mark.parametrize("name", ["gpus.yaml", "sharded.yaml", "slurm.yaml", "compiled.yaml"])
def test_overlays_are_settings_of_the_command_line(name: str, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["fit", "-c", str(config), "-c", str(SCALE / name), "--print_config"])
    assert end.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)["trainer"]
    for key, value in yaml.safe_load((SCALE / name).read_text())["trainer"].items():
        if key not in ("callbacks", "plugins", "strategy") or isinstance(value, str):
            assert printed[key] == value


def _fit(config: Path, folder: Path, *words: str, **more: str) -> tuple[dict[str, object], str]:
    folder.mkdir()
    command = [sys.executable, "-m", "polyclinic.cli", "fit", "-c", str(config), *words]
    process = subprocess.run(
        [*command, "--trainer.logger.init_args.out", "runs"], cwd=folder, env=_environment(folder, **more),
        capture_output=True, text=True, timeout=1000,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    return _last_checkpoint(folder), process.stderr


@pytest.mark.slow
def test_a_compiled_run_writes_the_same_checkpoint_as_any_other(config: Path, tmp_path: Path) -> None:
    """Fit in separate processes, as the shapes that tests check are not traced."""
    traced = tmp_path / "traced.yaml"
    callback = {"class_path": "polyclinic.training.CompileEncoders", "init_args": {"backend": "aot_eager"}}
    traced.write_text(yaml.safe_dump({"trainer": {"callbacks": [callback]}}))
    compiled, report = _fit(config, tmp_path / "compiled", "-c", str(traced), TORCH_LOGS="graph_code")
    plain, silent = _fit(config, tmp_path / "plain", TORCH_LOGS="graph_code")
    assert "TRACED GRAPH" in report
    assert "TRACED GRAPH" not in silent
    first, second = compiled["state_dict"], plain["state_dict"]
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert first.keys() == second.keys()
    for name, value in second.items():
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-5, msg=name)
    assert restore(_launcher_path(tmp_path / "compiled")).task.state_dict().keys() == second.keys()
